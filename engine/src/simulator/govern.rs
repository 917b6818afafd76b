//! What governs the workloads of a setup: resolved of the same marks and policies as in a cluster.

use crate::{
    model::{MilliCpu, Resources},
    placement::HOME,
    policy::{Asked, Base, EffectivePolicy, Marks, Mode, Policies, Resolution, annotation, opt_in},
    simulator::setup::{Setup, Workload},
};

impl Setup {
    /// The policies that make sense, as placement knows them.
    pub fn known_policies(&self) -> Policies {
        let mut policies = Policies::new(HOME);
        for (name, spec) in &self.policies {
            // One that makes no sense is followed by nobody, in a cluster too.
            let _ = policies.set(name.clone(), spec);
        }
        policies
    }

    /// What holds for the pods of one of its workloads, among these policies.
    pub fn resolve(&self, workload: &Workload, policies: &Policies) -> Resolution {
        let none = Marks::default();
        let namespace = &*workload.name.namespace;
        let asked = Asked {
            namespace,
            pod: &workload.pods,
            workload: &workload.marks,
            namespace_marks: self.namespaces.get(namespace).unwrap_or(&none),
        };
        policies.resolve(&asked, &self.rules)
    }

    /// The policies that hold for its workloads, in their order; `None` for one that nothing governs.
    pub fn effective_policies(&self) -> Vec<Option<EffectivePolicy>> {
        let policies = self.known_policies();
        let policy = |workload| self.resolve(workload, &policies).governed.map(|governed| governed.policy);
        self.workloads.iter().map(policy).collect()
    }

    /// Takes burstlet away: nothing governs any of its workloads.
    pub fn ungovern(&mut self) {
        self.policies.clear();
        self.namespaces.clear();
        for workload in &mut self.workloads {
            (workload.marks, workload.pods) = (Marks::default(), Marks::default());
        }
    }
}

impl Workload {
    /// Gives it this base, whatever its policy says; the rest of the policy goes on to hold.
    pub fn set_base(&mut self, base: Base) {
        let marks = [(annotation::BASE, base.to_string()), (annotation::MODE, Mode::AfterBase.to_string())];
        self.marks.annotations.extend(marks.map(|(key, text)| (key.to_owned(), text)));
        let is_nearer = |key: &str| key == annotation::MODE || opt_in::TABLE.iter().any(|mark| mark.key == key);
        self.pods.annotations.retain(|key, _| !is_nearer(key));
        self.pods.labels.retain(|key, _| !is_nearer(key));
    }
}

/// The marks of a workload whose annotation says this base.
pub fn with_base(base: &str) -> Marks {
    let annotations = [(annotation::BASE.to_owned(), base.to_owned())].into();
    Marks { annotations, ..Marks::default() }
}

/// Whether the policy only observes.
pub(super) fn is_observed(policy: Option<&EffectivePolicy>) -> bool {
    policy.is_some_and(|policy| policy.mode == Mode::Observe)
}

/// Whether pods are made behind the gate.
pub(super) fn is_gated(policy: Option<&EffectivePolicy>) -> bool {
    policy.is_some_and(|policy| policy.mode != Mode::Observe)
}

/// The base in pods; `None` where none is kept, or nothing bounds it.
pub(super) fn base_of(policy: Option<&EffectivePolicy>, requests: Resources, wanted: u32) -> Option<u32> {
    let policy = policy.filter(|policy| policy.mode != Mode::Observe)?;
    let cap = policy.real_share();
    let MilliCpu(cpu) = requests.cpu;
    let bounds = [
        cap.pods.map(|pods| pods.of(wanted)),
        cap.cpu.and_then(|most| whole(most.0, cpu)),
        cap.memory.and_then(|most| whole(most.0, requests.memory.0)),
    ];
    bounds.into_iter().flatten().min()
}

/// How often `each` goes into `most`; `None` where it is nothing.
fn whole(most: u64, each: u64) -> Option<u32> {
    most.checked_div(each).map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

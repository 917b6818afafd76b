//! Why a pod is where it is: what each place of its policy said when it was decided.

use std::sync::Arc;

use serde::Serialize;

use crate::{
    model::{ObjectName, PodUid, Timestamp},
    placement::{
        Placement,
        ledger::Slot,
        place::obstacles,
        revision::RevisionState,
        tier::{Note, Told, place_name, slot},
    },
    policy::{EffectivePolicy, Mode},
};

/// What was said when a pod was decided. One a pod at most, gone with it.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) at: Timestamp,
    pub(super) policy: Arc<EffectivePolicy>,
    pub(super) notes: Vec<Note>,
}

/// Why a pod is where it is. Recorded by this leader: of what another one decided, the pod's own annotation tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The pod, as `namespace/name`.
    pub pod: String,
    /// The policy's name, if it has one.
    pub policy: Option<String>,
    /// The policy's mode.
    pub mode: Mode,
    /// When it was decided, in milliseconds since the epoch.
    pub decided_at: u64,
    /// All of it in one line.
    pub summary: String,
    /// Each place that was asked, in order.
    pub steps: Vec<Answer>,
}

/// What one place of a policy said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The place: `base`, `pool eci`, `tier 3 (real nodes)`.
    pub place: String,
    /// Whether it took the pod.
    pub took: bool,
    /// Why, or why not.
    pub why: String,
}

/// How a workload's places stand, and why its next pod waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadExplanation {
    /// The revision, as `namespace/name`.
    pub revision: String,
    /// The policy's name, if it has one.
    pub policy: Option<String>,
    /// The policy's mode.
    pub mode: Mode,
    /// Replicas that it wants.
    pub wanted: u32,
    /// Pods that wait behind the gate.
    pub waiting: usize,
    /// Pods by place, in the policy's order.
    pub places: Vec<Standing>,
    /// Why the next pod waits, while one does.
    pub next: Option<Vec<Answer>>,
}

/// How many pods count in a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// The place, as in [`Answer::place`].
    pub place: String,
    /// The pods that count against its cap.
    pub pods: u64,
}

impl Record {
    fn answers(&self) -> Vec<Answer> {
        let answer = |note: &Note| Answer {
            place: place_name(&self.policy, note.step),
            took: note.said.is_taken(),
            why: Told(&self.policy, note).to_string(),
        };
        self.notes.iter().map(answer).collect()
    }
}

impl Placement {
    /// Why the pod is where it is, as far as this leader decided it.
    pub fn explain(&self, uid: &PodUid) -> Option<Explanation> {
        let entry = self.pods.get(uid)?;
        let state = entry.pod.revision.as_ref().and_then(|id| self.revisions.get(id));
        let waits = || state.filter(|state| state.ledger.pods().any(|pod| pod == uid))?.record.as_ref();
        let record = entry.record.as_ref().or_else(waits)?;
        Some(Explanation {
            pod: entry.pod.name.to_string(),
            policy: record.policy.name.as_ref().map(ToString::to_string),
            mode: record.policy.mode,
            decided_at: record.at.as_millis(),
            summary: obstacles(&record.policy, &record.notes).into(),
            steps: record.answers(),
        })
    }

    /// How the workload's revisions stand, by the name of the Deployment, or of what else scales them.
    pub fn explain_workload(&self, name: &ObjectName) -> Vec<WorkloadExplanation> {
        let all = self.revisions_in_order().into_iter();
        all.filter(|(_, state)| self.workload_name(state) == Some(name))
            .filter_map(|(id, state)| {
                let (policy, facts) = (state.policy.as_ref()?, state.facts.as_ref()?);
                let standing = |step| {
                    let place = if step == 0 { Slot::Base } else { slot(policy, step) };
                    Standing { place: place_name(policy, step), pods: self.used(id, state, &place).pods }
                };
                Some(WorkloadExplanation {
                    revision: facts.name.to_string(),
                    policy: policy.name.as_ref().map(ToString::to_string),
                    mode: policy.mode,
                    wanted: facts.wanted,
                    waiting: state.ledger.waiting.len(),
                    places: (0..=policy.tiers.len()).map(standing).collect(),
                    next: state.record.as_ref().map(|record| record.answers()),
                })
            })
            .collect()
    }

    /// The name of what scales the revision, or its own.
    pub(super) fn workload_name<'a>(&'a self, state: &'a RevisionState) -> Option<&'a ObjectName> {
        let facts = state.facts.as_ref()?;
        let workload = facts.workload.as_ref().and_then(|id| self.workloads.get(id));
        Some(workload.map_or(&facts.name, |workload| &workload.name))
    }
}

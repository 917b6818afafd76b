//! kube-scheduler and the kubelets of real nodes.

use std::collections::BTreeMap;

use crate::{
    model::Tier,
    policy::{self, Per},
    simulator::{
        dice::Purpose,
        govern::base_of,
        pod::{NodeId, Place, PodId, Step, WorkloadIx},
        world::{Happening, World},
    },
};

impl World<'_> {
    /// A pod comes into kube-scheduler's queue, whose bindings are limited.
    pub(super) fn queue_for_scheduling(&mut self, id: PodId) {
        let is_burst = self.pod(id).is_some_and(|pod| matches!(pod.tier, Some(Tier::Burst(_))));
        let turn = if is_burst && self.setup.timing.extender_binds { self.now } else { self.scheduler.take(self.now) };
        self.queue.plan(turn.after(self.setup.timing.api_lag), Happening::Schedule(id));
    }

    /// kube-scheduler's turn for a pod.
    pub(super) fn schedule(&mut self, id: PodId) {
        let Some(pod) = self.pod(id) else { return };
        let Step::Queued { unschedulable } = pod.step else { return };
        if !pod.is_live() {
            return;
        }
        let workload = pod.workload;
        match self.choose_node(id) {
            Some((node, place)) => {
                self.workloads[workload.0].unschedulable.remove(&id);
                self.bind(id, node, place);
                if !self.workloads[workload.0].unschedulable.is_empty() {
                    self.wake(workload);
                }
            }
            None if !unschedulable => {
                self.workloads[workload.0].unschedulable.insert(id);
                self.change(id, |pod| pod.step = Step::Queued { unschedulable: true });
            }
            None => drop(self.workloads[workload.0].unschedulable.insert(id)),
        }
    }

    fn choose_node(&self, id: PodId) -> Option<(NodeId, Place)> {
        let pod = self.pod(id)?;
        let anywhere = BTreeMap::new();
        let real = |selector| {
            let node = self.nodes.choose_real(pod.workload, pod.revision, selector)?;
            Some((node, Place::Real))
        };
        let of_pool = |name| {
            let pool = self.pool_id(name)?;
            self.nodes.choose_virtual(pool, pod.workload).map(|node| (node, Place::Pool(pool)))
        };
        match &pod.tier {
            Some(Tier::Real(number)) => real(self.selected_by(pod.workload, *number).unwrap_or(&anywhere)),
            None | Some(Tier::Base) => real(&anywhere),
            Some(Tier::BaseShort(pool)) => real(&anywhere).or_else(|| of_pool(pool)),
            Some(Tier::Burst(pool)) => of_pool(pool),
        }
    }

    /// The labels that this tier on real nodes selects.
    fn selected_by(&self, workload: WorkloadIx, number: u8) -> Option<&BTreeMap<String, String>> {
        let mut real = self.workloads[workload.0].policy.as_ref()?.tiers.iter().filter_map(|tier| match &tier.place {
            policy::Place::Real { node_selector } => Some(node_selector),
            policy::Place::Pool(_) => None,
        });
        real.nth(usize::from(number))
    }

    /// Whether the real nodes that come and go have the labels that this tier selects.
    pub(super) fn has_labels_for(&self, workload: WorkloadIx, number: u8) -> bool {
        let labels = &self.setup.real_nodes.labels;
        let selector = self.selected_by(workload, number);
        selector.is_none_or(|selector| selector.iter().all(|(key, value)| labels.get(key) == Some(value)))
    }

    fn bind(&mut self, id: PodId, node: NodeId, place: Place) {
        let Some(pod) = self.pod(id) else { return };
        let (workload, revision, highest) = (pod.workload, pod.revision, pod.highest_base);
        let now = self.now;
        self.nodes.occupy(node, id, (workload, revision));
        self.change(id, |pod| {
            pod.step = Step::Bound;
            pod.node = Some((node, place));
            pod.bound = Some(now);
        });
        match place {
            Place::Real => {
                self.judge_base(workload, revision, highest);
                let start_up = self.dice.latency(&self.setup.real_nodes.start_up, Purpose::StartUp, u64::from(id.0));
                self.plan_in(start_up + self.setup.timing.status_lag, Happening::Run(id));
            }
            Place::Pool(_) => self.plan_in(self.setup.timing.api_lag, Happening::Instance(id)),
        }
    }

    /// Counts a placement that puts more than the base of a governed revision on real nodes.
    fn judge_base(&mut self, workload: WorkloadIx, revision: usize, highest: u32) {
        let state = &self.workloads[workload.0];
        let (Some(_), Some(policy)) = (state.books.base, &state.policy) else { return };
        let (standing, highest) = match policy.count.per {
            Per::Revision => (state.revisions.all.get(revision).map_or(0, |revision| revision.real), highest),
            // Percentages are of what all revisions want, more than the workload itself during a rollout.
            Per::Workload => {
                let wanted = state.books.live();
                let shared = base_of(Some(policy), self.setup.workloads[workload.0].requests, wanted);
                let standing = state.revisions.all.iter().map(|revision| revision.real).sum();
                (standing, highest.max(shared.unwrap_or_default()))
            }
        };
        if standing > highest {
            self.workloads[workload.0].books.base_exceeded += 1;
        }
    }

    /// A pod's containers run, wherever.
    pub(super) fn containers_run(&mut self, id: PodId) {
        let Some(pod) = self.pod(id).filter(|pod| pod.step == Step::Bound && pod.is_live()) else { return };
        let workload = pod.workload;
        let now = self.now;
        let ready_after = &self.setup.workloads[workload.0].serving.ready_after;
        let wait = self.dice.latency(ready_after, Purpose::ReadyAfter, u64::from(id.0));
        if wait.is_zero() {
            self.pods[id.0 as usize].running = Some(now);
            self.become_ready(id);
        } else {
            self.change(id, |pod| (pod.step, pod.running) = (Step::Running, Some(now)));
            self.plan_in(wait, Happening::Ready(id));
        }
    }

    pub(super) fn become_ready(&mut self, id: PodId) {
        let Some(pod) = self.pod(id) else { return };
        if !matches!(pod.step, Step::Bound | Step::Running) || !pod.is_live() {
            return;
        }
        let (workload, revision, slot, created) = (pod.workload, pod.revision, pod.slot, pod.created);
        let now = self.now;
        let state = &mut self.workloads[workload.0];
        let cpu = state.flow.cpu_each(now);
        if state.books.has_begun() && created >= self.start {
            state.books.became_ready(now.since(created));
        }
        // One that is about to be deleted is available to nobody.
        if let Some(of) = state.revisions.get_mut(revision)
            && of.active.get(slot) == Some(&id)
        {
            of.available += 1;
        }
        self.change(id, |pod| (pod.step, pod.ready, pod.ready_cpu) = (Step::Ready, Some(now), cpu));
        self.rollout_may_go_on(workload);
    }

    /// A node has room again: pods that found none are tried.
    pub(super) fn room_came(&mut self) {
        for ix in 0..self.workloads.len() {
            if !self.workloads[ix].unschedulable.is_empty() {
                self.wake(WorkloadIx(ix));
            }
        }
    }

    /// The oldest pod that finds a node now gets its turn.
    fn wake(&mut self, workload: WorkloadIx) {
        let waiting = &self.workloads[workload.0].unschedulable;
        // Pods of one revision and tier are alike.
        let mut refused = None;
        let first = waiting.iter().copied().find(|id| {
            let alike = self.pod(*id).map(|pod| (pod.revision, pod.tier.clone()));
            let finds = refused != alike && self.choose_node(*id).is_some();
            if !finds {
                refused = alike;
            }
            finds
        });
        if let Some(id) = first {
            self.workloads[workload.0].unschedulable.remove(&id);
            self.queue_for_scheduling(id);
        }
    }
}

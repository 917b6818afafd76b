//! The Deployment and ReplicaSet controllers.

use std::{cmp::Reverse, time::Duration};

use crate::{
    model::{ObjectName, PodUid, RevisionId, Timestamp, WorkloadId},
    placement::{Controller, Event, Revision as SeenRevision, Workload as SeenWorkload},
    policy::Policies,
    simulator::{
        books::Books,
        dice::Purpose,
        flow::Flow,
        govern::{base_of, is_gated},
        hpa,
        metrics::{Crowd, Scrapes},
        money::PerMilli,
        pod::{Pod, PodId, Step, WorkloadIx},
        revisions::Revisions,
        rollout::{self, Goal},
        world::{Happening, WorkloadState, World},
    },
};

/// Pods that the ReplicaSet controller creates or deletes in one sync, at most.
const BURST_REPLICAS: u32 = 500;

impl World<'_> {
    pub(super) fn add_workload(&mut self, ix: WorkloadIx, policies: &Policies) -> Result<(), hpa::Invalid> {
        let setup = &self.setup.workloads[ix.0];
        let price = |pool: &super::setup::Pool| PerMilli::of_resources(setup.requests, pool.price.0, pool.price.1);
        let prices = self.setup.pools.iter().map(price).collect();
        let mut revisions = Revisions::new();
        revisions.add(revision_id(&setup.name, 0));
        let policy = self.setup.resolve(setup, policies).governed.map(|governed| governed.policy);
        let mut books = Books::new(prices);
        books.want(setup.replicas, base_of(policy.as_ref(), setup.requests, setup.replicas), self.now);
        let namespace = setup.name.namespace.to_string();
        let settings = hpa::Settings { namespace, ..self.setup.timing.hpa.clone() };
        self.workloads.push(WorkloadState {
            id: WorkloadId::from(setup.name.to_string()),
            policy,
            wanted: setup.replicas,
            books,
            flow: Flow::new(&setup.serving, setup.cpu_limit, self.now),
            scrapes: Scrapes::default(),
            hpa: hpa::Controller::new(settings, setup.hpa.clone())?,
            revisions,
            crowd: Crowd::default(),
            unschedulable: std::collections::BTreeSet::new(),
            samples: Vec::new(),
            observed: std::collections::BTreeMap::new(),
            observed_before: std::collections::BTreeMap::new(),
        });
        Ok(())
    }

    /// The workload as placement sees it.
    pub(super) fn seen_workload(&self, ix: WorkloadIx) -> Event {
        let setup = &self.setup.workloads[ix.0];
        Event::Workload(SeenWorkload {
            id: self.workloads[ix.0].id.clone(),
            kind: "Deployment".into(),
            name: setup.name.clone(),
            marks: setup.marks.clone().slim(),
        })
    }

    pub(super) fn seen_revision(&self, ix: WorkloadIx, revision: usize) -> Option<Event> {
        let (setup, state) = (&self.setup.workloads[ix.0], &self.workloads[ix.0]);
        let wanted = state.revisions.all.get(revision)?.desired;
        let id = state.revisions.id(revision)?.clone();
        let name = ObjectName::new(&setup.name.namespace, &format!("{}-{revision}", setup.name.name));
        Some(Event::Revision(SeenRevision {
            id,
            name,
            controller: Controller::ReplicaSet,
            workload: Some(state.id.clone()),
            marks: setup.marks.clone().slim(),
            pods: setup.pods.clone(),
            wanted,
            generation: 0,
        }))
    }

    /// Something wants so many replicas from now on.
    pub(super) fn want(&mut self, ix: WorkloadIx, wanted: u32) {
        let requests = self.setup.workloads[ix.0].requests;
        let base = base_of(self.workloads[ix.0].policy.as_ref(), requests, wanted);
        let state = &mut self.workloads[ix.0];
        state.wanted = wanted;
        let is_raised = base > state.books.base;
        state.books.want(wanted, base, self.now);
        for id in state.revisions.active().filter(|_| is_raised) {
            if let Some(pod) = self.pods.get_mut(id.0 as usize) {
                pod.highest_base = pod.highest_base.max(base.unwrap_or_default());
            }
        }
        self.plan_deployment(ix);
    }

    /// A new revision is rolled out.
    pub(super) fn roll_out(&mut self, ix: WorkloadIx) {
        let name = &self.setup.workloads[ix.0].name;
        let revisions = &mut self.workloads[ix.0].revisions;
        revisions.add(revision_id(name, revisions.all.len()));
        self.plan_deployment(ix);
    }

    pub(super) fn plan_deployment(&mut self, ix: WorkloadIx) {
        if !std::mem::replace(&mut self.workloads[ix.0].revisions.is_planned, true) {
            self.plan_in(self.setup.timing.api_lag, Happening::Deployment(ix));
        }
    }

    fn plan_revision(&mut self, ix: WorkloadIx, revision: usize) {
        if let Some(state) = self.workloads[ix.0].revisions.get_mut(revision)
            && !std::mem::replace(&mut state.is_planned, true)
        {
            let at = self.now.after(self.setup.timing.api_lag).max(state.busy_until);
            self.queue.plan(at, Happening::Revision(ix, revision));
        }
    }

    /// The Deployment controller sets the sizes of the ReplicaSets.
    pub(super) fn control_deployment(&mut self, ix: WorkloadIx) {
        let rolling = self.setup.workloads[ix.0].rolling;
        let state = &mut self.workloads[ix.0];
        state.revisions.is_planned = false;
        let wanted = state.wanted;
        let (surge, unavailable) = (rolling.max_surge.of(wanted, true), rolling.max_unavailable.of(wanted, false));
        let goal = Goal::new(wanted, surge, unavailable);
        let sizes = state.revisions.sizes();
        let (before, before_surge) = state.revisions.sized_for;
        let desired = if before == wanted {
            rollout::step(&sizes, goal)
        } else {
            rollout::scale(&sizes, goal, before, before_surge)
        };
        state.revisions.sized_for = (wanted, surge);
        let is_changed = |(index, size): &(usize, u32)| sizes.get(*index).is_some_and(|before| before.desired != *size);
        let changes: Vec<(usize, u32)> = desired.into_iter().enumerate().filter(is_changed).collect();
        for (revision, size) in &changes {
            if let Some(state) = self.workloads[ix.0].revisions.get_mut(*revision) {
                state.desired = *size;
            }
            if let Some(event) = self.seen_revision(ix, *revision) {
                self.tell(event);
            }
            self.plan_revision(ix, *revision);
        }
        if !changes.is_empty() && self.workloads[ix.0].revisions.all.len() > 1 {
            self.plan_deployment(ix);
        }
    }

    /// The ReplicaSet controller creates or deletes pods.
    pub(super) fn control_revision(&mut self, ix: WorkloadIx, revision: usize) {
        let Some(state) = self.workloads[ix.0].revisions.get_mut(revision) else { return };
        state.is_planned = false;
        if state.busy_until > self.now {
            return self.plan_revision(ix, revision);
        }
        let there = u32::try_from(state.active.len()).unwrap_or(u32::MAX).saturating_add(state.creating);
        let (missing, spare) = (state.desired.saturating_sub(there), there.saturating_sub(state.desired));
        // Without a limit on requests the next sync would follow at once: one ranking serves all.
        let most = if self.setup.timing.controller.is_some() { BURST_REPLICAS } else { u32::MAX };
        let mut last = self.now;
        if missing > 0 {
            for _ in 0..missing.min(most) {
                last = self.controller.take(self.now);
                self.queue.plan(last.after(self.setup.timing.api_lag), Happening::Create(ix, revision));
            }
        } else if spare > 0 {
            for id in self.choose_victims(ix, revision, spare.min(most) as usize) {
                last = self.controller.take(self.now);
                self.leave_active(id);
                self.queue.plan(last.after(self.setup.timing.api_lag), Happening::Delete(id));
            }
        }
        if let Some(state) = self.workloads[ix.0].revisions.get_mut(revision) {
            state.creating += missing.min(most);
            state.busy_until = last;
        }
        if missing.max(spare) > most {
            self.plan_revision(ix, revision);
        }
    }

    fn choose_victims(&self, ix: WorkloadIx, revision: usize, count: usize) -> Vec<PodId> {
        let Some(state) = self.workloads[ix.0].revisions.all.get(revision) else { return Vec::new() };
        let rank = |id: &PodId| {
            let pod = self.pod(*id)?;
            let crowd = pod.node.map_or(0, |(node, _)| self.nodes.crowd(node, ix));
            Some((pod.rank(crowd, self.now), Reverse(*id)))
        };
        let mut ranked: Vec<_> = state.active.iter().filter_map(rank).collect();
        if count < ranked.len() {
            ranked.select_nth_unstable(count);
            ranked.truncate(count);
        }
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, Reverse(id))| id).collect()
    }

    pub(super) fn create(&mut self, ix: WorkloadIx, revision: usize) {
        let id = PodId(u32::try_from(self.pods.len()).unwrap_or(u32::MAX));
        let setup = &self.setup.workloads[ix.0];
        let state = &mut self.workloads[ix.0];
        let Some(of) = state.revisions.get_mut(revision) else { return };
        of.creating = of.creating.saturating_sub(1);
        let slot = of.active.len();
        of.active.push(id);
        let is_gated = is_gated(state.policy.as_ref());
        let roll = self.dice.roll(Purpose::Victim, u64::from(id.0));
        self.pods.push(Pod {
            workload: ix,
            revision,
            uid: PodUid::from(id.0.to_string()),
            name: ObjectName::new(&setup.name.namespace, &format!("{}-{revision}-{:07}", setup.name.name, id.0)),
            step: Step::Gone,
            tier: None,
            node: None,
            created: self.now,
            decided: None,
            bound: None,
            running: None,
            ready: None,
            deleted: None,
            gone: None,
            ready_cpu: 0,
            highest_base: state.books.base.unwrap_or_default(),
            slot,
            deletion_cost: 0,
            roll: u32::try_from(roll >> 32).unwrap_or_default(),
            refusals: 0,
            is_mature: false,
            is_lifted: false,
            has_instance: false,
        });
        state.books.created += 1;
        state.crowd.young.push(id);
        let step = if is_gated { Step::Gated } else { Step::Queued { unschedulable: false } };
        self.change(id, |pod| pod.step = step);
        if !is_gated {
            self.queue_for_scheduling(id);
        }
    }

    /// A pod's deletion begins. What was never bound is gone at once.
    pub(super) fn delete(&mut self, id: PodId) {
        let Some(pod) = self.pod(id) else { return };
        if !pod.is_live() {
            return;
        }
        let (workload, is_bound) = (pod.workload, pod.node.is_some());
        let now = self.now;
        self.leave_active(id);
        self.workloads[workload.0].unschedulable.remove(&id);
        if is_bound {
            self.change(id, |pod| pod.deleted = Some(now));
            let stop = self.setup.workloads[workload.0].serving.stop;
            self.plan_in(stop + self.setup.timing.status_lag, Happening::Gone(id));
        } else {
            self.change(id, |pod| pod.deleted = Some(now));
            self.be_gone(id);
        }
    }

    pub(super) fn be_gone(&mut self, id: PodId) {
        let Some(pod) = self.pod(id).filter(|pod| pod.step != Step::Gone) else { return };
        let (workload, revision, node) = (pod.workload, pod.revision, pod.node);
        let now = self.now;
        self.end_instance(id);
        // The books count the pod at its place until it is gone.
        self.change(id, |pod| (pod.step, pod.gone) = (Step::Gone, Some(now)));
        if let Some((node, _)) = node {
            self.nodes.vacate(node, id, (workload, revision));
            self.room_came();
        }
    }

    /// Takes a pod out of what its ReplicaSet counts, and has its controller look.
    pub(super) fn leave_active(&mut self, id: PodId) {
        let Some(pod) = self.pods.get(id.0 as usize) else { return };
        let (workload, revision, slot) = (pod.workload, pod.revision, pod.slot);
        let (was_ready, was_mature) = (pod.step == Step::Ready, pod.is_mature);
        let Some(of) = self.workloads[workload.0].revisions.get_mut(revision) else { return };
        if of.active.get(slot) != Some(&id) {
            return;
        }
        of.active.swap_remove(slot);
        of.available -= u32::from(was_ready);
        if was_mature {
            self.workloads[workload.0].crowd.mature -= 1;
        }
        let Some(of) = self.workloads[workload.0].revisions.get_mut(revision) else { return };
        if let Some(moved) = of.active.get(slot).and_then(|moved| self.pods.get_mut(moved.0 as usize)) {
            moved.slot = slot;
        }
        self.plan_revision(workload, revision);
        self.rollout_may_go_on(workload);
    }

    pub(super) fn rollout_may_go_on(&mut self, ix: WorkloadIx) {
        if self.workloads[ix.0].revisions.is_rolling() {
            self.plan_deployment(ix);
        }
    }

    /// How long each pod that should be Ready has been waited for.
    pub(super) fn hanging(&self, ix: WorkloadIx) -> Vec<Duration> {
        let pods = self.workloads[ix.0].revisions.active().filter_map(|id| self.pod(id));
        let hanging = pods.filter(|pod| pod.ready.is_none() && pod.created >= self.start);
        hanging.map(|pod| self.now.since(pod.created)).collect()
    }

    /// Deletes everything, once the run has ended.
    pub(super) fn clear_away(&mut self, within: Duration) {
        let end: Timestamp = self.now.after(within);
        for ix in 0..self.workloads.len() {
            self.want(WorkloadIx(ix), 0);
            for id in self.workloads[ix].revisions.active().collect::<Vec<_>>() {
                self.delete(id);
            }
        }
        self.run_until(end);
    }
}

fn revision_id(name: &ObjectName, number: usize) -> RevisionId {
    RevisionId::from(format!("{name}-{number}"))
}

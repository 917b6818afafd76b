//! burstlet inside the simulation: the engine that decides live, fed by the simulated watch.
//!
//! This is the one seam to `placement`: what it is told, what it answers, and how its writes arrive.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    model::{PodUid, PoolName, Resources, Tier},
    placement::{Action, Event, Kind, Namespace, Outcome, Placing, Reason},
    simulator::{
        govern::is_observed,
        pod::{Place, PodId, PoolId, Step, WorkloadIx},
        world::{Happening, Patch, World},
    },
};

/// How often the placer asks without a reason.
const TICK: Duration = Duration::from_millis(500);

impl World<'_> {
    /// Tells placement all that there is: the lists that its watches begin with.
    pub(super) fn list(&mut self) {
        for kind in Kind::ALL {
            self.tell(Event::Begin(kind));
            match kind {
                Kind::Namespace => {
                    for workload in &self.setup.workloads {
                        let name = workload.name.namespace.to_string();
                        let marks = self.setup.namespaces.get(&name).cloned().unwrap_or_default().slim();
                        self.tell(Event::Namespace(Namespace { name, marks }));
                    }
                }
                Kind::Workload => {
                    for ix in 0..self.workloads.len() {
                        self.tell(self.seen_workload(WorkloadIx(ix)));
                    }
                }
                Kind::Revision => {
                    for ix in 0..self.workloads.len() {
                        if let Some(event) = self.seen_revision(WorkloadIx(ix), 0) {
                            self.tell(event);
                        }
                    }
                }
                Kind::Node => self.add_first_nodes(),
                Kind::Policy => {
                    for (name, spec) in &self.setup.policies {
                        self.tell(Event::Policy { name: name.clone(), spec: Box::new(spec.clone()) });
                    }
                }
                Kind::Pool => {
                    let told = self.setup.pools.iter().filter_map(|pool| Some((pool.name.clone(), pool.capabilities?)));
                    for (pool, capabilities) in told {
                        self.tell(Event::Capabilities { pool, capabilities });
                    }
                    for facts in self.setup.pools.iter().filter_map(|pool| pool.facts.as_ref()) {
                        self.tell(Event::Pool(facts.clone()));
                    }
                }
                Kind::Pod => {}
            }
            self.tell(Event::Finish(kind));
        }
    }

    fn add_first_nodes(&mut self) {
        for _ in 0..self.setup.real_nodes.count {
            self.add_real_node();
        }
        self.add_other_nodes();
        for (index, pool) in self.setup.pools.iter().enumerate() {
            let kind = self.nodes.add_kind(BTreeMap::new(), &[], Resources::default(), pool.pods_per_node);
            for number in 0..pool.nodes {
                let name = format!("burstlet-{}-{number}", pool.name).into();
                let node = self.nodes.add(name, Place::Pool(PoolId(index)), kind);
                self.tell_node(self.nodes.seen(node, &self.pool_names));
            }
        }
    }

    /// Asks placement, and plans what it answers.
    pub(super) fn decide(&mut self) {
        self.is_dirty = false;
        let write = self.setup.timing.api_lag;
        for action in self.placement.decide(self.now) {
            let event = match action {
                Action::Place { pod, placing, extras, reason } => {
                    self.note_cost(&pod.uid, extras.deletion_cost);
                    let patch = match placing {
                        Placing::Base if matches!(reason, Reason::Real(_)) => Some(Patch::Lifted),
                        Placing::Base => Some(Patch::Base),
                        Placing::Release => Some(Patch::Release),
                        Placing::Real { number, .. } => Some(Patch::Real(number)),
                        Placing::Burst { pool, .. } => self.pool_id(&pool).map(Patch::Burst),
                    };
                    pod_id(&pod.uid).zip(patch).map(|(id, patch)| Happening::Patch(id, patch))
                }
                Action::MoveOn { pod, pool, extras, .. } => {
                    self.note_cost(&pod.uid, extras.deletion_cost);
                    let patch = self.pool_id(&pool).map(Patch::BaseShort);
                    pod_id(&pod.uid).zip(patch).map(|(id, patch)| Happening::Patch(id, patch))
                }
                Action::Evict { pod, .. } => pod_id(&pod.uid).map(|id| {
                    self.placement.settle(&pod.uid, Outcome::Applied, self.now);
                    if let Some(pod) = self.pods.get(id.0 as usize) {
                        self.workloads[pod.workload.0].books.evictions += 1;
                    }
                    Happening::Delete(id)
                }),
                // Texts for people change nothing here.
                Action::Explain { .. } | Action::Look { .. } | Action::Warn { .. } | Action::Note { .. } => None,
            };
            if let Some(event) = event {
                self.plan_in(write, event);
            }
        }
        self.plan_tick();
    }

    /// The deletion cost that a patch on its way writes. Nothing reads it before the patch has landed: what is not bound goes
    /// first anyway.
    fn note_cost(&mut self, uid: &PodUid, cost: Option<i32>) {
        let pod = pod_id(uid).and_then(|id| self.pods.get_mut(id.0 as usize));
        if let (Some(pod), Some(cost)) = (pod, cost) {
            pod.deletion_cost = cost;
        }
    }

    /// Time alone matters to placement while pods wait, or might return.
    fn plan_tick(&mut self) {
        let is_restless = |state: &super::world::WorkloadState| {
            state.books.is_waiting()
                || state.books.has_burst()
                || !state.unschedulable.is_empty()
                || is_observed(state.policy.as_ref())
        };
        if !self.tick_is_planned && self.workloads.iter().any(is_restless) {
            self.tick_is_planned = true;
            self.plan_in(TICK, Happening::Tick);
        }
    }

    pub(super) fn tick(&mut self) {
        self.tick_is_planned = false;
        self.is_dirty = true;
    }

    /// A patch of placement's arrives at the API server.
    pub(super) fn patch(&mut self, id: PodId, patch: Patch) {
        let Some(pod) = self.pod(id) else { return };
        let is_gated = pod.step == Step::Gated;
        let is_taken = pod.is_live()
            && match patch {
                Patch::BaseShort(_) => matches!(pod.step, Step::Queued { .. }),
                Patch::Base | Patch::Lifted | Patch::Release | Patch::Real(_) | Patch::Burst(_) => is_gated,
            };
        let uid = pod.uid.clone();
        let outcome = if is_taken { Outcome::Applied } else { Outcome::Refused };
        self.placement.settle(&uid, outcome, self.now);
        self.is_dirty = true;
        if !is_taken {
            return;
        }
        let tier = match patch {
            Patch::Release => None,
            Patch::Base | Patch::Lifted => Some(Tier::Base),
            Patch::Real(number) => Some(Tier::Real(number)),
            Patch::Burst(PoolId(pool)) => self.pool_names.get(pool).cloned().map(Tier::Burst),
            Patch::BaseShort(PoolId(pool)) => self.pool_names.get(pool).cloned().map(Tier::BaseShort),
        };
        let now = self.now;
        self.change(id, |pod| {
            pod.tier = tier;
            pod.is_lifted |= patch == Patch::Lifted;
            if is_gated {
                pod.step = Step::Queued { unschedulable: false };
                pod.decided = Some(now);
            }
        });
        self.queue_for_scheduling(id);
    }

    pub(super) fn pool_id(&self, name: &PoolName) -> Option<PoolId> {
        self.pool_names.iter().position(|pool| pool == name).map(PoolId)
    }
}

/// The pod behind a UID: simulated UIDs are numbers.
fn pod_id(uid: &PodUid) -> Option<PodId> {
    uid.as_str().parse().ok().map(PodId)
}

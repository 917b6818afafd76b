//! Real nodes and the node autoscaler.
//!
//! Every scan, pods that no real node takes bring as many nodes as they need, less those that boot already, up to the
//! maximum. A node whose pods request little for long enough goes: at once where it is empty, else, one node at a time,
//! after its pods were evicted, if the other nodes have room for them. What stood there from the start goes, too.

use std::collections::BTreeMap;

use crate::{
    model::{NodeName, Tier, Timestamp},
    placement::Event,
    simulator::{
        dice::Purpose,
        money::Money,
        nodes::{KindId, Node},
        pod::{NodeId, Place, PodId, Step},
        setup::Autoscaler,
        world::{Happening, World},
    },
};

/// Real nodes as they come and go.
#[derive(Debug, Default)]
pub(super) struct Machines {
    /// The kinds of those that are added and removed, one a zone.
    kinds: Vec<KindId>,
    made: u32,
    up: u32,
    /// Others, which always are up.
    others: u32,
    booting: u32,
    /// Most that were up at once since the start.
    peak: u32,
    /// Since when each node has been hardly used.
    idle_since: BTreeMap<NodeId, Timestamp>,
    /// The node that is being emptied.
    draining: Option<NodeId>,
    until: Timestamp,
    /// Nodes × milliseconds that were up since the start, but for the others.
    millis: u128,
    /// Milliseconds since the start.
    clock: u128,
}

impl Machines {
    pub(super) fn up(&self) -> u32 {
        self.up + self.others
    }

    pub(super) fn peak(&self) -> u32 {
        self.peak + self.others
    }

    pub(super) fn millis(&self) -> u128 {
        self.millis + u128::from(self.others) * self.clock
    }

    /// Adds the time until `now`.
    pub(super) fn accrue(&mut self, now: Timestamp) {
        let passed = u128::from(now.as_millis().saturating_sub(self.until.as_millis()));
        (self.millis, self.clock) = (self.millis + u128::from(self.up) * passed, self.clock + passed);
        self.until = now;
    }

    /// Forgets what came before the start.
    pub(super) fn begin(&mut self, now: Timestamp) {
        self.accrue(now);
        (self.millis, self.clock, self.peak) = (0, 0, self.up);
    }
}

impl World<'_> {
    pub(super) fn add_real_node(&mut self) {
        let setup = &self.setup.real_nodes;
        self.machines.accrue(self.now);
        if self.machines.made == 0 {
            self.machines.kinds = self.nodes.add_kinds(setup);
        }
        let name = NodeName::from(format!("node-{:05}", self.machines.made));
        let zone = self.machines.made as usize % self.machines.kinds.len().max(1);
        let Some(kind) = self.machines.kinds.get(zone) else { return };
        let id = self.nodes.add(name, Place::Real, *kind);
        self.machines.made += 1;
        self.machines.up += 1;
        self.machines.peak = self.machines.peak.max(self.machines.up);
        self.tell_node(self.nodes.seen(id, &self.pool_names));
    }

    /// Adds the real nodes that neither come nor go.
    pub(super) fn add_other_nodes(&mut self) {
        for (group, setup) in self.setup.other_nodes.iter().enumerate() {
            let kinds = self.nodes.add_kinds(setup);
            for (number, kind) in (0..setup.count).zip(kinds.iter().cycle()) {
                let id = self.nodes.add(format!("other-{group}-{number:05}").into(), Place::Real, *kind);
                self.machines.others += 1;
                self.tell_node(self.nodes.seen(id, &self.pool_names));
            }
        }
    }

    pub(super) fn node_up(&mut self) {
        self.machines.booting -= 1;
        self.add_real_node();
        self.room_came();
    }

    /// What the real nodes have cost since the start.
    pub(super) fn node_cost(&self) -> Money {
        let others = self.setup.other_nodes.iter();
        let others = others.map(|nodes| nodes.price.times(self.machines.clock * u128::from(nodes.count), 1));
        others.fold(self.setup.real_nodes.price.times(self.machines.millis, 1), |all, more| all + more)
    }

    /// The node autoscaler looks.
    pub(super) fn scan(&mut self) {
        let Some(autoscaler) = &self.setup.autoscaler else { return };
        self.plan_in(autoscaler.scan, Happening::Scan);
        self.scale_out(autoscaler);
        self.scale_in(autoscaler);
    }

    fn scale_out(&mut self, autoscaler: &Autoscaler) {
        let room = autoscaler.max.saturating_sub(self.machines.up + self.machines.booting);
        let missing = self.nodes_needed().saturating_sub(self.machines.booting).min(room);
        for _ in 0..missing {
            let number = u64::from(self.machines.made + self.machines.booting);
            self.machines.booting += 1;
            let boot = self.dice.latency(&autoscaler.boot, Purpose::Boot, number);
            self.plan_in(boot, Happening::NodeUp);
        }
    }

    /// Empty nodes that the pods which found no node would fill. Pods that may use a pool count, too: the autoscaler
    /// sees base pods as plain ones; burst pods are not its concern.
    fn nodes_needed(&self) -> u32 {
        let setup = &self.setup.real_nodes;
        let mut millionths = 0_u64;
        for (state, workload) in self.workloads.iter().zip(&self.setup.workloads) {
            let counts = |id: &&PodId| {
                self.pod(**id).is_some_and(|pod| {
                    pod.step == Step::Queued { unschedulable: true }
                        && match pod.tier {
                            None | Some(Tier::Base) => true,
                            Some(Tier::Real(number)) => self.has_labels_for(pod.workload, number),
                            Some(Tier::BaseShort(_) | Tier::Burst(_)) => false,
                        }
                })
            };
            let waiting = state.unschedulable.iter().filter(counts).count() as u64;
            // What fits no empty node brings none.
            millionths += (waiting * 1_000_000).checked_div(workload.held_by(setup).into()).unwrap_or_default();
        }
        u32::try_from(millionths.div_ceil(1_000_000)).unwrap_or(u32::MAX)
    }

    fn scale_in(&mut self, autoscaler: &Autoscaler) {
        let now = self.now;
        let is_idle = |(id, node): &(NodeId, &Node)| {
            let (used, all) = (u128::from(node.used.cpu.0), u128::from(node.allocatable.cpu.0));
            let is_little = node.pods.is_empty() || used * 100 < all * u128::from(autoscaler.utilization);
            is_little && self.nodes.is_of(*id, &self.machines.kinds)
        };
        let idle: Vec<(NodeId, bool)> =
            self.nodes.real().filter(is_idle).map(|(id, node)| (id, node.pods.is_empty())).collect();
        self.machines.idle_since.retain(|id, _| idle.iter().any(|(idle, _)| idle == id));
        for (id, is_empty) in idle {
            let since = *self.machines.idle_since.entry(id).or_insert(now);
            if self.machines.draining == Some(id) {
                if is_empty {
                    self.machines.draining = None;
                    self.remove_node(id);
                }
            } else if now.since(since) >= autoscaler.scale_down_after {
                if is_empty {
                    self.remove_node(id);
                } else if self.machines.draining.is_none() && self.nodes.could_empty(id) {
                    self.drain(id);
                }
            }
        }
    }

    fn remove_node(&mut self, id: NodeId) {
        self.machines.accrue(self.now);
        self.machines.up -= 1;
        self.machines.idle_since.remove(&id);
        self.nodes.remove(id);
        if let Some(name) = self.nodes.get(id).map(|node| node.name.clone()) {
            self.tell(Event::NodeGone(name));
        }
    }

    fn drain(&mut self, id: NodeId) {
        self.machines.draining = Some(id);
        self.nodes.set_open(id, false);
        self.tell_node(self.nodes.seen(id, &self.pool_names));
        let pods: Vec<PodId> = self.nodes.get(id).map(|node| node.pods.iter().copied().collect()).unwrap_or_default();
        for pod in pods {
            if let Some(workload) = self.pod(pod).filter(|pod| pod.is_live()).map(|pod| pod.workload) {
                self.workloads[workload.0].books.evictions += 1;
                self.plan_in(self.setup.timing.api_lag, Happening::Delete(pod));
            }
        }
    }
}

//! The simulated cluster, and its way through time.
//!
//! Everything that happens is an event in one queue. All events of one millisecond are gone through, then placement is
//! asked, whose actions are events again. A pod changes in one place only ([`World::change`]), which keeps the books,
//! the flow of requests and placement's watch in step.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    model::{Node, PoolName, Timestamp, WorkloadId},
    placement::{Event, Placement},
    policy::EffectivePolicy,
    simulator::{
        books::{Books, View},
        bucket::Bucket,
        dice::Dice,
        flow::Flow,
        hpa,
        instances::PoolState,
        machines::Machines,
        metrics::{Crowd, Scrapes},
        nodes::{Nodes, Shape},
        outcome::{Sample, TierUse},
        pod::{Place, Pod, PodId, PoolId, Step, WorkloadIx},
        queue::Queue,
        revisions::Revisions,
        setup::Setup,
    },
};

/// What happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Happening {
    /// The traffic is over its warm-up.
    Start,
    /// The next row of a workload's traffic.
    Traffic(WorkloadIx, usize),
    /// An HPA looks.
    Sync(WorkloadIx),
    /// metrics-server reads the pods' counters.
    Scrape,
    /// The Deployment controller looks.
    Deployment(WorkloadIx),
    /// The ReplicaSet controller looks at a revision.
    Revision(WorkloadIx, usize),
    /// A new revision is rolled out.
    Update(WorkloadIx),
    /// The ReplicaSet controller's request to create a pod arrives.
    Create(WorkloadIx, usize),
    /// A pod's deletion begins.
    Delete(PodId),
    /// placement's patch arrives.
    Patch(PodId, Patch),
    /// kube-scheduler's turn for a pod.
    Schedule(PodId),
    /// A virtual node's kubelet asks its provider for an instance.
    Instance(PodId),
    /// A pod's containers run.
    Run(PodId),
    /// A pod is Ready.
    Ready(PodId),
    /// A pod is gone.
    Gone(PodId),
    /// A pool takes an instance back.
    Reclaim(PodId),
    /// A wave of a pool's reclaims.
    Wave(PoolId, u32),
    /// burstlet asks a pool for its stock.
    Poll(PoolId),
    /// The node autoscaler looks.
    Scan,
    /// A new real node has booted.
    NodeUp,
    /// placement looks at what only time changes.
    Tick,
    /// A sample is due.
    Sample,
}

/// What a patch of placement's does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patch {
    Base,
    /// Real nodes though the base is full, because its bound does not hold now.
    Lifted,
    Release,
    /// Real nodes that the policy names after the base.
    Real(u8),
    Burst(PoolId),
    BaseShort(PoolId),
}

/// One workload as it stands.
#[derive(Debug)]
pub(super) struct WorkloadState {
    pub(super) id: WorkloadId,
    /// What governs it, if anything does.
    pub(super) policy: Option<EffectivePolicy>,
    /// What its HPA or its author has asked for.
    pub(super) wanted: u32,
    pub(super) books: Books,
    pub(super) flow: Flow,
    pub(super) scrapes: Scrapes,
    pub(super) hpa: hpa::Controller,
    pub(super) revisions: Revisions,
    pub(super) crowd: Crowd,
    /// Pods that kube-scheduler found no node for.
    pub(super) unschedulable: BTreeSet<PodId>,
    pub(super) samples: Vec<Sample>,
    /// What it would have used since the start, where its policy only observes.
    pub(super) observed: BTreeMap<String, TierUse>,
    /// Pod-minutes and billionths of the currency that placement had counted of each pool at the last look.
    pub(super) observed_before: BTreeMap<PoolName, (u64, i128)>,
}

/// The whole cluster.
#[derive(Debug)]
pub(super) struct World<'a> {
    pub(super) setup: &'a Setup,
    pub(super) dice: Dice,
    pub(super) now: Timestamp,
    /// When the warm-up began.
    pub(super) origin: Timestamp,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) queue: Queue<Happening>,
    pub(super) events: u64,
    pub(super) pods: Vec<Pod>,
    pub(super) nodes: Nodes,
    pub(super) workloads: Vec<WorkloadState>,
    pub(super) pool_names: Vec<PoolName>,
    pub(super) pools: Vec<PoolState>,
    pub(super) machines: Machines,
    pub(super) controller: Bucket,
    pub(super) scheduler: Bucket,
    pub(super) placement: Placement,
    /// Whether placement has something to look at.
    pub(super) is_dirty: bool,
    pub(super) tick_is_planned: bool,
}

impl<'a> World<'a> {
    /// The cluster at the warm-up's beginning.
    pub(super) fn new(setup: &'a Setup) -> Result<Self, hpa::Invalid> {
        let longest = setup.workloads.iter().map(|workload| workload.traffic.duration()).max().unwrap_or_default();
        let start = setup.starts_at.max(Timestamp::default().after(setup.warm_up));
        let origin = Timestamp::default().after(start.since(Timestamp::default()).saturating_sub(setup.warm_up));
        let mut world = Self {
            setup,
            dice: Dice::new(setup.seed),
            now: origin,
            origin,
            start,
            end: start.after(longest + setup.settle),
            queue: Queue::new(),
            events: 0,
            pods: Vec::new(),
            nodes: Nodes::new(Shape::all(&setup.workloads), setup.pools.len()),
            workloads: Vec::new(),
            pool_names: setup.pools.iter().map(|pool| pool.name.clone()).collect(),
            pools: setup.pools.iter().map(PoolState::new).collect(),
            machines: Machines::default(),
            controller: Bucket::new(setup.timing.controller),
            scheduler: Bucket::new(setup.timing.scheduler),
            placement: Placement::new(setup.rules.clone()),
            is_dirty: true,
            tick_is_planned: false,
        };
        let policies = setup.known_policies();
        for index in 0..setup.workloads.len() {
            world.add_workload(WorkloadIx(index), &policies)?;
        }
        world.list();
        world.plan_ahead();
        Ok(world)
    }

    /// Goes on until the end of the run.
    pub(super) fn run(&mut self) {
        self.run_until(self.end);
    }

    pub(super) fn run_until(&mut self, end: Timestamp) {
        while let Some(at) = self.queue.next_at().filter(|at| *at <= end) {
            self.now = at;
            while let Some(event) = self.queue.take_until(at) {
                self.events += 1;
                self.happen(event);
            }
            if self.is_dirty {
                self.decide();
            }
        }
        self.now = self.now.max(end);
    }

    pub(super) fn plan_in(&mut self, wait: std::time::Duration, event: Happening) {
        self.queue.plan(self.now.after(wait), event);
    }

    fn happen(&mut self, event: Happening) {
        match event {
            Happening::Start => self.begin(),
            Happening::Traffic(workload, row) => self.traffic_changes(workload, row),
            Happening::Sync(workload) => self.sync(workload),
            Happening::Scrape => self.scrape(),
            Happening::Deployment(workload) => self.control_deployment(workload),
            Happening::Revision(workload, revision) => self.control_revision(workload, revision),
            Happening::Update(workload) => self.roll_out(workload),
            Happening::Create(workload, revision) => self.create(workload, revision),
            Happening::Delete(pod) => self.delete(pod),
            Happening::Patch(pod, patch) => self.patch(pod, patch),
            Happening::Schedule(pod) => self.schedule(pod),
            Happening::Instance(pod) => self.ask_for_instance(pod),
            Happening::Run(pod) => self.containers_run(pod),
            Happening::Ready(pod) => self.become_ready(pod),
            Happening::Gone(pod) => self.be_gone(pod),
            Happening::Reclaim(pod) => self.reclaim(pod),
            Happening::Wave(pool, share) => self.wave(pool, share),
            Happening::Poll(pool) => self.poll(pool),
            Happening::Scan => self.scan(),
            Happening::NodeUp => self.node_up(),
            Happening::Tick => self.tick(),
            Happening::Sample => self.sample(),
        }
    }

    /// Changes a pod, and what follows from it.
    pub(super) fn change(&mut self, id: PodId, change: impl FnOnce(&mut Pod)) {
        let Some(pod) = self.pods.get_mut(id.0 as usize) else { return };
        let is_real = |pod: &Pod| u32::from(pod.is_live() && pod.is_of_base() && pod.place() == Some(Place::Real));
        let (before, was_serving, was_real, was_live) = (View::of(pod), pod.is_serving(), is_real(pod), pod.is_live());
        change(pod);
        if let Some((node, _)) = pod.node.filter(|_| was_live && !pod.is_live()) {
            self.nodes.leave(node, (pod.workload, pod.revision));
        }
        let (after, is_serving, workload) = (View::of(pod), pod.is_serving(), pod.workload);
        let state = &mut self.workloads[workload.0];
        state.books.change(before, after, self.now);
        if let Some(revision) = state.revisions.get_mut(pod.revision) {
            revision.real = revision.real + is_real(pod) - was_real;
        }
        if was_serving != is_serving {
            state.flow.set_ready(state.books.ready, self.now);
        }
        self.show(id);
    }

    /// Tells placement's watch of a pod.
    pub(super) fn show(&mut self, id: PodId) {
        let Some(pod) = self.pods.get(id.0 as usize) else { return };
        let event = if pod.step == Step::Gone {
            Event::PodGone(pod.uid.clone())
        } else {
            let (setup, state) = (&self.setup.workloads[pod.workload.0], &self.workloads[pod.workload.0]);
            let node = pod.node.and_then(|(node, _)| self.nodes.get(node)).map(|node| &node.name);
            let Some(revision) = state.revisions.id(pod.revision) else { return };
            Event::Pod(pod.seen(node, revision, setup))
        };
        self.tell(event);
    }

    /// Tells placement's watch.
    pub(super) fn tell(&mut self, event: Event) {
        self.placement.apply(event, self.now);
        self.is_dirty = true;
    }

    pub(super) fn tell_node(&mut self, node: Option<Node>) {
        if let Some(node) = node {
            self.tell(Event::Node(node));
        }
    }

    pub(super) fn pod(&self, id: PodId) -> Option<&Pod> {
        self.pods.get(id.0 as usize)
    }

    /// Plans all that comes by the clock alone.
    fn plan_ahead(&mut self) {
        let timing = &self.setup.timing;
        let from_start = |offset| self.start.after(offset);
        let mut plans =
            vec![(self.start, Happening::Start), (self.origin.after(timing.metrics_phase), Happening::Scrape)];
        for (index, workload) in self.setup.workloads.iter().enumerate() {
            let ix = WorkloadIx(index);
            plans.push((self.origin, Happening::Traffic(ix, 0)));
            plans.push((self.origin.after(timing.hpa_phase), Happening::Sync(ix)));
            plans.push((self.origin, Happening::Deployment(ix)));
            plans.extend(workload.updates.iter().map(|at| (from_start(*at), Happening::Update(ix))));
        }
        for (index, pool) in self.setup.pools.iter().enumerate() {
            let waves = pool.reclaim.waves.iter();
            plans.extend(waves.map(|(at, share)| (from_start(*at), Happening::Wave(PoolId(index), *share))));
            if pool.quota.is_some() || pool.stock.iter().any(|(_, stock)| stock.is_some()) {
                plans.push((self.origin, Happening::Poll(PoolId(index))));
            }
        }
        if self.setup.autoscaler.is_some() {
            plans.push((self.origin, Happening::Scan));
        }
        for (at, event) in plans {
            self.queue.plan(at, event);
        }
    }
}

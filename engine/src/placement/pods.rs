//! Pods in the fold: each is counted wherever it stands, taken out before it changes and put back after.

use crate::{
    model::{Node, NodeKind, NodeName, Pod, PodUid, RevisionId, WorkloadId},
    placement::{
        Placement,
        budget::{Account, Charge},
        entry::{Entry, Pending},
        ledger::Role,
        marked::Mark,
        move_on::waits_for,
        place::began,
        revision::RevisionState,
    },
    policy::Per,
};

impl Placement {
    pub(super) fn apply_node(&mut self, node: Node) {
        let name = node.name.clone();
        self.listed_nodes.insert(name.clone(), ());
        let kind = node.kind.clone();
        let before = self.nodes.insert(node).map(|before| before.kind);
        self.node_changed(&name, before, Some(kind));
    }

    pub(super) fn forget_node(&mut self, name: &NodeName) {
        self.listed_nodes.remove(name);
        let before = self.nodes.remove(name).map(|before| before.kind);
        self.node_changed(name, before, None);
    }

    fn node_changed(&mut self, name: &NodeName, before: Option<NodeKind>, after: Option<NodeKind>) {
        if before != after {
            let pods: Vec<_> = self.nodes.pods_on(name).cloned().collect();
            for uid in pods {
                self.change_pod(&uid, |_| {});
            }
        }
        for kind in [before, after].into_iter().flatten() {
            if let NodeKind::Virtual(pool) = kind {
                self.pools.set_nodes(&pool, self.nodes.of_pool(&pool));
                self.pool_has_changed = true;
            }
        }
    }

    pub(super) fn apply_pod(&mut self, pod: Pod) {
        let before = self.take_pod(&pod.uid).map(|(entry, _)| entry);
        let was_home = before.as_ref().is_none_or(|before| before.standing.is_home);
        self.arrivals += u64::from(before.is_none());
        self.put_pod(Entry::new(pod, before, self.arrivals, self.now), was_home, self.pods.mark());
    }

    /// Changes what is known of a pod, and works out anew where it stands.
    pub(super) fn change_pod(&mut self, uid: &PodUid, change: impl FnOnce(&mut Entry)) {
        if let Some((mut entry, mark)) = self.take_pod(uid) {
            let was_home = entry.standing.is_home;
            change(&mut entry);
            self.put_pod(entry, was_home, mark);
        }
    }

    /// Notes an action as under way, so that it counts until the watch shows it.
    pub(super) fn expect(&mut self, uid: &PodUid, pending: Pending) {
        self.change_pod(uid, |entry| entry.pending = Some(pending));
    }

    /// Takes a pod out of everything that counts it.
    pub(super) fn take_pod(&mut self, uid: &PodUid) -> Option<(Entry, Mark)> {
        let (entry, mark) = self.pods.take(uid)?;
        self.nodes.vacate(&entry.pod);
        self.strangers.remove(uid);
        if let Some(at) = entry.moves_on_at {
            self.unschedulable.remove(&(at, uid.clone()));
        }
        if let Some(occupancy) = &entry.standing.occupancy {
            self.pools.leave(occupancy);
            self.pool_has_changed = true;
        }
        if let Some(id) = &entry.pod.revision {
            if let Some(state) = self.revisions.get_mut(id) {
                state.ledger.leave(&entry.pod, &entry.standing);
                self.soil(id);
            }
            self.drop_if_empty(id);
        }
        Some((entry, mark))
    }

    /// Counts a pod wherever it stands.
    fn put_pod(&mut self, mut entry: Entry, was_home: bool, mark: Mark) {
        let uid = entry.pod.uid.clone();
        self.nodes.occupy(&entry.pod);
        let state = entry.pod.revision.as_ref().and_then(|id| self.revisions.get(id));
        entry.stand(&self.nodes, state.is_some_and(RevisionState::is_observed));
        entry.moves_on_at = state
            .and_then(|state| waits_for(&entry, state))
            .and_then(|(_, move_on, _)| entry.move_on_at(move_on.after));
        if let Some(at) = entry.moves_on_at {
            self.unschedulable.insert((at, uid.clone()));
        }
        if let Some(occupancy) = &entry.standing.occupancy {
            self.pools.enter(occupancy);
        }
        if !entry.was_reckoned || !entry.charges.is_empty() || entry.standing.occupancy.is_some() {
            self.reckon.insert(uid.clone());
        }
        match entry.pod.revision.clone() {
            Some(id) => {
                let counts = entry.standing.counts();
                if counts || self.revisions.contains_key(&id) {
                    let state = self.revisions.entry(id.clone()).or_default();
                    state.ledger.enter(&entry.pod, &entry.standing);
                    if entry.standing.is_home && !was_home {
                        state.returns.succeeded();
                    }
                    if entry.standing.role != Role::Out {
                        self.soil(&id);
                    }
                }
            }
            None if entry.standing.role == Role::Waiting => drop(self.strangers.insert(uid.clone())),
            None => {}
        }
        self.pods.put_back(uid, entry, mark);
    }

    /// Forgets a pod that is gone.
    pub(super) fn forget_pod(&mut self, uid: &PodUid) {
        self.reckon.remove(uid);
        if let Some((entry, _)) = self.take_pod(uid) {
            for charge in &entry.charges {
                self.accounts.leave(charge, self.now);
            }
        }
    }

    /// Looks at what pods cost whom. One that is seen for the first time has cost since it was decided, any other one
    /// costs from now on.
    pub(super) fn reckon(&mut self) {
        for uid in &self.reckon {
            let Some(entry) = self.pods.get(uid) else { continue };
            let state = entry.pod.revision.as_ref().and_then(|id| self.revisions.get(id));
            let charges = self.charges(entry, state);
            if entry.charges == charges {
                continue;
            }
            let began = if entry.was_reckoned { self.now } else { began(&entry.pod) };
            for charge in &entry.charges {
                self.accounts.leave(charge, self.now);
            }
            for charge in &charges {
                self.accounts.enter(charge, began, self.now);
            }
            if let Some(entry) = self.pods.get_mut(uid) {
                entry.charges = charges;
                entry.was_reckoned = true;
            }
        }
    }

    /// What the pod costs whom: on a virtual node, its policy's budget and the pool's; where it is only imagined there,
    /// nobody.
    fn charges(&self, entry: &Entry, state: Option<&RevisionState>) -> Vec<Charge> {
        let Some(occupancy) = &entry.standing.occupancy else { return Vec::new() };
        let policy = state.and_then(|state| state.policy.as_ref());
        let accounts = if occupancy.imagined {
            let name = state.and_then(|state| self.workload_name(state));
            [name.cloned().map(Account::Observed), None]
        } else if occupancy.node.is_some() {
            let budgeted = policy.filter(|policy| policy.budget.is_some());
            [budgeted.map(|policy| Account::Policy(policy.name.clone())), Some(Account::Pool)]
        } else {
            [None, None]
        };
        let charge = |account| Charge { account, pool: occupancy.pool.clone(), requests: entry.pod.requests };
        accounts.into_iter().flatten().map(charge).collect()
    }

    /// Marks the revision, and those that share a base with it, to be looked at.
    fn soil(&mut self, id: &RevisionId) {
        self.dirty.insert(id.clone());
        let Some(state) = self.revisions.get(id) else { return };
        if state.policy.as_ref().is_some_and(|policy| policy.count.per == Per::Workload)
            && let Some(workload) = state.facts.as_ref().and_then(|facts| facts.workload.clone())
        {
            self.soil_revisions_of(&workload);
        }
    }

    /// Marks the workload's revisions to be looked at that have pods which wait, or which might return.
    pub(super) fn soil_revisions_of(&mut self, workload: &WorkloadId) {
        let revisions = self.siblings.get(workload).into_iter().flatten();
        self.dirty.extend(revisions.filter(|id| self.waiting.contains(*id) || self.away.contains(*id)).cloned());
    }

    /// The revision, or all that share a base with it.
    pub(super) fn group<'a>(
        &'a self,
        id: &'a RevisionId,
        state: &'a RevisionState,
    ) -> impl Iterator<Item = &'a RevisionState> {
        let is_shared = state.policy.as_ref().is_some_and(|policy| policy.count.per == Per::Workload);
        let is_shared = is_shared && !planted!(SharedPerRevision);
        let workload = state.facts.as_ref().and_then(|facts| facts.workload.as_ref()).filter(|_| is_shared);
        let siblings = workload.and_then(|workload| self.siblings.get(workload)).into_iter().flatten();
        let others = siblings.filter(move |sibling| *sibling != id).filter_map(|id| self.revisions.get(id));
        std::iter::once(state).chain(others)
    }

    pub(super) fn drop_if_empty(&mut self, id: &RevisionId) {
        if self.revisions.get(id).is_some_and(RevisionState::is_empty) {
            self.revisions.remove(id);
            self.dirty.remove(id);
            self.waiting.remove(id);
            self.away.remove(id);
        }
    }
}

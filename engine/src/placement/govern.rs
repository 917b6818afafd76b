//! Who governs what: policies and annotations, worked out anew where one of them changes.

use std::sync::Arc;

use crate::{
    model::{ObjectName, RevisionId},
    model::{PoolName, WorkloadId},
    placement::{
        Placement,
        budget::Account,
        event::{Namespace, PoolFacts, Revision, Workload},
        faults::{namespace_fault, revision_fault, workload_fault},
    },
    policy::{EffectivePolicy, Governance, Place, TierRule, governance},
};

impl Placement {
    pub(super) fn apply_namespace(&mut self, namespace: &Namespace) {
        let (name, fault) = (namespace.name.clone(), namespace_fault(&namespace.name, namespace.base.as_deref()));
        let before = self.namespaces.insert(name.clone(), namespace.clone());
        if before.as_ref() == Some(namespace) {
            return;
        }
        if before.is_none_or(|before| before.base != namespace.base) {
            self.warn_of(fault);
        }
        self.govern_where(|revision| *revision.name.namespace == *name);
    }

    pub(super) fn forget_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
        self.govern_where(|revision| *revision.name.namespace == *name);
    }

    pub(super) fn apply_workload(&mut self, workload: &Workload) {
        let (id, fault) = (workload.id.clone(), workload_fault(workload));
        let before = self.workloads.insert(id.clone(), workload.clone());
        if before.as_ref() == Some(workload) {
            return;
        }
        if before.is_none_or(|before| before.base != workload.base) {
            self.warn_of(fault);
        }
        self.govern_where(|revision| revision.workload.as_ref() == Some(&id));
    }

    pub(super) fn forget_workload(&mut self, id: &WorkloadId) {
        if let Some(workload) = self.workloads.remove(id) {
            self.accounts.close(&Account::Observed(workload.name));
        }
        self.govern_where(|revision| revision.workload.as_ref() == Some(id));
    }

    pub(super) fn apply_revision(&mut self, revision: Revision) {
        let id = revision.id.clone();
        self.listed_revisions.insert(id.clone(), ());
        let state = self.revisions.entry(id.clone()).or_default();
        let is_new_text = state.facts.as_ref().is_none_or(|before| before.base != revision.base);
        let fault = revision_fault(&revision).filter(|_| is_new_text);
        let workload = revision.workload.clone();
        let before = state.facts.replace(revision).and_then(|before| before.workload);
        if before != workload {
            self.part(before.as_ref(), &id);
        }
        if let Some(workload) = workload {
            self.siblings.entry(workload).or_default().insert(id.clone());
        }
        self.warn_of(fault);
        self.govern(&id);
    }

    pub(super) fn forget_revision(&mut self, id: &RevisionId) {
        self.listed_revisions.remove(id);
        if let Some(state) = self.revisions.get_mut(id) {
            let workload = state.facts.take().and_then(|facts| facts.workload);
            self.part(workload.as_ref(), id);
        }
        self.set_policy(id, None);
        self.drop_if_empty(id);
    }

    /// The revision is the workload's no more.
    fn part(&mut self, workload: Option<&WorkloadId>, id: &RevisionId) {
        let Some(workload) = workload else { return };
        if let Some(revisions) = self.siblings.get_mut(workload) {
            revisions.remove(id);
            if revisions.is_empty() {
                self.siblings.remove(workload);
            }
        }
    }

    pub(super) fn apply_policy(&mut self, name: ObjectName, policy: Option<EffectivePolicy>) {
        match policy {
            Some(policy) => drop(self.policies.insert(name, policy)),
            None => drop(self.policies.remove(&name)),
        }
        self.govern_where(|_| true);
    }

    pub(super) fn apply_pool(&mut self, name: &PoolName, facts: Option<PoolFacts>) {
        self.pool_has_changed = true;
        if self.pools.set_facts(name, facts) {
            self.govern_where(|_| true);
        }
    }

    /// Works out anew who governs the revisions that `is_meant` picks.
    fn govern_where(&mut self, is_meant: impl Fn(&Revision) -> bool) {
        let meant = self.revisions.iter().filter(|(_, state)| state.facts.as_ref().is_some_and(&is_meant));
        let meant: Vec<_> = meant.map(|(id, _)| id.clone()).collect();
        for id in meant {
            self.govern(&id);
        }
    }

    fn govern(&mut self, id: &RevisionId) {
        let Some(facts) = self.revisions.get(id).and_then(|state| state.facts.as_ref()) else { return };
        let policy = self.policy_of(facts);
        self.set_policy(id, policy);
        self.dirty.insert(id.clone());
    }

    /// The policy that holds for the revision, if one does: the one that its workload or namespace names, with the
    /// base of an annotation in place of its own.
    fn policy_of(&self, facts: &Revision) -> Option<EffectivePolicy> {
        // The Deployment controller copies annotations onto a ReplicaSet but never takes them off again, so the copy
        // counts only until the Deployment itself is known.
        let workload = facts.workload.as_ref().and_then(|id| self.workloads.get(id));
        let (base, named) =
            workload.map_or((&facts.base, &facts.policy), |workload| (&workload.base, &workload.policy));
        let namespace = self.namespaces.get(&*facts.name.namespace);
        let default = namespace.and_then(|namespace| namespace.policy.as_ref());
        let named = named.as_ref().or(default);
        let named = named.and_then(|name| self.policies.get(&ObjectName::new(&facts.name.namespace, name)));
        let inherited = namespace.and_then(|namespace| namespace.base.as_deref()).filter(|_| named.is_none());
        let mut policy = match (governance(base.as_deref(), inherited), named) {
            (Governance::Governed(base, _), policy) => policy.unwrap_or(&self.default).with_base(base),
            (Governance::Free, Some(policy)) => policy.clone(),
            (Governance::Free, None) | (Governance::Faulty(_), _) => return None,
        };
        if policy.tiers.is_empty() {
            policy.tiers = self.pools.order().map(|pool| TierRule::plain(Place::Pool(pool.clone()))).collect();
        }
        Some(policy)
    }

    /// Sets what governs the revision, and counts its pods anew where that is another policy.
    fn set_policy(&mut self, id: &RevisionId, policy: Option<EffectivePolicy>) {
        let Some(state) = self.revisions.get_mut(id) else { return };
        if state.policy.as_deref() == policy.as_ref() {
            return;
        }
        state.policy = policy.map(Arc::new);
        state.short_since.clear();
        state.record = None;
        let pods: Vec<_> = state.ledger.pods().cloned().collect();
        for uid in pods {
            self.change_pod(&uid, |_| {});
        }
    }
}

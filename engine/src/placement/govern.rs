//! Who governs what: policies and annotations, worked out anew where one of them changes.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use crate::{
    model::{ObjectName, PoolName, RevisionId, WorkloadId},
    placement::{
        Placement,
        action::{Action, Annotated},
        budget::Account,
        event::{Controller, Namespace, PoolFacts, Revision, Workload, base},
        faults::{namespace_fault, revision_fault, workload_fault},
    },
    policy::{
        Asked, EffectivePolicy, Marks, Place, Resolution, Spec, TierRule, annotation, fields::FieldFault,
        profile::Profile, resolve::Note,
    },
};

impl Placement {
    pub(super) fn apply_namespace(&mut self, namespace: &Namespace) {
        let (name, fault) = (namespace.name.clone(), namespace_fault(&namespace.name, base(&namespace.marks)));
        let before = self.namespaces.insert(name.clone(), namespace.clone());
        if before.as_ref() == Some(namespace) {
            return;
        }
        if before.is_none_or(|before| base(&before.marks) != base(&namespace.marks)) {
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
        if before.is_none_or(|before| base(&before.marks) != base(&workload.marks)) {
            self.warn_of(fault);
        }
        self.govern_where(|revision| revision.workload.as_ref() == Some(&id));
    }

    pub(super) fn forget_workload(&mut self, id: &WorkloadId) {
        if let Some(workload) = self.workloads.remove(id) {
            self.told.remove(&workload.name);
            self.accounts.close(&Account::Observed(workload.name));
        }
        self.govern_where(|revision| revision.workload.as_ref() == Some(id));
    }

    pub(super) fn apply_revision(&mut self, mut revision: Revision) {
        let id = revision.id.clone();
        self.listed_revisions.insert(id.clone(), ());
        let state = self.revisions.entry(id.clone()).or_default();
        if let Some(known) = state.facts.as_ref().filter(|known| known.generation > revision.generation) {
            (revision.wanted, revision.generation) = (known.wanted, known.generation);
        }
        let before = state.facts.replace(revision.clone());
        self.dirty.insert(id.clone());
        let before = before.as_ref();
        if before.is_none_or(|before| base(&before.marks) != base(&revision.marks)) {
            self.warn_of(revision_fault(&revision));
        }
        let is_same = |before: &Revision| {
            (&before.workload, &before.marks, &before.pods) == (&revision.workload, &revision.marks, &revision.pods)
        };
        if before.is_some_and(is_same) {
            return;
        }
        self.part(before.and_then(|before| before.workload.as_ref()), &id);
        if let Some(workload) = revision.workload {
            self.siblings.entry(workload).or_default().insert(id.clone());
        }
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
        // Those that shared a base with it may have waited to hear of it, and count without it from now on.
        self.soil_revisions_of(workload);
    }

    pub(super) fn apply_policy(&mut self, name: ObjectName, spec: &Spec) {
        self.listed_policies.insert(name.clone(), ());
        match self.policies.set(name.clone(), spec) {
            Ok(()) => drop(self.policy_faults.remove(&name)),
            Err(faults) => drop(self.policy_faults.insert(name, faults)),
        }
        self.govern_where(|_| true);
    }

    pub(super) fn apply_faulty_policy(&mut self, name: ObjectName, faults: Vec<FieldFault>) {
        if !planted!(FaultyPolicySwept) {
            self.listed_policies.insert(name.clone(), ());
        }
        if planted!(FaultyPolicyForgotten) {
            self.policies.remove(&name);
        }
        self.policies.note_faulty(name.clone(), &faults);
        self.policy_faults.insert(name, faults);
        self.govern_where(|_| true);
    }

    pub(super) fn forget_policy(&mut self, name: &ObjectName) {
        self.listed_policies.remove(name);
        self.policies.remove(name);
        self.policy_faults.remove(name);
        self.govern_where(|_| true);
    }

    pub(super) fn apply_profile(&mut self, profile: Profile) {
        let is_first = std::mem::take(&mut self.awaits_profile);
        if self.profile != profile && (is_first || !planted!(ProfileChangeUnseen)) {
            self.profile = profile;
            self.govern_where(|_| true);
        }
    }

    /// Policies that make no sense as they are now: the last one that did is followed, or none.
    pub fn policy_faults(&self) -> &BTreeMap<ObjectName, Vec<FieldFault>> {
        &self.policy_faults
    }

    pub(super) fn apply_faulty_pool(&mut self, name: PoolName, faults: Vec<FieldFault>) {
        if !planted!(FaultyPoolSwept) {
            self.listed_pools.insert(name.clone(), ());
        }
        if planted!(FaultyPoolForgotten) {
            self.apply_pool(&name, None);
        }
        self.pool_faults.insert(name, faults);
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
        let mut meant: Vec<_> = meant.map(|(id, _)| id.clone()).collect();
        meant.sort_unstable();
        for id in meant {
            self.govern(&id);
        }
    }

    fn govern(&mut self, id: &RevisionId) {
        let Some(state) = self.revisions.get(id) else { return };
        let Some(facts) = &state.facts else { return };
        let Resolution { governed, notes } = self.resolve(facts);
        let policy = governed.map(|governed| self.spell_out(governed.policy));
        let conflict =
            notes.iter().find_map(|note| if let Note::Conflict(names) = note { Some(names.clone()) } else { None });
        if let Some(state) = self.revisions.get_mut(id) {
            state.conflict = conflict;
        }
        let Some(facts) = self.revisions.get(id).and_then(|state| state.facts.as_ref()) else { return };
        if let Some(object) = self.carrier(facts) {
            self.tell_notes(&object, notes);
        }
        self.set_policy(id, policy);
        self.dirty.insert(id.clone());
    }

    /// What was written for the revision's pods, as one policy.
    fn resolve(&self, facts: &Revision) -> Resolution {
        // The Deployment controller copies annotations onto a ReplicaSet but never takes them off again, so the copy
        // counts only until the Deployment itself is known.
        let workload = facts.workload.as_ref().and_then(|id| self.workloads.get(id));
        let workload = workload.map(|workload| match facts.controller {
            // A Job's own are those of its CronJob's template, which fill in.
            Controller::Job => Cow::Owned(workload.marks.clone().or(&facts.marks)),
            _ => Cow::Borrowed(&workload.marks),
        });
        // One that is not there says nothing.
        let none = Marks::default();
        let namespace = self.namespaces.get(&*facts.name.namespace).map_or(&none, |namespace| &namespace.marks);
        let pods = if self.profile.is_empty() || planted!(ProfileIgnored) {
            Cow::Borrowed(&facts.pods)
        } else {
            Cow::Owned(self.profile.applied(&namespace.labels, &facts.pods))
        };
        let asked = Asked {
            namespace: &facts.name.namespace,
            pod: &pods,
            workload: workload.as_deref().unwrap_or(&facts.marks),
            namespace_marks: namespace,
        };
        self.policies.resolve(&asked, &self.settings)
    }

    /// A policy that names no tiers means every pool, in the cluster's order; behind each pool stand its fallbacks.
    fn spell_out(&self, mut policy: EffectivePolicy) -> EffectivePolicy {
        if policy.tiers.is_empty() {
            policy.tiers = self.pools.order().map(|pool| TierRule::plain(Place::Pool(pool.clone()))).collect();
        }
        self.with_fallbacks(policy)
    }

    /// The object on which people look for what is wrong with the policy.
    fn carrier(&self, facts: &Revision) -> Option<Annotated> {
        let workload = facts.workload.as_ref().and_then(|id| self.workloads.get(id));
        if facts.workload.is_some() && workload.is_none() {
            return None;
        }
        let (kind, name, uid) = match workload {
            Some(Workload { id, kind, name, .. }) => (kind.clone(), name.clone(), id.to_string()),
            None => (facts.controller.kind()?.into(), facts.name.clone(), facts.id.to_string()),
        };
        Some(Annotated::Workload { kind, name, uid })
    }

    /// Tells what is new of the notes. A base that is none has its own warning.
    fn tell_notes(&mut self, object: &Annotated, notes: Vec<Note>) {
        let Annotated::Workload { name, .. } = object else { return };
        let is_base = |note: &Note| matches!(note, Note::Fault { fault, .. } if fault.path == annotation::BASE);
        let notes: Vec<_> = notes.into_iter().filter(|note| !is_base(note)).collect();
        if notes.is_empty() {
            self.told.remove(name);
            return;
        }
        let told = self.told.entry(name.clone()).or_default();
        let before = std::mem::take(told);
        for note in notes {
            let text = note.to_string();
            if !before.contains(&text) {
                self.warnings.push(Action::Note { object: object.clone(), note });
            }
            told.insert(text);
        }
    }

    /// Sets what governs the revision, and counts its pods anew where that is another policy.
    fn set_policy(&mut self, id: &RevisionId, policy: Option<EffectivePolicy>) {
        let Some(state) = self.revisions.get_mut(id) else { return };
        if state.policy.as_deref() == policy.as_ref() || planted!(PolicyChangeUnseen) && state.policy.is_some() {
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

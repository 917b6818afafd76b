//! Annotations that are no base: told once, and listed while they last.

use crate::{
    placement::{
        Placement,
        action::{Action, Annotated},
        event::{Revision, Workload, base},
    },
    policy::{Fault, Governance, governance},
};

impl Placement {
    /// Every object whose annotation is left aside now.
    pub fn faults(&self) -> Vec<(Annotated, Fault)> {
        let namespaces = self.namespaces.iter();
        let namespaces = namespaces.filter_map(|(name, namespace)| namespace_fault(name, base(&namespace.marks)));
        let workloads = self.workloads.iter().filter_map(|(_, workload)| workload_fault(workload));
        let facts = self.revisions.values().filter_map(|state| state.facts.as_ref());
        let mut faults: Vec<_> = namespaces.chain(workloads).chain(facts.filter_map(revision_fault)).collect();
        faults.sort_by(|(one, _), (other, _)| one.cmp(other));
        faults
    }

    /// Tells of a fault that has just appeared.
    pub(super) fn warn_of(&mut self, fault: Option<(Annotated, Fault)>) {
        if let Some((object, fault)) = fault {
            self.warnings.push(Action::Warn { object, fault });
        }
    }
}

pub(super) fn namespace_fault(name: &str, base: Option<&str>) -> Option<(Annotated, Fault)> {
    match governance(None, base) {
        Governance::Faulty(fault) => Some((Annotated::Namespace(name.to_owned()), fault)),
        Governance::Free | Governance::Governed(..) => None,
    }
}

pub(super) fn workload_fault(workload: &Workload) -> Option<(Annotated, Fault)> {
    let Governance::Faulty(fault) = governance(base(&workload.marks), None) else { return None };
    let (kind, name, uid) = (workload.kind.clone(), workload.name.clone(), workload.id.to_string());
    Some((Annotated::Workload { kind, name, uid }, fault))
}

/// Of a bare controller; a ReplicaSet that a Deployment controls only carries a copy of the Deployment's annotation.
pub(super) fn revision_fault(revision: &Revision) -> Option<(Annotated, Fault)> {
    let Governance::Faulty(fault) = governance(base(&revision.marks), None) else { return None };
    let (name, uid) = (revision.name.clone(), revision.id.to_string());
    let kind = revision.controller.kind()?.into();
    revision.workload.is_none().then_some((Annotated::Workload { kind, name, uid }, fault))
}

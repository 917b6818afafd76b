//! The policies of a cluster, as they were last good, and who extends whom.

use std::collections::BTreeMap;

use crate::{
    model::ObjectName,
    policy::{
        fields::{self, FieldFault, Fields},
        graph::{self, GraphError, Parents},
        spec::{Selector, Spec},
    },
};

/// All policies of the cluster, read.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    pub(super) home: String,
    pub(super) known: BTreeMap<ObjectName, Known>,
    /// What is wrong with those that make no sense as they are now.
    pub(super) faulty: BTreeMap<ObjectName, String>,
    parents: Parents,
}

#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) selector: Option<Selector>,
    fields: Fields,
}

impl Policies {
    /// None yet; `home` is burstlet's own namespace.
    pub fn new(home: &str) -> Self {
        Self { home: home.to_owned(), ..Self::default() }
    }

    /// burstlet's own namespace.
    pub fn home(&self) -> &str {
        &self.home
    }

    /// Takes a policy, new or changed. Where it makes no sense, or would close a circle, the last one of its name that
    /// made sense stays in force.
    pub fn set(&mut self, name: ObjectName, spec: &Spec) -> Result<(), Vec<FieldFault>> {
        let set = self.try_set(name.clone(), spec);
        match &set {
            Ok(()) => drop(self.faulty.remove(&name)),
            Err(faults) => self.note_faulty(name, faults),
        }
        set
    }

    /// Remembers that a policy makes no sense as it is now; the last one of its name stays in force.
    pub fn note_faulty(&mut self, name: ObjectName, faults: &[FieldFault]) {
        let told = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        self.faulty.insert(name, told);
    }

    fn try_set(&mut self, name: ObjectName, spec: &Spec) -> Result<(), Vec<FieldFault>> {
        let fields = fields::read(spec)?;
        let mut parents = self.parents.clone();
        parents.insert(name.clone(), spec.extends.clone());
        if let Err(circle @ GraphError::Circle(_)) = graph::lineage(&parents, &name, &self.home) {
            return Err(vec![FieldFault::new("spec.extends", circle.to_string())]);
        }
        self.parents = parents;
        self.known.insert(name, Known { selector: spec.selector.clone(), fields });
        Ok(())
    }

    /// Forgets a policy.
    pub fn remove(&mut self, name: &ObjectName) {
        self.known.remove(name);
        self.faulty.remove(name);
        self.parents.remove(name);
    }

    /// The names of policies that are followed.
    pub fn names(&self) -> impl Iterator<Item = &ObjectName> {
        self.known.keys()
    }

    /// The names of policies that make no sense as they are now.
    pub fn faulty(&self) -> impl Iterator<Item = &ObjectName> {
        self.faulty.keys()
    }

    /// Who extends whom.
    pub fn parents(&self) -> &Parents {
        &self.parents
    }

    /// What a policy and those that it extends say together, its own word first.
    pub fn lineage(&self, name: &ObjectName) -> Result<Vec<(&ObjectName, &Fields)>, GraphError> {
        let lineage = graph::lineage(&self.parents, name, &self.home)?;
        let known = lineage.into_iter().filter_map(|step| self.known.get_key_value(&step));
        Ok(known.map(|(name, known)| (name, &known.fields)).collect())
    }

    /// Another policy of the same namespace with the same selector.
    pub fn twin(&self, name: &ObjectName) -> Option<&ObjectName> {
        let selector = self.known.get(name)?.selector.as_ref()?;
        let is_twin = |(other, known): &(&ObjectName, &Known)| {
            *other != name && other.namespace == name.namespace && known.selector.as_ref() == Some(selector)
        };
        self.known.iter().find(is_twin).map(|(other, _)| other)
    }
}

//! A scenario's manifests, as a cluster takes them: Deployments and their HPAs, BurstPolicies, VirtualPools, Namespaces.

use std::collections::{BTreeMap, btree_map::Entry};

use burstlet_engine::{
    model::{ObjectName, PoolName, QuantityError},
    placement::HOME,
    policy::{
        BaseError, Marks, Policies, Spec,
        check::{self, KnownPools},
        fields::FieldFault,
    },
};
use k8s_openapi::{
    Metadata, Resource,
    api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler, core::v1::Namespace},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{
    Workload,
    documents::{Custom, Document, Head, documents},
    workload::{marks, name_of, namespace_of},
};
use crate::api::{names, policy, pool, pool::PoolSpec};

/// Why manifests do not make workloads that can be played.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not YAML, or not what the object's schema says.
    #[error("{file}: {}", error.without_snippet())]
    Yaml {
        /// File of the fault.
        file: String,
        /// What is wrong, with line and column.
        error: Box<serde_saphyr::Error>,
    },
    /// A field that the object's schema does not have: the API server would drop it.
    #[error("{file}: the {kind} that begins at line {line} has an unknown field {field}")]
    UnknownField {
        /// File of the fault.
        file: String,
        /// The object's kind.
        kind: &'static str,
        /// Line at which its document begins.
        line: usize,
        /// Path of the field.
        field: String,
    },
    /// An object of another kind.
    #[error(
        "{file}: line {line} begins a {api_version} {kind}; a scenario takes an apps/v1 Deployment, an autoscaling/v2 \
         HorizontalPodAutoscaler, a v1 Namespace, and BurstPolicy and VirtualPool of burstlet.dev/v1alpha1"
    )]
    Kind {
        /// File of the fault.
        file: String,
        /// Line at which the document begins.
        line: usize,
        /// The object's `apiVersion`.
        api_version: String,
        /// The object's `kind`.
        kind: String,
    },
    /// Nothing that scales.
    #[error("the manifests hold no Deployment; at least one is needed, with the HPA that scales it")]
    Empty,
    /// A field that is well-formed and yet cannot work.
    #[error("{at}: {object}: {field}: {fault}")]
    Field {
        /// File and line at which the object begins.
        at: String,
        /// Kind and name of the object.
        object: String,
        /// Path of the field.
        field: String,
        /// What is wrong and what is allowed.
        fault: Box<Fault>,
    },
    /// Two objects of one kind and name.
    #[error("{at}: {object}: stands at {first} already; the second would replace the first")]
    Twice {
        /// File and line of the second.
        at: String,
        /// Kind and name.
        object: String,
        /// File and line of the first.
        first: String,
    },
}

/// What is wrong with one field.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// A field that a play needs.
    #[error("missing; {0}")]
    Missing(&'static str),
    /// No base.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// No quantity.
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    /// A reference that leads to none of the scenario's Deployments.
    #[error("names {found}, but there is only {there}")]
    Reference {
        /// What is named.
        found: String,
        /// What there is.
        there: String,
    },
    /// A Deployment that two HPAs scale.
    #[error("names {target}, which {other} ({at}) scales already; two of them would pull it to and fro")]
    Rivals {
        /// The Deployment.
        target: String,
        /// The other HPA.
        other: String,
        /// Where that one stands.
        at: String,
    },
    /// A Deployment that no HPA scales.
    #[error("no HorizontalPodAutoscaler scales it; a scenario's workloads each need one")]
    Unscaled,
    /// Bounds that exclude each other, or zero.
    #[error("minReplicas {min} and maxReplicas {max}; allowed are 1 or more, the maximum not below the minimum")]
    Replicas {
        /// The minimum.
        min: i32,
        /// The maximum.
        max: i32,
    },
    /// What burstlet's admission would refuse, or what it would warn of and then not follow.
    #[error("{0}")]
    Refused(String),
}

/// An object, and where its document begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found<T> {
    pub(super) at: String,
    /// Kind and name.
    pub(super) title: String,
    pub(super) object: T,
}

impl<T> Found<T> {
    pub(super) fn fault(&self, field: &str, fault: Fault) -> ManifestError {
        let (at, object) = (self.at.clone(), self.title.clone());
        ManifestError::Field { at, object, field: field.to_owned(), fault: Box::new(fault) }
    }

    fn refused(&self, FieldFault { path, says }: FieldFault) -> ManifestError {
        self.fault(&path, Fault::Refused(says))
    }
}

/// Everything that the manifests say.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    pub(super) workloads: Vec<Found<Workload>>,
    pub(super) namespaces: BTreeMap<String, Found<Marks>>,
    pub(super) policies: BTreeMap<ObjectName, Found<Spec>>,
    pub(super) pools: BTreeMap<PoolName, Found<PoolSpec>>,
}

/// The objects as they come, before they are brought together.
#[derive(Default)]
struct Objects {
    deployments: BTreeMap<ObjectName, Found<Deployment>>,
    /// In the order in which they are written.
    order: Vec<ObjectName>,
    hpas: BTreeMap<ObjectName, Found<HorizontalPodAutoscaler>>,
    rest: Manifests,
}

impl Manifests {
    /// Reads `files`, each with its name for errors. A file may hold several documents.
    pub(super) fn read(files: &[(String, String)]) -> Result<Self, ManifestError> {
        let mut objects = Objects::default();
        for (file, text) in files {
            for document in documents(file, text) {
                objects.add(&document)?;
            }
        }
        objects.together()
    }

    /// The BurstPolicies by name.
    pub(super) fn specs(&self) -> BTreeMap<ObjectName, Spec> {
        self.policies.iter().map(|(name, found)| (name.clone(), found.object.clone())).collect()
    }

    /// Judges policies and pools as admission would, among these pools.
    pub(super) fn judge(&self, pools: &KnownPools) -> Result<(), ManifestError> {
        for (name, found) in &self.pools {
            if let Some(fault) = found.object.check(name.as_str(), pools).faults.into_iter().next() {
                return Err(found.refused(fault));
            }
        }
        let mut policies = Policies::new(HOME);
        for (name, found) in &self.policies {
            policies
                .set(name.clone(), &found.object)
                .or_else(|faults| faults.into_iter().next().map_or(Ok(()), |fault| Err(found.refused(fault))))?;
        }
        for (name, found) in &self.policies {
            let verdict = check::policy(name, &found.object, &policies, Some(pools));
            if let Some(fault) = verdict.faults.into_iter().next() {
                return Err(found.refused(fault));
            }
        }
        Ok(())
    }
}

impl Objects {
    fn add(&mut self, document: &Document<'_>) -> Result<(), ManifestError> {
        let head = document.parse::<Head>()?;
        let is_ours = head.api_version == format!("{}/{}", names::GROUP, names::VERSION);
        match (head.api_version.as_str(), head.kind.as_str()) {
            (Deployment::API_VERSION, Deployment::KIND) => {
                let found = found::<Deployment>(document)?;
                let name = name_of(&found.object.metadata);
                self.order.push(name.clone());
                insert(&mut self.deployments, name, found)
            }
            (HorizontalPodAutoscaler::API_VERSION, HorizontalPodAutoscaler::KIND) => {
                let found = found::<HorizontalPodAutoscaler>(document)?;
                insert(&mut self.hpas, name_of(&found.object.metadata), found)
            }
            (Namespace::API_VERSION, Namespace::KIND) => {
                let Found { at, title, object } = found::<Namespace>(document)?;
                let name = object.metadata.name.clone().unwrap_or_default();
                insert(&mut self.rest.namespaces, name, Found { at, title, object: marks(&object.metadata) })
            }
            (_, policy::KIND) if is_ours => {
                let custom = document.parse::<Custom<Spec>>()?;
                let name = name_of(&custom.metadata);
                let title = format!("{} {}", policy::KIND, name);
                insert(&mut self.rest.policies, name, Found { at: document.at(), title, object: custom.spec })
            }
            (_, pool::KIND) if is_ours => {
                let custom = document.parse::<Custom<PoolSpec>>()?;
                let name = PoolName::from(custom.metadata.name.as_deref().unwrap_or_default());
                let title = format!("{} {name}", pool::KIND);
                insert(&mut self.rest.pools, name, Found { at: document.at(), title, object: custom.spec })
            }
            _ => {
                let Head { api_version, kind } = head;
                Err(ManifestError::Kind { file: document.file.to_owned(), line: document.line, api_version, kind })
            }
        }
    }

    /// Each Deployment with the one HPA that scales it.
    fn together(self) -> Result<Manifests, ManifestError> {
        let mut scaled: BTreeMap<&ObjectName, &Found<HorizontalPodAutoscaler>> = BTreeMap::new();
        if self.deployments.is_empty() {
            return Err(ManifestError::Empty);
        }
        for hpa in self.hpas.values() {
            let target = self.target(hpa)?;
            if let Some(other) = scaled.insert(target, hpa) {
                let target = format!("Deployment {target}");
                let fault = Fault::Rivals { target, other: other.title.clone(), at: other.at.clone() };
                return Err(hpa.fault("spec.scaleTargetRef", fault));
            }
        }
        let mut workloads = Vec::new();
        for (name, deployment) in self.order.iter().filter_map(|name| self.deployments.get_key_value(name)) {
            let hpa = scaled.get(name).ok_or_else(|| deployment.fault("metadata.name", Fault::Unscaled))?;
            let (at, title) = (deployment.at.clone(), deployment.title.clone());
            workloads.push(Found { at, title, object: Workload::of(deployment, hpa)? });
        }
        Ok(Manifests { workloads, ..self.rest })
    }

    fn target(&self, hpa: &Found<HorizontalPodAutoscaler>) -> Result<&ObjectName, ManifestError> {
        let target = &hpa.object.spec.scale_target_ref;
        let namespace = namespace_of(&hpa.object.metadata);
        let version = target.api_version.as_deref().unwrap_or_default();
        let is_deployment = version == Deployment::API_VERSION && target.kind == Deployment::KIND;
        let named = self.deployments.get_key_value(&ObjectName::new(namespace, &target.name));
        if let Some((name, _)) = named.filter(|_| is_deployment) {
            Ok(name)
        } else {
            let found = format!("{version} {} {} in namespace {namespace}", target.kind, target.name);
            let told = |name: &ObjectName| format!("apps/v1 Deployment {} in namespace {}", name.name, name.namespace);
            let there = self.deployments.keys().map(told).collect::<Vec<_>>().join(", ");
            Err(hpa.fault("spec.scaleTargetRef", Fault::Reference { found, there }))
        }
    }
}

/// The document as an object of Kubernetes' own.
fn found<T>(document: &Document<'_>) -> Result<Found<T>, ManifestError>
where
    T: serde::de::DeserializeOwned + serde::Serialize + Resource + Metadata<Ty = ObjectMeta>,
{
    let object = document.object::<T>()?;
    let title = format!("{} {}", T::KIND, object.metadata().name.as_deref().unwrap_or("without a name"));
    Ok(Found { at: document.at(), title, object })
}

fn insert<K: Ord, T>(all: &mut BTreeMap<K, Found<T>>, name: K, found: Found<T>) -> Result<(), ManifestError> {
    match all.entry(name) {
        Entry::Vacant(vacant) => {
            vacant.insert(found);
            Ok(())
        }
        Entry::Occupied(first) => {
            let first = first.get().at.clone();
            Err(ManifestError::Twice { at: found.at, object: found.title, first })
        }
    }
}

#[cfg(test)]
mod tests;

//! Another virtual kubelet's manifests as a VirtualPool.
//!
//! Understood are ECI's own (the Deployment or StatefulSet of its virtual kubelet, the ConfigMap `eci-profile`, the Secret
//! `alibaba-addon-secret`, vnodectl's configuration file) and Kingsoft's (the Deployment or StatefulSet of its virtual
//! kubelet). Each setting becomes a field, or a remark that says where it went and why. Keys that stand in a manifest are
//! never taken over: they belong into a Secret.

mod eci;
mod found;
mod kci;
mod manifest;

use burstlet_engine::policy::{check::KnownPools, fields::FieldFault};
use serde_json::{Value, json};

use super::{KIND, PoolSpec};
use crate::api::names;
use found::Found;
use manifest::Workload;

/// What the documents do not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Pods that the pool takes at most: virtual kubelets know no such bound, and a pool needs one.
    pub quota_pods: u32,
    /// The region, where no document names it.
    pub region: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { quota_pods: 200, region: None }
    }
}

/// A VirtualPool, and what is to be known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The object, as it is applied.
    pub pool: Value,
    /// What was not taken over as it stands, and what to do about it.
    pub remarks: Vec<String>,
}

/// Why nothing can be imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// No document is one that is understood.
    #[error(
        "no virtual kubelet found; give the Deployment or StatefulSet of ECI's or KCI's, the ConfigMap eci-profile, or vnodectl's config file"
    )]
    Nothing,
    /// Documents of both clouds.
    #[error("the documents are of two clouds, Alibaba's and Kingsoft's; import them one after the other")]
    Mixed,
    /// Something that every pool needs is in none of the documents.
    #[error("{0} is in none of the documents; {1}")]
    Missing(&'static str, &'static str),
    /// A value that burstlet cannot follow.
    #[error("{name}={value} is not possible: {why}")]
    Refused {
        /// The setting.
        name: String,
        /// Its value.
        value: String,
        /// Why, and what instead.
        why: &'static str,
    },
    /// The pool would be refused.
    #[error("the pool would be refused: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Faulty(Vec<FieldFault>),
}

/// Reads `documents`, which together describe one virtual kubelet.
pub fn import(documents: &[Value], options: &Options) -> Result<Imported, ImportError> {
    let workloads = documents.iter().filter_map(Workload::read).collect::<Vec<_>>();
    let of_kingsoft = workloads.iter().any(kci::is_kubelet);
    let of_alibaba = workloads.iter().any(eci::is_kubelet) || documents.iter().any(eci::is_settings);
    let mut found = match (of_alibaba, of_kingsoft) {
        (true, true) => return Err(ImportError::Mixed),
        (false, false) => return Err(ImportError::Nothing),
        (true, false) => eci::read(documents, &workloads)?,
        (false, true) => kci::read(&workloads)?,
    };
    if let Some(region) = &options.region {
        found.set("region", region.as_str());
    }
    found.complete()?;
    finish(found, options)
}

fn finish(found: Found, options: &Options) -> Result<Imported, ImportError> {
    let Found { provider, name, settings, nodes, mut remarks, .. } = found;
    let name = name.unwrap_or_else(|| provider.short_name().to_owned());
    let mut spec = json!({"provider": {provider.field(): settings}, "quota": {"pods": options.quota_pods}});
    if let Some(nodes) = nodes {
        spec["nodes"] = json!({"max": nodes});
    }
    remarks.push(format!(
        "quota.pods: {}: a pool needs a bound, and virtual kubelets have none; set it to what you would pay for",
        options.quota_pods
    ));
    let fault = |error: serde_path_to_error::Error<serde_json::Error>| {
        vec![FieldFault::new(format!("spec.{}", error.path()), error.inner().to_string())]
    };
    let read: PoolSpec =
        serde_path_to_error::deserialize(spec.clone()).map_err(|error| ImportError::Faulty(fault(error)))?;
    let faults = read.check(&name, &KnownPools::new()).faults;
    if !faults.is_empty() {
        return Err(ImportError::Faulty(faults));
    }
    let api_version = format!("{}/{}", names::GROUP, names::VERSION);
    let pool = json!({"apiVersion": api_version, "kind": KIND, "metadata": {"name": name}, "spec": spec});
    Ok(Imported { pool, remarks })
}

#[cfg(test)]
mod tests;

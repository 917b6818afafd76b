//! A pod and what it refers to, made into a pod that stands by itself: pure, apart from the reading of the objects.
//!
//! ```text
//! pod ── Needs::of ──> ConfigMaps, Secrets, tokens ── read as the pod's node ──> Objects ─┐
//!  └──────────────────────────────────── resolve ─────────────────────────────────────────┴─> literal pod, Content
//! ```
//! Variables become literal values, and volumes become files, as a kubelet makes them
//! (`k8s.io/kubernetes/pkg/kubelet/kubelet_pods.go`, `pkg/volume`). The pod's own address is known to its instance alone,
//! so `status.podIP` and `status.podIPs` are left to the provider.

mod env;
mod error;
mod fields;
mod files;
mod needs;
mod registries;

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::core::v1::{ConfigMap, Pod, Secret},
    apimachinery::pkg::api::resource::Quantity,
};

pub(crate) use error::{Missing, ObjectKind, Unresolved};
pub(crate) use needs::{Needs, TokenNeed, has_files};

use crate::provider::{Content, Takes};

/// What was read for a pod; objects that do not exist are left out.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(crate) config_maps: BTreeMap<String, ConfigMap>,
    pub(crate) secrets: BTreeMap<String, Secret>,
    pub(crate) tokens: BTreeMap<TokenNeed, String>,
}

/// What a pod may ask of its node.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) address: IpAddr,
    /// Limits of a container that names none.
    pub(crate) allocatable: BTreeMap<String, Quantity>,
}

/// A pod that stands by itself.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// Its variables are literal.
    pub(crate) pod: Pod,
    pub(crate) content: Content,
    /// Optional objects that do not exist.
    pub(crate) absent: Vec<Missing>,
}

/// Resolves `pod` by `objects`, or tells everything that is missing at once.
pub(crate) fn resolve(pod: &Pod, takes: Takes, objects: &Objects, host: &Host) -> Result<Resolved, Unresolved> {
    let mut source = Source { pod, objects, host, missing: Vec::new(), absent: Vec::new() };
    let mut resolved = pod.clone();
    if let Some(spec) = &mut resolved.spec {
        let init = spec.init_containers.iter_mut().flatten();
        for container in init.chain(&mut spec.containers) {
            source.literal_env(container)?;
        }
    }
    let mut content = Content::default();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        if let Some(files) = source.files(volume, takes)? {
            content.volumes.insert(volume.name.clone(), files);
        }
    }
    if takes.registries {
        content.registries = source.registries();
    }
    let Source { mut missing, mut absent, .. } = source;
    missing.sort();
    missing.dedup();
    absent.sort();
    absent.dedup();
    if missing.is_empty() { Ok(Resolved { pod: resolved, content, absent }) } else { Err(Unresolved::Missing(missing)) }
}

/// What a pod's values come from, and what was not there.
struct Source<'a> {
    pod: &'a Pod,
    objects: &'a Objects,
    host: &'a Host,
    missing: Vec<Missing>,
    absent: Vec<Missing>,
}

impl Source<'_> {
    /// Notes that something is not there; answers nothing, so that the rest is looked through, too.
    fn lacks(&mut self, kind: ObjectKind, name: &str, key: Option<&str>, optional: Option<bool>) {
        let missing = Missing { kind, name: name.to_owned(), key: key.map(str::to_owned) };
        if optional == Some(true) { &mut self.absent } else { &mut self.missing }.push(missing);
    }
}

#[cfg(test)]
mod tests;

//! Volumes.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::api::core::v1::{PodSpec, Volume};

use super::{Resolved, invalid, set};
use crate::provider::{ProviderError, clouds::alibaba_eci::signing::Parameters};

/// The volume of kube-proxy's kubeconfig.
pub(super) const KUBECONFIG: &str = "burstlet-kube-proxy";

/// The service account token that Kubernetes adds to every pod by itself. A pod that does not use it must not be refused
/// for it, so it is left out where nobody has resolved it.
pub(super) fn is_token(volume: &str, resolved: &Resolved) -> bool {
    volume.starts_with("kube-api-access-") && !resolved.files.contains_key(volume)
}

pub(super) fn set_volumes(
    parameters: &mut Parameters,
    spec: &PodSpec,
    resolved: &Resolved,
) -> Result<(), ProviderError> {
    let volumes = spec.volumes.iter().flatten().filter(|volume| !is_token(&volume.name, resolved));
    for (number, volume) in (1..).zip(volumes) {
        let at = format!("Volume.{number}");
        set(parameters, format!("{at}.Name"), &volume.name);
        set_volume(parameters, &at, volume, resolved)?;
    }
    Ok(())
}

fn set_volume(
    parameters: &mut Parameters,
    at: &str,
    volume: &Volume,
    resolved: &Resolved,
) -> Result<(), ProviderError> {
    if let Some(files) = resolved.files.get(&volume.name) {
        set_files(parameters, at, files);
        return Ok(());
    }
    if let Some(empty) = &volume.empty_dir {
        set(parameters, format!("{at}.Type"), "EmptyDirVolume");
        if let Some(medium) = empty.medium.as_ref().filter(|medium| !medium.is_empty()) {
            set(parameters, format!("{at}.EmptyDirVolume.Medium"), medium);
        }
        if let Some(limit) = &empty.size_limit {
            set(parameters, format!("{at}.EmptyDirVolume.SizeLimit"), &limit.0);
        }
        return Ok(());
    }
    if let Some(nfs) = &volume.nfs {
        set(parameters, format!("{at}.Type"), "NFSVolume");
        set(parameters, format!("{at}.NFSVolume.Server"), &nfs.server);
        set(parameters, format!("{at}.NFSVolume.Path"), &nfs.path);
        set(parameters, format!("{at}.NFSVolume.ReadOnly"), nfs.read_only.unwrap_or(false));
        return Ok(());
    }
    if let Some(flex) = &volume.flex_volume {
        set(parameters, format!("{at}.Type"), "FlexVolume");
        set(parameters, format!("{at}.FlexVolume.Driver"), &flex.driver);
        if let Some(kind) = &flex.fs_type {
            set(parameters, format!("{at}.FlexVolume.FsType"), kind);
        }
        let options = serde_json::to_string(&flex.options.clone().unwrap_or_default());
        set(parameters, format!("{at}.FlexVolume.Options"), options.unwrap_or_default());
        return Ok(());
    }
    let is_optional = volume
        .config_map
        .as_ref()
        .and_then(|source| source.optional)
        .or_else(|| volume.secret.as_ref().and_then(|source| source.optional));
    if is_optional == Some(true) {
        set_files(parameters, at, &BTreeMap::new());
        return Ok(());
    }
    if volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.projected.is_some()
        || volume.downward_api.is_some()
    {
        return Err(invalid(format!("volume {}: its content has not been resolved", volume.name)));
    }
    Err(invalid(format!(
        "volume {}: its kind is not possible on ECI; emptyDir, nfs, flexVolume, configMap and secret are",
        volume.name
    )))
}

/// Files with their contents; ECI has no empty list of files, so no file is an empty folder.
fn set_files(parameters: &mut Parameters, at: &str, files: &BTreeMap<String, Vec<u8>>) {
    if files.is_empty() {
        return set(parameters, format!("{at}.Type"), "EmptyDirVolume");
    }
    set(parameters, format!("{at}.Type"), "ConfigFileVolume");
    for (number, (path, content)) in (1..).zip(files) {
        let at = format!("{at}.ConfigFileVolume.ConfigFileToPath.{number}");
        set(parameters, format!("{at}.Path"), path);
        set(parameters, format!("{at}.Content"), BASE64_STANDARD.encode(content));
    }
}

/// The kubeconfig of the kube-proxy sidecar.
pub(super) fn add_kubeconfig(parameters: &mut Parameters, spec: &PodSpec, kubeconfig: &str) {
    let at = format!("Volume.{}", spec.volumes.as_ref().map_or(0, Vec::len) + 1);
    set(parameters, format!("{at}.Name"), KUBECONFIG);
    set_files(parameters, &at, &BTreeMap::from([("kubeconfig".to_owned(), kubeconfig.as_bytes().to_vec())]));
}

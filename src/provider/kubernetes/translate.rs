//! A pod as a pod of the other cluster, and the Secrets that travel along.
//!
//! What has a meaning in its own cluster only is taken off: the node, the service account, gates, affinity, tolerations,
//! priority, spread. Its labels stay behind, too: a controller there that selects them would adopt the pod. What cannot be
//! had there is refused by its field.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::core::v1::{
        Container, EmptyDirVolumeSource, KeyToPath, LocalObjectReference, Pod, PodDNSConfig, PodDNSConfigOption,
        PodSpec, Secret, SecretVolumeSource, Toleration, Volume,
    },
};
use ring::digest;
use serde_json::json;

use super::identity::{metadata, name_of};
use crate::{
    api::pool::kubernetes::Kubernetes,
    provider::{Content, File, Owner, ProviderError, RegistryKey, hex::hex},
};

/// Name of the volume that the API server adds to every pod for its service account's token: it is of no use there.
const TOKEN_VOLUME: &str = "kube-api-access-";

/// Pod annotations that mean the same in every cluster.
const TRAVELLING: [&str; 2] = ["kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth"];

/// Bytes that a Secret holds at most (`k8s.io/api/core/v1.MaxSecretSize`).
const LARGEST_SECRET: usize = 1 << 20;

/// Longest host name.
const LONGEST_HOST_NAME: usize = 63;

/// What is made in the other cluster for one pod.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Travelling {
    pub(super) pod: Pod,
    /// The files of its volumes.
    pub(super) files: Option<Secret>,
    /// The keys of its registries.
    pub(super) keys: Option<Secret>,
}

fn invalid(field: &str, problem: impl std::fmt::Display) -> ProviderError {
    ProviderError::Invalid(format!("{field}: {problem}"))
}

/// What `pod` comes to in the cluster of `settings`.
pub(super) fn translate(
    settings: &Kubernetes,
    owner: &Owner,
    pod: &Pod,
    content: &Content,
) -> Result<Travelling, ProviderError> {
    let spec = pod.spec.as_ref().ok_or_else(|| invalid("spec", "the pod has none"))?;
    refuse(spec)?;
    let name = name_of(owner);
    let files = files(settings, owner, &name, content)?;
    let keys = keys(settings, owner, &name, &content.registries);
    let volumes = spec.volumes.iter().flatten().filter(|volume| !is_token(&volume.name, content));
    let volumes = volumes.map(|volume| volume_of(volume, &name, content)).collect::<Result<Vec<_>, _>>()?;
    let containers = |containers: &[Container]| {
        containers.iter().map(|container| container_of(container, content)).collect::<Vec<_>>()
    };
    let (dns_policy, dns_config) = dns(settings, owner, spec);
    let spec = PodSpec {
        containers: containers(&spec.containers),
        init_containers: spec.init_containers.as_deref().map(containers),
        volumes: Some(volumes).filter(|volumes| !volumes.is_empty()),
        node_selector: Some(settings.node_selector.clone()).filter(|labels| !labels.is_empty()),
        tolerations: tolerations(settings),
        image_pull_secrets: keys.as_ref().map(|_| vec![LocalObjectReference { name: keys_name(&name) }]),
        // Whoever it is there, it gets no key for that cluster.
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        hostname: spec.hostname.clone().or_else(|| host_name(&owner.name)),
        dns_policy,
        dns_config,
        restart_policy: spec.restart_policy.clone(),
        termination_grace_period_seconds: spec.termination_grace_period_seconds,
        active_deadline_seconds: spec.active_deadline_seconds,
        security_context: spec.security_context.clone(),
        share_process_namespace: spec.share_process_namespace,
        host_aliases: spec.host_aliases.clone(),
        host_users: spec.host_users,
        runtime_class_name: spec.runtime_class_name.clone(),
        os: spec.os.clone(),
        resources: spec.resources.clone(),
        ..PodSpec::default()
    };
    let mut metadata = metadata(owner, &settings.namespace, name);
    let own = pod.metadata.annotations.iter().flatten().filter(|(key, _)| TRAVELLING.contains(&key.as_str()));
    metadata.annotations.get_or_insert_default().extend(own.map(|(key, value)| (key.clone(), value.clone())));
    Ok(Travelling { pod: Pod { metadata, spec: Some(spec), status: None }, files, keys })
}

/// What has no meaning away from its own node and cluster.
fn refuse(spec: &PodSpec) -> Result<(), ProviderError> {
    let flags =
        [("spec.hostNetwork", spec.host_network), ("spec.hostPID", spec.host_pid), ("spec.hostIPC", spec.host_ipc)];
    if let Some((field, _)) = flags.iter().find(|(_, flag)| *flag == Some(true)) {
        return Err(invalid(field, "the pod runs on another cluster's node, which it must not share"));
    }
    if spec.resource_claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        return Err(invalid("spec.resourceClaims", "claims of this cluster mean nothing in another one"));
    }
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    for container in containers {
        if container.security_context.as_ref().and_then(|context| context.privileged) == Some(true) {
            let field = format!("spec.containers[{}].securityContext.privileged", container.name);
            return Err(invalid(&field, "no pod is privileged on another cluster's nodes"));
        }
    }
    Ok(())
}

/// The volume of the account's token, where nobody has read it.
fn is_token(volume: &str, content: &Content) -> bool {
    volume.starts_with(TOKEN_VOLUME) && !content.volumes.contains_key(volume)
}

fn container_of(container: &Container, content: &Content) -> Container {
    let mut container = container.clone();
    if let Some(mounts) = &mut container.volume_mounts {
        mounts.retain(|mount| !is_token(&mount.name, content));
    }
    container
}

fn volume_of(volume: &Volume, pod: &str, content: &Content) -> Result<Volume, ProviderError> {
    let mut there = Volume { name: volume.name.clone(), ..Volume::default() };
    match content.volumes.get(&volume.name) {
        Some(files) if !files.is_empty() => {
            let items = files.iter().map(|(path, file)| KeyToPath {
                key: key_of(&volume.name, path),
                path: path.clone(),
                mode: i32::try_from(file.mode).ok(),
            });
            there.secret = Some(SecretVolumeSource {
                secret_name: Some(files_name(pod)),
                items: Some(items.collect()),
                ..SecretVolumeSource::default()
            });
        }
        Some(_) => there.empty_dir = Some(EmptyDirVolumeSource::default()),
        None if volume.empty_dir.is_some() || volume.nfs.is_some() => return Ok(volume.clone()),
        None => {
            let value = serde_json::to_value(volume).unwrap_or_default();
            let kind = value.as_object().and_then(|fields| fields.keys().find(|key| *key != "name").cloned());
            let text = format!("{} is not to be had in another cluster", kind.unwrap_or_else(|| "this".to_owned()));
            return Err(invalid(&format!("spec.volumes[{}]", volume.name), text));
        }
    }
    Ok(there)
}

/// A file's key in the Secret; files have paths, which keys cannot be. It hangs on nothing but the path, so that a renewal
/// with more files or fewer finds each in its place.
fn key_of(volume: &str, path: &str) -> String {
    let digest = digest::digest(&digest::SHA256, path.as_bytes());
    format!("{volume}.{}", hex(&digest.as_ref()[..8]))
}

fn files_name(pod: &str) -> String {
    format!("{pod}-files")
}

fn keys_name(pod: &str) -> String {
    format!("{pod}-keys")
}

/// The Secret of all files.
pub(super) fn files(
    settings: &Kubernetes,
    owner: &Owner,
    name: &str,
    content: &Content,
) -> Result<Option<Secret>, ProviderError> {
    let of_volume = |(volume, files): (&String, &BTreeMap<String, File>)| {
        let keyed = files.iter().map(|(path, file)| (key_of(volume, path), ByteString(file.data.clone())));
        keyed.collect::<Vec<_>>()
    };
    let data = content.volumes.iter().flat_map(of_volume).collect::<BTreeMap<_, _>>();
    let size = data.values().map(|file| file.0.len()).sum::<usize>();
    if size > LARGEST_SECRET {
        let text = format!("their files take {size} bytes; all of a pod's files together may take {LARGEST_SECRET}");
        return Err(invalid("spec.volumes", text));
    }
    let metadata = metadata(owner, &settings.namespace, files_name(name));
    Ok((!data.is_empty()).then(|| Secret { metadata, data: Some(data), ..Secret::default() }))
}

/// The Secret of the registries' keys, as a kubelet reads it.
fn keys(settings: &Kubernetes, owner: &Owner, name: &str, keys: &[RegistryKey]) -> Option<Secret> {
    let entry =
        |key: &RegistryKey| (key.server.clone(), json!({"username": key.user, "password": key.password.reveal()}));
    let auths = keys.iter().map(entry).collect::<serde_json::Map<_, _>>();
    let text = json!({"auths": auths}).to_string();
    (!keys.is_empty()).then(|| Secret {
        metadata: metadata(owner, &settings.namespace, keys_name(name)),
        type_: Some("kubernetes.io/dockerconfigjson".to_owned()),
        data: Some(BTreeMap::from([(".dockerconfigjson".to_owned(), ByteString(text.into_bytes()))])),
        ..Secret::default()
    })
}

fn tolerations(settings: &Kubernetes) -> Option<Vec<Toleration>> {
    let tolerations = settings.tolerations.iter().map(|toleration| Toleration {
        key: toleration.key.clone(),
        operator: toleration.operator.clone(),
        value: toleration.value.clone(),
        effect: toleration.effect.clone(),
        toleration_seconds: None,
    });
    Some(tolerations.collect::<Vec<_>>()).filter(|tolerations| !tolerations.is_empty())
}

/// The pod's own name, as it would be its host name at home.
fn host_name(pod: &str) -> Option<String> {
    (pod.len() <= LONGEST_HOST_NAME && !pod.contains('.')).then(|| pod.to_owned())
}

/// `ClusterFirst` means this cluster where the pool names its servers, and the other one where it names none.
fn dns(settings: &Kubernetes, owner: &Owner, spec: &PodSpec) -> (Option<String>, Option<PodDNSConfig>) {
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let is_cluster = matches!(policy, "ClusterFirst" | "ClusterFirstWithHostNet");
    if !is_cluster || settings.cluster_dns.is_empty() {
        return (spec.dns_policy.clone(), spec.dns_config.clone());
    }
    let domain = &settings.cluster_domain;
    let own = spec.dns_config.clone().unwrap_or_default();
    let servers = settings.cluster_dns.iter().map(ToString::to_string);
    let searches = [format!("{}.svc.{domain}", owner.namespace), format!("svc.{domain}"), domain.clone()];
    let mut options = own.options.unwrap_or_default();
    if !options.iter().any(|option| option.name.as_deref() == Some("ndots")) {
        options.push(PodDNSConfigOption { name: Some("ndots".to_owned()), value: Some("5".to_owned()) });
    }
    let config = PodDNSConfig {
        nameservers: Some(servers.chain(own.nameservers.unwrap_or_default()).collect()),
        searches: Some(searches.into_iter().chain(own.searches.unwrap_or_default()).collect()),
        options: Some(options),
    };
    (Some("None".to_owned()), Some(config))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "`json!` makes a value at each call")]

    use serde_json::Value;

    use super::*;
    use crate::provider::{clouds::Secret as Hidden, kubernetes::identity::tests::owner};

    fn settings(extra: Value) -> Kubernetes {
        let mut settings = json!({"kubeconfig": {"secretRef": {"name": "other"}}, "namespace": "burst"});
        json_patch::merge(&mut settings, &extra);
        serde_json::from_value(settings).unwrap()
    }

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"},
            "annotations": {"kubernetes.io/egress-bandwidth": "1M", "own": "x"}}, "spec": spec}))
        .unwrap()
    }

    fn there(extra: Value, spec: Value) -> Value {
        let travelling = translate(&settings(extra), &owner("u-1"), &pod(spec), &Content::default()).unwrap();
        serde_json::to_value(travelling.pod).unwrap()
    }

    fn refused(spec: Value) -> String {
        translate(&settings(json!({})), &owner("u-1"), &pod(spec), &Content::default()).unwrap_err().to_string()
    }

    #[test]
    fn what_means_something_at_home_only_stays_behind() {
        let spec = json!({
            "nodeName": "eci-0", "serviceAccountName": "web", "schedulerName": "burstlet", "priority": 5,
            "priorityClassName": "high", "preemptionPolicy": "Never", "subdomain": "web",
            "affinity": {"nodeAffinity": {}}, "nodeSelector": {"type": "virtual-kubelet"},
            "tolerations": [{"key": "virtual-kubelet.io/provider", "operator": "Exists"}],
            "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "type", "whenUnsatisfiable": "ScheduleAnyway"}],
            "readinessGates": [{"conditionType": "x"}], "overhead": {"cpu": "1"}, "imagePullSecrets": [{"name": "mine"}],
            "containers": [{"name": "a", "image": "i", "volumeMounts": [
                {"name": "kube-api-access-x", "mountPath": "/var/run"}, {"name": "tmp", "mountPath": "/tmp", "subPath": "a"}]}],
            "volumes": [{"name": "kube-api-access-x", "projected": {"sources": []}}, {"name": "tmp", "emptyDir": {}}],
        });
        let pod = there(
            json!({"nodeSelector": {"pool": "burst"}, "tolerations": [{"key": "burst", "operator": "Exists"}]}),
            spec,
        );
        let expected = json!({
            "automountServiceAccountToken": false, "enableServiceLinks": false, "hostname": "web-1",
            "nodeSelector": {"pool": "burst"}, "tolerations": [{"key": "burst", "operator": "Exists"}],
            "containers": [{"name": "a", "image": "i", "volumeMounts": [{"name": "tmp", "mountPath": "/tmp", "subPath": "a"}]}],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        });
        assert_eq!(pod["spec"], expected);
        let metadata = &pod["metadata"];
        assert_eq!((&metadata["name"], &metadata["namespace"]), (&json!("web-1-u-1"), &json!("burst")));
        assert_eq!(metadata["labels"], json!({"burstlet.dev/cluster": "lab", "burstlet.dev/pod-uid": "u-1"}));
        let annotations = metadata["annotations"].as_object().unwrap();
        assert_eq!(annotations.keys().collect::<Vec<_>>(), ["burstlet.dev/owner", "kubernetes.io/egress-bandwidth"]);
    }

    #[test]
    fn what_the_pod_is_made_of_travels_whole() {
        let probe = json!({"httpGet": {"path": "/", "port": 80}});
        let spec = json!({
            "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 7, "activeDeadlineSeconds": 60,
            "securityContext": {"runAsUser": 1000}, "shareProcessNamespace": true, "hostname": "own", "dnsPolicy": "Default",
            "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["db"]}], "runtimeClassName": "gvisor",
            "initContainers": [{"name": "s", "image": "i", "restartPolicy": "Always"}],
            "containers": [{"name": "a", "image": "i", "command": ["run"], "args": ["$(X)"], "livenessProbe": probe,
                "env": [{"name": "X", "value": "$$1"}, {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}, "resources": {"requests": {"cpu": "1"}}}],
        });
        let mut pod = there(json!({"clusterDNS": ["10.0.0.10"]}), spec.clone());
        let own = pod["spec"].as_object_mut().unwrap();
        own.retain(|key, _| !["automountServiceAccountToken", "enableServiceLinks"].contains(&key.as_str()));
        assert_eq!(pod["spec"], spec);
    }

    #[test]
    fn files_and_registry_keys_become_secrets_of_the_other_cluster() {
        let spec = json!({"containers": [{"name": "a", "image": "i"}], "volumes": [
            {"name": "map", "configMap": {"name": "c"}}, {"name": "none", "secret": {"secretName": "s", "optional": true}}]});
        let file = |text: &str, mode| File { data: text.as_bytes().to_vec(), mode };
        let files = BTreeMap::from([("a/b".to_owned(), file("deep", 0o644)), ("key".to_owned(), file("x", 0o400))]);
        let content = Content {
            volumes: BTreeMap::from([("map".to_owned(), files), ("none".to_owned(), BTreeMap::new())]),
            registries: vec![RegistryKey {
                server: "r.io".to_owned(),
                user: "me".to_owned(),
                password: Hidden::new("p"),
            }],
        };
        let travelling = translate(&settings(json!({})), &owner("u-1"), &pod(spec), &content).unwrap();
        let spec = serde_json::to_value(travelling.pod.spec).unwrap();
        let item = |path: &str, mode: u32| json!({"key": key_of("map", path), "path": path, "mode": mode});
        let items = json!([item("a/b", 0o644), item("key", 0o400)]);
        let map = json!({"name": "map", "secret": {"secretName": "web-1-u-1-files", "items": items}});
        assert_eq!(spec["volumes"], json!([map, {"name": "none", "emptyDir": {}}]));
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "web-1-u-1-keys"}]));
        let secret = travelling.files.unwrap();
        assert_eq!(secret.data.unwrap()[&key_of("map", "a/b")].0, b"deep");
        let keys = travelling.keys.unwrap().data.unwrap()[".dockerconfigjson"].0.clone();
        assert_eq!(keys, br#"{"auths":{"r.io":{"password":"p","username":"me"}}}"#);
    }

    #[test]
    fn a_renewal_puts_each_file_in_its_own_place_whatever_came_or_went() {
        let data = |files_now: &[(&str, &str)]| {
            let file = |text: &str| File { data: text.as_bytes().to_vec(), mode: 0o644 };
            let named = files_now.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect();
            let content = Content { volumes: BTreeMap::from([("map".to_owned(), named)]), registries: Vec::new() };
            files(&settings(json!({})), &owner("u-1"), "web", &content).unwrap().unwrap().data.unwrap()
        };
        let (first, then) = (data(&[("b", "1"), ("c", "2")]), data(&[("a", "0"), ("c", "3")]));
        let key = |path: &str| key_of("map", path);
        assert_eq!((first[&key("c")].0.as_slice(), then[&key("c")].0.as_slice()), (&b"2"[..], &b"3"[..]));
        assert!(then.contains_key(&key("a")) && !then.contains_key(&key("b")));
    }

    #[test]
    fn cluster_dns_is_this_clusters_where_the_pool_names_it() {
        let spec =
            json!({"containers": [], "dnsConfig": {"options": [{"name": "ndots", "value": "2"}], "searches": ["x"]}});
        let home = there(json!({"clusterDNS": ["10.0.0.10"], "clusterDomain": "c.local"}), spec.clone());
        let expected = json!({"nameservers": ["10.0.0.10"], "options": [{"name": "ndots", "value": "2"}],
            "searches": ["shop.svc.c.local", "svc.c.local", "c.local", "x"]});
        assert_eq!((&home["spec"]["dnsPolicy"], &home["spec"]["dnsConfig"]), (&json!("None"), &expected));
        let theirs = there(json!({}), spec.clone());
        assert_eq!((&theirs["spec"]["dnsPolicy"], &theirs["spec"]["dnsConfig"]), (&json!(null), &spec["dnsConfig"]));
    }

    #[test]
    fn what_cannot_be_had_there_is_refused_by_its_field() {
        let container = |extra: Value| json!({"name": "a", "image": "i", "securityContext": extra});
        let cases = [
            (json!({"hostNetwork": true, "containers": []}), "spec.hostNetwork"),
            (
                json!({"containers": [container(json!({"privileged": true}))]}),
                "spec.containers[a].securityContext.privileged",
            ),
            (
                json!({"containers": [], "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
                "spec.volumes[v]: hostPath",
            ),
            (
                json!({"containers": [], "volumes": [{"name": "v", "configMap": {"name": "c"}}]}),
                "spec.volumes[v]: configMap",
            ),
            (json!({"containers": [], "resourceClaims": [{"name": "gpu"}]}), "spec.resourceClaims"),
        ];
        for (spec, expected) in cases {
            let text = refused(spec);
            assert!(text.contains(expected), "{text}");
        }
        let volumes = BTreeMap::from([(
            "v".to_owned(),
            BTreeMap::from([("f".to_owned(), File { data: vec![0; (1 << 20) + 1], mode: 0 })]),
        )]);
        let content = Content { volumes, registries: Vec::new() };
        let large =
            translate(&settings(json!({})), &owner("u"), &pod(json!({"containers": []})), &content).unwrap_err();
        assert!(large.to_string().contains("1048577 bytes"), "{large}");
    }
}

//! What a pod asks of the place that runs it, read from its spec before it is placed: it stays on real nodes where its
//! policy allows that, or goes to a pool that has it, and else waits and says why, before anything is paid for.
//!
//! An *obstacle* is what no virtual node has; *needs* are what some provider has and another lacks, as the capabilities of
//! [`crate::api::pool`] say.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use burstlet_engine::model::{Bytes, MilliCpu, Need, NeedSet, Needs, Resources};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::{names, pod::SlimPodSpec};

/// Name of the volume that the API server adds to every pod, whether or not it uses its service account's token.
const TOKEN_VOLUME: &str = "kube-api-access-";

/// Annotations by which a pod names its instance's size itself, so that its resources do not.
const OWN_SIZE: [&str; 2] = ["k8s.aliyun.com/eci-use-specs", "k8s.ksyun.com/kci-instance-cpu"];

/// Words of the annotation [`names::NEEDS`].
const CLUSTER_DNS: &str = "cluster-dns";
const SERVICES: &str = "services";

/// A volume, by its name, the kind that no provider has, if it is of such a one, and what else it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Volume {
    name: String,
    foreign: Option<String>,
    needs: NeedSet,
}

impl<'de> Deserialize<'de> for Volume {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfVolume)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EmptyDir {
    medium: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Projected {
    sources: Vec<Projection>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Projection {
    service_account_token: Option<IgnoredAny>,
}

/// Reads a volume without keeping what is in it.
struct OfVolume;

impl<'de> Visitor<'de> for OfVolume {
    type Value = Volume;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a volume")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Volume, A::Error> {
        let mut volume = Volume::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "name" => volume.name = map.next_value()?,
                "emptyDir" => {
                    let folder = map.next_value::<Option<EmptyDir>>()?.unwrap_or_default();
                    if folder.medium.as_deref() == Some("Memory") {
                        volume.needs = volume.needs.with(Need::MemoryVolumes);
                    }
                }
                "projected" => {
                    let Some(projected) = map.next_value::<Option<Projected>>()? else { continue };
                    volume.needs = volume.needs.with(Need::Files);
                    if projected.sources.iter().any(|source| source.service_account_token.is_some()) {
                        volume.needs = volume.needs.with(Need::Tokens);
                    }
                }
                _ => {
                    let is_set = map.next_value::<Option<IgnoredAny>>()?.is_some();
                    match key.as_str() {
                        _ if !is_set => {}
                        "configMap" | "secret" | "downwardAPI" => volume.needs = volume.needs.with(Need::Files),
                        "nfs" => volume.needs = volume.needs.with(Need::NfsVolumes),
                        "flexVolume" => volume.needs = volume.needs.with(Need::FlexVolumes),
                        // A claim, too: one that binds at its first consumer would keep the pod pending at a virtual node
                        // for ever, and one that is bound belongs to a real node's zone.
                        _ => volume.foreign = Some(key),
                    }
                }
            }
        }
        if volume.name.starts_with(TOKEN_VOLUME) {
            volume.needs = NeedSet::default();
        }
        Ok(volume)
    }
}

/// A container with what its needs are read from.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Container {
    pub(super) resources: Requirements,
    pub(super) restart_policy: Option<String>,
    security_context: Security,
    startup_probe: Option<Probe>,
    liveness_probe: Option<Probe>,
    readiness_probe: Option<Probe>,
    lifecycle: Option<Lifecycle>,
    command: Vec<IgnoredAny>,
    args: Vec<IgnoredAny>,
    working_dir: Option<String>,
    volume_mounts: Vec<Mount>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Requirements {
    pub(super) requests: BTreeMap<String, String>,
    limits: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Security {
    privileged: bool,
    capabilities: Added,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Added {
    add: Vec<IgnoredAny>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Probe {
    grpc: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Lifecycle {
    post_start: Option<IgnoredAny>,
    pre_stop: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Mount {
    sub_path: Option<IgnoredAny>,
    sub_path_expr: Option<IgnoredAny>,
}

impl SlimPodSpec {
    /// What needs a machine of one's own, by its field.
    pub(super) fn machine_needs(&self) -> impl Iterator<Item = String> {
        let mut containers = self.containers.iter().chain(&self.init_containers);
        let fields = [
            (self.host_network, "hostNetwork"),
            (self.host_pid, "hostPID"),
            (self.host_ipc, "hostIPC"),
            (containers.any(|container| container.security_context.privileged), "a privileged container"),
        ];
        let fields = fields.into_iter().filter(|(is_asked, _)| *is_asked).map(|(_, field)| field.to_owned());
        let volumes = self
            .volumes
            .iter()
            .filter_map(|Volume { name, foreign, .. }| foreign.as_ref().map(|kind| format!("volume {name} ({kind})")));
        fields.chain(volumes).map(|field| format!("{field} needs a real node: no virtual node has it"))
    }

    /// What the spec and the pod's annotations ask of a provider.
    pub(super) fn needs(&self, annotations: Option<&BTreeMap<String, String>>) -> Needs {
        let all = || self.containers.iter().chain(&self.init_containers);
        let any = |is_asked: fn(&Container) -> bool| all().any(is_asked);
        let is_sidecar = |container: &Container| container.restart_policy.as_deref() == Some("Always");
        let probes = |container: &Container| {
            [&container.startup_probe, &container.liveness_probe, &container.readiness_probe].map(Clone::clone)
        };
        let declared = |word: &str| annotations.is_some_and(|all| declared(all).any(|own| own == word));
        let ends = self.restart_policy.as_deref().is_some_and(|policy| policy != "Always");
        let volumes = |need: Need| self.volumes.iter().any(|volume| volume.needs.has(need));
        let asked = [
            (Need::InitContainers, self.init_containers.iter().any(|container| !is_sidecar(container))),
            (Need::Sidecars, self.init_containers.iter().any(is_sidecar)),
            (Need::StartupProbes, any(|container| container.startup_probe.is_some())),
            (Need::LivenessProbes, any(|container| container.liveness_probe.is_some())),
            (Need::ReadinessProbes, any(|container| container.readiness_probe.is_some())),
            (Need::GrpcProbes, all().flat_map(probes).flatten().any(|probe| probe.grpc.is_some())),
            (
                Need::LifecycleHooks,
                any(|container| {
                    container
                        .lifecycle
                        .as_ref()
                        .is_some_and(|hooks| hooks.post_start.is_some() || hooks.pre_stop.is_some())
                }),
            ),
            (Need::Files, volumes(Need::Files)),
            (Need::Tokens, volumes(Need::Tokens)),
            (Need::MemoryVolumes, volumes(Need::MemoryVolumes)),
            (Need::NfsVolumes, volumes(Need::NfsVolumes)),
            (Need::FlexVolumes, volumes(Need::FlexVolumes)),
            (
                Need::SubPaths,
                any(|container| {
                    container
                        .volume_mounts
                        .iter()
                        .any(|mount| mount.sub_path.is_some() || mount.sub_path_expr.is_some())
                }),
            ),
            (Need::WorkingDirs, any(|container| container.working_dir.is_some())),
            (Need::ImageCommands, any(|container| container.command.is_empty())),
            (Need::ArgumentsAlone, any(|container| container.command.is_empty() && !container.args.is_empty())),
            (Need::HostAliases, !self.host_aliases.is_empty()),
            (Need::DnsConfig, self.dns_config.is_some() || self.dns_policy.as_deref() == Some("None")),
            (Need::SharedProcesses, self.share_process_namespace),
            (Need::AddedCapabilities, any(|container| !container.security_context.capabilities.add.is_empty())),
            (Need::ClusterDns, declared(CLUSTER_DNS)),
            (Need::Services, declared(SERVICES)),
            (Need::ServicesUntilEnd, ends && declared(SERVICES)),
        ];
        let kinds = asked.into_iter().filter(|(_, is_asked)| *is_asked);
        let names_its_size = annotations.is_some_and(|all| OWN_SIZE.iter().any(|key| all.contains_key(*key)));
        Needs {
            kinds: kinds.fold(NeedSet::default(), |kinds, (need, _)| kinds.with(need)),
            containers: u16::try_from(self.containers.len()).unwrap_or(u16::MAX),
            size: if names_its_size { Resources::default() } else { self.size() },
        }
    }

    /// As clouds size an instance: containers and sidecars together, or the largest init container if that is more.
    fn size(&self) -> Resources {
        let (mut running, mut starting) = (Resources::default(), Resources::default());
        for container in &self.containers {
            running += container.resources.size();
        }
        for container in &self.init_containers {
            if container.restart_policy.as_deref() == Some("Always") {
                running += container.resources.size();
            } else {
                starting = starting.max(container.resources.size());
            }
        }
        running.max(starting)
    }
}

impl Requirements {
    /// The limits, else the requests. A quantity that does not parse counts as zero; the API server has checked it.
    fn size(&self) -> Resources {
        let of = |name: &str| self.limits.get(name).or_else(|| self.requests.get(name));
        Resources {
            cpu: of("cpu").and_then(|text| text.parse().ok()).unwrap_or(MilliCpu(0)),
            memory: of("memory").and_then(|text| text.parse().ok()).unwrap_or(Bytes(0)),
        }
    }
}

/// The words of the annotation [`names::NEEDS`].
fn declared(annotations: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    let text = annotations.get(names::NEEDS).map(String::as_str).unwrap_or_default();
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// A word of that annotation that means nothing: what is needed is not known then, and no pool can be said to have it.
pub(super) fn unknown_need(annotations: Option<&BTreeMap<String, String>>) -> Option<String> {
    let known = BTreeSet::from([CLUSTER_DNS, SERVICES]);
    let word = declared(annotations?).find(|word| !known.contains(word))?;
    let key = names::NEEDS;
    Some(format!("annotation {key}: {word:?} is unknown; write {CLUSTER_DNS}, {SERVICES} or both with a comma between"))
}

/// What a whole pod asks of a provider.
pub fn needs_of(pod: &k8s_openapi::api::core::v1::Pod) -> Needs {
    // The same reading as the watch's, so that nothing is refused after it was let pass.
    let spec = serde_json::to_value(&pod.spec).and_then(serde_json::from_value::<Option<SlimPodSpec>>);
    spec.ok().flatten().unwrap_or_default().needs(pod.metadata.annotations.as_ref())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "`json!` makes a value at each call")]

    use serde_json::{Value, json};

    use super::*;

    fn kinds(spec: Value) -> Vec<Need> {
        let needs = serde_json::from_value::<SlimPodSpec>(spec).unwrap().needs(None);
        Need::ALL.into_iter().filter(|need| needs.kinds.has(*need)).collect()
    }

    fn of_container(extra: Value) -> Vec<Need> {
        let mut container = json!({"name": "a", "image": "i", "command": ["run"]});
        json_patch::merge(&mut container, &extra);
        kinds(json!({"containers": [container]}))
    }

    fn of_volume(extra: Value) -> Vec<Need> {
        kinds(json!({"containers": [], "volumes": [extra]}))
    }

    #[test]
    fn a_plain_pod_asks_for_nothing_but_its_image() {
        let token = json!({"name": "kube-api-access-x", "projected": {"sources": [{"serviceAccountToken": {}}]}});
        let spec = json!({"containers": [{"name": "a", "image": "i", "lifecycle": {}}], "volumes": [token,
            {"name": "tmp", "emptyDir": {}}], "dnsPolicy": "ClusterFirst", "restartPolicy": "Always"});
        assert_eq!(kinds(spec), [Need::ImageCommands]);
    }

    #[test]
    fn each_field_is_seen() {
        assert_eq!(of_container(json!({"startupProbe": {"exec": {}}})), [Need::StartupProbes]);
        assert_eq!(
            of_container(json!({"livenessProbe": {"grpc": {"port": 1}}})),
            [Need::LivenessProbes, Need::GrpcProbes]
        );
        assert_eq!(of_container(json!({"readinessProbe": {}})), [Need::ReadinessProbes]);
        assert_eq!(of_container(json!({"lifecycle": {"preStop": {}}})), [Need::LifecycleHooks]);
        assert_eq!(of_container(json!({"volumeMounts": [{"name": "v", "subPath": "x"}]})), [Need::SubPaths]);
        assert_eq!(of_container(json!({"workingDir": "/x"})), [Need::WorkingDirs]);
        assert_eq!(of_container(json!({"command": null, "args": ["x"]})), [Need::ImageCommands, Need::ArgumentsAlone]);
        let added = json!({"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}});
        assert_eq!(of_container(added), [Need::AddedCapabilities]);
        for kind in ["configMap", "secret", "downwardAPI"] {
            assert_eq!(of_volume(json!({kind: {}, "name": "v"})), [Need::Files], "{kind}");
        }
        let token = json!({"sources": [{"serviceAccountToken": {"path": "t"}}]});
        assert_eq!(of_volume(json!({"projected": token, "name": "v"})), [Need::Files, Need::Tokens]);
        assert_eq!(of_volume(json!({"name": "v", "emptyDir": {"medium": "Memory"}})), [Need::MemoryVolumes]);
        assert_eq!(of_volume(json!({"name": "v", "nfs": {}})), [Need::NfsVolumes]);
        assert_eq!(of_volume(json!({"name": "v", "flexVolume": {}})), [Need::FlexVolumes]);
        assert_eq!(kinds(json!({"hostAliases": [{}]})), [Need::HostAliases]);
        assert_eq!(kinds(json!({"dnsPolicy": "None"})), [Need::DnsConfig]);
        assert_eq!(kinds(json!({"shareProcessNamespace": true})), [Need::SharedProcesses]);
        let init = |policy: Value| json!({"initContainers": [{"command": ["x"], "restartPolicy": policy}]});
        assert_eq!(kinds(init(json!(null))), [Need::InitContainers]);
        assert_eq!(kinds(init(json!("Always"))), [Need::Sidecars]);
    }

    #[test]
    fn what_is_declared_counts_and_what_is_unknown_is_told() {
        let of = |text: &str| BTreeMap::from([(names::NEEDS.to_owned(), text.to_owned())]);
        let spec: SlimPodSpec = serde_json::from_value(json!({"restartPolicy": "Never"})).unwrap();
        let needs = spec.needs(Some(&of("cluster-dns, services")));
        let expected = [Need::ClusterDns, Need::Services, Need::ServicesUntilEnd];
        assert_eq!(needs.kinds, NeedSet::of(&expected));
        assert_eq!(unknown_need(Some(&of("cluster-dns,services"))), None);
        assert!(unknown_need(Some(&of("service"))).unwrap().contains("\"service\" is unknown"));
    }

    #[test]
    fn the_size_is_what_limits_say_unless_the_pod_names_its_own() {
        let amounts = |requests: Value, limits: Value| json!({"resources": {"requests": requests, "limits": limits}});
        let spec: SlimPodSpec = serde_json::from_value(json!({
            "containers": [amounts(json!({"cpu": "1", "memory": "1Gi"}), json!({"cpu": "2"}))],
            "initContainers": [amounts(json!({"memory": "4Gi"}), json!({}))]}))
        .unwrap();
        let needs = spec.needs(None);
        assert_eq!((needs.size.cpu, needs.size.memory), (MilliCpu(2000), Bytes(4 << 30)));
        let own = BTreeMap::from([("k8s.aliyun.com/eci-use-specs".to_owned(), "2-4Gi".to_owned())]);
        assert_eq!(spec.needs(Some(&own)).size, Resources::default());
    }
}

//! A pod in the plain form that clouds take: literal values only, and nothing that no cloud has.
//!
//! Whatever a cloud would silently drop is refused instead, by the field's name, before any call is made.

use std::collections::BTreeMap;

use burstlet_engine::model::{Bytes, MilliCpu};
use k8s_openapi::{
    api::core::v1::{Container, EnvVar, ObjectFieldSelector, Pod, PodSpec, ResourceRequirements, Volume},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::provider::{Content, File, Owner, ProviderError};

/// Name of the volume that the API server adds to every pod for its service account's token. No cloud can renew that
/// token, so instances go without it.
const TOKEN_VOLUME: &str = "kube-api-access-";

/// A pod, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainPod {
    /// What runs.
    pub containers: Vec<PlainContainer>,
    /// What runs before it, in order.
    pub init: Vec<PlainContainer>,
    /// `Always`, `OnFailure` or `Never`.
    pub restart_policy: String,
    /// Empty folders that containers share, by name; `true` for those in memory.
    pub empty_dirs: BTreeMap<String, bool>,
    /// Folders of files that the kubelet has read, by name, where the cloud takes files.
    pub files: BTreeMap<String, BTreeMap<String, File>>,
    /// `ClusterFirst`, `Default` or `None`.
    pub dns_policy: String,
    /// Name servers, search domains and options that the pod asks for.
    pub dns: Dns,
    /// Lines of `/etc/hosts`: an address and its names.
    pub host_aliases: Vec<(String, Vec<String>)>,
}

/// A pod's `dnsConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dns {
    /// Addresses.
    pub name_servers: Vec<String>,
    /// Domains.
    pub searches: Vec<String>,
    /// Options with their values.
    pub options: Vec<(String, Option<String>)>,
}

/// A container, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlainContainer {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Instead of the image's entry point.
    pub command: Vec<String>,
    /// Instead of the image's command.
    pub args: Vec<String>,
    /// Working folder, where the pod names one.
    pub working_dir: Option<String>,
    /// Variables, in order.
    pub env: Vec<(String, String)>,
    /// Ports and `TCP` or `UDP`.
    pub ports: Vec<(u16, String)>,
    /// Folders of the pod: name, path, whether read only.
    pub mounts: Vec<(String, String, bool)>,
    /// `Always`, `IfNotPresent` or `Never`, where the pod says so.
    pub pull_policy: Option<String>,
    /// CPU: the limit, else what is requested.
    pub cpu: MilliCpu,
    /// Memory: the limit, else what is requested.
    pub memory: Bytes,
    /// Keeps standard input open.
    pub stdin: bool,
    /// Has a terminal.
    pub tty: bool,
}

/// What a cloud is able to honour.
#[derive(Debug, Clone, Copy)]
pub struct Abilities {
    /// Most containers of an instance, init containers apart.
    pub containers: usize,
    /// Init containers.
    pub init: bool,
    /// Where the cloud has no probes, whether pods with probes are refused.
    pub refuses_probes: bool,
}

/// What a pod asks for that cannot be done, as a text for its event.
pub fn invalid(field: &str, problem: impl std::fmt::Display) -> ProviderError {
    ProviderError::Invalid(format!("{field}: {problem}"))
}

/// An annotation of the pod.
pub fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

impl PlainPod {
    /// Resolves `pod`, or tells the first field that cannot be honoured.
    pub fn of(owner: &Owner, pod: &Pod, abilities: Abilities) -> Result<Self, ProviderError> {
        Self::with(owner, pod, &Content::default(), abilities)
    }

    /// As [`PlainPod::of`], for a cloud that takes the files of `content`.
    pub fn with(owner: &Owner, pod: &Pod, content: &Content, abilities: Abilities) -> Result<Self, ProviderError> {
        let spec = pod.spec.as_ref().ok_or_else(|| invalid("spec", "the pod has none"))?;
        refuse_host(spec)?;
        if spec.containers.len() > abilities.containers {
            let text = format!("{} are too many; the cloud takes {}", spec.containers.len(), abilities.containers);
            return Err(invalid("spec.containers", text));
        }
        let init = spec.init_containers.as_deref().unwrap_or_default();
        if !init.is_empty() && !abilities.init {
            return Err(invalid("spec.initContainers", "the cloud runs none"));
        }
        if let Some(sidecar) = init.iter().find(|container| container.restart_policy.is_some()) {
            let text = format!("{:?} is restartable, which the cloud does not know", sidecar.name);
            return Err(invalid("spec.initContainers", text));
        }
        let volumes = volumes(spec.volumes.as_deref().unwrap_or_default(), content)?;
        let resolve = |field: &'static str, containers: &[Container]| {
            let resolved = containers.iter().map(|container| {
                container_of(owner, pod, container, &volumes, abilities)
                    .map_err(|(name, problem)| invalid(&format!("{field}[{}].{name}", container.name), problem))
            });
            resolved.collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            containers: resolve("spec.containers", &spec.containers)?,
            init: resolve("spec.initContainers", init)?,
            restart_policy: spec.restart_policy.clone().unwrap_or_else(|| "Always".to_owned()),
            files: content.volumes.iter().filter(|(_, files)| !files.is_empty()).map(owned).collect(),
            empty_dirs: volumes.into_iter().filter(|(name, _)| is_empty(content, name)).collect(),
            dns_policy: spec.dns_policy.clone().unwrap_or_else(|| "ClusterFirst".to_owned()),
            dns: dns(spec),
            host_aliases: host_aliases(spec),
        })
    }

    /// CPU and memory of all containers, or of the largest init container where that is more.
    pub fn totals(&self) -> (MilliCpu, Bytes) {
        let sum = |of: fn(&PlainContainer) -> u64| self.containers.iter().map(of).fold(0, u64::saturating_add);
        let largest = |of: fn(&PlainContainer) -> u64| self.init.iter().map(of).max().unwrap_or(0);
        let total = |of: fn(&PlainContainer) -> u64| sum(of).max(largest(of));
        (MilliCpu(total(|container| container.cpu.0)), Bytes(total(|container| container.memory.0)))
    }
}

fn refuse_host(spec: &PodSpec) -> Result<(), ProviderError> {
    let flags =
        [("spec.hostNetwork", spec.host_network), ("spec.hostPID", spec.host_pid), ("spec.hostIPC", spec.host_ipc)];
    for (field, flag) in flags {
        if flag == Some(true) {
            return Err(invalid(field, "an instance has no host to share"));
        }
    }
    Ok(())
}

fn owned((name, files): (&String, &BTreeMap<String, File>)) -> (String, BTreeMap<String, File>) {
    (name.clone(), files.clone())
}

/// Whether a volume begins without files.
fn is_empty(content: &Content, volume: &str) -> bool {
    content.volumes.get(volume).is_none_or(BTreeMap::is_empty)
}

/// All volumes that containers may mount; `true` for those in memory.
fn volumes(volumes: &[Volume], content: &Content) -> Result<BTreeMap<String, bool>, ProviderError> {
    let mut empty_dirs = BTreeMap::new();
    for volume in volumes {
        if let Some(empty) = &volume.empty_dir {
            empty_dirs.insert(volume.name.clone(), empty.medium.as_deref() == Some("Memory"));
        } else if content.volumes.contains_key(&volume.name) {
            empty_dirs.insert(volume.name.clone(), false);
        } else if !volume.name.starts_with(TOKEN_VOLUME) || volume.projected.is_none() {
            let kind = serde_json::to_value(volume).ok().and_then(|value| {
                value.as_object().and_then(|fields| fields.keys().find(|key| *key != "name").cloned())
            });
            let text = format!("{} is no volume that the cloud has", kind.unwrap_or_else(|| "this".to_owned()));
            return Err(invalid(&format!("spec.volumes[{}]", volume.name), text));
        }
    }
    Ok(empty_dirs)
}

type Problem = (&'static str, String);

fn container_of(
    owner: &Owner,
    pod: &Pod,
    container: &Container,
    volumes: &BTreeMap<String, bool>,
    abilities: Abilities,
) -> Result<PlainContainer, Problem> {
    if container.security_context.as_ref().and_then(|context| context.privileged) == Some(true) {
        return Err(("securityContext.privileged", "the cloud runs no privileged containers".to_owned()));
    }
    let probes = [
        ("livenessProbe", container.liveness_probe.is_some()),
        ("readinessProbe", container.readiness_probe.is_some()),
        ("startupProbe", container.startup_probe.is_some()),
    ];
    if let Some((field, _)) = probes.iter().find(|(_, is_set)| *is_set && abilities.refuses_probes) {
        return Err((field, "the cloud has no probes".to_owned()));
    }
    let env = env(owner, pod, container)?;
    let expand =
        |texts: Option<&Vec<String>>| texts.into_iter().flatten().map(|text| expanded(text, &env)).collect::<Vec<_>>();
    let mounts = container.volume_mounts.iter().flatten().filter(|mount| volumes.contains_key(&mount.name));
    if mounts.clone().any(|mount| mount.sub_path.is_some() || mount.sub_path_expr.is_some()) {
        return Err(("volumeMounts", "the cloud mounts whole volumes: leave subPath out".to_owned()));
    }
    let ports = container.ports.iter().flatten().map(|port| {
        let number = u16::try_from(port.container_port).map_err(|_| ("ports", "no such port".to_owned()))?;
        Ok((number, port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())))
    });
    let resources = container.resources.clone().unwrap_or_default();
    Ok(PlainContainer {
        name: container.name.clone(),
        image: container.image.clone().ok_or_else(|| ("image", "none".to_owned()))?,
        command: expand(container.command.as_ref()),
        args: expand(container.args.as_ref()),
        working_dir: container.working_dir.clone(),
        ports: ports.collect::<Result<_, Problem>>()?,
        mounts: mounts
            .map(|mount| (mount.name.clone(), mount.mount_path.clone(), mount.read_only == Some(true)))
            .collect(),
        pull_policy: container.image_pull_policy.clone(),
        cpu: resource(&resources, "cpu")?.unwrap_or_default(),
        memory: resource(&resources, "memory")?.unwrap_or_default(),
        stdin: container.stdin == Some(true),
        tty: container.tty == Some(true),
        env,
    })
}

/// The limit, else the request.
fn resource<T: std::str::FromStr<Err: std::fmt::Display>>(
    resources: &ResourceRequirements,
    name: &str,
) -> Result<Option<T>, Problem> {
    let of = |list: &Option<BTreeMap<String, Quantity>>| list.as_ref().and_then(|list| list.get(name)).cloned();
    let quantity = of(&resources.limits).or_else(|| of(&resources.requests));
    quantity.map(|quantity| quantity.0.parse::<T>().map_err(|error| ("resources", error.to_string()))).transpose()
}

fn env(owner: &Owner, pod: &Pod, container: &Container) -> Result<Vec<(String, String)>, Problem> {
    for source in container.env_from.iter().flatten() {
        let refs = [
            source.config_map_ref.as_ref().map(|map| (map.optional, "ConfigMap", &map.name)),
            source.secret_ref.as_ref().map(|secret| (secret.optional, "Secret", &secret.name)),
        ];
        if let Some((_, kind, name)) = refs.into_iter().flatten().find(|(optional, ..)| *optional != Some(true)) {
            return Err(("envFrom", format!("the {kind} {name} was not resolved")));
        }
    }
    let mut env: Vec<(String, String)> = Vec::new();
    for variable in container.env.iter().flatten() {
        if let Some(value) = value_of(owner, pod, container, variable, &env)? {
            env.push((variable.name.clone(), value));
        }
    }
    Ok(env)
}

fn value_of(
    owner: &Owner,
    pod: &Pod,
    container: &Container,
    variable: &EnvVar,
    before: &[(String, String)],
) -> Result<Option<String>, Problem> {
    let Some(from) = &variable.value_from else {
        return Ok(Some(expanded(variable.value.as_deref().unwrap_or_default(), before)));
    };
    let unresolved = |what: String| Err(("env", format!("{}: {what} cannot be resolved", variable.name)));
    if let Some(field) = &from.field_ref {
        return match field_of(owner, pod, field) {
            Some(value) => Ok(Some(value)),
            None => unresolved(format!("field {}", field.field_path)),
        };
    }
    if let Some(resource_field) = &from.resource_field_ref {
        let resources = container.resources.clone().unwrap_or_default();
        return match resource_field.resource.as_str() {
            "limits.cpu" | "requests.cpu" => {
                let cpu: MilliCpu = resource(&resources, "cpu")?.unwrap_or_default();
                Ok(Some(cpu.0.div_ceil(1000).to_string()))
            }
            "limits.memory" | "requests.memory" => {
                let memory: Bytes = resource(&resources, "memory")?.unwrap_or_default();
                Ok(Some(memory.0.to_string()))
            }
            other => unresolved(format!("resource {other}")),
        };
    }
    let (optional, kind, name) = match (&from.config_map_key_ref, &from.secret_key_ref) {
        (Some(map), _) => (map.optional, "ConfigMap", &map.name),
        (_, Some(secret)) => (secret.optional, "Secret", &secret.name),
        _ => return unresolved("its source".to_owned()),
    };
    if optional == Some(true) { Ok(None) } else { unresolved(format!("the {kind} {name}")) }
}

fn field_of(owner: &Owner, pod: &Pod, field: &ObjectFieldSelector) -> Option<String> {
    let keyed = |prefix: &str| field.field_path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']");
    if let Some(key) = keyed("metadata.labels") {
        return Some(pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned().unwrap_or_default());
    }
    if let Some(key) = keyed("metadata.annotations") {
        return Some(annotation(pod, key).unwrap_or_default().to_owned());
    }
    match field.field_path.as_str() {
        "metadata.name" => Some(owner.name.clone()),
        "metadata.namespace" => Some(owner.namespace.clone()),
        "metadata.uid" => Some(owner.uid.clone()),
        "spec.nodeName" => Some(owner.node.clone()),
        "spec.serviceAccountName" => {
            Some(pod.spec.as_ref()?.service_account_name.clone().unwrap_or_else(|| "default".to_owned()))
        }
        _ => None,
    }
}

/// `$(NAME)` becomes the variable's value, where there is one; `$$` is a dollar.
pub(super) fn expanded(text: &str, env: &[(String, String)]) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, from) = rest.split_at(at);
        result.push_str(before);
        let name = from.strip_prefix("$(").and_then(|after| after.split_once(')'));
        if let Some(after) = from.strip_prefix("$$") {
            result.push('$');
            rest = after;
        } else if let Some((name, after)) = name {
            match env.iter().rev().find(|(known, _)| known == name) {
                Some((_, value)) => result.push_str(value),
                None => result.push_str(&from[..from.len() - after.len()]),
            }
            rest = after;
        } else {
            result.push('$');
            rest = &from[1..];
        }
    }
    result + rest
}

fn dns(spec: &PodSpec) -> Dns {
    let Some(config) = &spec.dns_config else { return Dns::default() };
    let options = config.options.iter().flatten();
    Dns {
        name_servers: config.nameservers.clone().unwrap_or_default(),
        searches: config.searches.clone().unwrap_or_default(),
        options: options.map(|option| (option.name.clone().unwrap_or_default(), option.value.clone())).collect(),
    }
}

fn host_aliases(spec: &PodSpec) -> Vec<(String, Vec<String>)> {
    let aliases = spec.host_aliases.iter().flatten();
    aliases.map(|alias| (alias.ip.clone(), alias.hostnames.clone().unwrap_or_default())).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    pub(in crate::provider::clouds) fn owner(uid: &str) -> Owner {
        Owner {
            cluster: "lab".to_owned(),
            node: "node-0".to_owned(),
            namespace: "default".to_owned(),
            name: format!("web-{uid}"),
            uid: uid.to_owned(),
        }
    }

    #[allow(clippy::needless_pass_by_value, reason = "`json!` makes a value at each call")]
    pub(in crate::provider::clouds) fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"labels": {"app": "web"}}, "spec": spec})).unwrap()
    }

    const ALL: Abilities = Abilities { containers: 2, init: true, refuses_probes: true };

    fn plain(spec: Value) -> Result<PlainPod, String> {
        PlainPod::of(&owner("u"), &pod(spec), ALL).map_err(|error| error.to_string())
    }

    #[test]
    fn variables_are_resolved_and_expanded_as_kubernetes_does() {
        let env = json!([
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "BOTH", "value": "$(NAME)/$(APP)/$(NONE)/$$(APP)"},
            {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
            {"name": "MAYBE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": true}}},
        ]);
        let container = json!({"name": "a", "image": "i", "args": ["$(APP)", "cost: 5$"], "env": env,
            "resources": {"limits": {"memory": "1Ki"}, "requests": {"cpu": "1500m", "memory": "1"}}});
        let pod = plain(json!({"containers": [container]})).unwrap();
        let container = &pod.containers[0];
        let env = container.env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        assert_eq!(env, ["NAME=web-u", "APP=web", "BOTH=web-u/web/$(NONE)/$(APP)", "MEMORY=1024"]);
        assert_eq!(container.args, ["web", "cost: 5$"]);
        assert_eq!(pod.totals(), (MilliCpu(1500), Bytes(1024)));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_its_field() {
        let container = |extra: Value| {
            let mut container = json!({"name": "a", "image": "i"});
            json_patch::merge(&mut container, &extra);
            json!({"containers": [container]})
        };
        let refused = |spec: Value| plain(spec).unwrap_err();
        let cases = [
            (json!({"hostNetwork": true, "containers": []}), "spec.hostNetwork"),
            (
                json!({"containers": [], "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
                "spec.volumes[v]: hostPath",
            ),
            (
                container(json!({"securityContext": {"privileged": true}})),
                "spec.containers[a].securityContext.privileged",
            ),
            (container(json!({"readinessProbe": {}})), "spec.containers[a].readinessProbe"),
            (
                container(json!({"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]})),
                "the Secret s",
            ),
            (json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}), "3 are too many; the cloud takes 2"),
        ];
        for (spec, expected) in cases {
            let text = refused(spec);
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn the_token_volume_that_every_pod_has_is_left_out() {
        let spec = json!({"containers": [{"name": "a", "image": "i", "volumeMounts": [
                {"name": "kube-api-access-x", "mountPath": "/var/run"}, {"name": "tmp", "mountPath": "/tmp"}]}],
            "volumes": [{"name": "kube-api-access-x", "projected": {}}, {"name": "tmp", "emptyDir": {"medium": "Memory"}}]});
        let pod = plain(spec).unwrap();
        assert_eq!(pod.containers[0].mounts, [("tmp".to_owned(), "/tmp".to_owned(), false)]);
        assert!(pod.empty_dirs["tmp"]);
    }
}

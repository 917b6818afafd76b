//! A pod as a container group.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use burstlet_engine::model::{Bytes, MilliCpu};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::{
    api::pool::azure_aci::{AzureAci, Priority},
    provider::{
        Content, File, Owner, ProviderError, RegistryKey,
        clouds::pod::{Abilities, PlainContainer, PlainPod, invalid},
    },
};

/// Tags by which a group tells whose it is; their names may hold no slash.
pub(super) const TAG_CLUSTER: &str = "burstlet-cluster";
pub(super) const TAG_NODE: &str = "burstlet-node";
pub(super) const TAG_NAMESPACE: &str = "burstlet-namespace";
pub(super) const TAG_NAME: &str = "burstlet-name";
pub(super) const TAG_UID: &str = "burstlet-uid";

const ABILITIES: Abilities = Abilities { containers: 60, init: true, refuses_probes: true };

const MOST_CPU_MILLIS: u64 = 4000;
const MOST_MEMORY_TENTHS: u64 = 160;
/// What a container gets that asks for nothing.
const DEFAULT: (MilliCpu, Bytes) = (MilliCpu(1000), Bytes(3 << 29));

/// A request without its subnet.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The body of `PUT`.
    pub body: Value,
    /// Size, and what the pod asked for, for people.
    pub size: String,
}

/// The group's name: by the pod's UID, so that creating again changes nothing.
pub fn name_of(owner: &Owner) -> String {
    format!("burstlet-{}", owner.uid)
}

/// The request for `pod`, or the field that stands in its way.
pub(super) fn translate(
    settings: &AzureAci,
    owner: &Owner,
    pod: &Pod,
    content: &Content,
) -> Result<Request, ProviderError> {
    let plain = PlainPod::with(owner, pod, content, ABILITIES)?;
    if !plain.host_aliases.is_empty() {
        return Err(invalid("spec.hostAliases", "ACI has none"));
    }
    let (mut cpu, mut memory) = (0, 0);
    let mut containers = Vec::new();
    for container in &plain.containers {
        let (millis, tenths) = share(container);
        (cpu, memory) = (cpu + millis, memory + tenths);
        let mut value = container_of(container)?;
        value["properties"]["resources"] =
            json!({"requests": {"cpu": thousandths(millis), "memoryInGB": tenths_of(tenths)}});
        containers.push(value);
    }
    if cpu > MOST_CPU_MILLIS || memory > MOST_MEMORY_TENTHS {
        let text = format!(
            "{} vCPU and {} GB are beyond the largest group, 4 vCPU and 16 GB",
            thousandths(cpu),
            tenths_of(memory)
        );
        return Err(invalid("resources", text));
    }
    let init = plain.init.iter().map(container_of).collect::<Result<Vec<_>, _>>()?;
    let (asked_cpu, asked_memory) = plain.totals();
    let size = format!(
        "{}m CPU, {} MiB rounded up to {} vCPU, {} GB",
        asked_cpu.0,
        asked_memory.0 >> 20,
        thousandths(cpu),
        tenths_of(memory)
    );
    let folders = plain.empty_dirs.keys().map(|name| Ok(json!({"name": name, "emptyDir": {}})));
    let volumes = folders.chain(plain.files.iter().map(|(name, files)| secret_volume(name, files)));
    let volumes = volumes.collect::<Result<Vec<_>, ProviderError>>()?;
    let mut properties = json!({
        "containers": containers,
        "initContainers": init,
        "osType": "Linux",
        "restartPolicy": plain.restart_policy,
        "volumes": volumes,
    });
    if !content.registries.is_empty() {
        properties["imageRegistryCredentials"] = content.registries.iter().map(registry).collect();
    }
    if settings.priority == Priority::Spot {
        properties["priority"] = json!("Spot");
    }
    if let Some(config) = dns(settings, owner, &plain) {
        properties["dnsConfig"] = config;
    }
    let tags = json!({
        TAG_CLUSTER: owner.cluster,
        TAG_NODE: owner.node,
        TAG_NAMESPACE: owner.namespace,
        TAG_NAME: owner.name,
        TAG_UID: owner.uid,
    });
    Ok(Request { body: json!({"location": settings.location, "tags": tags, "properties": properties}), size })
}

/// As a kubelet makes a pod's resolv.conf: the cluster's servers and searches, then the pod's own. ACI takes none without
/// name servers, as it then asks Azure's.
fn dns(settings: &AzureAci, owner: &Owner, plain: &PlainPod) -> Option<Value> {
    let (mut servers, mut searches, mut options) = (Vec::new(), Vec::new(), Vec::new());
    if plain.dns_policy == "ClusterFirst" && !settings.cluster_dns.is_empty() {
        let domain = &settings.cluster_domain;
        servers.extend(settings.cluster_dns.iter().map(ToString::to_string));
        searches.extend([format!("{}.svc.{domain}", owner.namespace), format!("svc.{domain}"), domain.clone()]);
        if !plain.dns.options.iter().any(|(name, _)| name == "ndots") {
            options.push("ndots:5".to_owned());
        }
    }
    servers.extend(plain.dns.name_servers.iter().cloned());
    searches.extend(plain.dns.searches.iter().cloned());
    let own = plain.dns.options.iter();
    options.extend(
        own.map(|(name, value)| value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}:{value}"))),
    );
    (!servers.is_empty())
        .then(|| json!({"nameServers": servers, "searchDomains": searches.join(" "), "options": options.join(" ")}))
}

/// ACI's volume of files, in memory; it has no folders in it.
fn secret_volume(name: &str, files: &BTreeMap<String, File>) -> Result<Value, ProviderError> {
    let mut secret = serde_json::Map::new();
    for (path, file) in files {
        if path.contains('/') {
            let text = format!("ACI's volumes have no folders, and {path} is in one; name the file without");
            return Err(invalid(&format!("spec.volumes[{name}]"), text));
        }
        secret.insert(path.clone(), json!(BASE64_STANDARD.encode(&file.data)));
    }
    Ok(json!({"name": name, "secret": secret}))
}

/// A registry by its host alone, as ACI wants it.
fn registry(key: &RegistryKey) -> Value {
    let host = key.server.split_once("://").map_or(key.server.as_str(), |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or(host);
    json!({"server": host, "username": key.user, "password": key.password.reveal()})
}

/// Thousandths of a vCPU, in steps of ten, and tenths of a GB.
fn share(container: &PlainContainer) -> (u64, u64) {
    let cpu = if container.cpu.0 == 0 { DEFAULT.0 } else { container.cpu };
    let memory = if container.memory.0 == 0 { DEFAULT.1 } else { container.memory };
    (cpu.0.div_ceil(10) * 10, memory.0.saturating_mul(10).div_ceil(1 << 30))
}

#[expect(clippy::cast_precision_loss, reason = "at most some thousands")]
fn thousandths(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "at most some thousands")]
fn tenths_of(tenths: u64) -> f64 {
    tenths as f64 / 10.0
}

fn container_of(container: &PlainContainer) -> Result<Value, ProviderError> {
    let field = |name: &str| format!("spec.containers[{}].{name}", container.name);
    if container.command.is_empty() && !container.args.is_empty() {
        return Err(invalid(&field("args"), "ACI takes no arguments without a command; name the command, too"));
    }
    if container.working_dir.is_some() {
        return Err(invalid(&field("workingDir"), "ACI has none"));
    }
    let env = container.env.iter().map(|(name, value)| json!({"name": name, "value": value}));
    let ports = container.ports.iter().map(|(port, protocol)| json!({"port": port, "protocol": protocol}));
    let mounts = container
        .mounts
        .iter()
        .map(|(name, path, read_only)| json!({"name": name, "mountPath": path, "readOnly": read_only}));
    let mut properties = json!({
        "image": container.image,
        "environmentVariables": env.collect::<Vec<_>>(),
        "volumeMounts": mounts.collect::<Vec<_>>(),
    });
    let ports = ports.collect::<Vec<_>>();
    if !ports.is_empty() {
        properties["ports"] = json!(ports);
    }
    if !container.command.is_empty() {
        properties["command"] = json!([container.command.clone(), container.args.clone()].concat());
    }
    Ok(json!({"name": container.name, "properties": properties}))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "`json!` makes a value at each call")]

    use super::*;
    use crate::provider::clouds::{
        Secret,
        pod::tests::{owner, pod},
    };

    fn settings(extra: Value) -> AzureAci {
        let mut settings = json!({"location": "westeurope", "subscriptionId": "s", "resourceGroup": "g"});
        json_patch::merge(&mut settings, &extra);
        serde_json::from_value(settings).unwrap()
    }

    fn request(container: Value) -> Result<Value, String> {
        let mut whole = json!({"name": "a", "image": "i"});
        json_patch::merge(&mut whole, &container);
        let pod = pod(json!({"restartPolicy": "Never", "containers": [whole]}));
        let request = translate(&settings(json!({"priority": "Spot"})), &owner("u"), &pod, &Content::default());
        request.map(|request| request.body).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pod_becomes_a_group() {
        let resources = json!({"requests": {"cpu": "1234m", "memory": "1000Mi"}});
        let body = request(json!({"command": ["sh"], "args": ["-c", "ls"], "resources": resources})).unwrap();
        let properties = &body["properties"];
        assert_eq!((&properties["priority"], &properties["restartPolicy"]), (&json!("Spot"), &json!("Never")));
        let container = &properties["containers"][0]["properties"];
        assert_eq!(container["command"], json!(["sh", "-c", "ls"]));
        assert_eq!(container["resources"]["requests"], json!({"cpu": 1.24, "memoryInGB": 1.0}));
        assert_eq!(body["tags"]["burstlet-uid"], "u");
        let unasked = request(json!({})).unwrap();
        let asked = &unasked["properties"]["containers"][0]["properties"]["resources"]["requests"];
        assert_eq!(*asked, json!({"cpu": 1.0, "memoryInGB": 1.5}));
    }

    #[test]
    fn files_and_registry_keys_travel_with_the_group() {
        let volumes =
            json!([{"name": "map", "configMap": {"name": "c"}}, {"name": "none", "secret": {"secretName": "s"}}]);
        let mounts = json!([{"name": "map", "mountPath": "/etc/map"}]);
        let container = json!({"name": "a", "image": "i", "volumeMounts": mounts});
        let pod = pod(json!({"containers": [container], "volumes": volumes}));
        let file = File { data: b"red".to_vec(), mode: 0o644 };
        let content = |path: &str| Content {
            volumes: BTreeMap::from([
                ("map".to_owned(), BTreeMap::from([(path.to_owned(), file.clone())])),
                ("none".to_owned(), BTreeMap::new()),
            ]),
            registries: vec![RegistryKey {
                server: "https://index.docker.io/v1/".to_owned(),
                user: "me".to_owned(),
                password: Secret::new("hunter2"),
            }],
        };
        let body = translate(&settings(json!({})), &owner("u"), &pod, &content("COLOUR")).unwrap().body;
        let properties = &body["properties"];
        let expected = json!([{"name": "none", "emptyDir": {}}, {"name": "map", "secret": {"COLOUR": "cmVk"}}]);
        assert_eq!(properties["volumes"], expected);
        assert_eq!(properties["containers"][0]["properties"]["volumeMounts"][0]["mountPath"], "/etc/map");
        let key = json!([{"server": "index.docker.io", "username": "me", "password": "hunter2"}]);
        assert_eq!(properties["imageRegistryCredentials"], key);
        let deep = translate(&settings(json!({})), &owner("u"), &pod, &content("a/b")).unwrap_err().to_string();
        assert!(deep.contains("spec.volumes[map]") && deep.contains("a/b"), "{deep}");
    }

    #[test]
    fn cluster_dns_is_rendered_where_the_pool_names_it() {
        let config = |extra: Value, policy: &str| {
            let own = json!({"searches": ["x"], "options": [{"name": "timeout", "value": "1"}]});
            let spec = json!({"containers": [{"name": "a", "image": "i"}], "dnsPolicy": policy, "dnsConfig": own});
            let body = translate(&settings(extra), &owner("u"), &pod(spec), &Content::default()).unwrap().body;
            body["properties"]["dnsConfig"].clone()
        };
        let named = json!({"clusterDNS": ["10.0.0.10"], "clusterDomain": "c.local"});
        let expected = json!({"nameServers": ["10.0.0.10"], "options": "ndots:5 timeout:1",
            "searchDomains": "default.svc.c.local svc.c.local c.local x"});
        assert_eq!(config(named.clone(), "ClusterFirst"), expected);
        assert_eq!(config(named, "Default"), json!(null), "Azure's own");
        assert_eq!(config(json!({}), "ClusterFirst"), json!(null));
    }

    #[test]
    fn limits_are_told_by_field() {
        assert!(request(json!({"args": ["x"]})).unwrap_err().contains("spec.containers[a].args"));
        assert!(request(json!({"workingDir": "/x"})).unwrap_err().contains("workingDir"));
        let large = json!({"resources": {"limits": {"cpu": "5"}}});
        assert!(request(large).unwrap_err().contains("beyond the largest group, 4 vCPU and 16 GB"));
        for (extra, field) in [
            (json!({"location": "West Europe"}), "location"),
            (json!({"subscriptionId": "a/b"}), "subscriptionId"),
            (json!({"priority": "Spot", "subnetIds": ["x"]}), "subnetIds"),
        ] {
            let text = ProviderError::refuse_faulty(settings(extra).faults()).unwrap_err().to_string();
            assert!(text.starts_with(&format!("invalid request: {field}")), "{text}");
        }
    }
}

//! A pod as the parameters of `CreateContainerGroup`.
//!
//! Lists are flattened with indices from 0: `Container.0.Image`, `SecurityGroupId.0`.

use burstlet_engine::model::{Bytes, MilliCpu};
use k8s_openapi::api::core::v1::Pod;

use super::sizes::{Chosen, Sizes};
use crate::{
    api::pool::kingsoft_kci::{CLUSTER_MODE, ChargeType, KingsoftKci, MOST_SECURITY_GROUPS},
    provider::{
        Owner, ProviderError,
        clouds::{
            bandwidth::{EGRESS, INGRESS, bandwidth},
            pod::{Abilities, PlainContainer, PlainPod, annotation, invalid},
        },
    },
};

/// Annotation: CPUs of the instance; only together with [`MEMORY`].
pub const CPU: &str = "k8s.ksyun.com/kci-instance-cpu";
/// Annotation: GiB of memory of the instance; only together with [`CPU`].
pub const MEMORY: &str = "k8s.ksyun.com/kci-instance-memory";
/// Annotation: security groups in place of the pool's, at most 3, separated by commas.
pub const SECURITY_GROUPS: &str = "k8s.ksyun.com/kci-security-group-id";
/// Annotation: the subnet in place of the pool's.
pub const SUBNET: &str = "k8s.ksyun.com/kci-subnet-id";
/// Annotation: whether Services are reached by their cluster addresses; `true` is refused.
pub const KUBE_PROXY: &str = "k8s.ksyun.com/kci-kube-proxy-enabled";

/// Labels by which an instance tells whose it is. The first three are Kingsoft's own names.
pub(super) const LABEL_CLUSTER_ID: &str = "cluster-id";
pub(super) const LABEL_NAMESPACE: &str = "namespace";
pub(super) const LABEL_NAME: &str = "pod-name";
pub(super) const LABEL_CLUSTER: &str = "burstlet.dev/cluster";
pub(super) const LABEL_NODE: &str = "burstlet.dev/node";
pub(super) const LABEL_UID: &str = "burstlet.dev/uid";

const ABILITIES: Abilities = Abilities { containers: 5, init: true, refuses_probes: true };

/// Longest name of an instance.
const LONGEST_NAME: usize = 128;

/// A request without its subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Parameters in the order in which they are sent.
    pub params: Vec<(String, String)>,
    /// The size that the pod was rounded up to.
    pub size: Chosen,
    /// The subnet that the pod names.
    pub subnet: Option<String>,
}

/// The name of the pod's instance: it ends with the UID, so that it can be looked up by it.
pub fn name_of(owner: &Owner) -> String {
    let room = LONGEST_NAME.saturating_sub(owner.uid.len() + 1);
    let head = owner.name.get(..owner.name.len().min(room)).unwrap_or_default();
    format!("{}-{}", head.trim_end_matches(['-', '.']), owner.uid)
}

/// The request for `pod`, or the field that stands in its way.
pub(super) fn translate(
    settings: &KingsoftKci,
    sizes: &Sizes,
    owner: &Owner,
    pod: &Pod,
) -> Result<Request, ProviderError> {
    let plain = PlainPod::of(owner, pod, ABILITIES)?;
    refuse_kube_proxy(pod)?;
    let size = size(sizes, &plain, pod)?;
    let mut params = Params::default();
    params.set("ContainerGroupName", name_of(owner));
    params.list("SecurityGroupId", &security_groups(settings, pod)?);
    params.set("KciType", "RBKCI");
    match settings.charge_type {
        ChargeType::HourlyInstantSettlement => params.set("ChargeType", "HourlyInstantSettlement"),
        ChargeType::Spot => {
            params.set("ChargeType", "Spot");
            params.set("SpotStrategy", "SpotAsPriceGo");
        }
    }
    if !settings.instance_families.is_empty() {
        params.set("InstanceFamily", settings.instance_families.join(","));
    }
    params.set("Cpu", size.cpu());
    params.set("Memory", size.memory_gib.to_string());
    params.set("RestartPolicy", &plain.restart_policy);
    if settings.auto_match_image_cache {
        params.set("AutoMatchImageCache", "true");
    }
    for (at, container) in plain.containers.iter().enumerate() {
        params.container(&format!("Container.{at}"), container);
    }
    for (at, container) in plain.init.iter().enumerate() {
        params.container(&format!("InitContainer.{at}"), container);
    }
    for (at, (name, in_memory)) in plain.empty_dirs.iter().enumerate() {
        params.set(format!("Volume.{at}.Name"), name);
        params.set(format!("Volume.{at}.Type"), "EmptyDirVolume");
        if *in_memory {
            params.set(format!("Volume.{at}.EmptyDirVolume.Medium"), "Memory");
        }
    }
    params.dns(settings, owner, &plain);
    for (at, (ip, names)) in plain.host_aliases.iter().enumerate() {
        params.set(format!("HostAliase.{at}.Ip"), ip);
        params.list(&format!("HostAliase.{at}.Hostname"), names);
    }
    for (at, (key, value)) in labels(settings, owner, pod)?.into_iter().enumerate() {
        params.set(format!("Label.{at}.Key"), key);
        params.set(format!("Label.{at}.Value"), value);
    }
    let subnet = annotation(pod, SUBNET).map(|text| text.trim().to_owned()).filter(|subnet| !subnet.is_empty());
    if subnet.is_none() && settings.subnet_ids.is_empty() {
        return Err(invalid("subnetIds", format!("the pool names none, nor does the pod's annotation {SUBNET}")));
    }
    Ok(Request { params: params.0, size, subnet })
}

fn refuse_kube_proxy(pod: &Pod) -> Result<(), ProviderError> {
    let field = || format!("annotation {KUBE_PROXY}");
    match annotation(pod, KUBE_PROXY) {
        None | Some("false") => Ok(()),
        Some("true") => Err(invalid(&field(), CLUSTER_MODE)),
        Some(other) => Err(invalid(&field(), format!("{other:?} is neither true nor false"))),
    }
}

fn few_security_groups(field: &str, groups: &[String]) -> Result<(), ProviderError> {
    if groups.len() > MOST_SECURITY_GROUPS {
        return Err(invalid(field, format!("{} are too many; at most {MOST_SECURITY_GROUPS}", groups.len())));
    }
    Ok(())
}

fn security_groups(settings: &KingsoftKci, pod: &Pod) -> Result<Vec<String>, ProviderError> {
    let Some(text) = annotation(pod, SECURITY_GROUPS) else {
        if settings.security_group_ids.is_empty() {
            let text = format!("the pool names none, nor does the pod's annotation {SECURITY_GROUPS}");
            return Err(invalid("securityGroupIds", text));
        }
        return Ok(settings.security_group_ids.clone());
    };
    let field = format!("annotation {SECURITY_GROUPS}");
    let groups = text.split(',').map(|group| group.trim().to_owned()).collect::<Vec<_>>();
    if groups.iter().any(String::is_empty) {
        return Err(invalid(&field, format!("{text:?} has an empty name; write them with commas between")));
    }
    few_security_groups(&field, &groups)?;
    Ok(groups)
}

fn size(sizes: &Sizes, plain: &PlainPod, pod: &Pod) -> Result<Chosen, ProviderError> {
    let (cpu_text, memory_text) = match (annotation(pod, CPU), annotation(pod, MEMORY)) {
        (None, None) => {
            let (cpu, memory) = plain.totals();
            return sizes.round_up(cpu, memory);
        }
        (Some(cpu), Some(memory)) => (cpu, memory),
        (Some(_), None) => {
            return Err(invalid(&format!("annotation {CPU}"), format!("counts only together with {MEMORY}")));
        }
        (None, Some(_)) => {
            return Err(invalid(&format!("annotation {MEMORY}"), format!("counts only together with {CPU}")));
        }
    };
    let cpu = cpu_text.trim().parse::<MilliCpu>().map_err(|error| invalid(&format!("annotation {CPU}"), error))?;
    // The value is in GiB, without a unit.
    let memory = memory_text.trim().parse::<u64>().ok();
    let memory = memory.ok_or_else(|| {
        invalid(&format!("annotation {MEMORY}"), format!("{memory_text:?} is no number of GiB; write for example 8"))
    })?;
    sizes.exactly(cpu.0, memory).ok_or_else(|| {
        let nearest = Bytes(memory.saturating_mul(1 << 30));
        let text = match sizes.round_up(cpu, nearest) {
            Ok(next) => format!(
                "KCI has no size of {cpu_text} vCPU and {memory} GiB; the next is {} and {}",
                next.cpu(),
                next.memory_gib
            ),
            Err(error) => error.to_string(),
        };
        invalid(&format!("annotations {CPU} and {MEMORY}"), text)
    })
}

fn labels(settings: &KingsoftKci, owner: &Owner, pod: &Pod) -> Result<Vec<(&'static str, String)>, ProviderError> {
    let mut labels = vec![
        (LABEL_CLUSTER_ID, settings.cluster_id.clone().unwrap_or_else(|| owner.cluster.clone())),
        (LABEL_NAMESPACE, owner.namespace.clone()),
        (LABEL_NAME, owner.name.clone()),
        (LABEL_CLUSTER, owner.cluster.clone()),
        (LABEL_NODE, owner.node.clone()),
        (LABEL_UID, owner.uid.clone()),
    ];
    for key in [INGRESS, EGRESS] {
        if let Some(bits) = bandwidth(pod, key)? {
            labels.push((key, bits.to_string()));
        }
    }
    Ok(labels)
}

#[derive(Debug, Default)]
struct Params(Vec<(String, String)>);

impl Params {
    fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    fn list(&mut self, name: &str, values: &[String]) {
        for (at, value) in values.iter().enumerate() {
            self.set(format!("{name}.{at}"), value);
        }
    }

    fn container(&mut self, prefix: &str, container: &PlainContainer) {
        self.set(format!("{prefix}.Name"), &container.name);
        self.set(format!("{prefix}.Image"), &container.image);
        if let Some(policy) = &container.pull_policy {
            self.set(format!("{prefix}.ImagePullPolicy"), policy);
        }
        if let Some(folder) = &container.working_dir {
            self.set(format!("{prefix}.WorkingDir"), folder);
        }
        self.list(&format!("{prefix}.Command"), &container.command);
        self.list(&format!("{prefix}.Arg"), &container.args);
        for (at, (name, value)) in container.env.iter().enumerate() {
            self.set(format!("{prefix}.EnvironmentVar.{at}.Key"), name);
            self.set(format!("{prefix}.EnvironmentVar.{at}.Value"), value);
        }
        for (at, (port, protocol)) in container.ports.iter().enumerate() {
            self.set(format!("{prefix}.Port.{at}.Port"), port.to_string());
            self.set(format!("{prefix}.Port.{at}.Protocol"), protocol);
        }
        for (at, (name, path, read_only)) in container.mounts.iter().enumerate() {
            self.set(format!("{prefix}.VolumeMount.{at}.Name"), name);
            self.set(format!("{prefix}.VolumeMount.{at}.MountPath"), path);
            self.set(format!("{prefix}.VolumeMount.{at}.ReadOnly"), read_only.to_string());
        }
        for (name, is_set) in [("Stdin", container.stdin), ("Tty", container.tty)] {
            if is_set {
                self.set(format!("{prefix}.{name}"), "true");
            }
        }
    }

    fn dns(&mut self, settings: &KingsoftKci, owner: &Owner, plain: &PlainPod) {
        let addresses = |list: &[std::net::IpAddr]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (mut servers, mut searches, mut options) = (Vec::new(), Vec::new(), Vec::new());
        match plain.dns_policy.as_str() {
            "ClusterFirst" if !settings.cluster_dns.is_empty() => {
                let domain = &settings.cluster_domain;
                servers = addresses(&settings.cluster_dns);
                searches = vec![format!("{}.svc.{domain}", owner.namespace), format!("svc.{domain}"), domain.clone()];
                options = vec![("ndots".to_owned(), Some("5".to_owned()))];
            }
            "Default" => servers = addresses(&settings.virtual_node_dns),
            _ => {}
        }
        servers.extend(plain.dns.name_servers.iter().cloned());
        searches.extend(plain.dns.searches.iter().cloned());
        options.retain(|(name, _)| !plain.dns.options.iter().any(|(own, _)| own == name));
        options.extend(plain.dns.options.iter().cloned());
        self.list("DnsConfig.NameServer", &servers);
        self.list("DnsConfig.Search", &searches);
        for (at, (name, value)) in options.iter().enumerate() {
            self.set(format!("DnsConfig.Option.{at}.Name"), name);
            if let Some(value) = value {
                self.set(format!("DnsConfig.Option.{at}.Value"), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "`json!` makes a value at each call")]

    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::provider::clouds::pod::tests::{owner, pod};

    fn settings(extra: Value) -> KingsoftKci {
        let mut settings = json!({"region": "cn-beijing-6", "subnetIds": ["sub-1"], "securityGroupIds": ["sg-1"],
            "clusterDns": ["10.96.0.10"], "virtualNodeDns": ["192.168.0.2"]});
        json_patch::merge(&mut settings, &extra);
        serde_json::from_value(settings).unwrap()
    }

    fn annotated(annotations: &[(&str, &str)]) -> Result<BTreeMap<String, String>, String> {
        let mut pod = pod(json!({"containers": [{"name": "app", "image": "nginx:1", "command": ["sh"],
            "env": [{"name": "A", "value": "b c"}], "ports": [{"containerPort": 80}],
            "resources": {"requests": {"cpu": "1500m", "memory": "3Gi"}}}]}));
        let pairs = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        pod.metadata.annotations = Some(pairs.collect());
        let settings = settings(json!({}));
        let request = translate(&settings, &Sizes::new(&[]), &owner("u-1"), &pod).map_err(|error| error.to_string())?;
        let mut params = request.params.into_iter().collect::<BTreeMap<_, _>>();
        params.extend(request.subnet.map(|subnet| ("SubnetId".to_owned(), subnet)));
        Ok(params)
    }

    #[test]
    fn a_pod_becomes_parameters_counted_from_zero() {
        let params = annotated(&[]).unwrap();
        let expected = [
            ("ContainerGroupName", "web-u-1-u-1"),
            ("SecurityGroupId.0", "sg-1"),
            ("KciType", "RBKCI"),
            ("ChargeType", "HourlyInstantSettlement"),
            ("Cpu", "2"),
            ("Memory", "4"),
            ("Container.0.Name", "app"),
            ("Container.0.Command.0", "sh"),
            ("Container.0.EnvironmentVar.0.Value", "b c"),
            ("Container.0.Port.0.Port", "80"),
            ("DnsConfig.NameServer.0", "10.96.0.10"),
            ("DnsConfig.Search.0", "default.svc.cluster.local"),
            ("DnsConfig.Option.0.Value", "5"),
            ("Label.0.Key", "cluster-id"),
            ("Label.5.Value", "u-1"),
        ];
        for (name, value) in expected {
            assert_eq!(params.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn annotations_choose_size_groups_subnet_and_bandwidth() {
        let params = annotated(&[
            (CPU, "4"),
            (MEMORY, "8"),
            (SECURITY_GROUPS, "sg-a, sg-b"),
            (SUBNET, "sub-9"),
            (KUBE_PROXY, "false"),
            (INGRESS, "100M"),
        ])
        .unwrap();
        let value = |name: &str| params[name].as_str();
        assert_eq!((value("Cpu"), value("Memory"), value("SubnetId")), ("4", "8", "sub-9"));
        assert_eq!((value("SecurityGroupId.0"), value("SecurityGroupId.1")), ("sg-a", "sg-b"));
        assert_eq!((value("Label.6.Key"), value("Label.6.Value")), (INGRESS, "100000000"));
    }

    #[test]
    fn bad_annotations_are_refused_with_field_and_limit() {
        let cases: [(&[(&str, &str)], &str); 8] = [
            (&[(CPU, "4")], "only together with k8s.ksyun.com/kci-instance-memory"),
            (&[(MEMORY, "8")], "only together with k8s.ksyun.com/kci-instance-cpu"),
            (&[(CPU, "four"), (MEMORY, "8")], "kci-instance-cpu"),
            (&[(CPU, "4"), (MEMORY, "8Gi")], "no number of GiB"),
            (&[(CPU, "3"), (MEMORY, "8")], "the next is 4 and 8"),
            (&[(SECURITY_GROUPS, "a,b,c,d")], "4 are too many; at most 3"),
            (&[(KUBE_PROXY, "yes")], "neither true nor false"),
            (&[(EGRESS, "fast")], "kubernetes.io/egress-bandwidth"),
        ];
        for (annotations, expected) in cases {
            let text = annotated(annotations).unwrap_err();
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn bad_settings_are_refused_with_field_and_limit() {
        let cases = [
            (json!({"region": "beijing"}), "region"),
            (json!({"securityGroupIds": ["a", "b", "c", "d"]}), "securityGroupIds: 4 are too many; at most 3"),
            (json!({"subnetIds": ["1", "2", "3", "4", "5", "6"]}), "subnetIds: 6 are too many; at most 5"),
            (json!({"kubeProxy": true}), "kubeProxy"),
        ];
        for (extra, expected) in cases {
            let text = ProviderError::refuse_faulty(settings(extra).faults()).unwrap_err().to_string();
            assert!(text.contains(expected), "{text}");
        }
        assert_eq!(ProviderError::refuse_faulty(settings(json!({})).faults()), Ok(()));
    }

    #[test]
    fn long_names_keep_the_uid() {
        let name = name_of(&Owner { name: format!("{}.tail", "a".repeat(123)), ..owner("u-1") });
        assert!(name.len() <= 128 && name.ends_with("a-u-1"), "{name}");
    }
}

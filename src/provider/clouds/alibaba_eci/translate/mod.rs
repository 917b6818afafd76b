//! A pod in the words of `CreateContainerGroup`.
//!
//! What cannot be said there is refused before any call, with the field and the limit. What Kubernetes resolves on its
//! nodes (ConfigMaps, Secrets, downward values) is resolved here or given as [`Resolved`].

mod annotations;
mod container;
mod volume;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::{
    signing::Parameters,
    size::{self, SPOT_LEAST},
};
use crate::{
    api::pool::alibaba_eci::AlibabaEci,
    provider::{Content, File, Owner, ProviderError, RegistryKey, clouds::Resources},
};
use annotations::{Annotations, Spec, Spot};

/// Tags that burstlet writes on its instances.
pub(super) mod tag {
    pub(in super::super) const CLUSTER: &str = "burstlet.dev/cluster";
    pub(in super::super) const NODE: &str = "burstlet.dev/node";
    pub(in super::super) const NAMESPACE: &str = "burstlet.dev/namespace";
    pub(in super::super) const POD: &str = "burstlet.dev/pod";
    /// What a tag's 128 characters do not hold of the pod's name.
    pub(in super::super) const POD_REST: &str = "burstlet.dev/pod-rest";
    pub(in super::super) const UID: &str = "burstlet.dev/uid";
}

/// Characters that a tag's value holds.
const TAG_VALUE: usize = 128;
/// Tags that an instance takes.
const MOST_TAGS: usize = 20;
/// Characters of a group's name.
const LONGEST_NAME: usize = 128;

/// What Kubernetes resolves for a pod, by the pod's own names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Files of ConfigMap, Secret, projected and downward volumes: by volume, then by path.
    pub files: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Variables that come from ConfigMaps and Secrets: by container, then by name.
    pub variables: BTreeMap<String, BTreeMap<String, String>>,
    /// What images are pulled with.
    pub registries: Vec<RegistryKey>,
}

impl Resolved {
    /// What the kubelet has read. Variables stand in the pod itself then.
    pub(super) fn of(content: &Content) -> Self {
        let data = |files: &BTreeMap<String, File>| {
            files.iter().map(|(path, file)| (path.clone(), file.data.clone())).collect::<BTreeMap<_, _>>()
        };
        let files = content.volumes.iter().map(|(volume, files)| (volume.clone(), data(files))).collect();
        Self { files, variables: BTreeMap::new(), registries: content.registries.clone() }
    }
}

/// One way to ask for the instance; the next one is tried where this one has no stock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alternative {
    pub(super) parameters: Parameters,
    pub(super) size: Resources,
    /// What the size was rounded up from.
    pub(super) needed: Resources,
    pub(super) is_spot: bool,
}

/// A pod, ready to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// What every way to ask has, without place and token.
    pub(super) parameters: Parameters,
    /// Never empty.
    pub(super) alternatives: Vec<Alternative>,
    /// vSwitches that the pod names itself, and ECI's strategy among them.
    pub(super) own_place: Option<Parameters>,
    /// A refusal for want of stock fails the pod.
    pub(super) fails_fast: bool,
    /// How long it may be pending.
    pub(super) longest_pending: Option<std::time::Duration>,
}

pub(super) fn invalid(what: impl std::fmt::Display) -> ProviderError {
    ProviderError::Invalid(format!("alibaba-eci: {what}"))
}

/// Sets a parameter.
#[expect(clippy::needless_pass_by_value, reason = "numbers, truths and texts are all written alike")]
fn set(parameters: &mut Parameters, name: impl Into<String>, value: impl ToString) {
    parameters.insert(name.into(), value.to_string());
}

/// Sets a list, `NAME.1` and on.
fn set_list(parameters: &mut Parameters, name: &str, values: impl IntoIterator<Item = impl ToString>) {
    for (number, value) in (1..).zip(values) {
        set(parameters, format!("{name}.{number}"), value);
    }
}

/// Translates `pod` for the pool of `settings`.
pub(super) fn translate(
    owner: &Owner,
    pod: &Pod,
    settings: &AlibabaEci,
    kubeconfig: Option<&str>,
    resolved: &Resolved,
) -> Result<Asked, ProviderError> {
    let spec = pod.spec.as_ref().ok_or_else(|| invalid("the pod has no spec"))?;
    refuse(spec)?;
    let annotations = Annotations::read(pod)?;
    let mut parameters = Parameters::new();
    set(&mut parameters, "ContainerGroupName", group_name(owner));
    set(
        &mut parameters,
        "SecurityGroupId",
        annotations.security_groups.as_deref().unwrap_or(&settings.security_group_id),
    );
    if let Some(group) = &settings.resource_group_id {
        set(&mut parameters, "ResourceGroupId", group);
    }
    set_tags(&mut parameters, owner, settings, &annotations)?;
    set_life(&mut parameters, spec);
    set_dns(&mut parameters, owner, spec, settings, &annotations);
    set_hosts(&mut parameters, spec, &annotations);
    parameters.extend(annotations.plain.clone());
    container::set_containers(&mut parameters, owner, pod, spec, resolved)?;
    volume::set_volumes(&mut parameters, spec, resolved)?;
    set_registries(&mut parameters, &resolved.registries);
    if let (Some(proxy), Some(kubeconfig)) = (&settings.kube_proxy, kubeconfig)
        && spec.restart_policy.as_deref().unwrap_or("Always") == "Always"
    {
        container::add_kube_proxy(&mut parameters, spec, &proxy.image);
        volume::add_kubeconfig(&mut parameters, spec, kubeconfig);
    }
    Ok(Asked {
        alternatives: alternatives(spec, settings, &annotations)?,
        own_place: annotations.place,
        fails_fast: annotations.fails_fast,
        longest_pending: annotations.longest_pending,
        parameters,
    })
}

/// A registry by its host alone, as ECI wants it.
fn set_registries(parameters: &mut Parameters, keys: &[RegistryKey]) {
    for (number, key) in (1..).zip(keys) {
        let at = format!("ImageRegistryCredential.{number}");
        let host = key.server.split_once("://").map_or(key.server.as_str(), |(_, rest)| rest);
        set(parameters, format!("{at}.Server"), host.split('/').next().unwrap_or(host));
        set(parameters, format!("{at}.UserName"), &key.user);
        set(parameters, format!("{at}.Password"), key.password.reveal());
    }
}

/// What ECI has no way to run.
fn refuse(spec: &PodSpec) -> Result<(), ProviderError> {
    let no = |field: &str| Err(invalid(format!("{field} is not possible on ECI; take it off the pod")));
    for (field, is_set) in
        [("spec.hostNetwork", spec.host_network), ("spec.hostPID", spec.host_pid), ("spec.hostIPC", spec.host_ipc)]
    {
        if is_set == Some(true) {
            return no(field);
        }
    }
    Ok(())
}

/// `NAMESPACE-NAME`, of the characters and the length that ECI takes. It need not be unique.
fn group_name(owner: &Owner) -> String {
    let name = format!("{}-{}", owner.namespace, owner.name).replace('.', "-");
    name.chars().take(LONGEST_NAME).collect::<String>().trim_end_matches('-').to_owned()
}

/// `text` where the characters before `at` end; names are ASCII.
fn cut(text: &str, at: usize) -> (&str, &str) {
    text.split_at_checked(at).unwrap_or((text, ""))
}

fn set_tags(
    parameters: &mut Parameters,
    owner: &Owner,
    settings: &AlibabaEci,
    annotations: &Annotations,
) -> Result<(), ProviderError> {
    let (name, rest) = cut(&owner.name, TAG_VALUE);
    let mut tags = settings.tags.clone();
    tags.extend(annotations.tags.clone());
    let own = [
        (tag::CLUSTER, owner.cluster.as_str()),
        (tag::NODE, &owner.node),
        (tag::NAMESPACE, &owner.namespace),
        (tag::POD, name),
        (tag::POD_REST, rest),
        (tag::UID, &owner.uid),
    ];
    tags.extend(
        own.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    if tags.len() > MOST_TAGS {
        return Err(invalid(format!(
            "{} tags with burstlet's own; an instance takes {MOST_TAGS}: take some out of the pool's tags or the annotation k8s.aliyun.com/eci-custom-tags",
            tags.len()
        )));
    }
    for (number, (key, value)) in (1..).zip(&tags) {
        set(parameters, format!("Tag.{number}.Key"), key);
        set(parameters, format!("Tag.{number}.Value"), value);
    }
    Ok(())
}

fn set_life(parameters: &mut Parameters, spec: &PodSpec) {
    set(parameters, "RestartPolicy", spec.restart_policy.as_deref().unwrap_or("Always"));
    if let Some(grace) = spec.termination_grace_period_seconds {
        set(parameters, "TerminationGracePeriodSeconds", grace);
    }
    if let Some(deadline) = spec.active_deadline_seconds {
        set(parameters, "ActiveDeadlineSeconds", deadline);
    }
    if let Some(name) = &spec.hostname {
        set(parameters, "HostName", name);
    }
    if spec.share_process_namespace == Some(true) {
        set(parameters, "ShareProcessNamespace", true);
    }
}

/// As a kubelet makes a pod's resolv.conf (`k8s.io/kubernetes/pkg/kubelet/network/dns`): the policy's servers and
/// searches, then the pod's own.
fn set_dns(
    parameters: &mut Parameters,
    owner: &Owner,
    spec: &PodSpec,
    settings: &AlibabaEci,
    annotations: &Annotations,
) {
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let own = spec.dns_config.clone().unwrap_or_default();
    let is_cluster = matches!(policy, "ClusterFirst" | "ClusterFirstWithHostNet") && !settings.cluster_dns.is_empty();
    let (mut servers, mut searches, mut options) = (Vec::new(), Vec::new(), BTreeMap::new());
    if let Some(custom) = &annotations.dns {
        servers.clone_from(&custom.nameservers);
        searches.clone_from(&custom.searches);
        options.extend(custom.options.iter().map(|option| (option.name.clone(), option.value.clone())));
    } else if is_cluster {
        let domain = &settings.cluster_domain;
        servers.extend(settings.cluster_dns.iter().map(ToString::to_string));
        searches.extend([format!("{}.svc.{domain}", owner.namespace), format!("svc.{domain}"), domain.clone()]);
        options.insert("ndots".to_owned(), Some("5".to_owned()));
    }
    servers.extend(own.nameservers.unwrap_or_default());
    searches.extend(own.searches.unwrap_or_default());
    for option in own.options.unwrap_or_default() {
        options.insert(option.name.unwrap_or_default(), option.value);
    }
    if servers.is_empty() && searches.is_empty() && options.is_empty() {
        return set(parameters, "DnsPolicy", "Default");
    }
    set(parameters, "DnsPolicy", if servers.is_empty() { "Default" } else { "None" });
    set_list(parameters, "DnsConfig.NameServer", servers);
    set_list(parameters, "DnsConfig.Search", searches);
    for (number, (name, value)) in (1..).zip(options) {
        set(parameters, format!("DnsConfig.Option.{number}.Name"), name);
        if let Some(value) = value {
            set(parameters, format!("DnsConfig.Option.{number}.Value"), value);
        }
    }
}

fn set_hosts(parameters: &mut Parameters, spec: &PodSpec, annotations: &Annotations) {
    let own = spec.host_aliases.iter().flatten();
    let own = own.map(|alias| (alias.ip.clone(), alias.hostnames.clone().unwrap_or_default()));
    for (number, (ip, names)) in (1..).zip(own.chain(annotations.hosts.iter().cloned())) {
        set(parameters, format!("HostAliase.{number}.Ip"), ip);
        set_list(parameters, &format!("HostAliase.{number}.Hostname"), names);
    }
}

/// The ways to ask, best first: each wanted size as spot, then each as a normal instance where that may be.
fn alternatives(
    spec: &PodSpec,
    settings: &AlibabaEci,
    annotations: &Annotations,
) -> Result<Vec<Alternative>, ProviderError> {
    let pool = settings.spot.as_ref().map(|spot| Spot {
        strategy: if spot.price_limit.is_some() { "SpotWithPriceLimit" } else { "SpotAsPriceGo" }.to_owned(),
        price_limit: spot.price_limit,
        duration: spot.duration,
        falls_back: spot.fall_back,
    });
    let spot = annotations.spot.clone().or(pool).filter(|spot| spot.strategy != "NoSpot");
    let needed = container::demand(spec)?;
    let specs = match &annotations.specs {
        specs if specs.is_empty() => vec![Spec::Amounts(needed)],
        specs => specs.clone(),
    };
    let ways = match &spot {
        Some(spot) if spot.falls_back => vec![Some(spot), None],
        Some(spot) => vec![Some(spot)],
        None => vec![None],
    };
    let mut alternatives = Vec::new();
    for spot in ways {
        for spec in &specs {
            alternatives.push(alternative(spec, needed, annotations, spot)?);
        }
    }
    Ok(alternatives)
}

fn alternative(
    spec: &Spec,
    needed: Resources,
    annotations: &Annotations,
    spot: Option<&Spot>,
) -> Result<Alternative, ProviderError> {
    let mut parameters = Parameters::new();
    let size = match spec {
        Spec::InstanceType(name) => {
            set(&mut parameters, "InstanceType", name);
            needed
        }
        Spec::Amounts(amounts) => {
            let amounts = if spot.is_some() { amounts.max(SPOT_LEAST) } else { *amounts };
            let size = size::round_up(amounts).ok_or_else(|| {
                invalid(format!(
                    "{} asked for; the largest size is {}: set fewer resources or the annotation k8s.aliyun.com/eci-use-specs",
                    size::shown(amounts),
                    size::shown(size::LARGEST)
                ))
            })?;
            match annotations.families.as_slice() {
                [] => {
                    set(&mut parameters, "Cpu", size::vcpu(size));
                    set(&mut parameters, "Memory", size::gib(size));
                }
                families => set(&mut parameters, "InstanceType", annotations::types_of(families, size)),
            }
            size
        }
    };
    if let Some(spot) = spot {
        set(&mut parameters, "SpotStrategy", &spot.strategy);
        if let Some(limit) = spot.price_limit {
            set(&mut parameters, "SpotPriceLimit", limit);
        }
        if let Some(duration) = spot.duration {
            set(&mut parameters, "SpotDuration", duration);
        }
    }
    Ok(Alternative { parameters, size, needed, is_spot: spot.is_some() })
}

#[cfg(test)]
mod tests;

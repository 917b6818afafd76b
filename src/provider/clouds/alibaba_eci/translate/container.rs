//! Containers, and what they ask for together.

use k8s_openapi::{
    api::core::v1::{
        Container, EnvVar, ExecAction, HTTPGetAction, Pod, PodSpec, Probe, ResourceRequirements, SecurityContext,
        TCPSocketAction,
    },
    apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString},
};

use super::{Resolved, invalid, set, set_list, volume::is_token};
use crate::provider::{
    Owner, ProviderError,
    clouds::{
        Bytes, MilliCpu, Resources,
        alibaba_eci::{signing::Parameters, size},
        pod::expanded,
    },
};

/// The GPUs that ECI counts.
const GPU: &str = "nvidia.com/gpu";
/// Name of the sidecar that [`add_kube_proxy`] adds.
const KUBE_PROXY: &str = "burstlet-kube-proxy";

fn amount(resources: Option<&ResourceRequirements>, name: &str) -> Option<Quantity> {
    let resources = resources?;
    let of = |amounts: &Option<std::collections::BTreeMap<String, Quantity>>| amounts.as_ref()?.get(name).cloned();
    // ECI sizes by limits, and by requests where there are none.
    of(&resources.limits).or_else(|| of(&resources.requests))
}

/// What one container asks for.
fn asked(container: &Container) -> Result<Resources, ProviderError> {
    let resources = container.resources.as_ref();
    let wrong = |error| invalid(format!("container {}: {error}", container.name));
    let cpu = amount(resources, "cpu").map(|text| text.0.parse::<MilliCpu>()).transpose().map_err(wrong)?;
    let memory = amount(resources, "memory").map(|text| text.0.parse::<Bytes>()).transpose().map_err(wrong)?;
    Ok(Resources { cpu: cpu.unwrap_or_default(), memory: memory.unwrap_or_default() })
}

/// What the pod asks for: its containers and sidecars together, or its largest init container if that is more.
pub(super) fn demand(spec: &PodSpec) -> Result<Resources, ProviderError> {
    let mut running = Resources::default();
    for container in &spec.containers {
        running += asked(container)?;
    }
    let mut starting = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        if is_sidecar(container) {
            running += asked(container)?;
        } else {
            starting = starting.max(asked(container)?);
        }
    }
    Ok(running.max(starting))
}

/// Init containers that go on running: ECI runs them beside the others.
pub(super) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

pub(super) fn set_containers(
    parameters: &mut Parameters,
    owner: &Owner,
    pod: &Pod,
    spec: &PodSpec,
    resolved: &Resolved,
) -> Result<(), ProviderError> {
    let init = || spec.init_containers.iter().flatten();
    let sidecars = init().filter(|container| is_sidecar(container));
    for (number, container) in (1..).zip(sidecars.chain(&spec.containers)) {
        let at = format!("Container.{number}");
        set_container(parameters, &at, owner, pod, container, resolved)?;
        set_probes(parameters, &at, container)?;
        set_more(parameters, &at, container)?;
    }
    for (number, container) in (1..).zip(init().filter(|container| !is_sidecar(container))) {
        set_container(parameters, &format!("InitContainer.{number}"), owner, pod, container, resolved)?;
    }
    Ok(())
}

fn set_container(
    parameters: &mut Parameters,
    at: &str,
    owner: &Owner,
    pod: &Pod,
    container: &Container,
    resolved: &Resolved,
) -> Result<(), ProviderError> {
    let name = &container.name;
    set(parameters, format!("{at}.Name"), name);
    let image = container.image.as_ref().ok_or_else(|| invalid(format!("container {name} has no image")))?;
    set(parameters, format!("{at}.Image"), image);
    let wanted = asked(container)?;
    if wanted.cpu.0 > 0 {
        set(parameters, format!("{at}.Cpu"), size::vcpu(wanted));
    }
    if wanted.memory.0 > 0 {
        set(parameters, format!("{at}.Memory"), size::gib(wanted));
    }
    if let Some(gpu) = amount(container.resources.as_ref(), GPU) {
        set(parameters, format!("{at}.Gpu"), gpu.0);
    }
    if let Some(policy) = &container.image_pull_policy {
        set(parameters, format!("{at}.ImagePullPolicy"), policy);
    }
    if let Some(folder) = &container.working_dir {
        set(parameters, format!("{at}.WorkingDir"), folder);
    }
    // As a kubelet does: `$(NAME)` in them is the variable's value.
    let known = plain_variables(container);
    let expand =
        |texts: &Option<Vec<String>>| texts.iter().flatten().map(|text| expanded(text, &known)).collect::<Vec<_>>();
    set_list(parameters, &format!("{at}.Command"), expand(&container.command));
    set_list(parameters, &format!("{at}.Arg"), expand(&container.args));
    set_variables(parameters, at, owner, pod, container, resolved)?;
    for (number, port) in (1..).zip(container.ports.iter().flatten()) {
        set(parameters, format!("{at}.Port.{number}.Port"), port.container_port);
        set(parameters, format!("{at}.Port.{number}.Protocol"), port.protocol.as_deref().unwrap_or("TCP"));
    }
    let mounts = container.volume_mounts.iter().flatten();
    for (number, mount) in (1..).zip(mounts.filter(|mount| !is_token(&mount.name, resolved))) {
        let at = format!("{at}.VolumeMount.{number}");
        set(parameters, format!("{at}.Name"), &mount.name);
        set(parameters, format!("{at}.MountPath"), &mount.mount_path);
        set(parameters, format!("{at}.ReadOnly"), mount.read_only.unwrap_or(false));
        if let Some(path) = &mount.sub_path {
            set(parameters, format!("{at}.SubPath"), path);
        }
        if let Some(propagation) = mount.mount_propagation.as_ref().filter(|mode| *mode != "None") {
            set(parameters, format!("{at}.MountPropagation"), propagation);
        }
    }
    if let Some(context) = &container.security_context {
        set_security(parameters, at, name, context)?;
    }
    Ok(())
}

fn set_security(
    parameters: &mut Parameters,
    at: &str,
    name: &str,
    context: &SecurityContext,
) -> Result<(), ProviderError> {
    if context.privileged == Some(true) {
        return Err(invalid(format!(
            "container {name}: securityContext.privileged is not possible on ECI; take it off"
        )));
    }
    if let Some(user) = context.run_as_user {
        set(parameters, format!("{at}.SecurityContext.RunAsUser"), user);
    }
    if let Some(is_read_only) = context.read_only_root_filesystem {
        set(parameters, format!("{at}.SecurityContext.ReadOnlyRootFilesystem"), is_read_only);
    }
    let added = context.capabilities.as_ref().and_then(|capabilities| capabilities.add.as_ref());
    set_list(parameters, &format!("{at}.SecurityContext.Capability.Add"), added.into_iter().flatten());
    Ok(())
}

/// Variables with their values; of the downward ones, those that only the instance knows are left to ECI.
fn set_variables(
    parameters: &mut Parameters,
    at: &str,
    owner: &Owner,
    pod: &Pod,
    container: &Container,
    resolved: &Resolved,
) -> Result<(), ProviderError> {
    let given = resolved.variables.get(&container.name);
    let mut number = 0;
    let mut add = |name: &str, field: &str, value: &str| {
        number += 1;
        set(parameters, format!("{at}.EnvironmentVar.{number}.Key"), name);
        set(parameters, format!("{at}.EnvironmentVar.{number}.{field}"), value);
    };
    // `envFrom` comes first: what is named by itself overrules it.
    let named = |name: &String| container.env.iter().flatten().any(|variable| variable.name == *name);
    for (name, value) in given.into_iter().flatten().filter(|(name, _)| !named(name)) {
        add(name, "Value", value);
    }
    if container.env_from.as_ref().is_some_and(|from| !from.is_empty()) && given.is_none() {
        return Err(invalid(format!("container {}: envFrom has not been resolved", container.name)));
    }
    for variable in container.env.iter().flatten() {
        match value(owner, pod, container, variable, given)? {
            Value::Plain(text) => add(&variable.name, "Value", &text),
            Value::Field(path) => add(&variable.name, "FieldRef.FieldPath", &path),
            Value::Missing => {}
        }
    }
    Ok(())
}

/// The variables whose values stand in the pod.
fn plain_variables(container: &Container) -> Vec<(String, String)> {
    let mut known: Vec<(String, String)> = Vec::new();
    for variable in container.env.iter().flatten().filter(|variable| variable.value_from.is_none()) {
        let value = expanded(variable.value.as_deref().unwrap_or_default(), &known);
        known.push((variable.name.clone(), value));
    }
    known
}

enum Value {
    Plain(String),
    /// ECI fills it in.
    Field(String),
    /// Optional, and not there.
    Missing,
}

fn value(
    owner: &Owner,
    pod: &Pod,
    container: &Container,
    variable: &EnvVar,
    given: Option<&std::collections::BTreeMap<String, String>>,
) -> Result<Value, ProviderError> {
    let unclear = |what: &str| invalid(format!("container {}: env {}: {what}", container.name, variable.name));
    let Some(from) = &variable.value_from else {
        return Ok(Value::Plain(expanded(variable.value.as_deref().unwrap_or_default(), &plain_variables(container))));
    };
    if let Some(text) = given.and_then(|given| given.get(&variable.name)) {
        return Ok(Value::Plain(text.clone()));
    }
    if let Some(field) = &from.field_ref {
        return downward(owner, pod, &field.field_path).ok_or_else(|| {
            unclear(&format!("fieldRef {} is not known on ECI; metadata.*, spec.nodeName, spec.serviceAccountName and status.podIP are", field.field_path))
        });
    }
    if let Some(field) = &from.resource_field_ref {
        let wanted = asked(container)?;
        return match field.resource.as_str() {
            "limits.cpu" | "requests.cpu" => Ok(Value::Plain(wanted.cpu.0.div_ceil(1000).to_string())),
            "limits.memory" | "requests.memory" => Ok(Value::Plain(wanted.memory.0.to_string())),
            other => Err(unclear(&format!("resourceFieldRef {other} is not known on ECI"))),
        };
    }
    let is_optional = from
        .config_map_key_ref
        .as_ref()
        .and_then(|key| key.optional)
        .or_else(|| from.secret_key_ref.as_ref().and_then(|key| key.optional));
    if is_optional == Some(true) {
        Ok(Value::Missing)
    } else {
        Err(unclear("its ConfigMap or Secret has not been resolved"))
    }
}

fn downward(owner: &Owner, pod: &Pod, path: &str) -> Option<Value> {
    let of_map = |map: &Option<std::collections::BTreeMap<String, String>>, rest: &str| {
        let key = rest.strip_prefix("['")?.strip_suffix("']")?;
        Some(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default())
    };
    let plain = match path {
        "metadata.name" => owner.name.clone(),
        "metadata.namespace" => owner.namespace.clone(),
        "metadata.uid" => owner.uid.clone(),
        "spec.nodeName" => owner.node.clone(),
        "spec.serviceAccountName" => pod.spec.as_ref()?.service_account_name.clone().unwrap_or_default(),
        "status.podIP" | "status.podIPs" => return Some(Value::Field("status.podIP".to_owned())),
        path => match path.strip_prefix("metadata.labels") {
            Some(rest) => of_map(&pod.metadata.labels, rest)?,
            None => of_map(&pod.metadata.annotations, path.strip_prefix("metadata.annotations")?)?,
        },
    };
    Some(Value::Plain(plain))
}

fn set_probes(parameters: &mut Parameters, at: &str, container: &Container) -> Result<(), ProviderError> {
    // ECI has no start-up probe. A liveness probe must not kill what is still starting, so it begins as late as the
    // start-up probe would have given up.
    let late = container.startup_probe.as_ref().map_or(0, |probe| {
        probe.initial_delay_seconds.unwrap_or(0)
            + probe.period_seconds.unwrap_or(10) * probe.failure_threshold.unwrap_or(3)
    });
    for (name, probe, delay) in
        [("LivenessProbe", &container.liveness_probe, late), ("ReadinessProbe", &container.readiness_probe, 0)]
    {
        if let Some(probe) = probe {
            set_probe(parameters, &format!("{at}.{name}"), container, probe, delay)?;
        }
    }
    Ok(())
}

fn set_probe(
    parameters: &mut Parameters,
    at: &str,
    container: &Container,
    probe: &Probe,
    delay: i32,
) -> Result<(), ProviderError> {
    if probe.grpc.is_some() {
        return Err(invalid(format!(
            "container {}: a grpc probe is not possible on ECI; use exec, httpGet or tcpSocket",
            container.name
        )));
    }
    let times = [
        ("InitialDelaySeconds", Some(probe.initial_delay_seconds.unwrap_or(0) + delay).filter(|delay| *delay > 0)),
        ("PeriodSeconds", probe.period_seconds),
        ("TimeoutSeconds", probe.timeout_seconds),
        ("SuccessThreshold", probe.success_threshold),
        ("FailureThreshold", probe.failure_threshold),
    ];
    for (name, number) in times {
        if let Some(number) = number {
            set(parameters, format!("{at}.{name}"), number);
        }
    }
    if let Some(ExecAction { command }) = &probe.exec {
        set_list(parameters, &format!("{at}.Exec.Command"), command.iter().flatten());
    }
    if let Some(HTTPGetAction { path, port: number, scheme, .. }) = &probe.http_get {
        set(parameters, format!("{at}.HttpGet.Path"), path.as_deref().unwrap_or("/"));
        set(parameters, format!("{at}.HttpGet.Port"), port(container, number)?);
        set(parameters, format!("{at}.HttpGet.Scheme"), scheme.as_deref().unwrap_or("HTTP"));
    }
    if let Some(TCPSocketAction { port: number, .. }) = &probe.tcp_socket {
        set(parameters, format!("{at}.TcpSocket.Port"), port(container, number)?);
    }
    Ok(())
}

/// A port by number, or by its name among the container's.
fn port(container: &Container, port: &IntOrString) -> Result<i32, ProviderError> {
    match port {
        IntOrString::Int(number) => Ok(*number),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let found = ports.find(|port| port.name.as_ref() == Some(name)).map(|port| port.container_port);
            found
                .ok_or_else(|| invalid(format!("container {} has no port {name}, which a probe names", container.name)))
        }
    }
}

/// Terminal, life cycle and termination message.
fn set_more(parameters: &mut Parameters, at: &str, container: &Container) -> Result<(), ProviderError> {
    for (name, is_set) in [("Stdin", container.stdin), ("StdinOnce", container.stdin_once), ("Tty", container.tty)] {
        if is_set == Some(true) {
            set(parameters, format!("{at}.{name}"), true);
        }
    }
    if let Some(path) = &container.termination_message_path {
        set(parameters, format!("{at}.TerminationMessagePath"), path);
    }
    if let Some(policy) = &container.termination_message_policy {
        set(parameters, format!("{at}.TerminationMessagePolicy"), policy);
    }
    let life = container.lifecycle.as_ref();
    let handlers = [
        ("PostStart", life.and_then(|life| life.post_start.as_ref())),
        ("PreStop", life.and_then(|life| life.pre_stop.as_ref())),
    ];
    for (name, handler) in handlers.into_iter().filter_map(|(name, handler)| Some((name, handler?))) {
        let at = format!("{at}.Lifecycle{name}Handler");
        if let Some(ExecAction { command }) = &handler.exec {
            set_list(parameters, &format!("{at}Exec"), command.iter().flatten());
        }
        if let Some(HTTPGetAction { path, port: number, scheme, .. }) = &handler.http_get {
            set(parameters, format!("{at}HttpGetPath"), path.as_deref().unwrap_or("/"));
            set(parameters, format!("{at}HttpGetPort"), port(container, number)?);
            set(parameters, format!("{at}HttpGetScheme"), scheme.as_deref().unwrap_or("HTTP"));
        }
        if let Some(sleep) = &handler.sleep {
            set_list(parameters, &format!("{at}Exec"), ["sleep".to_owned(), sleep.seconds.to_string()]);
        }
    }
    Ok(())
}

/// kube-proxy beside the pod's own containers: it writes the rules of Services into the pod's network.
pub(super) fn add_kube_proxy(parameters: &mut Parameters, spec: &PodSpec, image: &str) {
    let sidecars = spec.init_containers.iter().flatten().filter(|container| is_sidecar(container)).count();
    let at = format!("Container.{}", spec.containers.len() + sidecars + 1);
    set(parameters, format!("{at}.Name"), KUBE_PROXY);
    set(parameters, format!("{at}.Image"), image);
    let command = ["kube-proxy", "--kubeconfig=/etc/burstlet/kube-proxy/kubeconfig", "--proxy-mode=iptables"];
    set_list(parameters, &format!("{at}.Command"), command);
    set(parameters, format!("{at}.VolumeMount.1.Name"), super::volume::KUBECONFIG);
    set(parameters, format!("{at}.VolumeMount.1.MountPath"), "/etc/burstlet/kube-proxy");
    set(parameters, format!("{at}.VolumeMount.1.ReadOnly"), true);
    set_list(parameters, &format!("{at}.SecurityContext.Capability.Add"), ["NET_ADMIN"]);
}

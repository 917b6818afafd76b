//! What a Deployment's pod template asks of nodes, as the simulator takes it, and what of it a replay leaves out.

use std::collections::BTreeMap;

use burstlet_engine::{
    model::{Needs, ObjectName, Pod, Resources},
    simulator::{Apart, Constraints, Effect, NodeTerm, Operator, Requirement, Spread, Toleration},
};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{self as core, Affinity, NodeSelectorTerm, PodAffinityTerm, PodSpec, TopologySpreadConstraint},
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use serde_json::Value;

use super::workload::{marks, name_of, namespace_of};
use crate::api::{
    kinds::ForeignKinds,
    obstacles::excludes_virtual_nodes,
    pod::{of_template, to_engine},
};

/// Path of the pod in its Deployment.
const POD: &str = "spec.template.spec";
/// The label that tells a Deployment's revisions apart.
const REVISION: &str = "pod-template-hash";
/// The label that is each node's own.
pub(super) const HOSTNAME: &str = "kubernetes.io/hostname";

/// A field of the pod, below its spec, and why it cannot be simulated.
type Fault = (String, String);

/// What the engine sees of a template's pods.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) requests: Resources,
    /// Why no virtual node takes them.
    pub(super) virtual_obstacle: Option<Box<str>>,
    /// What they ask of a pool's provider.
    pub(super) needs: Needs,
}

/// A template's pods as burstlet's watch reads them.
pub(super) fn seen(deployment: &Deployment) -> Seen {
    let mut template = deployment.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let spec = template.spec.get_or_insert_default();
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        // The API server makes a limit alone a request as well.
        let Some(resources) = &mut container.resources else { continue };
        for (name, limit) in resources.limits.clone().unwrap_or_default() {
            resources.requests.get_or_insert_default().entry(name).or_insert(limit);
        }
    }
    template.metadata.get_or_insert_default().uid = Some("template".to_owned());
    let pod = of_template(&template).and_then(|pod| to_engine(&pod, &ForeignKinds::default()));
    pod.map(|Pod { requests, virtual_obstacle, needs, .. }| Seen { requests, virtual_obstacle, needs })
        .unwrap_or_default()
}

/// What the template's pods ask of nodes, among the pods of all these Deployments in these namespaces with their labels.
pub(super) fn constraints(
    deployment: &Deployment,
    all: &[&Deployment],
    namespaces: &BTreeMap<String, BTreeMap<String, String>>,
) -> Result<Constraints, Fault> {
    let Some(spec) = pod(deployment) else { return Ok(Constraints::default()) };
    let own = Own { deployment, all, namespaces };
    if spec.node_selector.as_ref().is_some_and(|selector| selector.contains_key(HOSTNAME)) {
        return Err((
            "nodeSelector".to_owned(),
            format!("nodes of a replay have no {HOSTNAME} of their own to select"),
        ));
    }
    let affinity = spec.affinity.clone().unwrap_or_default();
    let Affinity { node_affinity, pod_anti_affinity, .. } = affinity;
    let (node, pods) = (node_affinity.unwrap_or_default(), pod_anti_affinity.unwrap_or_default());
    let required = node.required_during_scheduling_ignored_during_execution;
    let excludes_virtual = required.as_ref().is_some_and(excludes_virtual_nodes);
    let at = "affinity.nodeAffinity";
    let terms =
        required.map(|selector| checked(&selector.node_selector_terms, |term| node_term(at, term))).transpose()?;
    let preferred = node.preferred_during_scheduling_ignored_during_execution.unwrap_or_default();
    let weight = |weight: i32| u32::try_from(weight).unwrap_or_default();
    let at = "affinity.podAntiAffinity";
    let apart = pods.required_during_scheduling_ignored_during_execution.unwrap_or_default();
    let rather = pods.preferred_during_scheduling_ignored_during_execution.unwrap_or_default();
    let spread = spec.topology_spread_constraints.clone().unwrap_or_default();
    Ok(Constraints {
        tolerations: checked(&spec.tolerations.clone().unwrap_or_default(), toleration)?,
        excludes_virtual,
        required: terms,
        preferred: checked(&preferred, |term| Ok((weight(term.weight), node_term(at, &term.preference)?)))?,
        apart: checked(&apart, |term| own.apart(at, term))?,
        rather_apart: checked(&rather, |term| Ok((weight(term.weight), own.apart(at, &term.pod_affinity_term)?)))?,
        spread: checked(&spread, |rule| own.spread(rule))?,
    })
}

fn checked<F, T>(all: &[F], one: impl Fn(&F) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
    all.iter().map(one).collect()
}

fn pod(deployment: &Deployment) -> Option<&PodSpec> {
    deployment.spec.as_ref()?.template.spec.as_ref()
}

fn labels(deployment: &Deployment) -> BTreeMap<String, String> {
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    template.map(|meta| marks(meta).labels).unwrap_or_default()
}

/// An effect by its name.
pub(super) fn effect(name: &str) -> Option<Effect> {
    match name {
        "NoSchedule" => Some(Effect::NoSchedule),
        "PreferNoSchedule" => Some(Effect::PreferNoSchedule),
        "NoExecute" => Some(Effect::NoExecute),
        _ => None,
    }
}

fn toleration(written: &core::Toleration) -> Result<Toleration, Fault> {
    let refuse = |what: &str, found: &str| ("tolerations".to_owned(), format!("{what} {found:?} is not simulated"));
    let name = written.effect.as_deref().filter(|name| !name.is_empty());
    let effect = name.map(|name| effect(name).ok_or_else(|| refuse("effect", name))).transpose()?;
    let value = match written.operator.as_deref().unwrap_or("Equal") {
        "" | "Equal" => Some(written.value.clone().unwrap_or_default()),
        "Exists" => None,
        other => return Err(refuse("operator", other)),
    };
    Ok(Toleration { key: written.key.clone().filter(|key| !key.is_empty()), value, effect })
}

fn node_term(at: &str, term: &NodeSelectorTerm) -> Result<NodeTerm, Fault> {
    let refuse = |fault: String| (at.to_owned(), fault);
    if term.match_fields.as_ref().is_some_and(|fields| !fields.is_empty()) {
        return Err(refuse("matchFields is not simulated; select by labels".to_owned()));
    }
    let requirement = |written: &core::NodeSelectorRequirement| {
        let operator = match written.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::Gt,
            "Lt" => Operator::Lt,
            other => return Err(refuse(format!("no operator is {other:?}"))),
        };
        if written.key == HOSTNAME {
            return Err(refuse(format!("nodes of a replay have no {HOSTNAME} of their own to select")));
        }
        Ok(Requirement { key: written.key.clone(), operator, values: written.values.clone().unwrap_or_default() })
    };
    checked(term.match_expressions.as_deref().unwrap_or_default(), requirement)
}

/// A template among others.
struct Own<'a> {
    deployment: &'a Deployment,
    all: &'a [&'a Deployment],
    namespaces: &'a BTreeMap<String, BTreeMap<String, String>>,
}

impl Own<'_> {
    fn apart(&self, at: &str, term: &PodAffinityTerm) -> Result<Apart, Fault> {
        let by_keys = term.match_label_keys.iter().chain(&term.mismatch_label_keys).any(|keys| !keys.is_empty());
        if by_keys {
            return Err((at.to_owned(), "matchLabelKeys and mismatchLabelKeys are not simulated".to_owned()));
        }
        let named = term.namespaces.clone().unwrap_or_default();
        let own = named.is_empty() && term.namespace_selector.is_none();
        let is_in = |namespace: &str| {
            let none = BTreeMap::new();
            let mut labels = self.namespaces.get(namespace).unwrap_or(&none).clone();
            labels.insert("kubernetes.io/metadata.name".to_owned(), namespace.to_owned());
            own && namespace == namespace_of(&self.deployment.metadata)
                || named.iter().any(|name| name == namespace)
                || term.namespace_selector.as_ref().is_some_and(|selector| selects(Some(selector), &labels))
        };
        let is_meant = |other: &&&Deployment| {
            is_in(namespace_of(&other.metadata)) && selects(term.label_selector.as_ref(), &labels(other))
        };
        let from = self.all.iter().filter(is_meant).map(|other| name_of(&other.metadata)).collect();
        Ok(Apart { topology: term.topology_key.clone(), from })
    }

    fn spread(&self, rule: &TopologySpreadConstraint) -> Result<Spread, Fault> {
        let refuse = |what: &str, found: &str| {
            ("topologySpreadConstraints".to_owned(), format!("{what} {found:?} is not simulated"))
        };
        let is_hard = match rule.when_unsatisfiable.as_str() {
            "DoNotSchedule" => true,
            "ScheduleAnyway" => false,
            other => return Err(refuse("whenUnsatisfiable", other)),
        };
        let policy = |policy: &Option<String>, usual: &str| match policy.as_deref().unwrap_or(usual) {
            "Honor" => Ok(true),
            "Ignore" => Ok(false),
            other => Err(refuse("policy", other)),
        };
        let keys = rule.match_label_keys.clone().unwrap_or_default();
        let own_labels = labels(self.deployment);
        let namespace = namespace_of(&self.deployment.metadata);
        let per_revision = keys.iter().any(|key| key == REVISION);
        let of_value = |other: &BTreeMap<String, String>| {
            keys.iter().all(|key| own_labels.get(key).is_none_or(|value| other.get(key) == Some(value)))
        };
        // kube-scheduler counts no pod at all for a selector that asks nothing.
        let is_narrowed = per_revision || keys.iter().any(|key| own_labels.contains_key(key));
        let asks = is_narrowed || !is_everything(rule.label_selector.as_ref());
        let counts = |other: &&&Deployment| {
            let is_own = std::ptr::eq(**other, self.deployment);
            let labels = labels(other);
            (is_own || !per_revision)
                && namespace_of(&other.metadata) == namespace
                && asks
                && selects(rule.label_selector.as_ref(), &labels)
                && of_value(&labels)
        };
        Ok(Spread {
            topology: rule.topology_key.clone(),
            max_skew: u32::try_from(rule.max_skew).unwrap_or(1),
            min_domains: rule.min_domains.and_then(|domains| u32::try_from(domains).ok()).unwrap_or(1),
            is_hard,
            over: self.all.iter().filter(counts).map(|other| name_of(&other.metadata)).collect::<Vec<ObjectName>>(),
            counts_itself: selects(rule.label_selector.as_ref(), &own_labels),
            per_revision,
            honors_affinity: policy(&rule.node_affinity_policy, "Honor")?,
            honors_taints: policy(&rule.node_taints_policy, "Ignore")?,
        })
    }
}

/// Whether a selector asks nothing.
fn is_everything(selector: Option<&LabelSelector>) -> bool {
    selector.is_some_and(|selector| {
        selector.match_labels.iter().all(BTreeMap::is_empty) && selector.match_expressions.iter().all(Vec::is_empty)
    })
}

/// Whether a selector selects what has these labels; none selects nothing.
fn selects(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = selector else { return false };
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|expression| {
            let (label, values) = (labels.get(&expression.key), expression.values.as_deref().unwrap_or_default());
            match expression.operator.as_str() {
                "In" => label.is_some_and(|label| values.contains(label)),
                "NotIn" => label.is_none_or(|label| !values.contains(label)),
                "Exists" => label.is_some(),
                "DoesNotExist" => label.is_none(),
                _ => false,
            }
        })
}

/// Fields of a pod that a replay follows, that the scenario says in its own words (what pods serve and when they are Ready), or
/// that change nothing of when and where pods run.
const FOLLOWED: [&str; 29] = [
    "affinity",
    "automountServiceAccountToken",
    "containers",
    "dnsConfig",
    "dnsPolicy",
    "enableServiceLinks",
    "hostAliases",
    "hostIPC",
    "hostNetwork",
    "hostPID",
    "hostUsers",
    "hostname",
    "hostnameOverride",
    "imagePullSecrets",
    "initContainers",
    "nodeSelector",
    "os",
    "overhead",
    "restartPolicy",
    "securityContext",
    "serviceAccount",
    "serviceAccountName",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "subdomain",
    "terminationGracePeriodSeconds",
    "tolerations",
    "topologySpreadConstraints",
    "volumes",
];

/// Kinds of volume that tie a pod to no node.
const FREE_VOLUMES: [&str; 6] = ["name", "configMap", "secret", "emptyDir", "downwardAPI", "projected"];

/// Paths of the Deployment's fields that a replay leaves out, though a cluster would act on them.
pub(super) fn left_out(deployment: &Deployment) -> Vec<String> {
    let spec = deployment.spec.as_ref();
    let own = [
        ("spec.minReadySeconds", spec.and_then(|spec| spec.min_ready_seconds).is_some_and(|seconds| seconds > 0)),
        ("spec.paused", spec.and_then(|spec| spec.paused).unwrap_or_default()),
    ];
    let mut found: Vec<String> =
        own.into_iter().filter(|(_, is_set)| *is_set).map(|(path, _)| path.to_owned()).collect();
    let pod = serde_json::to_value(pod(deployment)).unwrap_or_default();
    let entries = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let is_usual = |key: &str, value: &Value| key == "schedulerName" && value == "default-scheduler";
    for (key, value) in pod.as_object().into_iter().flatten() {
        if !FOLLOWED.contains(&key.as_str()) && !is_usual(key, value) {
            found.push(format!("{POD}.{key}"));
        }
    }
    if pod["affinity"].get("podAffinity").is_some() {
        found.push(format!("{POD}.affinity.podAffinity"));
    }
    for (index, toleration) in entries(&pod["tolerations"]).iter().enumerate() {
        if toleration.get("tolerationSeconds").is_some() {
            found.push(format!("{POD}.tolerations[{index}].tolerationSeconds"));
        }
    }
    for (index, volume) in entries(&pod["volumes"]).iter().enumerate() {
        let tied = volume.as_object().into_iter().flatten().find(|(kind, _)| !FREE_VOLUMES.contains(&kind.as_str()));
        found.extend(tied.map(|(kind, _)| format!("{POD}.volumes[{index}].{kind}")));
    }
    for kind in ["containers", "initContainers"] {
        for (index, container) in entries(&pod[kind]).iter().enumerate() {
            let path = format!("{POD}.{kind}[{index}]");
            let ports = entries(&container["ports"]);
            let has_host_port = ports.iter().any(|port| port.get("hostPort").is_some_and(|port| *port != 0));
            found.extend(has_host_port.then(|| format!("{path}.ports[].hostPort")));
            let claims = container["resources"].get("claims").map(|_| format!("{path}.resources.claims"));
            found.extend(claims);
            for list in ["requests", "limits"] {
                let resources = container["resources"][list].as_object();
                let others = resources.into_iter().flatten().map(|(name, _)| name);
                let others = others.filter(|name| !matches!(name.as_str(), "cpu" | "memory"));
                found.extend(others.map(|name| format!("{path}.resources.{list}[{name}]")));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(name: &str, spec: Value) -> Deployment {
        let mut spec = spec;
        if spec.get("containers").is_none() {
            spec["containers"] = json!([{"name": "app", "resources": {"requests": {"cpu": "100m"}}}]);
        }
        let labels = json!({"app": name, "tier": "front"});
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"selector": {"matchLabels": {"app": name}}, "template": {"metadata": {"labels": labels}, "spec": spec}},
        }))
        .unwrap()
    }

    fn of(spec: Value) -> Result<Constraints, Fault> {
        let (web, api) = (deployment("web", spec), deployment("api", json!({})));
        constraints(&web, &[&web, &api], &BTreeMap::new())
    }

    #[test]
    fn selectors_of_pods_become_the_workloads_that_they_mean() {
        let term = |selector: Value| json!({"topologyKey": "zone", "labelSelector": selector});
        let names = |found: Vec<ObjectName>| found.into_iter().map(|name| name.name.to_string()).collect::<Vec<_>>();
        let apart = |selector: Value| {
            let affinity =
                json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(selector)]}});
            names(of(json!({"affinity": affinity})).unwrap().apart.remove(0).from)
        };
        assert_eq!(apart(json!({"matchLabels": {"app": "web"}})), ["web"]);
        assert_eq!(apart(json!({"matchLabels": {"tier": "front"}})), ["web", "api"]);
        assert_eq!(
            apart(json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]})),
            ["api"]
        );
        let spread = |keys: Value| {
            let rule = json!({"maxSkew": 2, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"tier": "front"}}, "matchLabelKeys": keys});
            of(json!({"topologySpreadConstraints": [rule]})).unwrap().spread.remove(0)
        };
        assert_eq!(names(spread(json!([])).over), ["web", "api"]);
        assert_eq!(names(spread(json!(["app"])).over), ["web"]);
        let rule = spread(json!(["pod-template-hash"]));
        assert_eq!((names(rule.over), rule.per_revision, rule.is_hard), (vec!["web".to_owned()], true, true));
    }

    #[test]
    fn requests_are_those_that_kube_scheduler_counts() {
        let container = |cpu: &str| json!({"name": "c", "resources": {"limits": {"cpu": cpu}}});
        let spec = json!({"containers": [container("200m"), container("100m")], "initContainers": [container("900m")],
            "overhead": {"cpu": "10m"}});
        assert_eq!(seen(&deployment("web", spec)).requests.cpu.0, 910);
    }

    #[test]
    fn what_a_replay_leaves_out_is_named_by_its_field() {
        let spec = json!({
            "priorityClassName": "high",
            "schedulerName": "default-scheduler",
            "affinity": {"podAffinity": {}},
            "volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "persistentVolumeClaim": {"claimName": "c"}}],
            "containers": [{"name": "app", "ports": [{"containerPort": 80, "hostPort": 80}],
                "resources": {"requests": {"cpu": "1", "nvidia.com/gpu": "1"}}}],
        });
        assert_eq!(
            left_out(&deployment("web", spec)),
            [
                "spec.template.spec.priorityClassName",
                "spec.template.spec.affinity.podAffinity",
                "spec.template.spec.volumes[1].persistentVolumeClaim",
                "spec.template.spec.containers[0].ports[].hostPort",
                "spec.template.spec.containers[0].resources.requests[nvidia.com/gpu]",
            ]
        );
    }

    #[test]
    fn what_cannot_be_followed_is_refused_by_its_field() {
        let by_name = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]);
        let node = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": by_name}});
        let (field, fault) = of(json!({"affinity": {"nodeAffinity": node}})).unwrap_err();
        assert_eq!(
            (field.as_str(), fault.as_str()),
            ("affinity.nodeAffinity", "matchFields is not simulated; select by labels")
        );
        let tolerations = json!([{"key": "a", "operator": "Gt", "value": "3"}]);
        assert_eq!(of(json!({"tolerations": tolerations})).unwrap_err().1, "operator \"Gt\" is not simulated");
    }
}

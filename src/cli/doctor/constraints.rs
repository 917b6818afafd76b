//! What others' objects do to virtual nodes: DaemonSets that would land there, and workloads that never can.

use std::collections::BTreeMap;

use burstlet_engine::policy::{Marks, Mode, Policies, resolve::Asked};
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment, StatefulSet},
        core::v1::{Namespace, PodTemplateSpec, Toleration},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Client, ResourceExt};

use super::{Finding, State, all, all_of};
use crate::{
    api::{
        names,
        obstacles::{excludes_virtual_nodes, may_have, obstacles},
        owner::marks,
        pod::of_template,
    },
    cli::workload,
    run::config::Config,
};

pub(super) async fn look(client: &Client, namespace: Option<&str>, home: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    match all_of::<DaemonSet>(client, "daemonsets", namespace).await {
        Err(unknown) => found.push(unknown),
        Ok(sets) => {
            let landing: Vec<_> = sets.iter().filter(|set| lands(set)).collect();
            found.extend(landing.iter().map(|set| daemon_set(set)));
            if landing.is_empty() {
                found.push(Finding::ok("daemonsets", "none would land on virtual nodes"));
            }
        }
    }
    found.extend(workloads(client, namespace, home).await.unwrap_or_else(|unknown| vec![unknown]));
    found
}

/// What keeps governed workloads from bursting.
async fn workloads(client: &Client, namespace: Option<&str>, home: &str) -> Result<Vec<Finding>, Finding> {
    const CHECK: &str = "workloads";
    let deployments = all_of::<Deployment>(client, CHECK, namespace).await?.into_iter();
    let deployments = deployments.filter_map(|object| {
        let template = object.spec?.template;
        Some(Scaler { kind: "Deployment", meta: object.metadata, template, claims: false })
    });
    let sets = all_of::<StatefulSet>(client, CHECK, namespace).await?.into_iter();
    let sets = sets.filter_map(|object| {
        let spec = object.spec?;
        let claims = spec.volume_claim_templates.is_some_and(|claims| !claims.is_empty());
        Some(Scaler { kind: "StatefulSet", meta: object.metadata, template: spec.template, claims })
    });
    let namespaces = all::<Namespace>(client, CHECK).await?;
    let namespaces: BTreeMap<_, _> = namespaces.iter().map(|one| (one.name_any(), marks(&one.metadata))).collect();
    let unread = |error: anyhow::Error| {
        Finding::new(State::Unknown, CHECK, format!("{error:#}"), "run it as somebody who may list BurstPolicies")
    };
    let (policies, _) = workload::policies(client, home).await.map_err(unread)?;
    let governed = deployments.chain(sets).filter(|scaler| scaler.is_governed(&policies, &namespaces));
    let found: Vec<_> = governed.filter_map(|scaler| scaler.obstacle()).collect();
    if found.is_empty() {
        return Ok(vec![Finding::ok(CHECK, "no constraint keeps a governed one from bursting")]);
    }
    Ok(found)
}

/// What makes pods of a template.
struct Scaler {
    kind: &'static str,
    meta: ObjectMeta,
    template: PodTemplateSpec,
    /// Whether each pod gets claims of its own.
    claims: bool,
}

impl Scaler {
    /// Whether annotations or a policy give its pods somewhere to burst.
    fn is_governed(&self, policies: &Policies, namespaces: &BTreeMap<String, Marks>) -> bool {
        let namespace = self.meta.namespace.as_deref().unwrap_or_default();
        let (nothing, of_pods) = (Marks::default(), self.template.metadata.as_ref().map(marks).unwrap_or_default());
        let asked = Asked {
            namespace,
            pod: &of_pods,
            workload: &marks(&self.meta),
            namespace_marks: namespaces.get(namespace).unwrap_or(&nothing),
        };
        let governed = policies.resolve(&asked, &Config::default_settings()).governed;
        governed.is_some_and(|governed| governed.policy.mode != Mode::Never)
    }

    /// What keeps its pods off every virtual node.
    fn obstacle(&self) -> Option<Finding> {
        let mut obstacles: Vec<_> = of_template(&self.template).iter().flat_map(obstacles).collect();
        if self.claims {
            obstacles.push("its volumeClaimTemplates need a real node".to_owned());
        }
        if obstacles.is_empty() {
            return None;
        }
        let (namespace, name) = (self.meta.namespace.as_deref()?, self.meta.name.as_deref()?);
        let says = format!("{} {namespace}/{name} cannot burst: {}", self.kind, obstacles.join("; "));
        let next = "relax the constraint (whenUnsatisfiable: ScheduleAnyway, preferred in place of required), or take the base off";
        Some(Finding::new(State::Warning, "workloads", says, next))
    }
}

/// Whether a DaemonSet's pods tolerate every virtual node and nothing else keeps them off.
fn lands(set: &DaemonSet) -> bool {
    let Some(pod) = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()) else { return false };
    let tolerates = |toleration: &Toleration| {
        let is_key = toleration.key.as_deref().is_none_or(|key| key.is_empty() || key == names::TAINT_PROVIDER);
        let is_effect = toleration.effect.as_deref().is_none_or(|effect| effect.is_empty() || effect == "NoSchedule");
        is_key && is_effect && toleration.operator.as_deref() == Some("Exists")
    };
    let selects = pod.node_selector.iter().flatten().any(|(key, value)| !may_have(key, value));
    let affinity = pod.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let excludes = required.is_some_and(excludes_virtual_nodes);
    pod.tolerations.iter().flatten().any(tolerates) && !selects && !excludes
}

fn daemon_set(set: &DaemonSet) -> Finding {
    let (namespace, name) = (set.namespace().unwrap_or_default(), set.name_any());
    let patch = format!(
        r#"{{"spec":{{"template":{{"spec":{{"affinity":{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":[{{"matchExpressions":[{{"key":"{}","operator":"NotIn","values":["{}"]}}]}}]}}}}}}}}}}}}}}"#,
        names::NODE_TYPE,
        names::VIRTUAL_NODE_TYPE
    );
    let says = format!(
        "the pods of {namespace}/{name} tolerate everything: one lands on each virtual node, without an instance, and shows as not ready"
    );
    let next = format!("kubectl --namespace {namespace} patch daemonset {name} --type merge --patch '{patch}'");
    Finding::new(State::Warning, "daemonsets", says, next)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(spec: &Value) -> DaemonSet {
        let template = json!({"metadata": {}, "spec": spec});
        let spec = json!({"selector": {}, "template": template});
        serde_json::from_value(json!({"metadata": {"namespace": "kube-system", "name": "agent"}, "spec": spec}))
            .unwrap()
    }

    #[test]
    fn a_daemon_set_that_tolerates_everything_is_told_with_its_patch() {
        let tolerant = json!({"containers": [], "tolerations": [{"operator": "Exists"}]});
        assert!(lands(&set(&tolerant)));
        let finding = daemon_set(&set(&tolerant));
        let patch = finding.next.unwrap();
        let patch = patch.split('\'').nth(1).unwrap();
        let mut patched = tolerant.clone();
        let patch: Value = serde_json::from_str(patch).unwrap();
        patched["affinity"] = patch["spec"]["template"]["spec"]["affinity"].clone();
        assert!(!lands(&set(&patched)), "the patch does not help");
    }

    #[test]
    fn a_daemon_set_that_tolerates_something_else_or_selects_is_left_alone() {
        let other = json!({"containers": [], "tolerations": [{"key": "gpu", "operator": "Exists"}]});
        let selects =
            json!({"containers": [], "tolerations": [{"operator": "Exists"}], "nodeSelector": {"gpu": "yes"}});
        let executes = json!({"containers": [], "tolerations": [{"operator": "Exists", "effect": "NoExecute"}]});
        for spec in [other, selects, executes] {
            assert!(!lands(&set(&spec)), "{spec}");
        }
    }

    #[test]
    fn each_constraint_that_keeps_a_workload_home_is_named() {
        let template = serde_json::from_value(json!({"spec": {
            "containers": [{"name": "a", "securityContext": {"privileged": true}}],
            "nodeSelector": {"disk": "ssd"},
            "volumes": [{"name": "sock", "hostPath": {"path": "/run"}}],
        }}));
        let meta = serde_json::from_value(json!({"namespace": "shop", "name": "web"})).unwrap();
        let web = Scaler { kind: "StatefulSet", meta, template: template.unwrap(), claims: true };
        let told = web.obstacle().unwrap().says;
        let expected = [
            "StatefulSet shop/web cannot burst: nodeSelector disk=ssd excludes virtual nodes",
            "a privileged container needs a real node: no virtual node has it",
            "volume sock (hostPath) needs a real node: no virtual node has it",
            "its volumeClaimTemplates need a real node",
        ];
        assert_eq!(told, expected.join("; "));
    }

    #[test]
    fn a_workload_is_looked_at_where_an_annotation_its_namespace_or_a_policy_governs_it() {
        let scaler = |labels: Value, annotations: Value| Scaler {
            kind: "Deployment",
            meta: serde_json::from_value(json!({"namespace": "shop", "name": "web", "annotations": annotations}))
                .unwrap(),
            template: serde_json::from_value(json!({"metadata": {"labels": labels}, "spec": {"containers": []}}))
                .unwrap(),
            claims: false,
        };
        let mut policies = Policies::new("burstlet-system");
        let spec = json!({"selector": {"matchLabels": {"app": "web"}}, "base": 1});
        let name = burstlet_engine::model::ObjectName::new("shop", "web");
        policies.set(name, &serde_json::from_value(spec).unwrap()).unwrap();
        let plain = BTreeMap::new();
        assert!(!scaler(json!({}), json!({})).is_governed(&policies, &plain));
        assert!(scaler(json!({"app": "web"}), json!({})).is_governed(&policies, &plain), "by a policy");
        assert!(scaler(json!({}), json!({"burstlet.dev/base": "1"})).is_governed(&policies, &plain), "by annotation");
        let default = serde_json::from_value(json!({"annotations": {"burstlet.dev/base": "1"}})).unwrap();
        let namespaces = BTreeMap::from([("shop".to_owned(), marks(&default))]);
        assert!(scaler(json!({}), json!({})).is_governed(&policies, &namespaces), "by its namespace");
    }
}

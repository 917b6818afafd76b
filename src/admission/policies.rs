//! The webhook that judges BurstPolicies and VirtualPools among the cluster's others.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use burstlet_engine::{
    model::{ObjectName, PoolName},
    policy::{
        Base, Policies, Spec,
        check::{self, KnownPool, KnownPools, Verdict},
        fields::FieldFault,
    },
};
use k8s_openapi::api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler};
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    core::{DynamicObject, admission::AdmissionRequest},
};
#[cfg(test)]
use serde_json::Value;
use tokio::time::timeout;

use crate::api::{
    document::Document,
    names,
    policy::{self, BurstPolicy},
    pool::{self, VirtualPool},
};

/// Longest look at the cluster: below the webhook's own timeout, so that the answer still reaches the API server.
const LOOK: Duration = Duration::from_secs(2);
/// Autoscalers that are looked at for a base above their maximum; a warning is not worth more calls.
const MAX_AUTOSCALERS: usize = 20;

/// Judges policies and pools.
pub(super) struct PolicyJudge {
    client: Client,
    home: String,
    /// Pools of the configuration file: known, and no more.
    configured: Vec<PoolName>,
    failures: std::sync::atomic::AtomicU64,
}

impl PolicyJudge {
    /// `home` is burstlet's own namespace, `configured` the pools of its configuration file.
    pub(super) fn new(client: Client, home: &str, configured: Vec<PoolName>) -> Self {
        Self { client, home: home.to_owned(), configured, failures: std::sync::atomic::AtomicU64::new(0) }
    }

    /// What keeps the object out, and what its author should know. Where the cluster's other objects cannot be read,
    /// the object is judged by itself.
    pub(super) async fn judge(&self, request: &AdmissionRequest<DynamicObject>) -> Verdict {
        let Some(object) = &request.object else { return Verdict::default() };
        let document = match serde_json::to_value(object).map(|value| Document::read(&value)) {
            Ok(Ok(document)) => document,
            Ok(Err(error)) => return refused(&error.to_string()),
            Err(error) => return refused(&error.to_string()),
        };
        match document {
            Document::Policy(_, name, spec) => {
                let namespace = request.namespace.clone().unwrap_or_default();
                self.judge_policy(&ObjectName::new(&namespace, &name), &spec).await
            }
            Document::Pool(name, spec) => {
                let others = self.looked(self.pools()).await.unwrap_or_default();
                spec.check(&name, &others)
            }
        }
    }

    async fn judge_policy(&self, name: &ObjectName, spec: &Spec) -> Verdict {
        let Some((policies, pools)) =
            self.looked(async { Ok((self.policies(name).await?, self.pools().await?)) }).await
        else {
            let mut alone = Policies::new(&self.home);
            return Verdict { faults: alone.set(name.clone(), spec).err().unwrap_or_default(), warnings: Vec::new() };
        };
        let mut verdict = check::policy(name, spec, &policies, Some(&pools));
        if verdict.faults.is_empty()
            && let Some(base) = spec.base.as_ref().and_then(|base| base.to_string().parse::<Base>().ok())
            && let Some(warnings) = self.looked(self.bases_above(name, spec, base)).await
        {
            verdict.warnings.extend(warnings);
        }
        verdict
    }

    /// What is told of a Deployment's own base beside the autoscalers that scale it.
    pub(super) async fn base_of_deployment(&self, namespace: &str, name: &str, base: Base) -> Vec<String> {
        let told = async {
            let autoscalers: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), namespace);
            let all = autoscalers.list(&ListParams::default()).await?.items;
            Ok(above(&all, "Deployment", name, names::BASE, base))
        };
        let warnings = self.looked(told).await.unwrap_or_default();
        warnings.iter().map(|warning| format!("Deployment {name}: {warning}")).collect()
    }

    async fn looked<T>(&self, look: impl Future<Output = Result<T, kube::Error>>) -> Option<T> {
        let fault = match timeout(LOOK, look).await {
            Ok(Ok(found)) => return Some(found),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {LOOK:?}"),
        };
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures.is_power_of_two() {
            tracing::warn!(fault, failures, "unable to read policies and pools; an object is judged by itself");
        }
        None
    }

    /// All but the one that is judged. Those that make no sense were let in while nobody judged, and count for nothing.
    async fn policies(&self, but: &ObjectName) -> Result<Policies, kube::Error> {
        let api: Api<BurstPolicy> = Api::all_with(self.client.clone(), &policy::resource());
        let mut policies = Policies::new(&self.home);
        for object in api.list(&ListParams::default()).await? {
            let name = ObjectName::new(&object.namespace().unwrap_or_default(), &object.name_any());
            if name != *but {
                let _ = policies.set(name, &object.spec);
            }
        }
        Ok(policies)
    }

    async fn pools(&self) -> Result<KnownPools, kube::Error> {
        let api: Api<VirtualPool> = Api::all_with(self.client.clone(), &pool::resource());
        let all = api.list(&ListParams::default()).await?;
        let known = |pool: &VirtualPool| (PoolName::from(pool.name_any().as_str()), pool.spec.known());
        let configured = self.configured.iter().map(|name| (name.clone(), KnownPool::default()));
        Ok(configured.chain(all.iter().map(known)).collect::<BTreeMap<_, _>>())
    }

    /// Autoscalers of the namespace whose Deployments the policy selects, and that never ask for more than its base.
    async fn bases_above(&self, name: &ObjectName, spec: &Spec, base: Base) -> Result<Vec<FieldFault>, kube::Error> {
        let Some(selector) = &spec.selector else { return Ok(Vec::new()) };
        let autoscalers: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), &name.namespace);
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &name.namespace);
        let mut warnings = Vec::new();
        for autoscaler in autoscalers.list(&ListParams::default()).await?.items.into_iter().take(MAX_AUTOSCALERS) {
            let own_name = autoscaler.name_any();
            let target = &autoscaler.spec.scale_target_ref;
            let most = u32::try_from(autoscaler.spec.max_replicas).unwrap_or(0);
            let Some(warning) = check::base_above("spec.base", base, &own_name, most) else { continue };
            if target.kind == "Deployment"
                && let Some(deployment) = deployments.get_opt(&target.name).await?
            {
                let labels = deployment
                    .spec
                    .and_then(|spec| spec.template.metadata)
                    .and_then(|meta| meta.labels)
                    .unwrap_or_default();
                if selector.matches(|key| labels.get(key).map(String::as_str)) {
                    warnings.push(warning);
                }
            }
        }
        Ok(warnings)
    }
}

/// Where a base leaves the autoscalers of a workload nothing to burst.
fn above(all: &[HorizontalPodAutoscaler], kind: &str, name: &str, path: &str, base: Base) -> Vec<FieldFault> {
    let is_meant = |autoscaler: &&HorizontalPodAutoscaler| {
        let target = &autoscaler.spec.scale_target_ref;
        target.kind == kind && target.name == name
    };
    let most = |autoscaler: &HorizontalPodAutoscaler| u32::try_from(autoscaler.spec.max_replicas).unwrap_or(0);
    let warnings = all.iter().filter(is_meant);
    warnings.filter_map(|autoscaler| check::base_above(path, base, &autoscaler.name_any(), most(autoscaler))).collect()
}

fn refused(text: &str) -> Verdict {
    let (path, says) = text.split_once(": ").unwrap_or(("spec", text));
    Verdict { faults: vec![FieldFault::new(path, says)], warnings: Vec::new() }
}

/// The faults as one text, each by its path.
pub(super) fn told(faults: &[FieldFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A policy or pool as a request has it.
#[cfg(test)]
fn request(kind: &str, namespace: Option<&str>, spec: &Value) -> Value {
    let object = serde_json::json!({
        "apiVersion": "burstlet.dev/v1alpha1", "kind": kind, "metadata": {"name": "web", "namespace": namespace}, "spec": spec,
    });
    serde_json::json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "u", "operation": "CREATE", "object": object, "name": "web", "namespace": namespace, "userInfo": {},
            "kind": {"group": "burstlet.dev", "version": "v1alpha1", "kind": kind},
            "resource": {"group": "burstlet.dev", "version": "v1alpha1", "resource": "x"}, "dryRun": false, "options": null,
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "`json!` makes a value at each call")]

    use kube::core::admission::AdmissionReview;
    use serde_json::json;

    use super::*;
    use crate::watch::fake_api::FakeApi;

    const POLICIES: &str = "/apis/burstlet.dev/v1alpha1/burstpolicies";
    const POOLS: &str = "/apis/burstlet.dev/v1alpha1/virtualpools";
    const AUTOSCALERS: &str = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers";
    const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/shop/deployments/web";

    fn list(items: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items})
    }

    fn object(kind: &str, namespace: Option<&str>, name: &str, spec: Value) -> Value {
        json!({"apiVersion": "burstlet.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec})
    }

    fn cluster() -> Vec<(&'static str, Value)> {
        let pool =
            json!({"provider": {"simulated": {"endpoint": "http://x:1"}}, "quota": {"pods": 9}, "fallback": "web"});
        let autoscaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web-hpa"},
            "spec": {"maxReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "web"}}});
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"selector": {}, "template": {"metadata": {"labels": {"app": "web"}}}}});
        let parent = object("BurstPolicy", Some("shop"), "parent", json!({"extends": "web", "base": 1}));
        vec![
            (POLICIES, list(json!([parent]))),
            (POOLS, list(json!([object("VirtualPool", None, "eci", pool)]))),
            (AUTOSCALERS, list(json!([autoscaler]))),
            (DEPLOYMENT, deployment),
        ]
    }

    async fn judge(api: &FakeApi, kind: &str, namespace: Option<&str>, spec: Value) -> Verdict {
        let review: AdmissionReview<DynamicObject> = serde_json::from_value(request(kind, namespace, &spec)).unwrap();
        PolicyJudge::new(api.client(), "burstlet-system", vec!["of-the-file".into()])
            .judge(&review.try_into().unwrap())
            .await
    }

    #[tokio::test]
    async fn a_policy_is_judged_among_the_clusters_others() {
        let api = FakeApi::new(&cluster());
        let verdict = judge(&api, "BurstPolicy", Some("shop"), json!({"base": 1, "tiers": [{"pool": "kci"}]})).await;
        assert_eq!(
            told(&verdict.faults),
            "spec.tiers[0].pool: there is no VirtualPool kci; there are eci, of-the-file"
        );
        let verdict = judge(&api, "BurstPolicy", Some("shop"), json!({"base": 1, "extends": "parent"})).await;
        assert_eq!(
            told(&verdict.faults),
            "spec.extends: shop/web → shop/parent → shop/web is a circle; take one step out of it"
        );
        let verdict = judge(&api, "BurstPolicy", Some("shop"), json!({"base": 1, "tiers": [{"pool": "eci"}]})).await;
        assert_eq!(verdict, Verdict::default());
    }

    #[tokio::test]
    async fn a_base_above_an_autoscalers_maximum_is_a_warning() {
        let api = FakeApi::new(&cluster());
        let spec = |app: &str| json!({"selector": {"matchLabels": {"app": app}}, "base": 6});
        let verdict = judge(&api, "BurstPolicy", Some("shop"), spec("web")).await;
        assert_eq!(verdict.faults, []);
        assert!(
            told(&verdict.warnings)
                .starts_with("spec.base: 6 is above maxReplicas 5 of HorizontalPodAutoscaler web-hpa")
        );
        assert_eq!(judge(&api, "BurstPolicy", Some("shop"), spec("other")).await, Verdict::default());
    }

    #[tokio::test]
    async fn an_annotated_base_above_an_autoscalers_maximum_is_a_warning_too() {
        let judge = PolicyJudge::new(FakeApi::new(&cluster()).client(), "burstlet-system", Vec::new());
        let told = judge.base_of_deployment("shop", "web", Base::count(6)).await;
        assert_eq!(
            told,
            [
                "Deployment web: burstlet.dev/base: 6 is above maxReplicas 5 of HorizontalPodAutoscaler web-hpa: nothing will ever burst"
            ]
        );
        assert_eq!(judge.base_of_deployment("shop", "web", Base::count(4)).await, [""; 0]);
        assert_eq!(judge.base_of_deployment("shop", "api", Base::count(9)).await, [""; 0], "another's autoscaler");
    }

    #[tokio::test]
    async fn a_pool_is_judged_among_the_others() {
        let api = FakeApi::new(&cluster());
        let provider = json!({"simulated": {"endpoint": "http://x:1"}});
        let verdict =
            judge(&api, "VirtualPool", None, json!({"provider": provider, "quota": {"pods": 5}, "fallback": "eci"}))
                .await;
        assert_eq!(told(&verdict.faults), "spec.fallback: web → eci → web is a circle; take one step out of it");
        let verdict = judge(&api, "VirtualPool", None, json!({"provider": provider})).await;
        assert!(told(&verdict.faults).starts_with("spec: a pool needs a quota or a budget"));
    }

    #[tokio::test]
    async fn where_the_cluster_cannot_be_read_an_object_is_judged_by_itself() {
        let api = FakeApi::failing();
        let bad = judge(&api, "BurstPolicy", Some("shop"), json!({"base": -1, "tiers": [{"pool": "kci"}]})).await;
        assert!(told(&bad.faults).starts_with("spec.base: \"-1\" is negative"));
        assert_eq!(
            judge(&api, "BurstPolicy", Some("shop"), json!({"base": 1, "tiers": [{"pool": "kci"}]})).await,
            Verdict::default()
        );
    }

    #[tokio::test]
    async fn an_unknown_field_is_refused_by_its_path() {
        let verdict =
            judge(&FakeApi::failing(), "BurstPolicy", Some("shop"), json!({"moveOn": {"afterwards": "9s"}})).await;
        assert!(told(&verdict.faults).starts_with("spec.moveOn.afterwards: unknown field `afterwards`"), "{verdict:?}");
    }
}

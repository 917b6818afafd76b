//! How the API server is told to ask us.

use k8s_openapi::{
    ByteString,
    api::admissionregistration::v1::{
        MatchCondition, MutatingWebhook, MutatingWebhookConfiguration, RuleWithOperations, ServiceReference,
        ValidatingWebhook, ValidatingWebhookConfiguration, WebhookClientConfig,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
};
use kube::api::ObjectMeta;

use super::{JUDGE_PATH, MUTATE_PATH, WARN_PATH};
use crate::api::names;

/// Longest wait of the API server for an answer, in seconds. Pods created meanwhile wait too, so it is short; it is
/// above the webhook's own limit for looking up who governs.
const TIMEOUT_SECONDS: i32 = 3;
/// Label that the API server puts on every namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";
/// Never asked about: what runs the cluster must start without us.
const SYSTEM_NAMESPACE: &str = "kube-system";

/// Pods that may be governed at all: those that something controls, but neither a DaemonSet's nor a node's own. Saves
/// the API server a call for each other pod.
const MAY_BE_GOVERNED: &str = "has(object.metadata.ownerReferences) && object.metadata.ownerReferences.exists(owner, \
     has(owner.controller) && owner.controller && !(owner.kind in ['DaemonSet', 'Node']))";

/// Where the API server reaches us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// By address, such as `https://127.0.0.1:8443`, without a path.
    Url(String),
    /// By Service.
    Service {
        /// The Service's namespace: burstlet's own.
        namespace: String,
        /// The Service's name.
        name: String,
        /// The Service's port.
        port: u16,
    },
}

impl Endpoint {
    fn client_config(&self, path: &str, ca_bundle: &[u8]) -> WebhookClientConfig {
        let ca_bundle = Some(ByteString(ca_bundle.to_vec()));
        match self {
            Self::Url(url) => WebhookClientConfig {
                url: Some(format!("{}{path}", url.trim_end_matches('/'))),
                ca_bundle,
                service: None,
            },
            Self::Service { namespace, name, port } => WebhookClientConfig {
                service: Some(ServiceReference {
                    namespace: namespace.clone(),
                    name: name.clone(),
                    port: Some(i32::from(*port)),
                    path: Some(path.to_owned()),
                }),
                ca_bundle,
                url: None,
            },
        }
    }
}

/// The webhooks' registrations. `ca_bundle` is the PEM of the CA that signed our certificate; pods of
/// `own_namespace` and `kube-system` are never asked about.
///
/// A webhook that is down is skipped: pods created meanwhile are plain pods on real nodes.
pub fn webhook_configurations(
    endpoint: &Endpoint,
    ca_bundle: &[u8],
    own_namespace: &str,
) -> (MutatingWebhookConfiguration, ValidatingWebhookConfiguration) {
    let selector = others_than(&[SYSTEM_NAMESPACE, own_namespace]);
    let metadata = ObjectMeta { name: Some(names::MANAGER.to_owned()), ..ObjectMeta::default() };
    let gate = MutatingWebhook {
        name: "pods.burstlet.dev".to_owned(),
        admission_review_versions: vec!["v1".to_owned()],
        client_config: endpoint.client_config(MUTATE_PATH, ca_bundle),
        failure_policy: Some("Ignore".to_owned()),
        match_policy: Some("Equivalent".to_owned()),
        match_conditions: Some(vec![condition("of-a-workload", MAY_BE_GOVERNED.to_owned())]),
        namespace_selector: Some(selector.clone()),
        reinvocation_policy: Some("IfNeeded".to_owned()),
        rules: Some(vec![rule("", "v1", &["pods"], &["CREATE"], "Namespaced")]),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(TIMEOUT_SECONDS),
        ..MutatingWebhook::default()
    };
    let written = &["CREATE", "UPDATE"];
    let warn = ValidatingWebhook {
        name: "warnings.burstlet.dev".to_owned(),
        admission_review_versions: vec!["v1".to_owned()],
        client_config: endpoint.client_config(WARN_PATH, ca_bundle),
        failure_policy: Some("Ignore".to_owned()),
        match_policy: Some("Equivalent".to_owned()),
        match_conditions: Some(vec![condition("has-a-base", has_base())]),
        namespace_selector: Some(selector),
        rules: Some(vec![
            rule("", "v1", &["pods", "namespaces"], written, "*"),
            rule("apps", "v1", &["deployments", "replicasets", "statefulsets", "daemonsets"], written, "Namespaced"),
            rule("batch", "v1", &["jobs", "cronjobs"], written, "Namespaced"),
        ]),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(TIMEOUT_SECONDS),
        ..ValidatingWebhook::default()
    };
    // Of all namespaces, burstlet's own too: it holds what the others extend.
    let judge = ValidatingWebhook {
        name: "policies.burstlet.dev".to_owned(),
        admission_review_versions: vec!["v1".to_owned()],
        client_config: endpoint.client_config(JUDGE_PATH, ca_bundle),
        failure_policy: Some("Ignore".to_owned()),
        match_policy: Some("Equivalent".to_owned()),
        rules: Some(vec![rule(names::GROUP, names::VERSION, &["burstpolicies", "virtualpools"], written, "*")]),
        side_effects: "None".to_owned(),
        timeout_seconds: Some(TIMEOUT_SECONDS),
        ..ValidatingWebhook::default()
    };
    (
        MutatingWebhookConfiguration { metadata: metadata.clone(), webhooks: Some(vec![gate]) },
        ValidatingWebhookConfiguration { metadata, webhooks: Some(vec![warn, judge]) },
    )
}

/// Objects with a base of their own or, by mistake, in their pod template.
fn has_base() -> String {
    let carries =
        |metadata: &str| format!("has({metadata}.annotations) && '{}' in {metadata}.annotations", names::BASE);
    let (own, template) = (carries("object.metadata"), carries("object.spec.template.metadata"));
    format!(
        "({own}) || (has(object.spec) && has(object.spec.template) && has(object.spec.template.metadata) && {template})"
    )
}

fn condition(name: &str, expression: String) -> MatchCondition {
    MatchCondition { name: name.to_owned(), expression }
}

fn others_than(namespaces: &[&str]) -> LabelSelector {
    LabelSelector {
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: NAMESPACE_NAME.to_owned(),
            operator: "NotIn".to_owned(),
            values: Some(namespaces.iter().map(|&name| name.to_owned()).collect()),
        }]),
        match_labels: None,
    }
}

fn rule(group: &str, version: &str, resources: &[&str], operations: &[&str], scope: &str) -> RuleWithOperations {
    let owned = |texts: &[&str]| Some(texts.iter().map(|&text| text.to_owned()).collect());
    RuleWithOperations {
        api_groups: owned(&[group]),
        api_versions: owned(&[version]),
        operations: owned(operations),
        resources: owned(resources),
        scope: Some(scope.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registrations_never_stand_in_the_clusters_way() {
        let service = Endpoint::Service { namespace: "burstlet-system".into(), name: "burstlet".into(), port: 443 };
        let (mutating, validating) = webhook_configurations(&service, b"PEM", "burstlet-system");
        let written = serde_json::to_value((&mutating, &validating)).unwrap();
        for kind in ["/0", "/1"] {
            let hook = written.pointer(&format!("{kind}/webhooks/0")).unwrap();
            assert_eq!(hook["failurePolicy"], "Ignore");
            assert_eq!(hook["timeoutSeconds"], 3);
            assert_eq!(hook["sideEffects"], "None");
            assert_eq!(hook["clientConfig"]["caBundle"], "UEVN");
            let expression = &hook["namespaceSelector"]["matchExpressions"][0];
            assert_eq!(expression["operator"], "NotIn");
            assert_eq!(expression["values"], serde_json::json!(["kube-system", "burstlet-system"]));
        }
        let path = |config: &serde_json::Value| config["clientConfig"]["service"]["path"].clone();
        assert_eq!(path(&written[0]["webhooks"][0]), "/mutate-pods");
        assert_eq!(path(&written[1]["webhooks"][0]), "/warn");
    }

    #[test]
    fn a_url_gets_the_path() {
        let url = Endpoint::Url("https://127.0.0.1:8443/".into());
        let (mutating, _) = webhook_configurations(&url, b"PEM", "burstlet-system");
        let config = &mutating.webhooks.unwrap()[0].client_config;
        assert_eq!(config.url.as_deref(), Some("https://127.0.0.1:8443/mutate-pods"));
        assert_eq!(config.service, None);
    }

    #[test]
    fn the_condition_looks_for_a_base_in_both_places() {
        assert_eq!(
            has_base(),
            "(has(object.metadata.annotations) && 'burstlet.dev/base' in object.metadata.annotations) || \
             (has(object.spec) && has(object.spec.template) && has(object.spec.template.metadata) && \
             has(object.spec.template.metadata.annotations) && \
             'burstlet.dev/base' in object.spec.template.metadata.annotations)"
        );
    }
}

//! A look at the cluster before anything is touched.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{Api, Client, api::PostParams};
use tokio::time::timeout;

use super::{
    GuestError, Host,
    certificate::{NODES, SIGNER, node_user},
    error::refused,
    traces::Traces,
};
use crate::lab::stand::said;

/// How long the API server gets for its first answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// How many refusals are named.
const NAMED: usize = 5;

/// What the HPA reads.
const METRICS: &str = "/apis/metrics.k8s.io/v1beta1/nodes";

/// What is done in the cluster: verbs, group, resource, and the name where it matters.
const NEEDED: [(&[&str], &str, &str, &str); 20] = [
    (&["create", "get", "delete"], "", "namespaces", ""),
    (&["create", "get", "list", "watch", "patch", "delete"], "", "nodes", ""),
    (&["patch"], "", "nodes/status", ""),
    (&["get", "list", "watch", "patch", "delete"], "", "pods", ""),
    (&["patch"], "", "pods/status", ""),
    (&["create"], "", "pods/eviction", ""),
    (&["get"], "", "configmaps", ""),
    (&["create", "patch"], "", "events", ""),
    (&["create", "get", "list", "watch", "delete"], "apps", "deployments", ""),
    (&["get", "list", "watch"], "apps", "replicasets", ""),
    (&["create", "delete"], "autoscaling", "horizontalpodautoscalers", ""),
    (&["create", "get", "delete"], "admissionregistration.k8s.io", "mutatingwebhookconfigurations", ""),
    (&["create", "get", "delete"], "admissionregistration.k8s.io", "validatingwebhookconfigurations", ""),
    (&["create", "get", "update", "patch", "delete"], "coordination.k8s.io", "leases", ""),
    (&["get", "delete"], "certificates.k8s.io", "certificatesigningrequests", ""),
    (&["patch"], "certificates.k8s.io", "certificatesigningrequests/approval", ""),
    (&["approve"], "certificates.k8s.io", "signers", SIGNER),
    (&["create"], "authentication.k8s.io", "tokenreviews", ""),
    (&["create"], "authorization.k8s.io", "subjectaccessreviews", ""),
    (&["impersonate"], "", "groups", NODES),
];

/// Refuses a cluster that cannot take the stand, or has burstlet already.
pub(super) async fn inspect(host: &Host, traces: &Traces) -> Result<(), GuestError> {
    reached(host).await?;
    allowed(host).await?;
    metrics(&host.client).await?;
    match traces.first(&host.client).await? {
        Some(what) => Err(GuestError::Occupied { what }),
        None => Ok(()),
    }
}

async fn reached(host: &Host) -> Result<(), GuestError> {
    let answer = timeout(ANSWERS_WITHIN, host.client.apiserver_version()).await;
    let reason = match answer {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => said(&error),
        Err(_) => format!("no answer within {ANSWERS_WITHIN:?}"),
    };
    Err(GuestError::Unreachable { context: host.context.clone(), reason })
}

/// Asks for each verb, and names what is refused.
async fn allowed(host: &Host) -> Result<(), GuestError> {
    let node = node_user();
    let impersonate = (&["impersonate"] as &[&str], "", "users", node.as_str());
    let asked = NEEDED.iter().copied().chain([impersonate]);
    let asked =
        asked.flat_map(|(verbs, group, resource, name)| verbs.iter().map(move |&verb| (verb, group, resource, name)));
    let answers = asked.map(async |(verb, group, resource, name)| {
        let may = may(&host.client, verb, group, resource, name).await?;
        Ok((!may).then(|| [verb, resource, name].join(" ").trim_end().to_owned()))
    });
    let refused = join_all(answers).await.into_iter().collect::<Result<Vec<_>, GuestError>>()?;
    let refused: Vec<_> = refused.into_iter().flatten().collect();
    if refused.is_empty() {
        return Ok(());
    }
    let more = refused.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let what = refused.into_iter().take(NAMED).collect::<Vec<_>>().join(", ") + &more;
    Err(GuestError::Forbidden { context: host.context.clone(), what })
}

async fn may(client: &Client, verb: &str, group: &str, resource: &str, name: &str) -> Result<bool, GuestError> {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                verb: some(verb),
                group: some(group),
                resource: some(resource),
                subresource: some(subresource),
                name: some(name),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api = Api::<SelfSubjectAccessReview>::all(client.clone());
    let answer =
        api.create(&PostParams::default(), &review).await.map_err(refused("ask what the context's user may do"))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

async fn metrics(client: &Client) -> Result<(), GuestError> {
    let request = http::Request::get(METRICS).body(Vec::new());
    let request = request.map_err(kube::Error::HttpError).map_err(refused("ask for metrics"))?;
    let answer = client.request_text(request).await;
    answer.map(drop).map_err(|error| GuestError::NoMetricsApi { reason: said(&error) })
}

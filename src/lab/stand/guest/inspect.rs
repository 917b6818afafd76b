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
use crate::lab::stand::{install, said};

/// How long the API server gets for its first answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// How many refusals are named.
const NAMED: usize = 5;

/// What the HPA reads.
const METRICS: &str = "/apis/metrics.k8s.io/v1beta1/nodes";

/// What the stand itself does in the cluster, beside burstlet: verbs, group, resource, and the name where it matters.
const NEEDED: [(&[&str], &str, &str, &str); 11] = [
    (&["create", "get", "delete"], "", "namespaces", ""),
    (&["create", "delete"], "", "nodes", ""),
    (&["get"], "", "configmaps", ""),
    (&["create", "delete"], "apps", "deployments", ""),
    (&["create", "delete"], "autoscaling", "horizontalpodautoscalers", ""),
    (&["create", "get", "delete"], "admissionregistration.k8s.io", "mutatingwebhookconfigurations", ""),
    (&["create", "get", "delete"], "admissionregistration.k8s.io", "validatingwebhookconfigurations", ""),
    (&["delete"], "coordination.k8s.io", "leases", ""),
    (&["get", "delete"], "certificates.k8s.io", "certificatesigningrequests", ""),
    (&["patch"], "certificates.k8s.io", "certificatesigningrequests/approval", ""),
    (&["approve"], "certificates.k8s.io", "signers", SIGNER),
];

/// Something to be allowed.
struct Asked {
    verb: String,
    group: String,
    /// With its subresource, if it is about one.
    resource: String,
    /// Empty for all.
    name: String,
}

impl Asked {
    fn new(verb: &str, group: &str, resource: &str, name: &str) -> Self {
        let [verb, group, resource, name] = [verb, group, resource, name].map(str::to_owned);
        Self { verb, group, resource, name }
    }

    fn told(&self) -> String {
        format!("{} {} {}", self.verb, self.resource, self.name).trim_end().to_owned()
    }
}

/// All that is done there: by the stand, by the nodes that it stands for, and by burstlet.
fn asked() -> Vec<Asked> {
    let mut asked = Vec::new();
    for (verbs, group, resource, name) in NEEDED {
        asked.extend(verbs.iter().map(|verb| Asked::new(verb, group, resource, name)));
    }
    asked.push(Asked::new("impersonate", "", "users", &node_user()));
    asked.push(Asked::new("impersonate", "", "groups", NODES));
    for rule in install::burstlets_rules() {
        let groups = rule.api_groups.unwrap_or_default();
        let resources = rule.resources.unwrap_or_default();
        for (group, resource) in groups.iter().flat_map(|group| resources.iter().map(move |resource| (group, resource)))
        {
            asked.extend(rule.verbs.iter().map(|verb| Asked::new(verb, group, resource, "")));
        }
    }
    asked
}

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
    let answers = asked().into_iter().map(async |asked| {
        let may = may(&host.client, &asked).await?;
        Ok((!may).then(|| asked.told()))
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

async fn may(client: &Client, asked: &Asked) -> Result<bool, GuestError> {
    let Asked { verb, group, resource, name } = asked;
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

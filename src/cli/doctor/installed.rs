//! burstlet itself: kinds, webhook, parts, versions, certificates, roles, credentials.

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use http::header::WARNING;
use k8s_openapi::{
    api::{
        admissionregistration::v1::MutatingWebhookConfiguration,
        apps::v1::Deployment,
        authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
        coordination::v1::Lease,
        core::v1::{Namespace, Secret},
    },
    apimachinery::pkg::version::Info,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{PostParams, Request},
    client::Body,
};
use serde_json::{Value, json};
use x509_parser::pem::Pem;

use super::{Finding, State};
use crate::{api::names, cli::workload};

/// Rules of the chart's parts.
const ROLES: &str = include_str!("../../../helm/burstlet/files/roles.yaml");
/// The oldest minor that burstlet is made for.
const OLDEST_MINOR: u32 = 30;
/// A certificate that ends so soon is told.
const SOON_DAYS: i64 = 30;
/// Questions asked at a time.
const AT_ONCE: usize = 16;
const REINSTALL: &str = "helm upgrade --install burstlet helm/burstlet with the values that you have";

pub(super) async fn look(client: &Client, namespace: &str, version: &Info) -> Vec<Finding> {
    let mut found = vec![cluster(version)];
    found.push(webhook(client).await);
    found.extend(parts(client, namespace, version).await);
    found.extend(certificates(client, namespace).await);
    found.extend(roles(client, namespace).await);
    found.extend(credentials(client, namespace).await);
    found
}

fn minor(version: &str) -> Option<u32> {
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn cluster(version: &Info) -> Finding {
    let (is_old, told) = (minor(&version.minor).is_some_and(|minor| minor < OLDEST_MINOR), &version.git_version);
    if is_old {
        let next = format!("upgrade the cluster to 1.{OLDEST_MINOR} or later");
        return Finding::new(State::Problem, "cluster", format!("Kubernetes {told} is too old"), next);
    }
    Finding::ok("cluster", format!("Kubernetes {told}"))
}

/// Whether the API server reaches the webhook: it passes over one that it does not reach without a word, so a dry run
/// writes a base that the webhook must warn about.
async fn webhook(client: &Client) -> Finding {
    let api = Api::<MutatingWebhookConfiguration>::all(client.clone());
    match api.get_opt(names::MANAGER).await {
        Err(error) => return Finding::unknown("webhook", &error),
        Ok(None) => {
            return Finding::new(State::Problem, "webhook", "no webhook is registered: no pod is governed", REINSTALL);
        }
        Ok(Some(_)) => {}
    }
    let object = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "burstlet-doctor", "annotations": {names::BASE: "no base"}},
    });
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let request = Request::new(Namespace::url_path(&(), None)).create(&dry, object.to_string().into_bytes());
    let Ok(request) = request else { return Finding::new(State::Unknown, "webhook", "it cannot be asked", "") };
    match client.send(request.map(Body::from)).await {
        Err(error) => Finding::unknown("webhook", &error),
        Ok(answer) => {
            let mut warnings = answer.headers().get_all(WARNING).iter();
            if warnings.any(|warning| String::from_utf8_lossy(warning.as_bytes()).contains(names::BASE)) {
                return Finding::ok("webhook", "the API server reaches it");
            }
            if !answer.status().is_success() {
                let says = format!("a dry run was refused ({})", answer.status());
                return Finding::new(State::Unknown, "webhook", says, "run it as somebody who may create namespaces");
            }
            let next = "look at the Service burstlet-admission and its pods, at network policies between the API server and port 8443, and at certificates below";
            Finding::new(State::Problem, "webhook", "the API server does not reach it: new pods are plain", next)
        }
    }
}

/// A part that runs as a Deployment, and the Lease by which it elects a leader.
const PARTS: [(&str, Option<&str>); 3] = [
    ("burstlet-admission", None),
    ("burstlet-controller", Some("burstlet")),
    ("burstlet-scheduler", Some("burstlet-scheduler")),
];

async fn parts(client: &Client, namespace: &str, version: &Info) -> Vec<Finding> {
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
    let leases = Api::<Lease>::namespaced(client.clone(), namespace);
    let mut found = Vec::new();
    let mut images = BTreeMap::new();
    for (name, lease) in PARTS {
        let deployment = match deployments.get_opt(name).await {
            Err(error) => {
                found.push(Finding::unknown(name, &error));
                continue;
            }
            Ok(None) if name == "burstlet-scheduler" => {
                let says = "there is no dedicated scheduler: the cluster's own takes governed pods";
                found.push(Finding::ok(name, says));
                continue;
            }
            Ok(None) => {
                let says = format!("there is no Deployment {namespace}/{name}");
                found.push(Finding::new(State::Problem, name, says, REINSTALL));
                continue;
            }
            Ok(Some(deployment)) => deployment,
        };
        images.insert(name, image(&deployment));
        let available = deployment.status.and_then(|status| status.available_replicas).unwrap_or(0);
        let wanted = deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let next = format!("kubectl --namespace {namespace} describe deployment {name}");
        found.push(match available {
            0 => Finding::new(State::Problem, name, "no replica is available", next),
            some if some < wanted => {
                Finding::new(State::Warning, name, format!("{some} of {wanted} replicas are available"), next)
            }
            _ => Finding::ok(name, format!("{available} replicas are available")),
        });
        if let Some(lease) = lease {
            found.push(leader(name, leases.get_opt(lease).await, jiff::Timestamp::now()));
        }
    }
    found.extend(skew(&images, version));
    found
}

fn image(deployment: &Deployment) -> String {
    let spec = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    spec.and_then(|spec| spec.containers.first()?.image.clone()).unwrap_or_default()
}

fn leader(name: &'static str, lease: Result<Option<Lease>, kube::Error>, now: jiff::Timestamp) -> Finding {
    let spec = match lease {
        Err(error) => return Finding::unknown(name, &error),
        Ok(lease) => lease.and_then(|lease| lease.spec),
    };
    let renewed = spec.as_ref().and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0);
    let lasts = spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(15);
    let holder = spec.and_then(|spec| spec.holder_identity).unwrap_or_default();
    let is_fresh = renewed.is_some_and(|at| now.duration_since(at).as_secs() <= i64::from(lasts));
    if is_fresh && !holder.is_empty() {
        return Finding::ok(name, format!("{holder} leads"));
    }
    let next =
        "look at the pods' logs: kubectl logs --selector app.kubernetes.io/name=burstlet in burstlet's namespace";
    Finding::new(State::Problem, name, "no replica leads", next)
}

/// Versions side by side.
fn skew(images: &BTreeMap<&'static str, String>, version: &Info) -> Vec<Finding> {
    let tag = |name: &str| images.get(name).and_then(|image| image.rsplit_once(':')).map(|(_, tag)| tag.to_owned());
    let mut found = Vec::new();
    let (admission, controller) = (tag("burstlet-admission"), tag("burstlet-controller"));
    let own = env!("CARGO_PKG_VERSION");
    if let (Some(admission), Some(controller)) = (&admission, &controller) {
        found.push(if admission != controller {
            let says = format!("admission is {admission}, the controller {controller}");
            Finding::new(
                State::Warning,
                "versions",
                says,
                "let the upgrade end, or roll it back: helm rollback burstlet",
            )
        } else if controller != own {
            let says = format!("burstlet is {controller} in the cluster, {own} here");
            Finding::new(State::Warning, "versions", says, "use the command line of the version that is installed")
        } else {
            Finding::ok("versions", format!("burstlet {own}, in the cluster and here"))
        });
    }
    let scheduler = tag("burstlet-scheduler");
    let of_scheduler = scheduler.as_deref().and_then(|tag| minor(tag.trim_start_matches('v').split('.').nth(1)?));
    if let (Some(of_scheduler), Some(of_server)) = (of_scheduler, minor(&version.minor)) {
        let says = format!("the dedicated kube-scheduler is 1.{of_scheduler}, the API server 1.{of_server}");
        found.push(if of_scheduler > of_server || of_scheduler + 1 < of_server {
            Finding::new(
                State::Warning,
                "versions",
                says,
                "set scheduler.image.tag to the cluster's version, or leave it empty",
            )
        } else {
            Finding::ok("versions", says)
        });
    }
    found
}

async fn certificates(client: &Client, namespace: &str) -> Vec<Finding> {
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let bundle = Api::<MutatingWebhookConfiguration>::all(client.clone()).get_opt(names::MANAGER).await.ok().flatten();
    let bundle = bundle.and_then(|found| found.webhooks?.into_iter().next()?.client_config.ca_bundle);
    let mut found = Vec::new();
    if let Some(bundle) = bundle {
        found.push(ends("the webhook's CA", &bundle.0, now_seconds()));
    }
    for part in ["admission", "scheduler", "kubelet"] {
        let name = format!("burstlet-{part}-tls");
        match secrets.get_opt(&name).await {
            Err(error) => found.push(Finding::unknown("certificates", &error)),
            // A Secret of the user's own, or no scheduler.
            Ok(None) => {}
            Ok(Some(secret)) => {
                let certificate = secret.data.and_then(|mut data| data.remove("tls.crt")).unwrap_or_default();
                found.push(ends(&name, &certificate.0, now_seconds()));
            }
        }
    }
    found
}

fn now_seconds() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// When a certificate ends.
fn ends(what: &str, pem: &[u8], now: i64) -> Finding {
    let until = Pem::iter_from_buffer(pem).next().and_then(Result::ok).and_then(|pem| {
        let certificate = pem.parse_x509().ok()?;
        Some(certificate.validity().not_after.timestamp())
    });
    let renew =
        "delete the Secret and run helm upgrade (tls.mode generated), or see to cert-manager or your own Secret";
    match until {
        None => Finding::new(State::Problem, "certificates", format!("{what} is no certificate"), renew),
        Some(until) => {
            let days = (until - now) / 86_400;
            let says = format!("{what} is valid for {days} days more");
            match days {
                ..=0 => Finding::new(State::Problem, "certificates", format!("{what} has ended"), renew),
                1..SOON_DAYS => Finding::new(State::Warning, "certificates", says, renew),
                _ => Finding::ok("certificates", says),
            }
        }
    }
}

/// Asks the API server of each rule whether the part's service account has it.
async fn roles(client: &Client, namespace: &str) -> Vec<Finding> {
    let rules: Value = serde_saphyr::from_str(ROLES).unwrap_or_default();
    let mut found = Vec::new();
    for part in ["admission", "controller"] {
        let user = format!("system:serviceaccount:{namespace}:burstlet-{part}");
        let asked = stream::iter(attributes(&rules[part]["cluster"])).map(|attributes| {
            let told = told(&attributes);
            let review = review(client, &user, attributes);
            async move { review.await.map(|is_allowed| (told, is_allowed)) }
        });
        let answers: Vec<_> = asked.buffered(AT_ONCE).collect().await;
        if let Some(error) = answers.iter().find_map(|answer| answer.as_ref().err()) {
            found.push(Finding::unknown("roles", error));
            continue;
        }
        let refused = answers.into_iter().flatten().filter(|(_, is_allowed)| !is_allowed).map(|(told, _)| told);
        let refused: Vec<_> = refused.collect();
        found.push(if refused.is_empty() {
            Finding::ok("roles", format!("burstlet-{part} may do what it needs"))
        } else {
            let says = format!("burstlet-{part} may not {}", refused.join(", "));
            Finding::new(State::Problem, "roles", says, REINSTALL)
        });
    }
    found
}

fn attributes(rules: &Value) -> Vec<ResourceAttributes> {
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        rule[field].as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let mut all = Vec::new();
    for rule in rules.as_array().into_iter().flatten() {
        // Where a rule has one name or several, one of them tells.
        let name = texts(rule, "resourceNames").into_iter().next();
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                let (kind, sub) =
                    resource.split_once('/').map_or((resource.as_str(), None), |(kind, sub)| (kind, Some(sub)));
                all.extend(texts(rule, "verbs").into_iter().map(|verb| ResourceAttributes {
                    group: Some(group.clone()),
                    resource: Some(kind.to_owned()),
                    subresource: sub.map(str::to_owned),
                    name: name.clone(),
                    verb: Some(verb),
                    ..ResourceAttributes::default()
                }));
            }
        }
    }
    all
}

fn told(attributes: &ResourceAttributes) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let sub = attributes.subresource.as_ref().map(|sub| format!("/{sub}")).unwrap_or_default();
    format!("{} {}{sub}", part(&attributes.verb), part(&attributes.resource))
}

async fn review(client: &Client, user: &str, attributes: ResourceAttributes) -> Result<bool, kube::Error> {
    let spec = SubjectAccessReviewSpec {
        user: Some(user.to_owned()),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let answer = Api::<SubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// Secrets that pools take their keys from: whether they are there, and whether the controller may read them.
async fn credentials(client: &Client, home: &str) -> Vec<Finding> {
    let Ok(pools) = workload::pools(client).await else {
        return vec![Finding::new(
            State::Problem,
            "pools",
            "the cluster knows no VirtualPool",
            "burstlet crd | kubectl apply --filename -",
        )];
    };
    if pools.is_empty() {
        let next = "name one in the chart's value pools, or apply one of policies/pools.yaml";
        return vec![Finding::new(State::Warning, "pools", "there is no VirtualPool: what exceeds a base waits", next)];
    }
    let user = format!("system:serviceaccount:{home}:burstlet-controller");
    let mut found = Vec::new();
    for pool in pools {
        let spec = serde_json::to_value(&pool.spec).unwrap_or_default();
        let provider = spec["provider"].as_object().and_then(|one| one.values().next().cloned()).unwrap_or_default();
        let reference = &provider["credentials"]["secretRef"];
        let Some(name) = reference["name"].as_str() else { continue };
        let namespace = reference["namespace"].as_str().unwrap_or(home);
        let what = format!("pool {}: Secret {namespace}/{name}", pool.name_any());
        match Api::<Secret>::namespaced(client.clone(), namespace).get_metadata_opt(name).await {
            Ok(None) => {
                let next =
                    format!("kubectl --namespace {namespace} create secret generic {name} with the cloud's keys");
                found.push(Finding::new(State::Problem, "credentials", format!("{what} is missing"), next));
                continue;
            }
            Err(error) => found.push(Finding::unknown("credentials", &error)),
            Ok(Some(_)) => {}
        }
        let attributes = ResourceAttributes {
            namespace: Some(namespace.to_owned()),
            resource: Some("secrets".to_owned()),
            name: Some(name.to_owned()),
            verb: Some("get".to_owned()),
            ..ResourceAttributes::default()
        };
        found.push(match review(client, &user, attributes).await {
            Ok(true) => Finding::ok("credentials", format!("{what}, and the controller may read it")),
            Ok(false) => {
                let next = format!("add {name} to the chart's value credentials");
                Finding::new(State::Problem, "credentials", format!("{what} may not be read by the controller"), next)
            }
            Err(error) => Finding::unknown("credentials", &error),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(minor: &str) -> Info {
        Info { minor: minor.to_owned(), git_version: format!("v1.{minor}.0"), ..Info::default() }
    }

    #[test]
    fn versions_that_do_not_go_together_are_told() {
        let images = |tags: [&str; 3]| {
            PARTS.iter().zip(tags).map(|((name, _), tag)| (*name, format!("r:5000/x:{tag}"))).collect()
        };
        let own = env!("CARGO_PKG_VERSION");
        let states = |found: Vec<Finding>| found.iter().map(|finding| finding.state).collect::<Vec<_>>();
        assert_eq!(states(skew(&images([own, own, "v1.36.3"]), &version("36"))), [State::Ok, State::Ok]);
        assert_eq!(states(skew(&images([own, "9.9.9", "v1.37.0"]), &version("36"))), [State::Warning, State::Warning]);
        assert_eq!(states(skew(&images(["9.9.9", "9.9.9", "v1.35.0"]), &version("36+"))), [State::Warning, State::Ok]);
        assert_eq!(cluster(&version("29")).state, State::Problem);
    }

    #[test]
    fn a_leader_must_have_renewed_its_lease() {
        let lease = |at: &str| {
            let spec = json!({"holderIdentity": "a", "leaseDurationSeconds": 8, "renewTime": at});
            serde_json::from_value::<Lease>(json!({"metadata": {}, "spec": spec})).unwrap()
        };
        let now = "2026-01-01T00:00:10Z".parse().unwrap();
        assert_eq!(leader("x", Ok(Some(lease("2026-01-01T00:00:05.000000Z"))), now).state, State::Ok);
        assert_eq!(leader("x", Ok(Some(lease("2026-01-01T00:00:01.000000Z"))), now).state, State::Problem);
        assert_eq!(leader("x", Ok(None), now).state, State::Problem);
    }

    #[test]
    fn the_charts_rules_are_asked_one_by_one() {
        let rules: Value = serde_saphyr::from_str(ROLES).unwrap();
        let all: Vec<_> = attributes(&rules["admission"]["cluster"]).iter().map(told).collect();
        assert!(all.contains(&"create pods/binding".to_owned()), "{all:?}");
    }

    #[cfg(feature = "lab")]
    #[test]
    fn a_certificate_is_told_before_it_ends() {
        let made = rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap();
        let pem = made.cert.pem();
        let (_, parsed) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let until = parsed.parse_x509().unwrap().validity().not_after.timestamp();
        let state = |now| ends("it", pem.as_bytes(), now).state;
        assert_eq!(state(until - 86_400 * 40), State::Ok);
        assert_eq!(state(until - 86_400 * 20), State::Warning);
        assert_eq!(state(until + 1), State::Problem);
        assert_eq!(ends("it", b"nothing", 0).state, State::Problem);
    }
}

//! `burstlet doctor`: whether burstlet is installed right, and what in the cluster keeps it from working.

mod constraints;
mod installed;

use std::fmt::Write;

use anyhow::Context;
use clap::Args;
use kube::{Api, Client, Resource, api::ListParams, core::NamespaceResourceScope};
use serde::{Serialize, de::DeserializeOwned};

use crate::cli::{
    ClusterArgs,
    output::{OutputArgs, table},
};

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Only workloads of this namespace; else of all
    #[arg(long, short, value_name = "NAME")]
    namespace: Option<String>,
    /// Namespace that burstlet lives in
    #[arg(long, default_value = "burstlet-system", value_name = "NAME")]
    burstlet_namespace: String,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// Not to be told from here, such as what this user may not read.
    Unknown,
    /// It works, but not as somebody may think.
    Warning,
    /// It does not work.
    Problem,
}

/// What was found about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    state: State,
    /// What was looked at: `webhook`, `roles` …
    check: &'static str,
    says: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, says: impl Into<String>) -> Self {
        Self { state: State::Ok, check, says: says.into(), next: None }
    }

    fn new(state: State, check: &'static str, says: impl Into<String>, next: impl Into<String>) -> Self {
        Self { state, check, says: says.into(), next: Some(next.into()) }
    }

    /// This user may not look, or the API server did not answer.
    fn unknown(check: &'static str, error: &kube::Error) -> Self {
        let says = match error {
            kube::Error::Api(status) => status.message.clone(),
            other => other.to_string(),
        };
        Self::new(State::Unknown, check, says, "run it as somebody who may look")
    }
}

/// Looks at everything, and tells whether nothing is broken.
pub(super) async fn doctor(args: DoctorArgs) -> anyhow::Result<bool> {
    let client = args.cluster.client().await?;
    let version = client.apiserver_version().await.context("the API server does not answer")?;
    let mut findings = installed::look(&client, &args.burstlet_namespace, &version).await;
    findings.extend(constraints::look(&client, args.namespace.as_deref(), &args.burstlet_namespace).await);
    let is_well = findings.iter().all(|finding| finding.state != State::Problem);
    args.output.print(&findings, |findings| text(findings))?;
    Ok(is_well)
}

fn text(findings: &[Finding]) -> String {
    let rows = findings.iter().map(|finding| {
        let state = match finding.state {
            State::Ok => "ok",
            State::Unknown => "unknown",
            State::Warning => "warning",
            State::Problem => "PROBLEM",
        };
        [state.to_owned(), finding.check.to_owned(), finding.says.clone()]
    });
    let mut text = table(&["STATE", "CHECK", "FOUND"], rows);
    let next = findings.iter().filter_map(|finding| Some((finding, finding.next.as_ref()?)));
    for (finding, next) in next {
        // Writing to a text does not fail.
        let _ = write!(text, "\n{}: {}\n  {}\n", finding.check, finding.says, next.replace('\n', "\n  "));
    }
    text
}

/// All objects of a kind; the error is a finding.
async fn all<K>(client: &Client, check: &'static str) -> Result<Vec<K>, Finding>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    listed(Api::<K>::all(client.clone()), check).await
}

/// Those of one namespace, or of all.
async fn all_of<K>(client: &Client, check: &'static str, namespace: Option<&str>) -> Result<Vec<K>, Finding>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    listed(api, check).await
}

async fn listed<K>(api: Api<K>, check: &'static str) -> Result<Vec<K>, Finding>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let listed = api.list(&ListParams::default()).await;
    listed.map(|list| list.items).map_err(|error| Finding::unknown(check, &error))
}

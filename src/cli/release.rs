//! `burstlet release`.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::{
    cli::{ClusterArgs, output::OutputArgs},
    release::{self, Uninstall},
};

#[derive(Debug, Args)]
pub(super) struct ReleaseArgs {
    /// Take everything of burstlet's away: webhooks, burst pods with their instances, virtual nodes
    #[arg(long)]
    uninstall: bool,
    /// Only pods of this namespace; else of all
    #[arg(long, short, value_name = "NAME", conflicts_with = "uninstall")]
    namespace: Option<String>,
    /// Namespace that burstlet lives in
    #[arg(long, value_name = "NAME", default_value = "burstlet-system", requires = "uninstall")]
    burstlet_namespace: String,
    /// The Deployment that runs placement and the kubelets
    #[arg(long, value_name = "NAME", default_value = "burstlet-controller", requires = "uninstall")]
    controller: String,
    /// The Deployment that runs the dedicated kube-scheduler, where there is one
    #[arg(long, value_name = "NAME", default_value = "burstlet-scheduler", requires = "uninstall")]
    scheduler: String,
    /// How long burst pods may take to end
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = humantime::parse_duration, requires = "uninstall")]
    within: Duration,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What was done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Released {
    /// Pods whose gate came off; `None` of an uninstall, which tells its steps on standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pods: Option<usize>,
    is_uninstalled: bool,
}

pub(super) async fn release(args: ReleaseArgs) -> anyhow::Result<()> {
    let client = args.cluster.client().await?;
    if args.uninstall {
        let what = Uninstall {
            namespace: args.burstlet_namespace,
            controller: args.controller,
            scheduler: args.scheduler,
            within: args.within,
        };
        release::uninstall(&client, &what, |step| eprintln!("{step}")).await?;
        args.output.print(&Released { pods: None, is_uninstalled: true }, text)
    } else {
        let pods = release::gates(&client, args.namespace.as_deref()).await?;
        args.output.print(&Released { pods: Some(pods), is_uninstalled: false }, text)
    }
}

fn text(released: &Released) -> String {
    match released.pods {
        Some(pods) => format!("released {pods} pods; the webhook gates new ones while it runs\n"),
        None => "burstlet is gone\n".to_owned(),
    }
}

//! `burstlet release`.

use std::time::Duration;

use clap::Args;

use crate::{
    cli::ClusterArgs,
    release::{self, Uninstall},
};

#[derive(Debug, Args)]
pub(super) struct ReleaseArgs {
    /// Take everything of burstlet's away: webhooks, burst pods with their instances, virtual nodes
    #[arg(long)]
    uninstall: bool,
    /// burstlet's own namespace
    #[arg(long, value_name = "NAME", default_value = "burstlet-system", requires = "uninstall")]
    namespace: String,
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
    cluster: ClusterArgs,
}

pub(super) async fn release(args: ReleaseArgs) -> anyhow::Result<()> {
    let client = args.cluster.client().await?;
    if args.uninstall {
        let what = Uninstall {
            namespace: args.namespace,
            controller: args.controller,
            scheduler: args.scheduler,
            within: args.within,
        };
        release::uninstall(&client, &what, |step| eprintln!("{step}")).await?;
        println!("burstlet is gone");
    } else {
        let pods = release::gates(&client).await?;
        println!("released {pods} pods; the webhook gates new ones while it runs");
    }
    Ok(())
}

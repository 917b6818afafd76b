//! `burstlet run`.

use std::path::PathBuf;

use clap::Args;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::ClusterArgs,
    placer::Board,
    run::{
        Run,
        config::{ALL_COMPONENTS, Component, Config},
        providers,
    },
    telemetry::{self, ApiRequests, LogFormat},
};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Components to run here
    #[arg(long, value_delimiter = ',', value_name = "LIST", default_values_t = ALL_COMPONENTS, value_enum)]
    components: Vec<Component>,
    /// How log lines are written
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
    /// Let pools of the provider `process` run pods as processes of this host, WITHOUT ISOLATION: for trials alone
    #[cfg(feature = "lab")]
    #[arg(long)]
    allow_host_processes: bool,
    #[command(flatten)]
    cluster: ClusterArgs,
}

pub(super) async fn run(args: RunArgs, stop: CancellationToken) -> anyhow::Result<()> {
    telemetry::init(args.log_format);
    let config = Config::read(&args.config)?;
    #[cfg(feature = "lab")]
    let config = Config { allows_host_processes: args.allow_host_processes, ..config };
    let registry = Registry::new();
    let client = args.cluster.client_with(&ApiRequests::register(&registry)?).await?;
    let providers = providers(&config, &client)?;
    let components = args.components.into_iter().collect();
    let (identity, board) = (identity(), Board::default());
    Run { client, registry, config, components, identity, providers, board }.until(stop).await?;
    Ok(())
}

/// A name that no other replica has, nor this one after a restart: the host's, and a part made anew each time.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "burstlet".to_owned());
    let now = jiff::Timestamp::now().as_nanosecond();
    format!("{host}-{}-{now:x}", std::process::id())
}

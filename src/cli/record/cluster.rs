//! `burstlet record --context`: a live cluster.

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, bail};
use burstlet_engine::traffic::Step;
use clap::Args;
use indicatif::ProgressBar;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::ClusterArgs,
    record::{HpaSample, SummaryJson, Watch, now, summary_table, watch_cluster, write_recording},
};

/// A live cluster as a source.
#[derive(Debug, Args)]
#[command(next_help_heading = "From a cluster")]
pub(super) struct Live {
    /// Record the cluster of this kubeconfig context: its HPAs' replicas and CPU, and how long pods take to start;
    /// prints the measured start-up times as a scenario's sections
    #[arg(long, value_name = "NAME", requires = "length")]
    pub(super) context: Option<String>,
    /// The context's kubeconfig file; else $KUBECONFIG or ~/.kube/config
    #[arg(long, value_name = "FILE", requires = "context")]
    kubeconfig: Option<PathBuf>,
    /// Namespace to record
    #[arg(short, long, value_name = "NAME", requires = "context", default_value = "default")]
    namespace: String,
    /// How long; Ctrl-C ends it early and keeps what was seen
    #[arg(long = "for", value_name = "DURATION", requires = "context", value_parser = humantime::parse_duration)]
    length: Option<Duration>,
    /// The one HPA whose CPU becomes traffic; else all of the namespace together
    #[arg(long, value_name = "NAME", requires = "context")]
    hpa: Option<String>,
    /// CPU time that one request costs a pod: CPU used divided by it is the traffic that --output writes
    #[arg(long, value_name = "DURATION", requires = "context", value_parser = humantime::parse_duration)]
    request_cpu: Option<Duration>,
}

impl Live {
    /// Records, and writes the traffic to `output` if it is given.
    pub(super) async fn record(
        &self,
        every: Option<Step>,
        output: Option<&PathBuf>,
        is_json: bool,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let request_cpu = match (output, self.request_cpu) {
            (Some(_), None) => bail!("--output needs --request-cpu: a cluster tells CPU used, not requests"),
            (_, Some(Duration::ZERO)) => bail!("--request-cpu is 0s; a request costs more than that"),
            (_, request_cpu) => request_cpu.unwrap_or_default(),
        };
        let cluster = ClusterArgs { kubeconfig: self.kubeconfig.clone(), context: self.context.clone() };
        let client = cluster.client().await.context("unable to use the context")?;
        let watch = Watch {
            namespace: self.namespace.clone(),
            hpa: self.hpa.clone(),
            every: every.unwrap_or(Step::QUARTER_MINUTE),
            length: self.length.unwrap_or_default(),
        };
        let begun = now();
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new(watch.length.as_secs())
        } else {
            ProgressBar::hidden()
        };
        let mut failed = Ok(());
        let tell = |sample: &HpaSample| {
            bar.set_position(now().since(begun).as_secs());
            if is_json && failed.is_ok() {
                failed = print_sample(sample);
                if failed.is_err() {
                    // Nobody reads any more.
                    stop.cancel();
                }
            }
        };
        let seen = Box::pin(watch_cluster(&client, &watch, stop, tell)).await?;
        bar.finish_and_clear();
        failed?;
        eprintln!(
            "{} pods started in {}",
            seen.start_ups.count(),
            humantime::format_duration(Duration::from_secs(now().since(begun).as_secs()))
        );
        if !is_json {
            write!(std::io::stdout().lock(), "{}", seen.start_ups.yaml(&seen.extents))?;
        }
        let Some(output) = output else { return Ok(()) };
        let recording = seen.recording(&watch, begun, request_cpu)?;
        write_recording(output, &recording)?;
        eprintln!("{}", summary_table(&SummaryJson::new(&recording, &[])));
        Ok(())
    }
}

fn print_sample(sample: &HpaSample) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{}", serde_json::to_string(sample)?)?)
}

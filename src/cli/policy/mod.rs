//! `burstlet policy`: import, check, show.

mod check;
mod import;
mod show;

use std::{io::Read, path::Path};

use anyhow::Context;
use clap::Subcommand;
use serde_json::Value;

use crate::cli::workload::AskedArgs;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Turn policies of other products into BurstPolicies
    ///
    /// Takes ResourcePolicy (ACK, scheduler-plugins), ScheduleProfile (Huawei, Baidu), WorkloadSpread (OpenKruise) and
    /// Selector (ECI). Prints YAML; each field that could not be carried over is told on standard error, and as a
    /// comment in the YAML, with the reason.
    Import(import::ImportArgs),
    /// Check files of BurstPolicies and VirtualPools, without a cluster
    Check(check::CheckArgs),
    /// Show the policy that holds for a workload or pod, and where each field comes from
    Show(AskedArgs),
}

pub(super) async fn policy(command: PolicyCommand) -> anyhow::Result<()> {
    match command {
        PolicyCommand::Import(args) => import::import(&args),
        PolicyCommand::Check(args) => check::check(&args),
        PolicyCommand::Show(args) => show::show(args).await,
    }
}

/// The documents of a YAML file; `-` is standard input. Empty documents are passed over.
fn documents(path: &Path) -> anyhow::Result<Vec<Value>> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("unable to read standard input")?;
        text
    } else {
        std::fs::read_to_string(path).with_context(|| format!("unable to read {}", path.display()))?
    };
    let all: Vec<Value> =
        serde_saphyr::from_multiple(&text).with_context(|| format!("{} is no YAML", path.display()))?;
    Ok(all.into_iter().filter(|document| !document.is_null()).collect())
}

//! `burstlet pool`.

use std::{io::Write, path::PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::api::pool::import::import;

#[derive(Debug, Args)]
pub(super) struct PoolArgs {
    #[command(subcommand)]
    command: PoolCommand,
}

#[derive(Debug, Subcommand)]
enum PoolCommand {
    /// Write the pool that another virtual kubelet's manifests describe, for the configuration's `pools`
    ///
    /// Understood are ECI's: the Deployment or StatefulSet of its virtual kubelet, the ConfigMap eci-profile, and
    /// vnodectl's configuration file. What is not taken over is told on standard error.
    Import(ImportArgs),
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// Manifests, in YAML
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn pool(args: PoolArgs) -> anyhow::Result<()> {
    let PoolCommand::Import(ImportArgs { files }) = args.command;
    let mut documents = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| format!("unable to read {}", file.display()))?;
        let read = serde_saphyr::from_multiple::<Value>(&text);
        documents.extend(read.map_err(|error| anyhow::anyhow!("{} is no YAML: {error}", file.display()))?);
    }
    let imported = import(&documents)?;
    for remark in &imported.remarks {
        eprintln!("{remark}");
    }
    let text = serde_saphyr::to_string(&[imported.pool]).context("unable to write the pool")?;
    write!(std::io::stdout().lock(), "{text}").context("unable to print")
}

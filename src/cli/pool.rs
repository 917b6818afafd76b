//! `burstlet pool`.

use std::{io::Write, path::PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::api::pool::import::{Options, import};

#[derive(Debug, Args)]
pub(super) struct PoolArgs {
    #[command(subcommand)]
    command: PoolCommand,
}

#[derive(Debug, Subcommand)]
enum PoolCommand {
    /// Write the VirtualPool that another virtual kubelet's manifests describe
    ///
    /// Understood are ECI's (the Deployment or StatefulSet of its virtual kubelet, the ConfigMap eci-profile, vnodectl's
    /// configuration file) and Kingsoft's (the Deployment or StatefulSet of its virtual kubelet). What is not taken over
    /// as it stands is told on standard error.
    Import(ImportArgs),
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// Manifests, in YAML
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Pods that the pool takes at most: virtual kubelets know no such bound, and a pool needs one
    #[arg(long, value_name = "PODS", default_value_t = 200)]
    quota: u32,
    /// The region, where the manifests do not name it
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
}

pub(super) fn pool(args: PoolArgs) -> anyhow::Result<()> {
    let PoolCommand::Import(ImportArgs { files, quota, region }) = args.command;
    let mut documents = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| format!("unable to read {}", file.display()))?;
        let read = serde_saphyr::from_multiple::<Value>(&text);
        documents.extend(read.map_err(|error| anyhow::anyhow!("{} is no YAML: {error}", file.display()))?);
    }
    let imported = import(&documents, &Options { quota_pods: quota, region })?;
    for remark in &imported.remarks {
        eprintln!("{remark}");
    }
    let text = serde_saphyr::to_string(&imported.pool).context("unable to write the pool")?;
    write!(std::io::stdout().lock(), "{text}").context("unable to print")
}

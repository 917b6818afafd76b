//! `burstlet policy import`.

use std::{fmt::Write as _, io::Write as _, path::PathBuf};

use anyhow::Context;
use burstlet_engine::policy::import::{Imported, import as carry_over};
use clap::Args;
use serde_json::json;

use super::documents;
use crate::api::{names, policy::KIND};

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    /// Files in YAML; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn import(args: &ImportArgs) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut refused = 0;
    for path in &args.files {
        for document in documents(path)? {
            match carry_over(&document) {
                Ok(imported) => {
                    for lost in &imported.lost {
                        eprintln!("{}: {}: {lost}", path.display(), imported.source);
                    }
                    out.write_all(yaml(&imported)?.as_bytes()).context("unable to write to standard output")?;
                }
                Err(error) => {
                    refused += 1;
                    eprintln!("{}: {error}", path.display());
                }
            }
        }
    }
    anyhow::ensure!(refused == 0, "{refused} of the documents could not be imported");
    Ok(())
}

/// The policy, with what was lost as comments above it.
fn yaml(imported: &Imported) -> anyhow::Result<String> {
    let Imported { source, namespace, name, spec, lost, pools } = imported;
    let mut text = format!("---\n# From {source}.\n");
    for lost in lost {
        writeln!(text, "# Not carried over: {lost}")?;
    }
    for pool in pools {
        writeln!(text, "# Needs a VirtualPool {pool}; make one of this name, or write another's.")?;
    }
    let mut metadata = json!({"name": name});
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    let policy = json!({
        "apiVersion": format!("{}/{}", names::GROUP, names::VERSION),
        "kind": KIND,
        "metadata": metadata,
        "spec": spec,
    });
    text.push_str(&serde_saphyr::to_string(&policy)?);
    Ok(text)
}

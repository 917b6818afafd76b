//! `burstlet policy check`.

use std::{collections::BTreeMap, path::PathBuf};

use burstlet_engine::{
    model::{ObjectName, PoolName},
    policy::{
        Policies,
        check::{self, KnownPools, Verdict},
    },
};
use clap::Args;

use super::documents;
use crate::api::document::Document;

#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    /// Files in YAML; - is standard input. They are checked together: policies may name pools and parents of other files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Namespace of policies that name none
    #[arg(long, short, default_value = "default", value_name = "NAME")]
    namespace: String,
    /// Namespace that burstlet lives in: parents are also looked for there
    #[arg(long, default_value = "burstlet-system", value_name = "NAME")]
    burstlet_namespace: String,
}

pub(super) fn check(args: &CheckArgs) -> anyhow::Result<()> {
    let mut faults = 0;
    let mut found = Vec::new();
    for path in &args.files {
        for document in documents(path)? {
            match Document::read(&document) {
                Ok(document) => found.push((path, document)),
                Err(error) => {
                    faults += 1;
                    let name = document.pointer("/metadata/name").and_then(serde_json::Value::as_str).unwrap_or("?");
                    println!("{}: {name}: refused: {error}", path.display());
                }
            }
        }
    }
    let known = Known::of(found.iter().map(|(_, document)| document), args);
    for (path, document) in &found {
        let Verdict { faults: own, warnings } = known.judge(document, &args.namespace);
        let told = |what: &str, all: &[_]| {
            for fault in all {
                println!("{}: {}: {what}: {fault}", path.display(), document.title());
            }
        };
        told("refused", &own);
        told("warning", &warnings);
        if own.is_empty() {
            println!("{}: {}: ok", path.display(), document.title());
        }
        faults += own.len();
    }
    anyhow::ensure!(faults == 0, "{faults} faults");
    Ok(())
}

/// All objects of the files.
struct Known {
    policies: Policies,
    /// `None` where no file has any: then they are thought to be in the cluster.
    pools: Option<KnownPools>,
}

impl Known {
    fn of<'a>(documents: impl Iterator<Item = &'a Document> + Clone, args: &CheckArgs) -> Self {
        let mut policies = Policies::new(&args.burstlet_namespace);
        let mut pools = BTreeMap::new();
        for document in documents {
            match document {
                Document::Policy(namespace, name, spec) => {
                    let namespace = namespace.as_deref().unwrap_or(&args.namespace);
                    // What is wrong with it is told when it is judged.
                    let _ = policies.set(ObjectName::new(namespace, name), spec);
                }
                Document::Pool(name, spec) => {
                    pools.insert(PoolName::from(name.as_str()), spec.known());
                }
            }
        }
        Self { policies, pools: (!pools.is_empty()).then_some(pools) }
    }

    fn judge(&self, document: &Document, namespace: &str) -> Verdict {
        match document {
            Document::Policy(own, name, spec) => {
                let name = ObjectName::new(own.as_deref().unwrap_or(namespace), name);
                check::policy(&name, spec, &self.policies, self.pools.as_ref())
            }
            Document::Pool(name, spec) => spec.check(name, &self.pools.clone().unwrap_or_default()),
        }
    }
}

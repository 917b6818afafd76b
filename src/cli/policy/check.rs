//! `burstlet policy check`.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Context;
use burstlet_engine::{
    model::{ObjectName, PoolName},
    policy::{
        Asked, Marks, Policies,
        check::{self, KnownPools, Verdict},
    },
};
use clap::Args;
use k8s_openapi::api::{apps::v1::Deployment, autoscaling::v2::HorizontalPodAutoscaler};
use kube::ResourceExt;
use serde_json::Value;

use super::documents;
use crate::{
    api::{document::Document, owner::marks},
    cli::workload,
    run::config::Config,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    /// Files in YAML; - is standard input. They are checked together: policies may name pools and parents of other files.
    /// Deployments and `HorizontalPodAutoscalers` among them are looked at for a base that leaves nothing to burst
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
    let mut scaled = Scaled::default();
    for path in &args.files {
        for document in documents(path)? {
            if scaled.take(&document)? {
                continue;
            }
            match Document::read(&document) {
                Ok(document) => found.push((path, document)),
                Err(error) => {
                    faults += 1;
                    let name = document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("?");
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
    for told in scaled.bases_above(&known.policies, &args.namespace) {
        println!("{told}");
    }
    anyhow::ensure!(faults == 0, "{faults} faults");
    Ok(())
}

/// Workloads and their autoscalers, where the files have them.
#[derive(Debug, Default)]
struct Scaled {
    deployments: Vec<Deployment>,
    autoscalers: Vec<HorizontalPodAutoscaler>,
}

impl Scaled {
    /// Keeps a Deployment or an autoscaler; answers whether it is one.
    fn take(&mut self, document: &Value) -> anyhow::Result<bool> {
        let kind = document.get("kind").and_then(Value::as_str).unwrap_or_default();
        let read = || format!("a {kind} of the files cannot be read");
        match kind {
            "Deployment" => self.deployments.push(serde_json::from_value(document.clone()).with_context(read)?),
            "HorizontalPodAutoscaler" => {
                self.autoscalers.push(serde_json::from_value(document.clone()).with_context(read)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Deployments whose base, by annotation or policy, leaves their autoscalers nothing to burst.
    fn bases_above(&self, policies: &Policies, namespace: &str) -> Vec<String> {
        let mut told = Vec::new();
        for deployment in &self.deployments {
            let own = deployment.metadata.namespace.as_deref().unwrap_or(namespace);
            let template = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.clone()).unwrap_or_default();
            let (pod, workload) = (marks(&template), marks(&deployment.metadata));
            let asked = Asked { namespace: own, pod: &pod, workload: &workload, namespace_marks: &Marks::default() };
            let governed = policies.resolve(&asked, &Config::default_settings()).governed;
            let Some(base) = governed.and_then(|governed| governed.policy.base.pods) else { continue };
            let (name, of_namespace) = (deployment.name_any(), |autoscaler: &&HorizontalPodAutoscaler| {
                autoscaler.metadata.namespace.as_deref().unwrap_or(namespace) == own
            });
            let autoscalers: Vec<_> = self.autoscalers.iter().filter(of_namespace).cloned().collect();
            let warnings = workload::bases_above(&autoscalers, &workload::Kind::Deployment, &name, base);
            told.extend(warnings.into_iter().map(|warning| format!("Deployment {name}: warning: {warning}")));
        }
        told
    }
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

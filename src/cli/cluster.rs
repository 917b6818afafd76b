//! Which cluster a command talks to, as kubectl has it, and what to do where it does not answer.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use kube::{
    Client, Config,
    client::ClientBuilder,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::telemetry::ApiRequests;

/// Which cluster.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ClusterArgs {
    /// Kubeconfig file; else $KUBECONFIG, ~/.kube/config, or the pod's service account
    #[arg(long, value_name = "FILE")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME")]
    pub(super) context: Option<String>,
}

impl ClusterArgs {
    pub(super) async fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::try_from(self.config().await?)?)
    }

    /// A client whose requests are counted.
    pub(super) async fn client_with(&self, requests: &ApiRequests) -> anyhow::Result<Client> {
        Ok(ClientBuilder::try_from(self.config().await?)?.with_layer(requests).build())
    }

    async fn config(&self) -> anyhow::Result<Config> {
        if self.kubeconfig.is_none() && self.context.is_none() {
            return Config::infer().await.context("no cluster found; name one with --kubeconfig or --context");
        }
        let kubeconfig = match &self.kubeconfig {
            Some(path) => Kubeconfig::read_from(path)
                .with_context(|| format!("unable to read the kubeconfig {}", path.display()))?,
            None => Kubeconfig::read().context("unable to read the kubeconfig; name another with --kubeconfig")?,
        };
        if let Some(context) = &self.context {
            let known: Vec<_> = kubeconfig.contexts.iter().map(|known| known.name.as_str()).collect();
            let has = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            anyhow::ensure!(
                known.contains(&context.as_str()),
                "there is no context {context}; the kubeconfig has {has}"
            );
        }
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        Config::from_custom_kubeconfig(kubeconfig, &options).await.context("unable to use the kubeconfig")
    }
}

/// What to do next where the API server refused, or did not answer.
pub(super) fn next_step(error: &anyhow::Error) -> Option<&'static str> {
    let of_api = error.chain().find_map(|cause| cause.downcast_ref::<kube::Error>())?;
    match of_api {
        kube::Error::Api(status) => match status.code {
            401 => Some("log in anew, or name another user's --context"),
            403 => Some("kubectl auth can-i --list tells what this user may do; run it as one who may"),
            404 => Some("look for its name with kubectl get, or name another --namespace"),
            _ => None,
        },
        kube::Error::HyperError(_) | kube::Error::Service(_) => {
            Some("kubectl cluster-info tells whether the cluster answers; name another with --context or --kubeconfig")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn kubeconfig() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n\
            contexts: [{name: shop, context: {cluster: c, user: u, namespace: web}}, {name: lab, context: {cluster: c, user: u}}]\n\
            users: [{name: u, user: {token: t}}]\ncurrent-context: lab\n";
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn args(file: &tempfile::NamedTempFile, context: Option<&str>) -> ClusterArgs {
        ClusterArgs { kubeconfig: Some(file.path().to_owned()), context: context.map(str::to_owned) }
    }

    #[tokio::test]
    async fn a_context_is_taken_with_its_namespace_and_one_that_is_not_there_is_told_with_those_that_are() {
        let file = kubeconfig();
        assert_eq!(args(&file, None).config().await.unwrap().default_namespace, "default");
        assert_eq!(args(&file, Some("shop")).config().await.unwrap().default_namespace, "web");
        let told = args(&file, Some("shpo")).config().await.unwrap_err().to_string();
        assert_eq!(told, "there is no context shpo; the kubeconfig has shop, lab");
    }

    #[tokio::test]
    async fn an_error_of_the_api_server_comes_with_the_next_step() {
        let status = |code: u16| Status { code, message: "no".to_owned(), ..Status::default() };
        let of = |code| anyhow::Error::from(kube::Error::Api(Box::new(status(code)))).context("unable to list pods");
        assert!(next_step(&of(403)).unwrap().contains("kubectl auth can-i"));
        assert!(next_step(&of(404)).unwrap().contains("--namespace"));
        assert_eq!(next_step(&of(409)), None);
        assert_eq!(next_step(&anyhow::anyhow!("something else")), None);
        let file = kubeconfig();
        let client = args(&file, None).client().await.unwrap();
        let silent = anyhow::Error::from(client.apiserver_version().await.unwrap_err());
        assert!(next_step(&silent).unwrap().contains("--context"), "{silent:?}");
    }
}

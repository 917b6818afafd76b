//! The way to the other API server: a kubeconfig that may change at any time.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::{
    api::pool::kubernetes::{KubeconfigFrom, Kubernetes},
    provider::{ProviderError, clouds::Secret},
};

/// How often a file is read again.
const EVERY: Duration = Duration::from_secs(30);

/// Keeps a client of what the kubeconfig said last.
#[derive(Default)]
pub(super) struct Connection {
    /// The kubeconfig, and when it was taken.
    given: Mutex<Option<(Secret, Instant)>>,
    made: tokio::sync::Mutex<Option<(Secret, Client)>>,
}

impl Connection {
    /// A client that is never replaced.
    pub(super) fn with(client: Client) -> Self {
        Self { given: Mutex::default(), made: tokio::sync::Mutex::new(Some((Secret::new(""), client))) }
    }

    /// Takes a kubeconfig, which counts from the next call on.
    pub(super) fn set(&self, kubeconfig: &str) {
        *self.given() = Some((Secret::new(kubeconfig), Instant::now()));
    }

    /// The client, made anew where the kubeconfig is another one.
    pub(super) async fn client(&self, settings: &Kubernetes) -> Result<Client, ProviderError> {
        let mut made = self.made.lock().await;
        if let KubeconfigFrom::File { path } = &settings.kubeconfig {
            let is_due = self.given().as_ref().is_none_or(|(_, taken)| taken.elapsed() >= EVERY);
            if is_due && !made.as_ref().is_some_and(|(text, _)| text.is_empty()) {
                self.set(&read(path)?);
            }
        }
        let given = self.given().as_ref().map(|(text, _)| text.clone());
        match (&*made, given) {
            (Some((_, client)), None) => Ok(client.clone()),
            (Some((text, client)), Some(given)) if *text == given => Ok(client.clone()),
            (_, Some(given)) => {
                let client = client_of(&given, settings).await?;
                *made = Some((given, client.clone()));
                Ok(client)
            }
            (None, None) => {
                let text = "kubernetes: the Secret with the kubeconfig has not been read; it needs a key kubeconfig";
                Err(ProviderError::Unavailable(text.to_owned()))
            }
        }
    }

    fn given(&self) -> std::sync::MutexGuard<'_, Option<(Secret, Instant)>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Result<String, ProviderError> {
    let unread = |error: std::io::Error| {
        ProviderError::Unauthorized(format!("kubernetes: the kubeconfig {} is not read: {error}", path.display()))
    };
    std::fs::read_to_string(path).map_err(unread)
}

async fn client_of(text: &Secret, settings: &Kubernetes) -> Result<Client, ProviderError> {
    let unusable = |problem: &str| ProviderError::Unauthorized(format!("kubernetes: the kubeconfig {problem}"));
    // The parser's words may quote what it read.
    let parsed = serde_saphyr::from_str::<Kubeconfig>(text.reveal());
    let kubeconfig = parsed.map_err(|_| unusable("is none; give what kubectl reads"))?;
    let may_name_files = matches!(settings.kubeconfig, KubeconfigFrom::File { .. });
    if let Some(problem) = foreign(&kubeconfig, may_name_files) {
        return Err(unusable(problem));
    }
    let options = KubeConfigOptions { context: settings.context.clone(), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let config = config.map_err(|error| unusable(&format!("does not do: {error}")))?;
    Client::try_from(config).map_err(|error| unusable(&format!("does not do: {error}")))
}

/// What a kubeconfig must not have: whoever may write a Secret must not thereby run commands here, or send files of
/// this process to a server of their choice.
fn foreign(kubeconfig: &Kubeconfig, may_name_files: bool) -> Option<&'static str> {
    for auth in kubeconfig.auth_infos.iter().filter_map(|named| named.auth_info.as_ref()) {
        if auth.exec.is_some() || auth.auth_provider.is_some() {
            return Some("names a command (exec or auth-provider), which is not run; give a token or a certificate");
        }
        let files = [&auth.token_file, &auth.client_certificate, &auth.client_key];
        if !may_name_files && files.iter().any(|file| file.is_some()) {
            return Some("names a file; give the data itself (token, client-certificate-data, client-key-data)");
        }
    }
    let mut clusters = kubeconfig.clusters.iter().filter_map(|named| named.cluster.as_ref());
    if !may_name_files && clusters.any(|cluster| cluster.certificate_authority.is_some()) {
        return Some("names a file; give certificate-authority-data");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(from: &str) -> Kubernetes {
        serde_saphyr::from_str(&format!("{{kubeconfig: {from}, namespace: burst}}")).unwrap()
    }

    fn kubeconfig(server: &str, user: &str) -> String {
        format!(
            "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: {{cluster: k, user: u}}}}],
              clusters: [{{name: k, cluster: {{server: '{server}'}}}}], users: [{{name: u, user: {user}}}]}}"
        )
    }

    async fn refused(user: &str) -> String {
        let connection = Connection::default();
        connection.set(&kubeconfig("http://127.0.0.1:1", user));
        connection.client(&settings("{secretRef: {name: s}}")).await.err().unwrap().to_string()
    }

    #[tokio::test]
    async fn a_secret_gives_neither_commands_nor_files() {
        assert!(
            refused("{exec: {apiVersion: client.authentication.k8s.io/v1, command: sh}}").await.contains("command")
        );
        assert!(refused("{tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token}").await.contains("a file"));
        assert!(refused("{client-certificate: /c, client-key: /k}").await.contains("a file"));
        let connection = Connection::default();
        let settings = settings("{secretRef: {name: s}}");
        assert!(connection.client(&settings).await.err().unwrap().to_string().contains("has not been read"));
        connection.set(&kubeconfig("http://127.0.0.1:1", "{token: hunter2}"));
        assert!(connection.client(&settings).await.is_ok());
        connection.set("token: [hunter2");
        let broken = connection.client(&settings).await.err().unwrap().to_string();
        assert!(broken.contains("kubeconfig") && !broken.contains("hunter2"), "{broken}");
    }

    #[tokio::test]
    async fn a_kubeconfig_that_changes_makes_another_client() {
        let connection = Connection::default();
        let settings = settings("{secretRef: {name: s}}");
        for (server, namespace) in [("http://127.0.0.1:1", "a"), ("http://127.0.0.1:2", "b")] {
            let text =
                kubeconfig(server, "{token: t}").replace("user: u}", &format!("user: u, namespace: {namespace}}}"));
            connection.set(&text);
            let client = connection.client(&settings).await.unwrap();
            assert_eq!(client.default_namespace(), namespace);
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        let of_file = self::settings(&format!("{{file: {{path: '{}'}}}}", path.display()));
        let missing = Connection::default().client(&of_file).await.err().unwrap().to_string();
        assert!(missing.contains("is not read"), "{missing}");
        std::fs::write(&path, kubeconfig("http://127.0.0.1:1", "{token: t}")).unwrap();
        assert!(Connection::default().client(&of_file).await.is_ok());
    }
}

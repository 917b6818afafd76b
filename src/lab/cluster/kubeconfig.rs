//! kubeconfig files. They are written as JSON, which every reader of YAML takes.

use std::path::Path;

use serde_json::json;

use super::certificates::CertificateFiles;

/// A kubeconfig for one user of the cluster at `url`, by paths of certificate files.
pub(super) fn render(url: &str, authority: &Path, user: &str, files: &CertificateFiles) -> String {
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": url, "certificate-authority": authority}}],
        "users": [{"name": user, "user": {"client-certificate": files.certificate, "client-key": files.key}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
        "current-context": "lab",
    });
    format!("{text:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_understand_it() {
        let files = CertificateFiles { certificate: "/x/jane.crt".into(), key: "/x/jane.key".into() };
        let text = render("https://127.0.0.1:1", Path::new("/x/ca.crt"), "jane", &files);
        let read = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        let cluster = read.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:1"));
        assert_eq!(cluster.certificate_authority.as_deref(), Some("/x/ca.crt"));
        let user = read.auth_infos[0].auth_info.as_ref().unwrap();
        assert_eq!(user.client_key.as_deref(), Some("/x/jane.key"));
        assert_eq!(read.current_context.as_deref(), Some("lab"));
    }
}

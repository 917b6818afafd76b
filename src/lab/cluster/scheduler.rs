//! Configuration files of kube-scheduler (`kubescheduler.config.k8s.io/v1`).

use std::path::Path;

use serde_json::{Value, json};

use super::certificates::CertificateFiles;
use super::options::Extender;

/// With raised client limits: requests a second, and twice as many at once.
pub(super) const RAISED_QPS: u32 = 2000;

/// What a scheduler presents to its extender, and checks it with.
#[derive(Debug)]
pub(super) struct ExtenderTls<'a> {
    pub authority: &'a Path,
    pub client: &'a CertificateFiles,
}

/// One scheduler's configuration.
#[derive(Debug)]
pub(super) struct SchedulerConfiguration<'a> {
    pub kubeconfig: &'a Path,
    /// The name that its pods give, where it is not the cluster's own scheduler. It then looks at every node.
    pub dedicated_to: Option<&'a str>,
    pub extender: Option<(&'a Extender, ExtenderTls<'a>)>,
    pub raised_client_limits: bool,
}

impl SchedulerConfiguration<'_> {
    /// As JSON, which kube-scheduler reads as YAML.
    pub(super) fn render(&self) -> String {
        let mut connection = json!({"kubeconfig": self.kubeconfig});
        if self.raised_client_limits {
            connection["qps"] = json!(RAISED_QPS);
            connection["burst"] = json!(2 * RAISED_QPS);
        }
        let mut configuration = json!({
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": connection,
            "leaderElection": {"leaderElect": false},
        });
        if let Some(name) = self.dedicated_to {
            configuration["profiles"] = json!([{"schedulerName": name, "percentageOfNodesToScore": 100}]);
        }
        if let Some((extender, tls)) = &self.extender {
            configuration["extenders"] = json!([extender_entry(extender, tls)]);
        }
        format!("{configuration:#}\n")
    }
}

fn extender_entry(extender: &Extender, tls: &ExtenderTls<'_>) -> Value {
    let mut entry = json!({
        "urlPrefix": extender.url,
        "filterVerb": "filter",
        "prioritizeVerb": "prioritize",
        "preemptVerb": "preempt",
        "bindVerb": "bind",
        "weight": extender.weight,
        "enableHTTPS": true,
        "tlsConfig": {
            "caFile": tls.authority,
            "certFile": tls.client.certificate,
            "keyFile": tls.client.key,
        },
        "httpTimeout": super::arguments::go_duration(extender.http_timeout),
        "nodeCacheCapable": true,
        "ignorable": false,
    });
    if let Some(resource) = &extender.managed_resource {
        entry["managedResources"] = json!([{"name": resource, "ignoredByScheduler": true}]);
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(dedicated_to: Option<&str>, extender: Option<&Extender>, raised: bool) -> Value {
        let client = CertificateFiles { certificate: "/x/c.crt".into(), key: "/x/c.key".into() };
        let tls = || ExtenderTls { authority: Path::new("/x/ca.crt"), client: &client };
        let configuration = SchedulerConfiguration {
            kubeconfig: Path::new("/x/kubeconfig"),
            dedicated_to,
            extender: extender.map(|extender| (extender, tls())),
            raised_client_limits: raised,
        };
        serde_json::from_str(&configuration.render()).unwrap()
    }

    #[test]
    fn without_wishes_the_scheduler_is_the_stock_one() {
        let configuration = rendered(None, None, false);
        assert_eq!(configuration["clientConnection"], json!({"kubeconfig": "/x/kubeconfig"}));
        assert!(configuration.get("profiles").is_none() && configuration.get("extenders").is_none());
    }

    #[test]
    fn a_dedicated_scheduler_takes_its_pods_only_and_sees_every_node() {
        let configuration = rendered(Some("burstlet"), Some(&Extender::at("https://127.0.0.1:1/s")), false);
        assert_eq!(configuration["profiles"], json!([{"schedulerName": "burstlet", "percentageOfNodesToScore": 100}]));
    }

    #[test]
    fn an_extender_is_called_by_name_only_over_mutual_tls_and_is_never_ignored() {
        let extender = Extender { managed_resource: Some("burstlet.dev/x".into()), ..Extender::at("https://a/s") };
        let entry = rendered(None, Some(&extender), false)["extenders"][0].clone();
        assert_eq!(entry["urlPrefix"], "https://a/s");
        assert_eq!(entry["httpTimeout"], "500ms");
        assert_eq!(entry["nodeCacheCapable"], true);
        assert_eq!(entry["ignorable"], false);
        assert_eq!(entry["enableHTTPS"], true);
        assert_eq!(entry["tlsConfig"]["certFile"], "/x/c.crt");
        assert_eq!(entry["managedResources"][0]["ignoredByScheduler"], true);
    }

    #[test]
    fn raised_limits_reach_the_client_connection() {
        assert_eq!(rendered(None, None, true)["clientConnection"]["qps"], 2000);
    }
}

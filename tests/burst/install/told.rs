//! What burstlet tells of itself where it is installed: the page, the doctor, metrics, Events, logs.

use super::*;

impl House<'_> {
    /// The live page tells of the burst, to those alone who may look.
    pub(super) async fn shows_its_page(&self) {
        let cluster = self.trial.stand.cluster();
        let kubectl = |words: &[&str]| {
            let output = cluster.kubectl(words.iter().copied()).unwrap();
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        kubectl(&["create", "serviceaccount", "stranger", "--namespace", NAMESPACE]);
        self.run("kubectl --namespace burstlet-system create serviceaccount viewer").await;
        self.run(
            "kubectl create clusterrolebinding burstlet-viewer --clusterrole burstlet-page --serviceaccount burstlet-system:viewer",
        )
        .await;
        let viewer = self.run("kubectl --namespace burstlet-system create token viewer").await.trim().to_owned();
        let stranger = kubectl(&["create", "token", "stranger", "--namespace", NAMESPACE]);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ca = reqwest::Certificate::from_pem(cluster.ca_pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([ca]).build().unwrap();
        let leader = self.leader().await;
        let page = |pod: &str| format!("https://{}:8445/", self.containers.process(pod).unwrap().1);
        let get = async |pod: &str, token: &str| {
            let answer = client.get(page(pod)).basic_auth("anyone", Some(token)).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        assert_eq!(client.get(page(&leader)).send().await.unwrap().status().as_u16(), 401);
        assert_eq!(get(&leader, "made-up").await.0, 401);
        assert_eq!(get(&leader, &stranger).await.0, 403);
        let (status, html) = get(&leader, &viewer).await;
        assert_eq!(status, 200, "{html}");
        for shown in ["default/web", ">17</td>", "takes pods", "burst", "CNY"] {
            assert!(html.contains(shown), "the page does not show {shown}: {html}");
        }
        let pods = self.containers.pods("controller");
        let standby = pods.iter().find(|pod| **pod != leader).unwrap();
        assert_eq!(get(standby, &viewer).await.0, 503, "a standby shows a page of its own");
        self.trial.say("the page is shown");
    }

    /// `burstlet doctor` finds nothing broken.
    pub(super) async fn is_told_to_be_well(&self) {
        let table = self.run("burstlet doctor").await;
        assert!(table.trim_start().starts_with("STATE") && !table.contains("PROBLEM"), "{table}");
        let told = self.burstlet(&["doctor", "--output", "json"]);
        let findings: Vec<Value> = serde_json::from_str(&told).unwrap();
        for check in [
            "cluster",
            "webhook",
            "burstlet-admission",
            "burstlet-controller",
            "burstlet-scheduler",
            "versions",
            "certificates",
            "roles",
            "credentials",
            "daemonsets",
            "workloads",
        ] {
            let mut found = findings.iter().filter(|finding| finding["check"] == check).peekable();
            assert!(found.peek().is_some(), "{check} was not looked at: {told}");
            assert!(found.all(|finding| finding["state"] == "ok"), "{check}: {told}");
        }
    }

    /// Every metric is one of the documentation's, logs are what was asked for, and pods say why they are where they are.
    pub(super) async fn tells_of_itself(&self) {
        let documented = std::fs::read_to_string(tool::root().join("docs/metrics.md")).unwrap();
        // The leader places, whichever replica has the pool's lease keeps its nodes: what is told is the parts' sum.
        let mut told = String::new();
        for pod in ["admission", "controller"].iter().flat_map(|part| self.containers.pods(part)) {
            let (_, address) = self.containers.process(&pod).unwrap();
            let metrics = reqwest::get(format!("http://{address}:9090/metrics")).await.unwrap().text().await.unwrap();
            let names = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
            for name in names {
                assert!(documented.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
            }
            let log = std::fs::read_to_string(self.containers.folder().join(format!("{pod}.log"))).unwrap();
            assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{pod}: {log}");
            told += &metrics;
        }
        let values = |name: &str| -> Vec<u64> {
            told.lines().filter_map(|line| line.strip_prefix(name)?.trim().parse().ok()).collect()
        };
        for (name, least) in [
            ("burstlet_pool_pods{pool=\"sim\"}", 17),
            ("burstlet_kubelet_instances{pool=\"sim\"}", 17),
            ("burstlet_scale_out_seconds_count{tier=\"burst\"}", 17),
            ("burstlet_scale_out_seconds_count{tier=\"base\"}", 3),
            ("burstlet_kubelet_provider_calls_total{call=\"create\",pool=\"sim\"}", 17),
            ("burstlet_api_requests_total{outcome=\"ok\",resource=\"pods\",verb=\"patch\"}", 20),
            ("burstlet_api_requests_total{outcome=\"ok\",resource=\"pods/status\",verb=\"patch\"}", 17),
        ] {
            let sum: u64 = values(name).iter().sum();
            assert!(sum >= least, "{name}: {sum} of {least}: {told}");
        }
        let orphans = values("burstlet_kubelet_orphans{pool=\"sim\"}");
        assert!(!orphans.is_empty() && orphans.iter().all(|count| *count == 0), "{told}");
        // The spare pool's quota is 0.
        self.until("the spare pool tells why it takes no pods", async || {
            let events = self.run("kubectl get events --field-selector reportingComponent=burstlet").await;
            let is_told = events.lines().any(|line| line.contains("virtualpool/spare") && line.contains("Warning"));
            if is_told { Ok(()) } else { Err(events) }
        })
        .await;
    }
}

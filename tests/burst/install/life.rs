//! What befalls burstlet once it is installed: it bursts, loses its leader, is upgraded and rolled back, brings pods home.

use super::*;

impl House<'_> {
    /// The HPA takes a Deployment from its base into the pool.
    pub(super) async fn bursts(&self) {
        let trial = self.trial;
        trial.apply(&deployment("web", None, 3)).await;
        trial.until_ready("web", 3, 0).await;
        let before = self.web();
        self.run("kubectl annotate deployment web burstlet.dev/base=3").await;
        self.run("kubectl rollout restart deployment web").await;
        trial.until("web is made anew", |_| self.web().is_disjoint(&before).then_some(())).await;
        trial.until_ready("web", 3, 0).await;
        autoscale(trial, &json!({"stabilizationWindowSeconds": 600})).await;
        trial.until_ready("web", 3, 17).await;
        trial.say("the HPA has burst");
        let status: Value = serde_json::from_str(&self.run("burstlet status --output json").await).unwrap();
        let web = status["workloads"].as_array().unwrap().iter().find(|line| line["name"] == "web").unwrap();
        assert_eq!((&web["real"], &web["pools"]["sim"]), (&json!(3), &json!(17)), "{status}");
        let status = self.run("burstlet status --output wide").await;
        assert!(status.lines().any(|line| line.contains("web") && line.contains("17")), "{status}");
        let told = self.run("burstlet explain deployment/web").await;
        assert!(told.contains("real 3, sim 17"), "{told}");
        let pod = trial.auditor.history().living("web").next().unwrap().name.clone();
        let explain = "burstlet explain pod/web-1 --output yaml";
        let told = self.terminal.run_as(explain, &explain.replace("web-1", &pod)).await;
        assert!(told.contains("reason:") && told.contains(&pod), "{told}");
        let told = self.run("burstlet release").await;
        assert!(told.starts_with("released 0 pods"), "{told}");
    }

    /// Of a Deployment, a StatefulSet and a `CronJob`'s Job, half of two pods stay on real nodes.
    pub(super) async fn keeps_shares_of_every_kind(&self) {
        let trial = self.trial;
        let share = deployment("share", Some("50%"), 2);
        let (template, selector) = (share["spec"]["template"].clone(), share["spec"]["selector"].clone());
        let named = |name: &str| {
            let mut template = template.clone();
            template["metadata"]["labels"]["app"] = json!(name);
            template
        };
        let mut set = share.clone();
        (set["metadata"]["name"], set["spec"]["template"], set["spec"]["selector"]) =
            (json!("db"), named("db"), selector);
        set["spec"]["selector"]["matchLabels"]["app"] = json!("db");
        set["spec"]["serviceName"] = json!("db");
        let mut nightly = named("nightly");
        nightly["spec"]["restartPolicy"] = json!("Never");
        let cron = json!({
            "metadata": {"name": "nightly", "annotations": {"burstlet.dev/base": "50%"}},
            "spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {
                "spec": {"parallelism": 2, "completions": 20, "template": nightly}}},
        });
        trial.apply(&share).await;
        let create = PostParams::default();
        let sets = Api::<StatefulSet>::default_namespaced(trial.client.clone());
        sets.create(&create, &serde_json::from_value(set).unwrap()).await.unwrap();
        let crons = Api::<CronJob>::default_namespaced(trial.client.clone());
        crons.create(&create, &serde_json::from_value(cron).unwrap()).await.unwrap();
        let kubectl = |words: &[&str]| {
            let output = trial.stand.cluster().kubectl(words.iter().copied()).unwrap();
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        kubectl(&["create", "job", "by-hand", "--from", "cronjob/nightly"]);
        for app in ["share", "db", "nightly"] {
            trial.until_ready(app, 1, 1).await;
        }
        kubectl(&["delete", "deployment/share", "statefulset/db", "job/by-hand", "cronjob/nightly"]);
        for app in ["share", "db", "nightly"] {
            trial.until_ready(app, 0, 0).await;
        }
        trial.say("shares are kept, of every kind");
    }

    /// The leader's process dies; the other takes over, and the pods that run never notice.
    pub(super) async fn loses_its_leader(&self) {
        let trial = self.trial;
        let before = self.web();
        let leader = self.leader().await;
        assert!(self.containers.pods("controller").contains(&leader), "nobody leads: {leader}");
        let process = |pod: &str| self.containers.process(pod).map(|(id, _)| id);
        let killed = process(&leader);
        self.containers.kill(&leader);
        let begun = Instant::now();
        // The other pod's, or the one that began anew in the same pod.
        self.until("another process leads", async || {
            let now = self.leader().await;
            let is_other =
                self.containers.pods("controller").contains(&now) && (now != leader || process(&now) != killed);
            if is_other { Ok(()) } else { Err(now) }
        })
        .await;
        trial.say(format!("another process leads {:.1?} after the leader was killed", begun.elapsed()));
        trial.apply(&deployment("more", Some("1"), 6)).await;
        trial.until_ready("more", 1, 5).await;
        trial.scale("more", 0).await;
        trial.until_ready("more", 0, 0).await;
        assert_eq!(self.web(), before, "pods changed because a replica was killed");
        self.works(2).await;
    }

    /// Both change the configuration and take a pool away and bring it back; both replace every replica.
    pub(super) async fn is_upgraded_and_rolled_back(&self) {
        let before = self.web();
        for (what, pools) in [("upgrade", 1), ("rollback", 2)] {
            let old: BTreeSet<_> =
                ["admission", "controller"].iter().flat_map(|part| self.containers.pods(part)).collect();
            if what == "upgrade" {
                self.values(false, &json!({"logFormat": "human"}));
                self.run("kubectl apply --server-side --filename helm/burstlet/crds").await;
                // An upgrade brings back what somebody took away in need.
                self.run("kubectl delete mutatingwebhookconfiguration,validatingwebhookconfiguration burstlet").await;
                self.run(UPGRADE).await;
                assert_eq!(self.named::<MutatingWebhookConfiguration>().await, ["burstlet"]);
            } else {
                self.run("helm rollback burstlet --namespace burstlet-system").await;
            }
            self.until("every replica is a new one", async || {
                let now: BTreeSet<_> =
                    ["admission", "controller"].iter().flat_map(|part| self.containers.pods(part)).collect();
                if now.len() == 4 && now.is_disjoint(&old) { Ok(()) } else { Err(format!("{now:?}")) }
            })
            .await;
            self.works(pools).await;
            if what == "upgrade" {
                let pod = &self.containers.pods("controller")[0];
                let log = std::fs::read_to_string(self.containers.folder().join(format!("{pod}.log"))).unwrap();
                assert!(log.contains(" INFO ") && !log.contains('\u{1b}'), "colours without a terminal: {log}");
            }
            assert_eq!(self.web(), before, "pods changed by {what}");
        }
        let restarts = self.containers.restarts();
        assert!(restarts.is_empty(), "processes ended by themselves: {restarts:?}");
    }

    /// A base pod that fits nowhere goes to the pool, and comes home through the Eviction API.
    pub(super) async fn brings_base_pods_home(&self) {
        let trial = self.trial;
        let sized = |name: &str, base: Option<&str>, replicas: usize, cpu: &str| {
            let mut object = deployment(name, base, replicas);
            object["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
            object
        };
        trial.apply(&sized("filler", None, 5, "50")).await;
        trial.until_ready("filler", 5, 0).await;
        trial.apply(&sized("heavy", Some("1"), 1, "30")).await;
        trial.until_ready("heavy", 0, 1).await;
        trial.scale("filler", 0).await;
        trial.until_ready("heavy", 1, 0).await;
        trial.say("a base pod came home");
    }
}

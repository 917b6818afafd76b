//! Uninstalling amid a burst, and what may be left then: nothing.

use super::*;

impl House<'_> {
    pub(super) async fn uninstalls_amid_a_burst(&self) {
        let trial = self.trial;
        trial.apply(&deployment("crowd", Some("2"), 60)).await;
        trial.until("the crowd bursts", |history| (history.ready("crowd").1 >= 5).then_some(())).await;
        let so_far = judge(&trial.auditor.history());
        assert!(so_far.violations.is_empty(), "{:#?}", so_far.violations);
        // A gated pod that nothing would make anew: the hook lets it go as it is.
        let mut alone = deployment("alone", None, 1)["spec"]["template"]["spec"].clone();
        alone["schedulingGates"] = json!([{"name": "burstlet.dev/placement"}]);
        let alone: Pod = serde_json::from_value(json!({"metadata": {"name": "alone"}, "spec": alone})).unwrap();
        trial.pods().create(&PostParams::default(), &alone).await.unwrap();
        self.run("helm uninstall burstlet --namespace burstlet-system").await;
    }

    /// What users of other virtual kubelets type, once the definitions are there; nobody follows the pools here.
    pub(super) async fn takes_over_from_others(&self) {
        for command in [
            "kubectl explain virtualpool.spec.provider.alibabaEci",
            "kubectl -n burstlet-system create secret generic alibaba-addon-secret --from-literal=access-key-id=… --from-literal=access-key-secret=…",
            "burstlet pool import tests/clouds/seeds/000-eci-registered-cluster/manifests.yaml --region cn-hangzhou --quota 2000 | kubectl apply -f -",
            "burstlet pool import tests/clouds/seeds/001-eci-many-virtual-nodes/manifests.yaml --quota 12000 | kubectl apply -f -",
            "burstlet pool import tests/clouds/seeds/002-eci-vnodectl/config.yaml | kubectl apply -f -",
            "kubectl -n burstlet-system create secret generic kci-keys --from-literal=KCI_ACCESS_KEY=… --from-literal=KCI_SECRET_KEY=…",
            "burstlet pool import tests/clouds/seeds/003-kci/manifests.yaml | kubectl apply -f -",
            "burstlet pool import tests/clouds/seeds/003-kci-temporary-keys/manifests.yaml | kubectl apply -f -",
            "kubectl -n kube-system create role burstlet-keys --verb=get --resource=configmaps --resource-name=user-temp-aksk",
            "kubectl -n kube-system create rolebinding burstlet-keys --role=burstlet-keys --serviceaccount=burstlet-system:burstlet-controller",
            "burstlet pool import tests/clouds/seeds/004-eci-virtual-kubelet/manifests.yaml | kubectl apply -f -",
        ] {
            self.run(command).await;
        }
    }

    pub(super) async fn leaves_nothing(&self) {
        let trial = self.trial;
        assert_eq!(self.virtual_nodes().await.len(), 0);
        assert_eq!(trial.alive_in_pool(), 0, "instances are left");
        assert_eq!(self.named::<MutatingWebhookConfiguration>().await, [] as [String; 0]);
        assert_eq!(self.named::<ValidatingWebhookConfiguration>().await, [] as [String; 0]);
        assert_eq!(self.named::<ClusterRole>().await, [] as [String; 0]);
        let leases: Api<Lease> = Api::all(trial.client.clone());
        self.until("no lease is left", async || {
            let leases = leases.list(&ListParams::default()).await.unwrap();
            let ours = leases.iter().map(ResourceExt::name_any);
            let ours: Vec<_> = ours.filter(|name| name.contains("burstlet") || name.contains("sim-")).collect();
            if ours.is_empty() { Ok(()) } else { Err(format!("{ours:?}")) }
        })
        .await;
        trial.until_ready("crowd", 60, 0).await;
        let pods = Api::<Pod>::all(trial.client.clone());
        self.until("no pod waits, is gated or held", async || {
            let pods = pods.list(&ListParams::default()).await.unwrap();
            let is_left = |pod: &&Pod| {
                let spec = pod.spec.as_ref().unwrap();
                let pending = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Pending");
                pending
                    || spec.scheduling_gates.is_some()
                    || pod.namespace().as_deref() == Some(NAMESPACE)
                    || !pod.finalizers().is_empty()
            };
            let left: Vec<_> = pods.iter().filter(is_left).map(ResourceExt::name_any).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
        let pools = trial.stand.cluster().kubectl(["get", "virtualpools,burstpolicies", "-A", "-o", "name"]).unwrap();
        assert_eq!(String::from_utf8_lossy(&pools.stdout), "");
        trial.say("nothing is left");
    }

    /// Objects of burstlet's.
    pub(super) async fn named<K>(&self) -> Vec<String>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
    {
        let all = Api::<K>::all(self.trial.client.clone()).list(&ListParams::default()).await.unwrap();
        all.iter().map(ResourceExt::name_any).filter(|name| name.contains("burstlet")).collect()
    }
}

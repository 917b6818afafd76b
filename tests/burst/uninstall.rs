//! burstlet is taken off amid a burst, by nobody but the uninstall hook's own role: nothing of it is left.

use std::time::{Duration, Instant};

use burstlet::release::{Uninstall, uninstall};
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    apps::v1::Deployment,
    core::v1::Node,
    policy::v1::PodDisruptionBudget,
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use serde_json::json;
use tokio::time::sleep;

use crate::trial::{Shape, Trial, deployment};

const NAMESPACE: &str = "burstlet-system";
const CONTROLLER: &str = "burstlet-controller";
const HOOK: &str = "uninstall-hook";
const ROLE: &str = include_str!("../../helm/burstlet/files/uninstall-role.yaml");

/// Three on real nodes, forty on virtual ones, and as many waiting.
const WANTED: usize = 83;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_after_an_uninstall_amid_a_burst() {
    let shape = Shape { pods_per_virtual_node: 20, raised_client_limits: true, ..Shape::default() };
    let trial = Trial::begin("uninstall", &shape).await;
    let replica = trial.stand.run_here().await.unwrap();
    controller_stands_in(&trial.client).await;
    trial.apply(&deployment("web", Some("3"), WANTED)).await;
    let is_full = |history: &crate::auditor::History| (history.ready("web") == (3, 40)).then_some(());
    trial.until("3 ready on real nodes and 40 on virtual ones", is_full).await;
    let budget = json!({"metadata": {"name": "web"}, "spec": {"maxUnavailable": "60%", "selector": {"matchLabels": {"app": "web"}}}});
    let budgets = Api::<PodDisruptionBudget>::default_namespaced(trial.client.clone());
    budgets.create(&PostParams::default(), &serde_json::from_value(budget).unwrap()).await.unwrap();

    let hook = hook(&trial).await;
    let what = Uninstall {
        namespace: NAMESPACE.to_owned(),
        controller: CONTROLLER.to_owned(),
        scheduler: "burstlet-scheduler".to_owned(),
        within: Duration::from_mins(2),
    };
    let begun = Instant::now();
    // What Deployment and kubelet do in a cluster whose nodes are real.
    let stopped = async {
        let controllers = Api::<Deployment>::namespaced(trial.client.clone(), NAMESPACE);
        while controllers.get_scale(CONTROLLER).await.unwrap().spec.unwrap().replicas.unwrap_or(0) > 0 {
            sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(trial.alive_in_pool(), 0, "the controller runs until the last instance has ended");
        replica.stop().await.unwrap();
    };
    let (gone, ()) = tokio::join!(uninstall(&hook, &what, |step| trial.say(step)), stopped);
    gone.unwrap();
    trial.say(format!("uninstalled in {:.1?}", begun.elapsed()));

    let all = ListParams::default();
    let virtual_nodes = Api::<Node>::all(trial.client.clone()).list(&all.clone().labels("burstlet.dev/pool")).await;
    assert_eq!(virtual_nodes.unwrap().items.len(), 0);
    let mutating = Api::<MutatingWebhookConfiguration>::all(trial.client.clone()).list(&all).await.unwrap();
    let validating = Api::<ValidatingWebhookConfiguration>::all(trial.client.clone()).list(&all).await.unwrap();
    assert_eq!((mutating.items.len(), validating.items.len()), (0, 0));
    trial.until_ready("web", WANTED, 0).await;
    let pods = trial.pods().list(&all).await.unwrap();
    let gated = pods.iter().filter(|pod| pod.spec.iter().any(|spec| spec.scheduling_gates.is_some()));
    assert_eq!(gated.count(), 0);
    assert_eq!(trial.alive_in_pool(), 0);
    trial.stand.stop().await.unwrap();
}

/// A Deployment in the controller's place: this cluster runs no containers, so its one pod stays pending.
async fn controller_stands_in(client: &Client) {
    let mut object = deployment(CONTROLLER, None, 1);
    object["metadata"]["namespace"] = json!(NAMESPACE);
    object["spec"]["template"]["spec"]["nodeSelector"] = json!({"stands-in": "true"});
    let api = Api::<Deployment>::namespaced(client.clone(), NAMESPACE);
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

/// A client with the hook's role and no other right.
async fn hook(trial: &Trial) -> Client {
    let rules: serde_json::Value = serde_saphyr::from_str(ROLE).unwrap();
    let role = json!({"metadata": {"name": HOOK}, "rules": rules["rules"]});
    let binding = json!({
        "metadata": {"name": HOOK},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": HOOK},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": HOOK}],
    });
    let api = Api::<ClusterRole>::all(trial.client.clone());
    api.create(&PostParams::default(), &serde_json::from_value(role).unwrap()).await.unwrap();
    let bindings = Api::<ClusterRoleBinding>::all(trial.client.clone());
    bindings.create(&PostParams::default(), &serde_json::from_value(binding).unwrap()).await.unwrap();
    trial.stand.cluster().client_for(HOOK, None).await.unwrap()
}

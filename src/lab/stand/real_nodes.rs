//! Fake real nodes: our kubelet without the taint, with what real nodes show.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{Node, Taint},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{Api, ResourceExt, api::ListParams};
use prometheus::Registry;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    kubelet::{Capacity, Kubelet, KubeletConfig, KubeletMetrics, NodeTemplate, server},
    lab::stand::{Ground, StandError},
    provider::simulated::{Cloud, Settings},
    serve::{self, ClientAuth, Protocols, ServerTls},
};

/// How long the nodes get to appear.
const APPEAR_WITHIN: Duration = Duration::from_mins(1);

/// The fake real nodes of a stand.
#[derive(Debug, Clone)]
pub struct RealNodes {
    /// How many.
    pub count: u32,
    /// CPU of each, as a Kubernetes quantity.
    pub cpu: String,
    /// Memory of each, as a Kubernetes quantity.
    pub memory: String,
    /// Pods that each takes.
    pub pods: u32,
    /// How their pods start and what they use.
    pub settings: Settings,
}

/// The name of the `index`-th, from 0.
pub fn real_node_name(index: u32) -> String {
    format!("real-{index:03}")
}

pub(super) struct RealNodesRunning {
    cloud: Arc<Cloud>,
    tasks: JoinSet<()>,
}

impl RealNodesRunning {
    pub(super) async fn start(
        ground: &Ground,
        nodes: &RealNodes,
        stop: &CancellationToken,
    ) -> Result<Self, StandError> {
        let cloud = Arc::new(Cloud::new(nodes.settings.clone()));
        let listener = serve::bind((ground.address, 0).into()).await?;
        let port = listener.local_addr().map_err(StandError::system("listen for the real nodes"))?.port();
        let templates = (0..nodes.count).map(|index| template(nodes, index, ground.taint())).collect();
        let config = KubeletConfig {
            // An agent of somebody else's must not seem to run where nothing runs.
            holds_daemonset_pods: ground.is_shared,
            ..KubeletConfig::new("real", templates, ground.address, port)
        };
        let metrics = KubeletMetrics::register(&Registry::new()).map_err(crate::run::RunError::from)?;
        let client = ground.client.clone();
        let kubelet = Kubelet::new(client.clone(), config, cloud.clone(), metrics);
        let router = server::router(vec![kubelet.handle()], client.clone());
        let tls = ServerTls {
            certificate: ground.kubelet.certificate.clone(),
            key: ground.kubelet.key.clone(),
            client_ca: Some(ground.kubelet_clients.clone()),
            client_auth: ClientAuth::Optional,
            protocols: Protocols::default(),
        };
        let (stop_serving, stop_keeping) = (stop.clone(), stop.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            if let Err(error) = serve::serve(listener, tls, router, stop_serving).await {
                tracing::error!(%error, "the real nodes' listener ended");
            }
        });
        tasks.spawn(async move { kubelet.run(stop_keeping).await });
        appeared(ground, nodes.count).await?;
        Ok(Self { cloud, tasks })
    }

    /// Ends them; the Node objects stay.
    pub(super) async fn end(mut self) {
        self.tasks.shutdown().await;
    }

    pub(super) fn cloud(&self) -> &Arc<Cloud> {
        &self.cloud
    }
}

fn template(nodes: &RealNodes, index: u32, taint: Option<Taint>) -> NodeTemplate {
    let name = real_node_name(index);
    let zone = format!("zone-{}", ["a", "b", "c"][index as usize % 3]);
    let labels = [
        ("kubernetes.io/hostname", name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", "amd64"),
        ("topology.kubernetes.io/zone", &zone),
    ];
    NodeTemplate {
        labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        annotations: BTreeMap::new(),
        taints: taint.into_iter().collect(),
        capacity: Capacity {
            cpu: Quantity(nodes.cpu.clone()),
            memory: Quantity(nodes.memory.clone()),
            pods: nodes.pods,
        },
        name,
    }
}

/// Waits until all of them are there and the node controller has taken off the taint that it puts on new nodes.
async fn appeared(ground: &Ground, count: u32) -> Result<(), StandError> {
    let api = Api::<Node>::all(ground.client.clone());
    let own = ground.taint().map(|taint| taint.key);
    let begin = Instant::now();
    loop {
        let install = |source| StandError::Install { what: "the real nodes".to_owned(), source };
        let nodes = api.list(&ListParams::default()).await.map_err(install)?;
        let is_open = |node: &&Node| {
            let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
            taints.all(|taint| Some(&taint.key) == own.as_ref())
        };
        let real = nodes.iter().filter(|node| node.name_any().starts_with("real-")).filter(is_open).count();
        if real >= count as usize {
            return Ok(());
        }
        if begin.elapsed() > APPEAR_WITHIN {
            return Err(StandError::Late { what: format!("{count} real nodes"), within: APPEAR_WITHIN });
        }
        sleep(Duration::from_millis(100)).await;
    }
}

//! The Node objects that the kubelet keeps alive.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::core::v1::{
        DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus, NodeSystemInfo,
        Taint,
    },
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{ObjectMeta, Time},
    },
    jiff::Timestamp,
};

use crate::api::names;

/// What a node offers. Schedulers and autoscalers believe it, so it must be really there.
#[derive(Debug, Clone, PartialEq)]
pub struct Capacity {
    /// CPU, such as `400` or `500m`.
    pub cpu: Quantity,
    /// Memory, such as `1600Gi`.
    pub memory: Quantity,
    /// Most pods.
    pub pods: u32,
}

impl Capacity {
    pub(crate) fn resources(&self) -> BTreeMap<String, Quantity> {
        BTreeMap::from([
            ("cpu".to_owned(), self.cpu.clone()),
            ("memory".to_owned(), self.memory.clone()),
            ("pods".to_owned(), Quantity(self.pods.to_string())),
        ])
    }
}

/// The name of the `index`-th virtual node of `pool`, from 0.
pub fn virtual_node_name(pool: &str, index: u32) -> String {
    format!("burstlet-{pool}-{index}")
}

/// A node to keep.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeTemplate {
    /// Name of the Node object.
    pub name: String,
    /// Labels, beside the one that says that burstlet manages the node.
    pub labels: BTreeMap<String, String>,
    /// Annotations, beside metrics-server's path.
    pub annotations: BTreeMap<String, String>,
    /// Taints.
    pub taints: Vec<Taint>,
    /// What it offers.
    pub capacity: Capacity,
}

impl NodeTemplate {
    /// The `index`-th virtual node of `pool`, whose pods run at `provider`.
    ///
    /// It has no provider id, by which cloud controllers would look for a machine and delete the node.
    pub fn virtual_node(pool: &str, provider: &str, index: u32, capacity: Capacity) -> Self {
        let text = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self {
            name: virtual_node_name(pool, index),
            labels: text(&[&names::VIRTUAL_NODE_LABELS[..], &[(names::POOL, pool)]].concat()),
            annotations: text(&[
                ("cluster-autoscaler.kubernetes.io/scale-down-disabled", "true"),
                ("karpenter.sh/do-not-disrupt", "true"),
            ]),
            taints: vec![Taint {
                key: names::TAINT_PROVIDER.to_owned(),
                value: Some(provider.to_owned()),
                effect: "NoSchedule".to_owned(),
                time_added: None,
            }],
            capacity,
        }
    }

    /// The Node object of a kubelet that shows `version`, already Ready: controllers act on nodes that never were.
    pub(crate) fn node(&self, address: IpAddr, port: u16, version: &str) -> Node {
        let mut labels = self.labels.clone();
        labels.insert(names::MANAGED_BY.0.to_owned(), names::MANAGED_BY.1.to_owned());
        let mut annotations = self.annotations.clone();
        annotations.insert(names::METRICS_PATH.to_owned(), format!("/nodes/{}/metrics/resource", self.name));
        Node {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(labels),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec {
                taints: (!self.taints.is_empty()).then(|| self.taints.clone()),
                ..NodeSpec::default()
            }),
            status: Some(NodeStatus { conditions: Some(conditions(true)), ..self.status(address, port, version) }),
        }
    }

    /// The node's status as of now.
    pub(crate) fn status(&self, address: IpAddr, port: u16, version: &str) -> NodeStatus {
        let label = |key: &str, default: &str| self.labels.get(key).map_or(default, String::as_str).to_owned();
        NodeStatus {
            capacity: Some(self.capacity.resources()),
            allocatable: Some(self.capacity.resources()),
            conditions: Some(conditions(false)),
            addresses: Some(vec![NodeAddress { type_: "InternalIP".to_owned(), address: address.to_string() }]),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(port) }),
            }),
            node_info: Some(NodeSystemInfo {
                architecture: label("kubernetes.io/arch", "amd64"),
                operating_system: label("kubernetes.io/os", "linux"),
                kubelet_version: version.to_owned(),
                container_runtime_version: concat!("burstlet://", env!("CARGO_PKG_VERSION")).to_owned(),
                os_image: "burstlet".to_owned(),
                ..NodeSystemInfo::default()
            }),
            ..NodeStatus::default()
        }
    }
}

/// Of a node that stood before, the moments of transition are kept by leaving them out.
fn conditions(is_new: bool) -> Vec<NodeCondition> {
    let now = Time(Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default());
    let condition = |kind: &str, holds: bool, reason: &str| NodeCondition {
        type_: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: Some(reason.to_owned()),
        message: None,
        last_heartbeat_time: Some(now.clone()),
        last_transition_time: is_new.then(|| now.clone()),
    };
    vec![
        condition("Ready", true, "KubeletReady"),
        condition("MemoryPressure", false, "KubeletHasSufficientMemory"),
        condition("DiskPressure", false, "KubeletHasNoDiskPressure"),
        condition("PIDPressure", false, "KubeletHasSufficientPID"),
        condition("NetworkUnavailable", false, "RouteCreated"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> NodeTemplate {
        let capacity = Capacity { cpu: Quantity("400".into()), memory: Quantity("1600Gi".into()), pods: 3000 };
        NodeTemplate::virtual_node("eci", "alibabacloud", 2, capacity)
    }

    #[test]
    fn a_virtual_node_is_ready_at_once_and_disturbs_nobody() {
        let node = template().node("127.0.0.1".parse().unwrap(), 10250, "v1.36.3");
        let labels = node.metadata.labels.unwrap();
        assert!(!labels.contains_key("kubernetes.io/hostname"));
        assert!(!labels.keys().any(|k| k.contains("zone") || k.contains("region")));
        assert_eq!(labels["node.kubernetes.io/exclude-from-external-load-balancers"], "true");
        let annotations = node.metadata.annotations.unwrap();
        assert_eq!(annotations["cluster-autoscaler.kubernetes.io/scale-down-disabled"], "true");
        assert_eq!(annotations["karpenter.sh/do-not-disrupt"], "true");
        assert_eq!(labels[names::POOL], "eci");
        let spec = node.spec.unwrap();
        assert_eq!(spec.provider_id, None);
        assert_eq!(spec.taints.unwrap()[0].value.as_deref(), Some("alibabacloud"));
        let status = node.status.unwrap();
        let ready = status.conditions.unwrap().into_iter().find(|c| c.type_ == "Ready").unwrap();
        assert_eq!(ready.status, "True");
        assert_eq!(status.daemon_endpoints.unwrap().kubelet_endpoint.unwrap().port, 10250);
        assert_eq!(status.addresses.unwrap()[0].address, "127.0.0.1");
    }

    #[test]
    fn metrics_server_finds_the_node_by_its_own_path() {
        let node = template().node("127.0.0.1".parse().unwrap(), 10250, "v1.36.3");
        assert_eq!(node.metadata.annotations.unwrap()[names::METRICS_PATH], "/nodes/burstlet-eci-2/metrics/resource");
    }
}

//! A pool on Kingsoft Cloud's Container Instances (KCI).
//!
//! Each environment variable and argument of Kingsoft's own virtual kubelet has its field; those of the node itself
//! (`--nodename`, `--disable-taint`, `--enable-node-lease`) belong to the pool's nodes.

use std::net::IpAddr;

use burstlet_engine::policy::fields::FieldFault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SubnetOrder, credentials::CredentialsFrom};

/// Most subnets of a pool: what one creation may name (`MultiSubnetId.N`).
pub const MOST_SUBNETS: usize = 5;
/// Most security groups of an instance (`SecurityGroupId.N`).
pub const MOST_SECURITY_GROUPS: usize = 3;
/// Why instances do not reach `ClusterIP`s.
pub const CLUSTER_MODE: &str = "Kingsoft opens ClusterIPs to instances in cluster mode only, which burstlet does not use, \
                                because they hold a kubeconfig of the whole cluster; set it to false";

/// Kingsoft Cloud's Container Instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KingsoftKci {
    /// Region, such as `cn-beijing-6` (`KCI_REGION`).
    pub region: String,
    /// Keys: `KCI_ACCESS_KEY` and `KCI_SECRET_KEY`, or temporary ones as the `ConfigMap` that `TEMP_AKSK_CM` names
    /// has them (`ak`, `sk`, `securityToken`), mounted as a folder.
    #[serde(default)]
    pub credentials: CredentialsFrom,
    /// The cluster's id at Kingsoft (`KCI_CLUSTER_ID`), the label `cluster-id` of instances; burstlet's own where missing.
    #[serde(default)]
    pub cluster_id: Option<String>,
    /// Subnets to place instances in, tried in turn where one has no machines or addresses; at most 5 (`KCI_SUBNET_ID`).
    /// A pod names its own by the annotation `k8s.ksyun.com/kci-subnet-id`.
    #[serde(default)]
    pub subnet_ids: Vec<String>,
    /// In which order the subnets are tried.
    #[serde(default)]
    pub subnet_order: SubnetOrder,
    /// Security groups, at most 3 (`KCI_SECURITY_GROUP_IDS`). A pod names its own by the annotation
    /// `k8s.ksyun.com/kci-security-group-id`.
    #[serde(default)]
    pub security_group_ids: Vec<String>,
    /// Whether instances reach Services by their `ClusterIP` (`KCI_KUBE_PROXY`). Kingsoft has it for instances in cluster
    /// mode only, which read their pod from the API server with a kubeconfig of their own. burstlet gives no instance
    /// one, so `true` is refused, here and as the annotation `k8s.ksyun.com/kci-kube-proxy-enabled`.
    #[serde(default)]
    pub kube_proxy: bool,
    /// The API server's address for instances in cluster mode (`KCI_CLUSTER_SERVER`, `ip:port`); kept for imports, and
    /// refused without `kubeProxy`, which is the only thing that uses it.
    #[serde(default)]
    pub cluster_server: Option<String>,
    /// Ask Kingsoft's API over its internal network, for clusters without access to the internet
    /// (`KCI_REQUEST_INTERNAL`).
    #[serde(default)]
    pub request_internal: bool,
    /// Another address of the API, such as an emulator's: `http://127.0.0.1:PORT`.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Certificate to trust at `endpoint`, in PEM; the system's where missing.
    #[serde(default)]
    pub trusted_certificate: Option<String>,
    /// Name servers of pods whose DNS policy is `ClusterFirst` (`--cluster-dns`).
    #[serde(default)]
    pub cluster_dns: Vec<IpAddr>,
    /// Name servers of pods whose DNS policy is `Default` (`--virtual-node-dns`).
    #[serde(default)]
    pub virtual_node_dns: Vec<IpAddr>,
    /// The cluster's domain (`--cluster-domain`).
    #[serde(default = "cluster_local")]
    pub cluster_domain: String,
    /// How instances are paid for.
    #[serde(default)]
    pub charge_type: ChargeType,
    /// Machine families to choose from, in order, such as `S6`; Kingsoft's choice where empty.
    #[serde(default)]
    pub instance_families: Vec<String>,
    /// Let Kingsoft find a cache of the pod's images by itself.
    #[serde(default)]
    pub auto_match_image_cache: bool,
    /// Sizes in place of burstlet's table: each CPU count, with the GiB of memory that go with it.
    #[serde(default)]
    pub sizes: Vec<Size>,
    /// Calls a second that are made at most; Kingsoft publishes no figure.
    #[serde(default = "twenty")]
    pub calls_per_second: u32,
}

/// How instances are paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ChargeType {
    /// By use, settled each hour.
    #[default]
    HourlyInstantSettlement,
    /// At the price of the moment; may be taken back.
    Spot,
}

/// Sizes with one CPU count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Size {
    /// Thousandths of a CPU.
    pub cpu_millis: u64,
    /// GiB of memory, ascending.
    pub memory_gib: Vec<u64>,
}

impl KingsoftKci {
    /// What cannot work, by its field; nothing is asked of the cloud for it.
    pub fn faults(&self) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, says: String| faults.push(FieldFault::new(field, says));
        if !is_region(&self.region) {
            fault("region", format!("{:?} is no region; write for example cn-beijing-6", self.region));
        }
        let mut at_most = |field: &str, ids: &[String], most: usize| {
            if ids.len() > most {
                fault(field, format!("{} are too many; at most {most}", ids.len()));
            }
            if ids.iter().any(String::is_empty) {
                fault(field, "an empty id names nothing; take it out".to_owned());
            }
        };
        at_most("subnetIds", &self.subnet_ids, MOST_SUBNETS);
        at_most("securityGroupIds", &self.security_group_ids, MOST_SECURITY_GROUPS);
        if self.kube_proxy {
            fault("kubeProxy", CLUSTER_MODE.to_owned());
        }
        if self.cluster_server.is_some() {
            let says = "only instances in cluster mode use it, which burstlet does not; leave it out";
            fault("clusterServer", says.to_owned());
        }
        if self.calls_per_second == 0 {
            fault("callsPerSecond", "at least 1".to_owned());
        }
        faults
    }
}

/// Words with dashes, the last a number: `cn-beijing-6`.
fn is_region(region: &str) -> bool {
    let parts = region.split('-').collect::<Vec<_>>();
    let is_word =
        |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    parts.len() >= 3
        && parts.iter().all(is_word)
        && parts.last().is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
}

fn cluster_local() -> String {
    "cluster.local".to_owned()
}

fn twenty() -> u32 {
    20
}

//! Virtual nodes that ECI manages itself: their kubelet runs at Alibaba's.

use std::fmt::Display;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::{Account, PAGE, gone};
use crate::provider::{
    ProviderError,
    clouds::{
        Secret,
        alibaba_eci::{error::CallError, signing::Parameters, wire::Done},
    },
};

/// A virtual node to make.
#[derive(Debug, Clone, Default)]
pub struct NewVirtualNode {
    /// Its name at the cloud; the id where missing.
    pub name: Option<String>,
    /// The kubeconfig that it joins the cluster by, in YAML.
    pub kubeconfig: Option<Secret>,
    /// 1 to 10, separated by commas.
    pub vswitch_ids: String,
    /// The security group of its pods.
    pub security_group_id: String,
    /// Name servers of pods whose `dnsPolicy` is `ClusterFirst`.
    pub cluster_dns: Option<String>,
    /// The cluster's domain.
    pub cluster_domain: Option<String>,
    /// What keeps other pods off it.
    pub taints: Vec<NodeTaint>,
}

/// A taint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTaint {
    /// Its key.
    pub key: String,
    /// Its value; may be empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// What the cloud answers to a creation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreatedNode {
    /// The request's id.
    pub request_id: String,
    /// The node's id, `vnd-…`.
    pub virtual_node_id: String,
}

/// A virtual node as the cloud tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VirtualNode {
    /// Its id, `vnd-…`.
    pub virtual_node_id: String,
    /// Its name at the cloud.
    #[serde(default)]
    pub virtual_node_name: String,
    /// `Pending`, `Ready` or `Failed`.
    #[serde(default)]
    pub status: String,
    /// Its region.
    #[serde(default)]
    pub region_id: String,
    /// Its vSwitches.
    #[serde(default)]
    pub virtual_node_v_switch_id: String,
    /// Its security group.
    #[serde(default)]
    pub virtual_node_security_group_id: String,
    /// When it was made.
    #[serde(default)]
    pub creation_time: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    virtual_nodes: Vec<VirtualNode>,
    next_token: Option<String>,
}

impl VirtualNode {
    /// Its name in the cluster.
    pub fn node_name(&self, region: &str) -> String {
        format!("{region}.{}", self.virtual_node_id)
    }
}

impl Account {
    /// Makes a virtual node.
    pub async fn create_virtual_node(&self, new: &NewVirtualNode) -> Result<CreatedNode, ProviderError> {
        let mut parameters = Parameters::new();
        let mut set = |name: &str, value: &dyn Display| drop(parameters.insert(name.to_owned(), value.to_string()));
        if let Some(kubeconfig) = &new.kubeconfig {
            set("KubeConfig", &BASE64_STANDARD.encode(kubeconfig.reveal()));
        }
        set("VSwitchId", &new.vswitch_ids);
        set("SecurityGroupId", &new.security_group_id);
        let texts =
            [("VirtualNodeName", &new.name), ("ClusterDNS", &new.cluster_dns), ("ClusterDomain", &new.cluster_domain)];
        for (name, value) in texts {
            if let Some(value) = value {
                set(name, value);
            }
        }
        for (number, taint) in (1..).zip(&new.taints) {
            set(&format!("Taint.{number}.Key"), &taint.key);
            set(&format!("Taint.{number}.Value"), &taint.value);
            set(&format!("Taint.{number}.Effect"), &taint.effect);
        }
        set("ClientToken", &self.token());
        self.eci.call("CreateVirtualNode", &parameters).await.map_err(CallError::into_provider)
    }

    /// All virtual nodes of the region, or the one with this id.
    pub async fn virtual_nodes(&self, id: Option<&str>) -> Result<Vec<VirtualNode>, ProviderError> {
        let mut nodes = Vec::new();
        let mut next = None;
        loop {
            let mut parameters = Parameters::from([("Limit".to_owned(), PAGE.to_string())]);
            if let Some(id) = id {
                parameters.insert("VirtualNodeIds".to_owned(), serde_json::json!([id]).to_string());
            }
            parameters.extend(next.take().map(|token| ("NextToken".to_owned(), token)));
            let page = self.eci.call::<Page>("DescribeVirtualNodes", &parameters).await;
            let page = page.map_err(CallError::into_provider)?;
            nodes.extend(page.virtual_nodes);
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(nodes);
            }
        }
    }

    /// Deletes a virtual node. Pods that still run on it leave instances behind: see that there are none.
    pub async fn delete_virtual_node(&self, id: &str) -> Result<(), ProviderError> {
        let parameters = Parameters::from([("VirtualNodeId".to_owned(), id.to_owned())]);
        gone(self.eci.call::<Done>("DeleteVirtualNode", &parameters).await, "VirtualNodeId.NotFound")
    }
}

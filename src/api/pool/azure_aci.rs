//! A pool on Azure Container Instances (ACI).

use std::net::IpAddr;

use burstlet_engine::policy::fields::FieldFault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SubnetOrder, credentials::CredentialsFrom};

/// Azure Container Instances. The resource group is best burstlet's own: all its container groups are listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureAci {
    /// Location, such as `westeurope`.
    pub location: String,
    /// Keys: `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, and `AZURE_CLIENT_SECRET`, or `AZURE_FEDERATED_TOKEN_FILE` where
    /// the cluster has workload identity.
    #[serde(default)]
    pub credentials: CredentialsFrom,
    /// Subscription that pays.
    pub subscription_id: String,
    /// Resource group that the container groups are made in.
    pub resource_group: String,
    /// Resource ids of subnets delegated to ACI, tried in turn; without any, groups have no address of their own.
    #[serde(default)]
    pub subnet_ids: Vec<String>,
    /// In which order the subnets are tried.
    #[serde(default)]
    pub subnet_order: SubnetOrder,
    /// Name servers of pods whose `dnsPolicy` is `ClusterFirst`; Azure's own where missing.
    #[serde(default, rename = "clusterDNS", skip_serializing_if = "Vec::is_empty")]
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain.
    #[serde(default = "cluster_local")]
    pub cluster_domain: String,
    /// How groups are paid for. Spot groups take neither subnets nor public addresses.
    #[serde(default)]
    pub priority: Priority,
    /// Another address of Azure's resource manager, such as an emulator's: `http://127.0.0.1:PORT`.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Another address of Azure's login service.
    #[serde(default)]
    pub login_endpoint: Option<String>,
    /// Certificate to trust at both, in PEM; the system's where missing.
    #[serde(default)]
    pub trusted_certificate: Option<String>,
}

/// How container groups are paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Priority {
    /// Stays.
    #[default]
    Regular,
    /// Cheaper, and may be taken back.
    Spot,
}

impl AzureAci {
    /// What cannot work, by its field; nothing is asked of the cloud for it.
    pub fn faults(&self) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, says: String| faults.push(FieldFault::new(field, says));
        let is_word =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !is_word(&self.location) {
            fault("location", format!("{:?} is no location; write for example westeurope", self.location));
        }
        let is_part =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.()".contains(&b));
        for (field, text) in [("subscriptionId", &self.subscription_id), ("resourceGroup", &self.resource_group)] {
            if !is_part(text) {
                fault(field, format!("{text:?} is not made of letters, digits and -_.()"));
            }
        }
        if self.priority == Priority::Spot && !self.subnet_ids.is_empty() {
            let says = "spot groups take no subnets; leave them out, or set priority to Regular";
            fault("subnetIds", says.to_owned());
        }
        faults
    }
}

fn cluster_local() -> String {
    "cluster.local".to_owned()
}

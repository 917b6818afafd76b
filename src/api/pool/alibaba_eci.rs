//! A pool on Alibaba Cloud's Elastic Container Instance.
//!
//! The fields are those of ECI's own virtual kubelet, one to one: `region` is `ECI_REGION`, `zones` are `ECI_VSWITCH`,
//! `securityGroupId` is `ECI_SECURITY_GROUP`, `credentials` are `ECI_ACCESS_KEY` and `ECI_SECRET_KEY` (or the Secret
//! `alibaba-addon-secret`), `resourceGroupId` is that of the ConfigMap `eci-profile`.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, time::Duration};

use burstlet_engine::policy::fields::FieldFault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::credentials::CredentialsFrom;

/// Zones that a pool may name: so many vSwitches a creation may name at ECI.
pub const MOST_ZONES: usize = 10;
/// Instances that a normal security group takes; an enterprise one takes more.
pub const NORMAL_SECURITY_GROUP: u32 = 2_000;
/// Tags that a pool may add: the limit is 20 with burstlet's own and the annotation's.
const MOST_TAGS: usize = 12;
/// The least time between two polls.
const LEAST_POLL: Duration = Duration::from_millis(100);

/// A pool on Alibaba Cloud's Elastic Container Instance. Durations are in humantime's form (`90s`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlibabaEci {
    /// The region, such as `cn-hangzhou`.
    pub region: String,
    /// Where instances may stand, 1 to 10; on a shortage in one, the next is tried.
    pub zones: Vec<Zone>,
    /// The instances' security group; a normal one takes 2,000.
    pub security_group_id: String,
    /// The resource group that instances belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_group_id: Option<String>,
    /// In which order zones are tried.
    #[serde(default)]
    pub schedule_strategy: ScheduleStrategy,
    /// Keys: `access-key-id`, `access-key-secret` and, where they are temporary, `security-token`; in the environment
    /// `ECI_ACCESS_KEY`, `ECI_SECRET_KEY`, `ECI_SECURITY_TOKEN`, or what Alibaba's own tools read. Or
    /// `ALIBABA_CLOUD_ROLE_ARN`, `ALIBABA_CLOUD_OIDC_PROVIDER_ARN` and `ALIBABA_CLOUD_OIDC_TOKEN_FILE`, whose token is
    /// exchanged at STS.
    pub credentials: CredentialsFrom,
    /// Address of the ECI API; that of the region where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Address of the VPC API, which tells the addresses that zones have left; that of the region where missing, or
    /// `endpoint` where that one is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc_endpoint: Option<String>,
    /// Another address of STS; that of the region where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sts_endpoint: Option<String>,
    /// PEM file of the only certificate that the endpoints are trusted by; what the system trusts where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// How calls are signed.
    #[serde(default)]
    pub signature: Signature,
    /// Name servers of pods whose `dnsPolicy` is `ClusterFirst`.
    #[serde(default, rename = "clusterDNS", skip_serializing_if = "Vec::is_empty")]
    pub cluster_dns: Vec<IpAddr>,
    /// The cluster's domain.
    #[serde(default = "default_domain")]
    pub cluster_domain: String,
    /// Lets pods reach Services by their cluster addresses (`ECI_KUBE_PROXY`): kube-proxy as a sidecar of each pod that
    /// is restarted always. Off where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_proxy: Option<KubeProxy>,
    /// Spot instances, for pods that do not say otherwise themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spot: Option<Spot>,
    /// Tags of every instance, besides burstlet's own; 12 at most.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// How often the instances' states are asked for, all in one batch.
    #[serde(default = "default_poll", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub poll_every: Duration,
    /// How long a zone that was short of machines or addresses is left out.
    #[serde(default = "default_memory", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub remember_shortage: Duration,
}

impl AlibabaEci {
    /// What cannot work, by its field; nothing is asked of the cloud for it.
    pub fn faults(&self) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, says: String| faults.push(FieldFault::new(field, says));
        let is_word =
            |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if !is_word(&self.region) || self.region.chars().any(|c| c.is_ascii_uppercase()) {
            fault("region", format!("{:?} is no region; write one such as cn-hangzhou", self.region));
        }
        let zones = self.zones.len();
        if zones == 0 || zones > MOST_ZONES {
            fault("zones", format!("{zones} are named; name 1 to {MOST_ZONES}, each with its vSwitchId"));
        }
        for (number, zone) in self.zones.iter().enumerate() {
            if !is_word(&zone.v_switch_id) {
                let says = format!("{:?} is no id; write one such as vsw-7xv2yk45qp5etidgf", zone.v_switch_id);
                fault(&format!("zones[{number}].vSwitchId"), says);
            }
            if let Some(id) = zone.zone_id.as_ref().filter(|id| !is_word(id) || !id.starts_with(&self.region)) {
                let says = format!("{id:?} is no zone of {}; write one such as {}-h", self.region, self.region);
                fault(&format!("zones[{number}].zoneId"), says);
            }
        }
        if !is_word(&self.security_group_id) {
            let says = format!("{:?} is no id; write one such as sg-7xv5tcch4kjdr65t", self.security_group_id);
            fault("securityGroupId", says);
        }
        if self.tags.len() > MOST_TAGS {
            fault("tags", format!("{} are named; a pool may name {MOST_TAGS}", self.tags.len()));
        }
        if self.poll_every < LEAST_POLL {
            fault("pollEvery", format!("the least is {LEAST_POLL:?}"));
        }
        if self.spot.as_ref().and_then(|spot| spot.duration).is_some_and(|hours| hours > 1) {
            fault("spot.duration", "0 or 1 hours are possible".to_owned());
        }
        faults
    }
}

fn default_domain() -> String {
    "cluster.local".to_owned()
}

fn default_poll() -> Duration {
    Duration::from_secs(2)
}

fn default_memory() -> Duration {
    Duration::from_mins(2)
}

/// A place of the pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Zone {
    /// The zone, such as `cn-hangzhou-h`; that of the vSwitch where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone_id: Option<String>,
    /// The vSwitch, such as `vsw-7xv2yk45qp5etidgf`.
    pub v_switch_id: String,
}

/// In which order zones are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ScheduleStrategy {
    /// As they are written.
    #[default]
    VSwitchOrdered,
    /// Spread evenly.
    VSwitchRandom,
}

/// How calls are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Signature {
    /// ACS3-HMAC-SHA256.
    #[default]
    V3,
    /// HMAC-SHA1, for gateways that know no other.
    V1,
}

/// kube-proxy beside each pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KubeProxy {
    /// Its image, such as `registry.k8s.io/kube-proxy:v1.36.3`.
    pub image: String,
    /// File of the kubeconfig that it gets. Every pod can read it: bind its user to `system:node-proxier` and no more.
    pub kubeconfig: PathBuf,
}

/// Spot instances.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spot {
    /// The most to pay for an hour; the market's price where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_limit: Option<f64>,
    /// Hours of protection, 0 or 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<u8>,
    /// Take a normal instance where no spot instance is to be had.
    #[serde(default)]
    pub fall_back: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_pool_gets_the_documented_defaults() {
        let text = "{region: cn-hangzhou, zones: [{vSwitchId: vsw-a}], securityGroupId: sg-1, \
                    credentials: {secretRef: {name: alibaba-addon-secret}}, clusterDNS: [10.0.0.10]}";
        let pool: AlibabaEci = serde_saphyr::from_str(text).unwrap();
        assert_eq!(pool.cluster_domain, "cluster.local");
        assert_eq!(pool.poll_every, Duration::from_secs(2));
        assert_eq!(pool.schedule_strategy, ScheduleStrategy::VSwitchOrdered);
        assert_eq!(pool.kube_proxy, None);
        let again: AlibabaEci = serde_json::from_value(serde_json::to_value(&pool).unwrap()).unwrap();
        assert_eq!(again, pool);
    }

    #[test]
    fn an_unknown_field_is_refused() {
        let text = "{region: r, zones: [], securityGroupId: s, credentials: {environment: {}}, vswitch: x}";
        assert!(serde_saphyr::from_str::<AlibabaEci>(text).unwrap_err().to_string().contains("vswitch"));
    }
}

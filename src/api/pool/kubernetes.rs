//! A pool whose instances are pods of another Kubernetes cluster.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use burstlet_engine::policy::fields::FieldFault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Characters of a label's value, and of a namespace's name.
const LABEL: usize = 63;

/// Pods of another cluster, in one namespace of it. Nothing else there is touched. What the kubeconfig's user needs is
/// in `docs/install/other-cluster-role.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kubernetes {
    /// How the other cluster is reached.
    pub kubeconfig: KubeconfigFrom,
    /// The kubeconfig's context; its current one where missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Namespace of the other cluster that the pods stand in, best burstlet's own.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Labels that the nodes there must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of the nodes there that do not matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Name servers of pods whose `dnsPolicy` is `ClusterFirst`; where missing, those of the other cluster, which know its
    /// Services and not this one's.
    #[serde(default, rename = "clusterDNS", skip_serializing_if = "Vec::is_empty")]
    pub cluster_dns: Vec<IpAddr>,
    /// This cluster's domain, for `clusterDNS`.
    #[serde(default = "cluster_local")]
    pub cluster_domain: String,
}

/// How another cluster is reached. A kubeconfig that is changed counts within half a minute, without a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum KubeconfigFrom {
    /// A Secret with a key `kubeconfig`. What it holds must stand in it: neither files nor commands are followed.
    SecretRef {
        /// Its name.
        name: String,
        /// Its namespace; burstlet's own where missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
    },
    /// A file, such as a mounted Secret's. It may name other files; commands are not followed.
    File {
        /// The file.
        path: PathBuf,
    },
}

/// A taint that does not matter, as in a pod's `tolerations`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Toleration {
    /// The taint's key; all where missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `Equal` or `Exists`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The taint's value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`; all where missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
}

impl Kubernetes {
    /// What cannot work, by its field; nothing is asked of the other cluster for it.
    pub fn faults(&self) -> Vec<FieldFault> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, says: String| faults.push(FieldFault::new(field, says));
        if !is_name(&self.namespace) {
            fault("namespace", format!("{:?} is no namespace; write for example burst", self.namespace));
        }
        if matches!(&self.kubeconfig, KubeconfigFrom::SecretRef { name, .. } if name.is_empty()) {
            fault("kubeconfig.secretRef.name", "is empty; name the Secret that holds the kubeconfig".to_owned());
        }
        for (number, toleration) in self.tolerations.iter().enumerate() {
            let is_operator = matches!(toleration.operator.as_deref(), None | Some("Equal" | "Exists"));
            if !is_operator {
                fault(&format!("tolerations[{number}].operator"), "is neither Equal nor Exists".to_owned());
            }
        }
        faults
    }
}

fn is_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [text.bytes().next(), text.bytes().last()];
    text.len() <= LABEL
        && text.bytes().all(|byte| is_plain(byte) || byte == b'-')
        && ends.iter().all(|byte| byte.is_some_and(is_plain))
}

fn cluster_local() -> String {
    "cluster.local".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_told_by_its_field() {
        let faults = |text: &str| {
            let pool: Kubernetes = serde_saphyr::from_str(text).unwrap();
            pool.faults().into_iter().map(|fault| fault.path).collect::<Vec<_>>()
        };
        assert!(faults("{kubeconfig: {secretRef: {name: other}}, namespace: burst}").is_empty());
        assert_eq!(
            faults("{kubeconfig: {secretRef: {name: ''}}, namespace: Burst, tolerations: [{operator: In}]}"),
            ["namespace", "kubeconfig.secretRef.name", "tolerations[0].operator"]
        );
        let unknown = "{kubeconfig: {file: {path: /k}}, namespace: burst, serviceAccount: x}";
        assert!(serde_saphyr::from_str::<Kubernetes>(unknown).unwrap_err().to_string().contains("serviceAccount"));
    }
}

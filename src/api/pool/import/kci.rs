//! Kingsoft's virtual kubelet.

use serde_json::{Value, json};

use super::{
    ImportError,
    found::{Cloud, Found, ids},
    manifest::{Variable, Workload},
};

pub(super) fn is_kubelet(workload: &Workload<'_>) -> bool {
    workload.variables.keys().any(|name| name.starts_with("KCI_") || *name == "TEMP_AKSK_CM")
}

pub(super) fn read(workloads: &[Workload<'_>]) -> Result<Found, ImportError> {
    let mut found = Found::new(Cloud::Kingsoft);
    for workload in workloads.iter().filter(|workload| is_kubelet(workload)) {
        found.name = workload.name.map(str::to_owned);
        found.nodes = workload.replicas.filter(|replicas| *replicas > 0);
        for (name, variable) in &workload.variables {
            found.kci_variable(name, variable);
        }
        for (name, value) in &workload.arguments {
            found.kci_argument(name, value)?;
        }
    }
    Ok(found)
}

fn list(text: &str) -> Value {
    ids(text).collect()
}

impl Found {
    fn kci_variable(&mut self, name: &str, variable: &Variable<'_>) {
        let value = variable.value;
        match name {
            "KCI_REGION" => self.set("region", value),
            "KCI_CLUSTER_ID" => self.set("clusterId", value),
            "KCI_SUBNET_ID" => self.set("subnetIds", list(value)),
            "KCI_SECURITY_GROUP_IDS" => self.set("securityGroupIds", list(value)),
            "KCI_ACCESS_KEY" => self.key(name, variable.secret, &["KCI_ACCESS_KEY", "ak", "access-key-id"]),
            "KCI_SECRET_KEY" => self.key(name, variable.secret, &["KCI_SECRET_KEY", "sk", "access-key-secret"]),
            "TEMP_AKSK_CM" => {
                self.set("credentials", json!({"configMapRef": {"name": value, "namespace": "kube-system"}}));
                self.remark(format!(
                    "TEMP_AKSK_CM={value}: burstlet needs the right to get the ConfigMap kube-system/{value}"
                ));
            }
            "KCI_KUBE_PROXY" if value == "false" => {}
            "KCI_KUBE_PROXY" => self.remark(format!(
                "KCI_KUBE_PROXY={value} is refused: only instances in cluster mode reach ClusterIPs, which hold a kubeconfig of the whole cluster; use a headless Service or an internal load balancer"
            )),
            "KCI_CLUSTER_SERVER" => self.remark(
                "KCI_CLUSTER_SERVER is refused: only kube-proxy uses it, which needs instances in cluster mode",
            ),
            // Set is set: Kingsoft's example gives it no value.
            "KCI_REQUEST_INTERNAL" => self.set("requestInternal", value != "false"),
            "VKUBELET_POD_IP" => {
                self.remark("VKUBELET_POD_IP: is POD_IP of burstlet's own pod, or kubelet.address of its configuration");
            }
            "KUBELET_PORT" => self.remark(format!("KUBELET_PORT={value}: set kubelet.listen of burstlet's configuration")),
            _ => self.remark(format!("{name} is not known and was left out")),
        }
    }

    fn kci_argument(&mut self, name: &str, value: &str) -> Result<(), ImportError> {
        match name {
            "provider" if value == "kingsoftcloud" => {}
            "provider" => {
                return Err(ImportError::Refused {
                    name: "--provider".to_owned(),
                    value: value.to_owned(),
                    why: "variables of KCI's go with the provider kingsoftcloud",
                });
            }
            "nodename" => {
                self.name = Some(value.to_owned());
                self.remark(format!("--nodename={value}: is the pool's name; its nodes are burstlet-{value}-0 and on"));
            }
            "cluster-dns" => self.set("clusterDns", list(value)),
            "virtual-node-dns" => self.set("virtualNodeDns", list(value)),
            "cluster-domain" => self.set("clusterDomain", value),
            "disable-taint" if value == "false" => {}
            "disable-taint" => self.remark(
                "--disable-taint is refused: without the taint, pods that nobody sent there would land on the nodes; give them the toleration of virtual-kubelet.io/provider, or a policy",
            ),
            "enable-node-lease" if value == "false" => {
                self.remark("--enable-node-lease=false: burstlet's nodes always have a Lease");
            }
            // As it is here always.
            "enable-node-lease" => {}
            other => self.remark(format!("--{other} is not known and was left out")),
        }
        Ok(())
    }
}

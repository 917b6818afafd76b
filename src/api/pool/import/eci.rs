//! ECI's virtual kubelet, its profile, and vnodectl's file.

use serde_json::{Value, json};

use super::{
    ImportError,
    found::{Cloud, Found, ids},
    manifest::{Variable, Workload},
};

/// The taint of burstlet's nodes on ECI, which is that of ECI's own.
const TAINT: [(&str, &str); 3] = [
    ("VKUBELET_TAINT_KEY", "virtual-kubelet.io/provider"),
    ("VKUBELET_TAINT_VALUE", "alibabacloud"),
    ("VKUBELET_TAINT_EFFECT", "NoSchedule"),
];

const KUBE_PROXY: &str = "set kubeProxy with an image and a kubeconfig of a user bound to system:node-proxier";

pub(super) fn is_kubelet(workload: &Workload<'_>) -> bool {
    workload.variables.keys().any(|name| name.starts_with("ECI_"))
}

/// Whether the document is one of ECI's that is no workload.
pub(super) fn is_settings(document: &Value) -> bool {
    is_profile(document) || document["kind"] == "vnode"
}

fn is_profile(document: &Value) -> bool {
    document["kind"] == "ConfigMap" && document["metadata"]["name"] == "eci-profile"
}

pub(super) fn read(documents: &[Value], workloads: &[Workload<'_>]) -> Result<Found, ImportError> {
    let mut found = Found::new(Cloud::Alibaba);
    for workload in workloads.iter().filter(|workload| is_kubelet(workload)) {
        found.eci_workload(workload)?;
    }
    // A profile stands above the variables, as it does there.
    for document in documents {
        if is_profile(document) {
            found.profile(&document["data"]);
        } else if document["kind"] == "vnode" {
            found.vnode(document)?;
        } else if document["kind"] == "Secret" && document["metadata"]["name"] == Cloud::Alibaba.secret() {
            found.secret(Cloud::Alibaba.secret());
            found.remark(
                "the Secret alibaba-addon-secret is read where burstlet lives: create it in that namespace, too",
            );
        }
    }
    Ok(found)
}

fn zones(text: &str) -> Value {
    ids(text).map(|id| json!({"vSwitchId": id})).collect()
}

impl Found {
    fn eci_workload(&mut self, workload: &Workload<'_>) -> Result<(), ImportError> {
        self.name = workload.name.map(str::to_owned);
        if workload.is_stateful {
            self.nodes = workload.replicas;
        }
        for (name, variable) in &workload.variables {
            self.eci_variable(name, variable)?;
        }
        if !workload.variables.contains_key("ECI_KUBE_PROXY") {
            self.remark(format!("ECI_KUBE_PROXY defaults to true there and to false here: {KUBE_PROXY}"));
        }
        for (name, value) in &workload.arguments {
            match name.as_str() {
                "provider" if value == "alibabacloud" => {}
                "provider" => {
                    return Err(ImportError::Refused {
                        name: "--provider".to_owned(),
                        value: value.clone(),
                        why: "variables of ECI's go with the provider alibabacloud",
                    });
                }
                other => self.remark(format!("--{other} is not known and was left out")),
            }
        }
        Ok(())
    }

    fn eci_variable(&mut self, name: &str, variable: &Variable<'_>) -> Result<(), ImportError> {
        let value = variable.value;
        match name {
            "ECI_REGION" => self.set("region", value),
            "ECI_VSWITCH" => self.set("zones", zones(value)),
            "ECI_SECURITY_GROUP" => self.set("securityGroupId", value),
            "ECI_RESOURCE_GROUP_ID" => self.set("resourceGroupId", value),
            "ECI_ACCESS_KEY" => self.key(name, variable.secret, &["access-key-id"]),
            "ECI_SECRET_KEY" => self.key(name, variable.secret, &["access-key-secret"]),
            "ECI_KUBE_PROXY" if value == "false" => {}
            "ECI_KUBE_PROXY" => self.remark(format!(
                "ECI_KUBE_PROXY={value}: {KUBE_PROXY}; without, Services' cluster addresses are not reached"
            )),
            "KUBELET_PORT" => {
                self.remark(format!("KUBELET_PORT={value}: set kubelet.listen of burstlet's configuration"));
            }
            "VKUBELET_POD_IP" => {
                self.remark(
                    "VKUBELET_POD_IP: is POD_IP of burstlet's own pod, or kubelet.address of its configuration",
                );
            }
            _ => match TAINT.iter().find(|(taint, _)| *taint == name) {
                Some((_, expected)) if value == *expected => {}
                Some(_) => {
                    return Err(ImportError::Refused {
                        name: name.to_owned(),
                        value: value.to_owned(),
                        why: "burstlet's nodes have the taint virtual-kubelet.io/provider=alibabacloud:NoSchedule; change the pods' tolerations to it",
                    });
                }
                None => self.remark(format!("{name} is not known and was left out")),
            },
        }
        Ok(())
    }

    fn profile(&mut self, data: &Value) {
        for (name, value) in data.as_object().into_iter().flatten() {
            let text = value.as_str().unwrap_or_default();
            match name.as_str() {
                "vSwitchIds" => self.set("zones", zones(text)),
                "securityGroupId" => self.set("securityGroupId", text),
                "resourceGroupId" => self.set("resourceGroupId", text),
                "vpcId" => self.remark("vpcId follows from the vSwitches"),
                "enableClusterIp" if text == "true" => self.remark(format!("enableClusterIp: {KUBE_PROXY}")),
                "selectors" => {
                    self.remark("selectors stay where they are: burstlet reads them in kube-system/eci-profile itself");
                }
                "enableClusterIp" | "enableHybridMode" | "enablePrivateZone" if text != "true" => {}
                other => self.remark(format!("{other} has no counterpart and was left out")),
            }
        }
    }

    fn vnode(&mut self, file: &Value) -> Result<(), ImportError> {
        let current = &file["current-context"];
        let mut contexts = file["contexts"].as_array().into_iter().flatten();
        let context = contexts.find(|context| context["name"] == *current);
        let context =
            context.ok_or(ImportError::Missing("the context of current-context", "select one in the file"))?;
        let text = |name: &str| context[name].as_str().unwrap_or_default();
        for (name, field) in [("region-id", "region"), ("security-group-id", "securityGroupId")] {
            if !text(name).is_empty() {
                self.set(field, text(name));
            }
        }
        if !text("vswitch-id").is_empty() {
            self.set("zones", zones(text("vswitch-id")));
        }
        if !text("access-key-id").is_empty() || !text("access-key-secret").is_empty() {
            self.key("access-key-id", None, &["access-key-id"]);
            self.key("access-key-secret", None, &["access-key-secret"]);
        }
        self.remark("kubeconfig: burstlet uses its own, by --kubeconfig or its service account");
        Ok(())
    }
}

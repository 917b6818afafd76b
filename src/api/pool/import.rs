//! Another virtual kubelet's manifests as a burstlet pool.
//!
//! Understood are ECI's own: the Deployment or StatefulSet of its virtual kubelet, the ConfigMap `eci-profile`, and
//! vnodectl's configuration file. Each setting becomes a field, or a remark that says where it went. Keys that stand in a
//! manifest are never taken over: they belong into a Secret.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Name of the Secret that ECI's add-on reads.
const ADDON_SECRET: &str = "alibaba-addon-secret";
/// The taint of burstlet's nodes on ECI, which is that of ECI's own.
const TAINT: [(&str, &str); 3] = [
    ("VKUBELET_TAINT_KEY", "virtual-kubelet.io/provider"),
    ("VKUBELET_TAINT_VALUE", "alibabacloud"),
    ("VKUBELET_TAINT_EFFECT", "NoSchedule"),
];

/// A pool, as `burstlet run` reads it, and what is to be known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// An entry of `pools`.
    pub pool: Value,
    /// What was not taken over, and what to do about it.
    pub remarks: Vec<String>,
}

/// Why nothing can be imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// No document is one that is understood.
    #[error(
        "no ECI virtual kubelet found; give its Deployment or StatefulSet, the ConfigMap eci-profile, or vnodectl's config file"
    )]
    Nothing,
    /// Something that every pool needs is in none of the documents.
    #[error("{0} is in none of the documents; add the one that has it")]
    Missing(&'static str),
    /// A value that burstlet cannot follow.
    #[error("{name}={value} is not possible: {why}")]
    Refused {
        /// The setting.
        name: String,
        /// Its value.
        value: String,
        /// Why, and what instead.
        why: &'static str,
    },
}

/// What has been found so far.
#[derive(Default)]
struct Found {
    name: Option<String>,
    settings: Map<String, Value>,
    nodes: Option<u64>,
    is_any: bool,
    remarks: Vec<String>,
}

/// Reads `documents`, which together describe one virtual kubelet on ECI.
pub fn import(documents: &[Value]) -> Result<Imported, ImportError> {
    let mut found = Found::default();
    for document in documents {
        let is_profile = document["metadata"]["name"] == "eci-profile";
        match document["kind"].as_str() {
            Some("Deployment" | "StatefulSet") => found.workload(document)?,
            Some("ConfigMap") if is_profile => found.profile(&document["data"]),
            Some("vnode") => found.vnode(document),
            _ => {}
        }
    }
    if !found.is_any {
        return Err(ImportError::Nothing);
    }
    for (field, named) in [("region", "the region"), ("zones", "a vSwitch"), ("securityGroupId", "the security group")]
    {
        if !found.settings.contains_key(field) {
            return Err(ImportError::Missing(named));
        }
    }
    if !found.settings.contains_key("credentials") {
        found.settings.insert("credentials".to_owned(), json!({"secretRef": {"name": ADDON_SECRET}}));
    }
    let name = found.name.unwrap_or_else(|| "eci".to_owned());
    let mut pool = json!({"name": name, "provider": {"alibabaEci": found.settings}});
    if let Some(nodes) = found.nodes {
        pool["nodes"] = nodes.into();
    }
    Ok(Imported { pool, remarks: found.remarks })
}

fn zones(ids: &str) -> Value {
    let ids = ids.split(',').map(str::trim).filter(|id| !id.is_empty());
    ids.map(|id| json!({"vSwitchId": id})).collect()
}

impl Found {
    fn set(&mut self, field: &str, value: impl Into<Value>) {
        self.settings.insert(field.to_owned(), value.into());
    }

    fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    fn workload(&mut self, workload: &Value) -> Result<(), ImportError> {
        let containers = workload["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten();
        let variables = containers.flat_map(|container| container["env"].as_array().into_iter().flatten());
        let variables = variables.filter_map(|variable| Some((variable["name"].as_str()?, variable)));
        let variables = variables.collect::<BTreeMap<_, _>>();
        if !variables.keys().any(|name| name.starts_with("ECI_")) {
            return Ok(());
        }
        self.is_any = true;
        self.name = workload["metadata"]["name"].as_str().map(str::to_owned);
        if workload["kind"] == "StatefulSet" {
            self.nodes = workload["spec"]["replicas"].as_u64();
        }
        for (name, variable) in &variables {
            self.variable(name, variable["value"].as_str().unwrap_or_default(), &variable["valueFrom"])?;
        }
        if !variables.contains_key("ECI_KUBE_PROXY") {
            self.remark(
                "ECI_KUBE_PROXY defaults to true there; here kubeProxy is off until it names an image and a kubeconfig",
            );
        }
        Ok(())
    }

    fn variable(&mut self, name: &str, value: &str, from: &Value) -> Result<(), ImportError> {
        match name {
            "ECI_REGION" => self.set("region", value),
            "ECI_VSWITCH" => self.set("zones", zones(value)),
            "ECI_SECURITY_GROUP" => self.set("securityGroupId", value),
            "ECI_RESOURCE_GROUP_ID" => self.set("resourceGroupId", value),
            "ECI_ACCESS_KEY" | "ECI_SECRET_KEY" => {
                let secret = from["secretKeyRef"]["name"].as_str();
                self.set("credentials", json!({"secretRef": {"name": secret.unwrap_or(ADDON_SECRET)}}));
                let part = if name == "ECI_ACCESS_KEY" { "access-key-id" } else { "access-key-secret" };
                match (secret, from["secretKeyRef"]["key"].as_str()) {
                    (Some(_), Some(key)) if key == part => {}
                    (Some(secret), _) => self.remark(format!("{name}: rename its key in the Secret {secret} to {part}")),
                    (None, _) => self.remark(format!(
                        "{name} stands in the manifest and was not taken over: put it into the Secret {ADDON_SECRET} as {part}"
                    )),
                }
            }
            "ECI_KUBE_PROXY" if value == "false" => {}
            "ECI_KUBE_PROXY" => {
                self.remark("ECI_KUBE_PROXY=true: set kubeProxy with an image and a kubeconfig; without, Services' cluster addresses are not reached");
            }
            "KUBELET_PORT" => {
                self.remark(format!("KUBELET_PORT={value}: set kubelet.listen of burstlet's configuration"))
            }
            "VKUBELET_POD_IP" => self.remark("VKUBELET_POD_IP: set kubelet.address of burstlet's configuration"),
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
        self.is_any = true;
        for (name, value) in data.as_object().into_iter().flatten() {
            let text = value.as_str().unwrap_or_default();
            match name.as_str() {
                "vSwitchIds" => self.set("zones", zones(text)),
                "securityGroupId" => self.set("securityGroupId", text),
                "resourceGroupId" => self.set("resourceGroupId", text),
                "vpcId" => self.remark("vpcId follows from the vSwitches"),
                "enableClusterIp" if text == "true" => {
                    self.remark("enableClusterIp: set kubeProxy with an image and a kubeconfig");
                }
                "selectors" => {
                    self.remark("selectors: say base and tiers in a policy, and put the annotations on the pods")
                }
                other if text == "true" => self.remark(format!("{other} has no counterpart and was left out")),
                _ => {}
            }
        }
    }

    fn vnode(&mut self, file: &Value) {
        let current = &file["current-context"];
        let contexts = file["contexts"].as_array().into_iter().flatten();
        let Some(context) = contexts.filter(|context| context["name"] == *current).next() else { return };
        self.is_any = true;
        let text = |name: &str| context[name].as_str().unwrap_or_default();
        self.set("region", text("region-id"));
        self.set("zones", zones(text("vswitch-id")));
        self.set("securityGroupId", text("security-group-id"));
        self.remark(format!(
            "access-key-id and access-key-secret were not taken over: put them into the Secret {ADDON_SECRET}"
        ));
        self.remark("kubeconfig: burstlet uses its own, by --kubeconfig or its service account");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::pool::alibaba_eci::AlibabaEci;

    fn read(text: &str) -> Result<Imported, ImportError> {
        import(&[serde_saphyr::from_str(text).unwrap()])
    }

    fn settings(imported: &Imported) -> AlibabaEci {
        serde_json::from_value(imported.pool["provider"]["alibabaEci"].clone()).unwrap()
    }

    const WORKLOAD: &str = r#"
kind: StatefulSet
metadata: {name: virtual-node-eci}
spec:
  replicas: 4
  template:
    spec:
      containers:
      - name: vk
        args: ["--provider", "alibabacloud"]
        env:
        - {name: KUBELET_PORT, value: "10250"}
        - {name: VKUBELET_POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        - {name: VKUBELET_TAINT_KEY, value: virtual-kubelet.io/provider}
        - {name: VKUBELET_TAINT_VALUE, value: alibabacloud}
        - {name: VKUBELET_TAINT_EFFECT, value: NoSchedule}
        - {name: ECI_REGION, value: cn-hangzhou}
        - {name: ECI_VSWITCH, value: "vsw-a,vsw-b"}
        - {name: ECI_SECURITY_GROUP, value: sg-1}
        - {name: ECI_KUBE_PROXY, value: "false"}
        - {name: ECI_ACCESS_KEY, value: LTAI-in-the-open}
        - {name: ECI_SECRET_KEY, value: hush-hush}
"#;

    #[test]
    fn a_virtual_kubelets_variables_become_the_pools_fields_and_its_keys_stay_where_they_are() {
        let imported = read(WORKLOAD).unwrap();
        assert_eq!((&imported.pool["name"], &imported.pool["nodes"]), (&json!("virtual-node-eci"), &json!(4)));
        let settings = settings(&imported);
        assert_eq!((settings.region.as_str(), settings.zones.len()), ("cn-hangzhou", 2));
        let told = format!("{imported:?}");
        assert!(!told.contains("hush-hush") && !told.contains("LTAI"), "{told}");
        for name in ["KUBELET_PORT", "VKUBELET_POD_IP", "ECI_ACCESS_KEY", "ECI_SECRET_KEY"] {
            assert!(imported.remarks.iter().any(|remark| remark.contains(name)), "{name}");
        }
    }

    #[test]
    fn a_taint_that_burstlets_nodes_do_not_have_is_refused() {
        let error = read(&WORKLOAD.replace("value: NoSchedule", "value: NoExecute")).unwrap_err();
        assert!(error.to_string().contains("VKUBELET_TAINT_EFFECT=NoExecute"), "{error}");
    }

    #[test]
    fn vnodectls_file_and_the_profile_are_understood() {
        let vnode = "kind: vnode\ncontexts: [{name: default, region-id: cn-hangzhou, access-key-id: a, access-key-secret: hush, \
                     vswitch-id: vsw-a, security-group-id: sg-1, kubeconfig: /k}]\ncurrent-context: default";
        let profile = "{kind: ConfigMap, metadata: {name: eci-profile}, data: {vSwitchIds: 'vsw-c,vsw-d', resourceGroupId: rg-1}}";
        let documents = [vnode, profile].map(|text| serde_saphyr::from_str(text).unwrap());
        let imported = import(&documents).unwrap();
        let settings = settings(&imported);
        assert_eq!(settings.zones[1].v_switch_id, "vsw-d");
        assert_eq!(settings.resource_group_id.as_deref(), Some("rg-1"));
        assert!(!format!("{imported:?}").contains("hush"));
    }

    #[test]
    fn what_is_no_virtual_kubelet_is_refused() {
        assert_eq!(read("{kind: Service}"), Err(ImportError::Nothing));
        let error = read(&WORKLOAD.replace("ECI_VSWITCH", "ECI_OTHER")).unwrap_err();
        assert_eq!(error, ImportError::Missing("a vSwitch"));
    }
}

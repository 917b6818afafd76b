use super::*;
use crate::api::{
    document::Document,
    pool::{Provider, alibaba_eci::AlibabaEci, credentials::CredentialsFrom, kingsoft_kci::KingsoftKci},
};

fn read(text: &str) -> Result<Imported, ImportError> {
    import(&serde_saphyr::from_multiple::<Value>(text).unwrap(), &Options::default())
}

fn spec(imported: &Imported) -> PoolSpec {
    let Ok(Document::Pool(_, spec)) = Document::read(&imported.pool) else { panic!("{imported:?}") };
    *spec
}

fn eci(imported: &Imported) -> AlibabaEci {
    let Provider::AlibabaEci(eci) = spec(imported).provider else { panic!("{imported:?}") };
    *eci
}

fn kci(imported: &Imported) -> KingsoftKci {
    let Provider::KingsoftKci(kci) = spec(imported).provider else { panic!("{imported:?}") };
    *kci
}

fn told(imported: &Imported, name: &str) -> bool {
    imported.remarks.iter().any(|remark| remark.starts_with(name))
}

const ECI: &str = r#"
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

const KCI: &str = r#"
kind: Deployment
metadata: {name: virtual-kubelet}
spec:
  replicas: 1
  template:
    spec:
      containers:
      - name: vk
        args: [--provider=kingsoftcloud, --nodename=vk01, "--cluster-dns=10.254.0.10,10.254.0.11", --virtual-node-dns=198.18.254.30,
          --cluster-domain=corp.local, --disable-taint, --enable-node-lease]
        env:
        - {name: KCI_ACCESS_KEY, value: AKLT-in-the-open}
        - {name: KCI_SECRET_KEY, valueFrom: {secretKeyRef: {name: mine, key: sk}}}
        - {name: KCI_REGION, value: cn-beijing-6}
        - {name: KCI_CLUSTER_ID, value: 6a1b}
        - {name: KCI_SUBNET_ID, value: sub-1}
        - {name: KCI_SECURITY_GROUP_IDS, value: "sg-1,sg-2"}
        - {name: KCI_KUBE_PROXY, value: "true"}
        - {name: KCI_CLUSTER_SERVER, value: "10.0.0.1:6443"}
        - {name: KCI_REQUEST_INTERNAL}
"#;

#[test]
fn ecis_variables_become_the_pools_fields_and_its_keys_stay_where_they_are() {
    let imported = read(ECI).unwrap();
    assert_eq!(imported.pool["metadata"]["name"], "virtual-node-eci");
    assert_eq!(spec(&imported).nodes.unwrap().max, Some(4));
    let settings = eci(&imported);
    assert_eq!((settings.region.as_str(), settings.zones.len()), ("cn-hangzhou", 2));
    let text = format!("{imported:?}");
    assert!(!text.contains("hush-hush") && !text.contains("LTAI"), "{text}");
    for name in ["KUBELET_PORT", "VKUBELET_POD_IP", "ECI_ACCESS_KEY", "ECI_SECRET_KEY", "quota.pods"] {
        assert!(told(&imported, name), "{name}");
    }
}

#[test]
fn kcis_variables_and_arguments_become_the_pools_fields() {
    let imported = read(KCI).unwrap();
    assert_eq!(imported.pool["metadata"]["name"], "vk01");
    let settings = kci(&imported);
    assert_eq!((settings.region.as_str(), settings.cluster_id.as_deref()), ("cn-beijing-6", Some("6a1b")));
    assert_eq!(
        (settings.subnet_ids.join(","), settings.security_group_ids.join(",")),
        ("sub-1".into(), "sg-1,sg-2".into())
    );
    assert_eq!((settings.cluster_dns.len(), settings.virtual_node_dns.len()), (2, 1));
    assert_eq!(settings.cluster_domain, "corp.local");
    assert!(settings.request_internal && !settings.kube_proxy && settings.cluster_server.is_none());
    assert!(matches!(settings.credentials, CredentialsFrom::SecretRef { name, .. } if name == "mine"));
    for name in ["KCI_KUBE_PROXY", "KCI_CLUSTER_SERVER", "--nodename", "--disable-taint", "KCI_ACCESS_KEY"] {
        assert!(told(&imported, name), "{name}: {:?}", imported.remarks);
    }
    assert!(!told(&imported, "KCI_SECRET_KEY"), "its Secret has it by a name that is read");
    assert!(!format!("{imported:?}").contains("AKLT"));
}

#[test]
fn temporary_keys_come_from_their_config_map() {
    let text =
        KCI.replace("name: KCI_ACCESS_KEY, value: AKLT-in-the-open", "name: TEMP_AKSK_CM, value: user-temp-aksk");
    let text = text.replace("        - {name: KCI_SECRET_KEY, valueFrom: {secretKeyRef: {name: mine, key: sk}}}\n", "");
    let settings = kci(&read(&text).unwrap());
    let from = serde_json::to_value(&settings.credentials).unwrap();
    assert_eq!(from, json!({"configMapRef": {"name": "user-temp-aksk", "namespace": "kube-system"}}));
}

#[test]
fn a_taint_or_a_provider_that_does_not_go_with_the_cloud_is_refused() {
    let error = read(&ECI.replace("value: NoSchedule", "value: NoExecute")).unwrap_err();
    assert!(error.to_string().contains("VKUBELET_TAINT_EFFECT=NoExecute"), "{error}");
    let error = read(&KCI.replace("=kingsoftcloud", "=alibabacloud")).unwrap_err();
    assert!(error.to_string().contains("--provider=alibabacloud"), "{error}");
}

#[test]
fn limits_of_the_clouds_are_refused_by_their_fields() {
    let error = read(&KCI.replace("sg-1,sg-2", "sg-1,sg-2,sg-3,sg-4")).unwrap_err().to_string();
    assert!(error.contains("spec.provider.kingsoftKci.securityGroupIds: 4") && error.contains("at most 3"), "{error}");
    let eleven = (0..11).map(|number| format!("vsw-{number}")).collect::<Vec<_>>().join(",");
    let error = read(&ECI.replace("vsw-a,vsw-b", &eleven)).unwrap_err().to_string();
    assert!(error.contains("spec.provider.alibabaEci.zones: 11"), "{error}");
    let error = read(&KCI.replace("value: cn-beijing-6", "value: Beijing!")).unwrap_err().to_string();
    assert!(error.contains("spec.provider.kingsoftKci.region"), "{error}");
}

#[test]
fn vnodectls_file_and_the_profile_are_understood() {
    let vnode = "kind: vnode\ncontexts: [{name: default, region-id: cn-hangzhou, access-key-id: a, access-key-secret: hush, \
                 vswitch-id: vsw-a, security-group-id: sg-1, kubeconfig: /k}]\ncurrent-context: default";
    let profile =
        "{kind: ConfigMap, metadata: {name: eci-profile}, data: {vSwitchIds: 'vsw-c,vsw-d', resourceGroupId: rg-1}}";
    let documents = [profile, vnode].map(|text| serde_saphyr::from_str(text).unwrap());
    let imported = import(&documents[1..], &Options::default()).unwrap();
    assert_eq!(eci(&imported).zones[0].v_switch_id, "vsw-a");
    assert!(!format!("{imported:?}").contains("hush"));
    let error = import(&documents[..1], &Options::default()).unwrap_err();
    assert!(error.to_string().contains("--region"), "{error}");
    let options = Options { quota_pods: 7, region: Some("cn-hangzhou".to_owned()) };
    let workload = serde_saphyr::from_str(&ECI.replace("ECI_REGION", "ECI_RESOURCE_GROUP_ID")).unwrap();
    let imported = import(&[workload, documents[0].clone()], &options).unwrap();
    let settings = eci(&imported);
    assert_eq!(
        (settings.zones[1].v_switch_id.as_str(), settings.resource_group_id.as_deref()),
        ("vsw-d", Some("rg-1"))
    );
    assert_eq!(spec(&imported).quota.unwrap().pods, Some(7));
}

#[test]
fn what_is_no_virtual_kubelet_or_two_clouds_is_refused() {
    assert_eq!(read("{kind: Service}"), Err(ImportError::Nothing));
    assert_eq!(read(&format!("{ECI}\n---\n{KCI}")), Err(ImportError::Mixed));
    let error = read(&ECI.replace("ECI_VSWITCH", "ECI_OTHER")).unwrap_err();
    assert!(matches!(error, ImportError::Missing("a vSwitch", _)), "{error}");
}

//! Pods in, parameters out; every parameter is one that the API has.

use serde_json::{Value, json};

use super::*;
use crate::provider::clouds::Secret;

fn owner() -> Owner {
    let text = |text: &str| text.to_owned();
    Owner { cluster: text("here"), node: text("eci-0"), namespace: text("shop"), name: text("web-1"), uid: text("u-1") }
}

fn settings() -> AlibabaEci {
    let text = "{region: cn-hangzhou, zones: [{vSwitchId: vsw-a}], securityGroupId: sg-1, credentials: {environment: {}}, \
                clusterDNS: [10.0.0.10], kubeProxy: {image: proxy, kubeconfig: /k}}";
    serde_saphyr::from_str(text).unwrap()
}

fn ask(pod: Value) -> Result<Asked, ProviderError> {
    translate(&owner(), &serde_json::from_value(pod).unwrap(), &settings(), None, &Resolved::default())
}

#[allow(clippy::needless_pass_by_value, reason = "`json!` makes a value at each call")]
fn least(annotations: Value) -> Value {
    json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "a", "image": "x"}]}})
}

/// The pod's parameters all together.
fn all(pod: Value) -> Parameters {
    let asked = ask(pod).unwrap();
    let mut all = asked.parameters;
    all.extend(asked.alternatives[0].parameters.clone());
    all.extend(asked.own_place.unwrap_or_default());
    assert_known(&all);
    all
}

/// Each parameter has its place in the API's field tree.
fn assert_known(parameters: &Parameters) {
    let path = format!("{}/tests/clouds/wire/eci-2018-08-08-fields.json", env!("CARGO_MANIFEST_DIR"));
    let fields: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for name in parameters.keys() {
        let mut at = &fields["CreateContainerGroup"]["request"];
        for part in name.split('.') {
            at = if part.parse::<u32>().is_ok() { &at[0] } else { &at[part] };
        }
        assert!(at.is_string(), "the API has no parameter {name}");
    }
}

fn refusal(pod: Value) -> String {
    ask(pod).unwrap_err().to_string()
}

#[test]
#[allow(clippy::too_many_lines, reason = "one pod with everything, as people write it")]
fn a_whole_pod_is_said_in_the_clouds_words() {
    let pod = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {
            "restartPolicy": "OnFailure", "terminationGracePeriodSeconds": 5, "activeDeadlineSeconds": 60,
            "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}],
            "initContainers": [
                {"name": "prepare", "image": "i", "command": ["true"]},
                {"name": "side", "image": "s", "restartPolicy": "Always", "resources": {"limits": {"cpu": "500m"}}},
            ],
            "containers": [{
                "name": "app", "image": "nginx", "command": ["sh", "-c"], "args": ["run"], "workingDir": "/w",
                "env": [
                    {"name": "A", "value": "1"},
                    {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
                    {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                ],
                "ports": [{"containerPort": 80, "name": "http"}],
                "resources": {"requests": {"cpu": "4", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "3Gi"}},
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "kube-api-access-x", "mountPath": "/t"}],
                "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 3},
                "livenessProbe": {"tcpSocket": {"port": 80}},
                "startupProbe": {"exec": {"command": ["true"]}, "periodSeconds": 5, "failureThreshold": 6},
                "lifecycle": {"preStop": {"exec": {"command": ["sleep", "3"]}}},
                "securityContext": {"runAsUser": 1000, "capabilities": {"add": ["NET_RAW"]}},
            }],
            "volumes": [
                {"name": "kube-api-access-x", "projected": {"sources": []}},
                {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
            ],
        },
    });
    let parameters = all(pod);
    let lines = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(lines, @r"
    ActiveDeadlineSeconds=60
    Container.1.Cpu=0.5
    Container.1.Image=s
    Container.1.Name=side
    Container.2.Arg.1=run
    Container.2.Command.1=sh
    Container.2.Command.2=-c
    Container.2.Cpu=1
    Container.2.EnvironmentVar.1.Key=A
    Container.2.EnvironmentVar.1.Value=1
    Container.2.EnvironmentVar.2.Key=NAME
    Container.2.EnvironmentVar.2.Value=web-1
    Container.2.EnvironmentVar.3.Key=APP
    Container.2.EnvironmentVar.3.Value=web
    Container.2.EnvironmentVar.4.FieldRef.FieldPath=status.podIP
    Container.2.EnvironmentVar.4.Key=IP
    Container.2.Image=nginx
    Container.2.LifecyclePreStopHandlerExec.1=sleep
    Container.2.LifecyclePreStopHandlerExec.2=3
    Container.2.LivenessProbe.InitialDelaySeconds=30
    Container.2.LivenessProbe.TcpSocket.Port=80
    Container.2.Memory=3
    Container.2.Name=app
    Container.2.Port.1.Port=80
    Container.2.Port.1.Protocol=TCP
    Container.2.ReadinessProbe.HttpGet.Path=/
    Container.2.ReadinessProbe.HttpGet.Port=80
    Container.2.ReadinessProbe.HttpGet.Scheme=HTTP
    Container.2.ReadinessProbe.PeriodSeconds=3
    Container.2.SecurityContext.Capability.Add.1=NET_RAW
    Container.2.SecurityContext.RunAsUser=1000
    Container.2.VolumeMount.1.MountPath=/tmp
    Container.2.VolumeMount.1.Name=tmp
    Container.2.VolumeMount.1.ReadOnly=false
    Container.2.WorkingDir=/w
    ContainerGroupName=shop-web-1
    Cpu=2
    DnsConfig.NameServer.1=10.0.0.10
    DnsConfig.Option.1.Name=ndots
    DnsConfig.Option.1.Value=5
    DnsConfig.Search.1=shop.svc.cluster.local
    DnsConfig.Search.2=svc.cluster.local
    DnsConfig.Search.3=cluster.local
    DnsPolicy=None
    HostAliase.1.Hostname.1=a
    HostAliase.1.Hostname.2=b
    HostAliase.1.Ip=1.2.3.4
    InitContainer.1.Command.1=true
    InitContainer.1.Image=i
    InitContainer.1.Name=prepare
    Memory=4
    RestartPolicy=OnFailure
    SecurityGroupId=sg-1
    Tag.1.Key=burstlet.dev/cluster
    Tag.1.Value=here
    Tag.2.Key=burstlet.dev/namespace
    Tag.2.Value=shop
    Tag.3.Key=burstlet.dev/node
    Tag.3.Value=eci-0
    Tag.4.Key=burstlet.dev/pod
    Tag.4.Value=web-1
    Tag.5.Key=burstlet.dev/uid
    Tag.5.Value=u-1
    TerminationGracePeriodSeconds=5
    Volume.1.EmptyDirVolume.Medium=Memory
    Volume.1.EmptyDirVolume.SizeLimit=1Gi
    Volume.1.Name=tmp
    Volume.1.Type=EmptyDirVolume
    ");
}

#[test]
fn sizes_come_from_the_annotation_then_limits_then_requests_and_are_rounded_up() {
    let size = |pod| ask(pod).unwrap().alternatives.into_iter().map(|a| size::shown(a.size)).collect::<Vec<_>>();
    let with =
        |resources: Value| json!({"spec": {"containers": [{"name": "a", "image": "x", "resources": resources}]}});
    assert_eq!(size(with(json!({}))), ["2-4.0Gi"]);
    assert_eq!(size(with(json!({"requests": {"cpu": "3", "memory": "5Gi"}}))), ["4-8.0Gi"]);
    assert_eq!(size(with(json!({"requests": {"cpu": "3"}, "limits": {"cpu": "1", "memory": "1Gi"}}))), ["1-2.0Gi"]);
    let specs = ask(least(json!({"k8s.aliyun.com/eci-use-specs": "2-4Gi,ecs.c6.xlarge"}))).unwrap().alternatives;
    assert_eq!(specs[0].parameters["Cpu"], "2");
    assert_eq!(specs[1].parameters["InstanceType"], "ecs.c6.xlarge");
    let too_much = refusal(with(json!({"limits": {"cpu": "65"}})));
    assert!(too_much.contains("the largest size is 64-512.0Gi"), "{too_much}");
}

#[test]
fn spot_is_two_vcpu_at_least_and_falls_back_where_the_pod_says_so() {
    let annotations = json!({
        "k8s.aliyun.com/eci-spot-strategy": "SpotWithPriceLimit", "k8s.aliyun.com/eci-spot-price-limit": "0.5",
        "k8s.aliyun.com/eci-spot-fallback": "true", "k8s.aliyun.com/eci-use-specs": "1-2Gi",
    });
    let ways = ask(least(annotations)).unwrap().alternatives;
    assert_eq!(ways.iter().map(|way| way.is_spot).collect::<Vec<_>>(), [true, false]);
    assert_eq!((ways[0].parameters["Cpu"].as_str(), ways[1].parameters["Cpu"].as_str()), ("2", "1"));
    assert_eq!(ways[0].parameters["SpotPriceLimit"], "0.5");
}

#[test]
fn every_annotation_has_its_parameter() {
    let cases = [
        ("eci-vswitch", "vsw-1,vsw-2", "VSwitchId", "vsw-1,vsw-2"),
        ("eci-instance-family", "ecs.c6,ecs.c7", "InstanceType", "ecs.c6.large,ecs.c7.large"),
        ("eci-compute-category", "economy,general", "ComputeCategory.2", "general"),
        ("eci-custom-hosts", r#"[{"host":"h","ip":"9.9.9.9"}]"#, "HostAliase.1.Hostname.1", "h"),
        ("eci-custom-tags", "env:test,name:alice", "Tag.7.Value", "alice"),
        ("eci-ram-role-name", "role", "RamRoleName", "role"),
        ("eci-auto-imc", "true", "AutoMatchImageCache", "true"),
        ("eci-image-cache", "true", "AutoMatchImageCache", "true"),
        ("eci-imc-id", "imc-1", "ImageSnapshotId", "imc-1"),
        ("eci-image-snapshot-id", "s-1", "ImageSnapshotId", "s-1"),
        ("acr-instance-ids", "cri-1,cn-beijing:cri-2", "AcrRegistryInfo.2.RegionId", "cn-beijing"),
        ("eci-security-group", "sg-2,sg-3", "SecurityGroupId", "sg-2,sg-3"),
        ("eci-eip-instanceid", "eip-1", "EipInstanceId", "eip-1"),
        ("eci-with-eip", "true", "AutoCreateEip", "true"),
        ("eip-bandwidth", "10", "EipBandwidth", "10"),
        ("eip-isp", "BGP", "EipISP", "BGP"),
        ("eci-private-ip-address", "10.0.0.9", "PrivateIpAddress", "10.0.0.9"),
        ("eci-fixed-ip", "true", "FixedIp", "true"),
        ("eci-fixed-ip-retain-hour", "48", "FixedIpRetainHour", "48"),
        ("eci-custom-dnsconfig", r#"{"nameservers":["8.8.8.8"]}"#, "DnsConfig.NameServer.1", "8.8.8.8"),
        ("eci-extra-ephemeral-storage", "50Gi", "EphemeralStorage", "50"),
        ("eci-ntp-server", "a,b", "NtpServer.2", "b"),
        ("eci-core-pattern", "/pod/data/core", "CorePattern", "/pod/data/core"),
        ("eci-spot-strategy", "SpotAsPriceGo", "SpotStrategy", "SpotAsPriceGo"),
    ];
    for (name, value, parameter, expected) in cases {
        let annotation = format!("k8s.aliyun.com/{name}");
        let parameters = all(least(json!({ annotation: value })));
        assert_eq!(parameters.get(parameter).map(String::as_str), Some(expected), "{name}");
    }
    let fast = ask(least(json!({"k8s.aliyun.com/eci-fail-strategy": "fail-fast"}))).unwrap();
    assert!(fast.fails_fast);
    let pending = ask(least(json!({"k8s.aliyun.com/eci-max-pending-minute": "10"}))).unwrap();
    assert_eq!(pending.longest_pending, Some(std::time::Duration::from_mins(10)));
    let limited =
        all(least(json!({"kubernetes.io/ingress-bandwidth": "100M", "kubernetes.io/egress-bandwidth": "1G"})));
    assert_eq!(
        (limited["IngressBandwidth"].as_str(), limited["EgressBandwidth"].as_str()),
        ("100000000", "1000000000")
    );
}

#[test]
fn an_annotation_that_does_not_parse_is_refused_by_its_name() {
    for (name, value) in [
        ("eci-vswitch", "1,2,3,4,5,6,7,8,9,10,11"),
        ("eci-security-group", "1,2,3,4,5,6"),
        ("eci-schedule-strategy", "Sideways"),
        ("eci-use-specs", "two-four"),
        ("eci-spot-strategy", "Cheap"),
        ("eci-spot-price-limit", "much"),
        ("eci-max-pending-minute", "9"),
        ("eci-fail-strategy", "cry"),
        ("eci-custom-tags", "loose"),
        ("eci-custom-hosts", "{}"),
        ("eci-custom-dnsconfig", r#"{"servers":[]}"#),
        ("eci-with-eip", "yes"),
        ("eci-extra-ephemeral-storage", "lots"),
    ] {
        let annotation = format!("k8s.aliyun.com/{name}");
        let text = refusal(least(json!({ annotation.clone(): value })));
        assert!(text.contains(&annotation), "{text}");
    }
}

#[test]
fn what_the_cloud_cannot_run_is_refused_with_its_field() {
    let with = |field: &str, value: Value| {
        let mut pod = least(json!({}));
        pod["spec"][field] = value;
        refusal(pod)
    };
    assert!(with("hostNetwork", json!(true)).contains("spec.hostNetwork"));
    assert!(with("volumes", json!([{"name": "v", "hostPath": {"path": "/"}}])).contains("volume v"));
    assert!(with("volumes", json!([{"name": "v", "configMap": {"name": "c"}}])).contains("not been resolved"));
    let privileged = json!([{"name": "a", "image": "x", "securityContext": {"privileged": true}}]);
    assert!(with("containers", privileged).contains("privileged"));
    let host_ip = json!([{"name": "a", "image": "x", "env": [{"name": "H", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}]}]);
    assert!(with("containers", host_ip).contains("status.hostIP"));
}

#[test]
fn resolved_files_and_variables_travel_with_the_pod() {
    let pod = json!({"spec": {
        "containers": [{"name": "a", "image": "x", "envFrom": [{"configMapRef": {"name": "c"}}],
            "env": [{"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}],
        "volumes": [{"name": "v", "configMap": {"name": "c"}}],
    }});
    let resolved = Resolved {
        files: [("v".to_owned(), [("a.conf".to_owned(), b"hi".to_vec())].into())].into(),
        variables: [("a".to_owned(), [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())].into())]
            .into(),
        registries: vec![RegistryKey {
            server: "https://registry.example.com/v1/".to_owned(),
            user: "me".to_owned(),
            password: Secret::new("hunter2"),
        }],
    };
    assert!(!format!("{resolved:?}").contains("hunter2"));
    let pod = serde_json::from_value(pod).unwrap();
    let parameters = translate(&owner(), &pod, &settings(), Some("kubeconfig"), &resolved).unwrap().parameters;
    assert_known(&parameters);
    assert_eq!(parameters["Volume.1.ConfigFileVolume.ConfigFileToPath.1.Content"], "aGk=");
    assert_eq!(parameters["ImageRegistryCredential.1.Server"], "registry.example.com");
    assert_eq!(parameters["ImageRegistryCredential.1.Password"], "hunter2");
    assert_eq!(parameters["Container.1.EnvironmentVar.1.Key"], "A");
    assert_eq!(parameters["Container.1.EnvironmentVar.2.Value"], "2");
}

#[test]
fn a_kube_proxy_joins_pods_that_are_restarted_always() {
    let ask = |policy: &str| {
        let mut pod = least(json!({}));
        pod["spec"]["restartPolicy"] = policy.into();
        let pod = serde_json::from_value(pod).unwrap();
        translate(&owner(), &pod, &settings(), Some("kubeconfig"), &Resolved::default()).unwrap().parameters
    };
    let parameters = ask("Always");
    assert_known(&parameters);
    assert_eq!(parameters["Container.2.Name"], "burstlet-kube-proxy");
    assert_eq!(parameters["Volume.1.Name"], "burstlet-kube-proxy");
    // A job would never end beside it.
    assert!(!ask("Never").contains_key("Container.2.Name"));
}

/// The kubelet writes a dollar that is one as `$$`.
#[test]
fn what_the_kubelet_has_made_literal_arrives_as_it_was() {
    let pod = json!({"spec": {"containers": [{"name": "a", "image": "x", "args": ["$(A)", "$$(A)"],
        "env": [{"name": "A", "value": "5$$ $$(B)"}, {"name": "B", "value": "x"}]}]}});
    let content = Content { volumes: [("v".to_owned(), BTreeMap::new())].into(), registries: Vec::new() };
    let resolved = Resolved::of(&content);
    let parameters =
        translate(&owner(), &serde_json::from_value(pod).unwrap(), &settings(), None, &resolved).unwrap().parameters;
    assert_eq!(parameters["Container.1.EnvironmentVar.1.Value"], "5$ $(B)");
    assert_eq!((&*parameters["Container.1.Arg.1"], &*parameters["Container.1.Arg.2"]), ("5$ $(B)", "$(A)"));
}

#[test]
fn a_long_pod_name_is_split_over_two_tags() {
    let mut owner = owner();
    owner.name = "n".repeat(200);
    let pod = serde_json::from_value(least(json!({}))).unwrap();
    let parameters = translate(&owner, &pod, &settings(), None, &Resolved::default()).unwrap().parameters;
    let lengths = parameters.iter().filter(|(name, _)| name.starts_with("Tag.")).map(|(_, value)| value.len());
    assert!(lengths.max() <= Some(128));
    assert_eq!(parameters["ContainerGroupName"].len(), 128);
}

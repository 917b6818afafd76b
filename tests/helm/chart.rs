//! What the chart renders, without a cluster.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::{Command, Output},
};

use burstlet::{
    admission::{AdmissionMetrics, Endpoint, webhook_configurations},
    api::pool::PoolSpec,
    extender::ExtenderMetrics,
    kubelet::KubeletMetrics,
    placer::PlacerMetrics,
    run::config::Config,
    telemetry::ApiRequests,
};
use burstlet_engine::policy::check::KnownPools;
use serde_json::{Value, json};

use crate::tool::{helm, root};

const NAMESPACE: &str = "burstlet-system";

/// The chart.
fn chart() -> PathBuf {
    root().join("helm/burstlet")
}

/// Runs Helm, away from the settings and caches of whoever runs the test.
fn run(arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(helm())
        .args(arguments)
        .env("HELM_CACHE_HOME", home.path())
        .env("HELM_CONFIG_HOME", home.path())
        .env("HELM_DATA_HOME", home.path())
        .output();
    output.unwrap()
}

/// Runs Helm, which shall succeed, and answers what it printed.
fn succeed(arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "helm {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn arguments(settings: &str) -> Vec<String> {
    let chart = chart().display().to_string();
    let fixed = ["template", "burst", &chart, "--namespace", NAMESPACE, "--kube-version", "v1.36.3", "--set", settings];
    fixed.map(str::to_owned).to_vec()
}

fn render(settings: &str) -> String {
    let arguments = arguments(settings);
    succeed(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Runs Helm, which shall fail, and answers why it says it did.
fn fail(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "helm {arguments:?} should fail: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn objects(rendered: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(rendered).unwrap();
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.next().unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// Certificates are made anew by each rendering without a cluster.
fn without_certificates(rendered: &str) -> String {
    let hide = |line: &str| {
        let (key, _) = line.split_once(": ")?;
        ["ca.crt", "tls.crt", "tls.key", "caBundle"].contains(&key.trim()).then(|| format!("{key}: (made anew)"))
    };
    let lines = rendered.lines().map(|line| hide(line).unwrap_or_else(|| line.to_owned()) + "\n");
    lines.collect()
}

#[test]
fn the_chart_is_rendered_as_reviewed() {
    insta::assert_snapshot!("defaults", without_certificates(&render("clusterId=shop")));
    insta::assert_snapshot!(
        "cert_manager_without_extender",
        render("clusterId=shop,tls.mode=certManager,scheduler.mode=none,replicas=3")
    );
}

#[test]
fn helm_lint_finds_nothing() {
    succeed(&["lint", "--strict", "--set", "clusterId=shop", &chart().display().to_string()]);
}

#[test]
fn values_that_mean_nothing_are_refused_by_name() {
    for (settings, named) in [
        ("clusterId=shop,replicas=none", "/replicas"),
        ("clusterId=shop,replica=2", "replica"),
        ("clusterId=shop,scheduler.mode=own", "/scheduler/mode"),
        ("clusterId=Shop", "/clusterId"),
        ("replicas=2", "clusterId is required"),
        ("clusterId=shop,tls.mode=secret", "tls.caBundle is required"),
        ("clusterId=shop,pools[0].name=eci,pools[0].provider.simulated.endpoint=x", "missing property 'quota'"),
        ("clusterId=shop,pools[0].quota.pods=3,pools[0].provider.simulated.endpoint=x", "missing property 'name'"),
        ("clusterId=shop,policies[0].base=3", "missing property 'name'"),
    ] {
        let arguments = arguments(settings);
        let said = fail(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(said.contains(named), "{settings}: {said}");
    }
}

#[test]
fn the_configuration_is_one_that_burstlet_takes() {
    for mode in ["dedicated", "none", "merge"] {
        let rendered = objects(&render(&format!("clusterId=shop,scheduler.mode={mode}")));
        let text = find(&rendered, "ConfigMap", "burstlet")["data"]["burstlet.yaml"].as_str().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let config = Config::read(file.path()).unwrap();
        assert_eq!(config.cluster_id, "shop");
        assert_eq!(config.extender.is_some(), mode != "none", "{mode}");
        assert_eq!(config.scheduler_name.as_deref(), (mode == "dedicated").then_some("burstlet"));
    }
}

/// To make the file anew after a change on purpose, take what this test prints.
#[test]
fn the_webhooks_ask_for_what_the_code_asks_for() {
    let endpoint =
        Endpoint::Service { namespace: NAMESPACE.to_owned(), name: "burstlet-admission".to_owned(), port: 8443 };
    let (mutating, validating) = webhook_configurations(&endpoint, b"CA", NAMESPACE);
    let wanted = [serde_json::to_value(mutating).unwrap(), serde_json::to_value(validating).unwrap()];
    let rendered = objects(&render("clusterId=shop"));
    for wanted in wanted {
        let kind = wanted["kind"].as_str().unwrap();
        let mut found = find(&rendered, kind, "burstlet")["webhooks"].clone();
        for webhook in found.as_array_mut().unwrap() {
            webhook["clientConfig"]["caBundle"] = json!("Q0E=");
        }
        let made = serde_saphyr::to_string(&json!({kind: wanted["webhooks"]})).unwrap();
        assert_eq!(found, wanted["webhooks"], "helm/burstlet/files/webhooks.yaml should have:\n{made}");
    }
}

#[test]
fn both_parts_together_may_do_what_one_process_may() {
    let text = std::fs::read_to_string(root().join("docs/install/role.yaml")).unwrap();
    let role: Value = serde_saphyr::from_str(&text).unwrap();
    let rendered = objects(&render("clusterId=shop"));
    let parts = ["burstlet-admission", "burstlet-controller"].map(|name| find(&rendered, "ClusterRole", name));
    let granted: BTreeSet<_> = parts.into_iter().flat_map(grants).collect();
    assert_eq!(granted, grants(&role).collect());
}

#[test]
fn each_part_may_read_the_kinds_that_the_values_name_and_takes_them_from_its_configuration() {
    let settings = [
        "clusterId=shop",
        "workloads[0].apiVersion=argoproj.io/v1alpha1",
        "workloads[0].kind=Rollout",
        "workloads[0].resource=rollouts",
        "workloads[0].owns=ReplicaSets",
    ];
    let rendered = objects(&render(&settings.join(",")));
    let may = |part: &str| {
        let all = grants(find(&rendered, "ClusterRole", part)).filter(|grant| grant.contains("argoproj.io/rollouts"));
        all.map(|grant| grant.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(may("burstlet-admission"), ["get"]);
    assert_eq!(may("burstlet-controller"), ["list", "watch"]);
    let text = find(&rendered, "ConfigMap", "burstlet")["data"]["burstlet.yaml"].as_str().unwrap();
    let config: Config = serde_saphyr::from_str(text).unwrap();
    assert_eq!(config.foreign_kinds().iter().map(|kind| kind.resource.as_str()).collect::<Vec<_>>(), ["rollouts"]);
}

#[test]
fn pools_and_policies_of_the_values_are_objects_that_burstlet_takes() {
    let pool = "pools[0].name=eci,pools[0].provider.simulated.endpoint=http://x,pools[0].quota.pods=20";
    let policy = "policies[0].name=web,policies[0].namespace=shop,policies[0].base=3,policies[0].tiers[0].pool=eci";
    let rendered = objects(&render(&format!(
        "clusterId=shop,{pool},{policy},policies[1].name=house-rules,policies[1].mode=Observe"
    )));
    let pool: PoolSpec = serde_json::from_value(find(&rendered, "VirtualPool", "eci")["spec"].clone()).unwrap();
    assert_eq!(pool.check("eci", &KnownPools::default()).faults, []);
    assert_eq!(pool.quota.unwrap().pods, Some(20));
    let web = find(&rendered, "BurstPolicy", "web");
    assert_eq!((&web["metadata"]["namespace"], &web["spec"]["base"]), (&json!("shop"), &json!(3)));
    let _: burstlet_engine::policy::Spec = serde_json::from_value(web["spec"].clone()).unwrap();
    assert_eq!(find(&rendered, "BurstPolicy", "house-rules")["metadata"]["namespace"], json!(NAMESPACE));
    assert!(!find(&rendered, "ConfigMap", "burstlet")["data"]["burstlet.yaml"].as_str().unwrap().contains("pools"));
}

#[test]
fn a_kubelet_certificate_of_ones_own_goes_with_generated_ones() {
    let rendered = objects(&render("clusterId=shop,tls.secrets.kubelet=mine"));
    let secret = |deployment: &str| {
        let volumes = &find(&rendered, "Deployment", deployment)["spec"]["template"]["spec"]["volumes"];
        let tls = volumes.as_array().unwrap().iter().find(|volume| volume["name"] == "tls").unwrap();
        tls["secret"]["secretName"].clone()
    };
    assert_eq!(
        (secret("burstlet-controller"), secret("burstlet-admission")),
        (json!("mine"), json!("burstlet-admission-tls"))
    );
}

#[test]
fn a_kubelet_certificate_is_requested_only_as_nodes_that_are_named() {
    let asked = objects(&render("clusterId=lab,kubelet.certificate=requested,virtualNodes.eci=1"));
    let text = find(&asked, "ConfigMap", "burstlet")["data"]["burstlet.yaml"].as_str().unwrap();
    let config: Config = serde_saphyr::from_str(text).unwrap();
    let tls = config.kubelet.unwrap().tls;
    assert!(tls.requested && tls.certificate.is_none() && tls.client_ca.is_some());
    let settings = arguments("clusterId=lab,kubelet.certificate=requested");
    let said = fail(&settings.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(said.contains("virtualNodes is required where kubelet.certificate is requested"), "{said}");
}

#[test]
fn the_controller_reads_the_named_secrets_and_no_other() {
    let rendered = objects(&render("clusterId=shop,credentials={eci,kci}"));
    let rules = &find(&rendered, "Role", "burstlet-credentials")["rules"];
    let rule =
        json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["eci", "kci"], "verbs": ["get"]}]);
    assert_eq!(rules, &rule);
    let secrets = rendered.iter().filter(|object| object["kind"] == "ClusterRole").flat_map(grants);
    assert_eq!(secrets.filter(|grant| grant.contains("/secrets")).count(), 0);
}

/// What the clouds' providers read of the environment, where a pool has no keys.
#[test]
fn the_controller_has_a_token_for_the_named_audience_where_its_tools_look_for_it() {
    let controller = |settings: &str| {
        let rendered = objects(&render(&format!("clusterId=shop{settings}")));
        find(&rendered, "Deployment", "burstlet-controller")["spec"]["template"]["spec"].clone()
    };
    let role = "acs:ram::1:role/burst";
    let spec = controller(&format!(
        ",webIdentity.audience=sts.aliyuncs.com,webIdentity.variables.ALIBABA_CLOUD_ROLE_ARN={role}"
    ));
    let variable = |name: &str| {
        let all = spec["containers"][0]["env"].as_array().unwrap();
        all.iter().find(|one| one["name"] == name).map(|one| one["value"].as_str().unwrap().to_owned())
    };
    assert_eq!(variable("ALIBABA_CLOUD_ROLE_ARN").as_deref(), Some(role));
    let volume = spec["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == "identity").unwrap();
    let token = &volume["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!(token["audience"], "sts.aliyuncs.com");
    let mounts = spec["containers"][0]["volumeMounts"].as_array().unwrap();
    let mount = mounts.iter().find(|mount| mount["name"] == "identity").unwrap();
    let file = format!("{}/{}", mount["mountPath"].as_str().unwrap(), token["path"].as_str().unwrap());
    for name in ["ALIBABA_CLOUD_OIDC_TOKEN_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AZURE_FEDERATED_TOKEN_FILE"] {
        assert_eq!(variable(name).as_deref(), Some(file.as_str()), "{name}");
    }
    assert!(!controller("").to_string().contains("identity"), "nobody has asked for a token");
    let chart = chart().display().to_string();
    let refused = fail(&["template", "burst", &chart, "--set", "clusterId=shop,webIdentity.variables.PATH=/tmp"]);
    assert!(refused.contains("PATH"), "{refused}");
}

/// The controller may be its virtual nodes, each by its name, and nobody else.
#[test]
fn the_controller_acts_as_the_named_nodes_and_as_no_other() {
    let impersonates = |objects: &[Value]| -> BTreeSet<String> {
        let roles = objects.iter().filter(|object| object["kind"] == "ClusterRole" || object["kind"] == "Role");
        roles.flat_map(grants).filter(|grant| grant.starts_with("impersonate")).collect()
    };
    assert_eq!(impersonates(&objects(&render("clusterId=shop"))), BTreeSet::new(), "none is named");
    let rendered = objects(&render("clusterId=shop,virtualNodes.eci=2,virtualNodes.kci=1"));
    let named = ["burstlet-eci-0", "burstlet-eci-1", "burstlet-kci-0"].map(|node| format!("system:node:{node}"));
    let wanted = [format!("impersonate /users {}", named.join(",")), "impersonate /groups system:nodes".to_owned()];
    assert_eq!(impersonates(&rendered), BTreeSet::from(wanted));
    // The file for those without Helm says the same.
    let text = std::fs::read_to_string(root().join("docs/install/nodes-role.yaml")).unwrap();
    let role: Value = serde_saphyr::from_str(&text).unwrap();
    let rendered = objects(&render("clusterId=shop,virtualNodes.eci=2"));
    let granted: BTreeSet<_> = grants(find(&rendered, "ClusterRole", "burstlet-nodes")).collect();
    assert_eq!(granted, grants(&role).collect());
    let binding = find(&rendered, "ClusterRoleBinding", "burstlet-nodes");
    assert_eq!(binding["subjects"][0]["name"], "burstlet-controller");
}

/// Each single thing that a role allows.
fn grants(role: &Value) -> impl Iterator<Item = String> {
    let texts = |rule: &Value, field: &str| -> Vec<String> {
        let values = rule[field].as_array().into_iter().flatten();
        values.map(|value| value.as_str().unwrap().to_owned()).collect()
    };
    let mut all = Vec::new();
    for rule in role["rules"].as_array().unwrap() {
        let names = texts(rule, "resourceNames").join(",");
        for group in texts(rule, "apiGroups") {
            for resource in texts(rule, "resources") {
                all.extend(texts(rule, "verbs").iter().map(|verb| format!("{verb} {group}/{resource} {names}")));
            }
        }
    }
    all.into_iter()
}

#[test]
fn every_container_is_confined() {
    let rendered = objects(&render("clusterId=shop"));
    let workloads: Vec<_> = rendered.iter().filter(|object| !object["spec"]["template"].is_null()).collect();
    assert!(workloads.len() >= 3);
    for workload in workloads {
        let pod = &workload["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for container in pod["containers"].as_array().unwrap() {
            let security = &container["securityContext"];
            assert_eq!(security["readOnlyRootFilesystem"], true, "{container}");
            assert_eq!(security["allowPrivilegeEscalation"], false);
            assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
        }
    }
}

/// A dashboard or an alert over a metric that nobody counts shows nothing, for ever.
#[test]
fn dashboard_and_alerts_show_metrics_that_burstlet_has() {
    let registry = prometheus::Registry::new();
    let (_, _) = (AdmissionMetrics::register(&registry).unwrap(), ExtenderMetrics::register(&registry).unwrap());
    let (_, _) = (KubeletMetrics::register(&registry).unwrap(), PlacerMetrics::register(&registry).unwrap());
    ApiRequests::register(&registry).unwrap();
    let settings =
        "clusterId=shop,metrics.serviceMonitor.enabled=true,metrics.dashboard.enabled=true,metrics.alerts.enabled=true";
    let rendered = objects(&render(settings));
    let dashboard: Value = serde_json::from_str(
        find(&rendered, "ConfigMap", "burstlet-dashboard")["data"]["burstlet.json"].as_str().unwrap(),
    )
    .unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let shown = panels.flat_map(|panel| panel["targets"].as_array().unwrap()).map(|target| &target["expr"]);
    let rules = &find(&rendered, "PrometheusRule", "burstlet")["spec"]["groups"][0]["rules"];
    let told = rules.as_array().unwrap().iter().map(|rule| &rule["expr"]);
    let named: BTreeSet<_> = shown.chain(told).flat_map(|query| metrics(query.as_str().unwrap())).collect();
    assert!(named.len() >= 8, "{named:?}");
    for name in named {
        // A name that is taken cannot be registered again.
        let again = prometheus::IntCounter::new(&name, "again").unwrap();
        assert!(registry.register(Box::new(again)).is_err(), "{name} is no metric of burstlet's");
    }
}

/// The metrics that a query names.
fn metrics(query: &str) -> Vec<String> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("burstlet_"));
    names.map(|name| name.strip_suffix("_bucket").unwrap_or(name).to_owned()).collect()
}

#[test]
fn the_dedicated_scheduler_is_of_the_clusters_version() {
    for (version, tag) in [("v1.35.4", "v1.35.4"), ("v1.36.3-eks-1a2b3c", "v1.36.3"), ("v1.30.14+k3s1", "v1.30.14")] {
        let mut arguments = arguments("clusterId=shop");
        arguments.extend(["--kube-version".to_owned(), version.to_owned()]);
        let rendered = objects(&succeed(&arguments.iter().map(String::as_str).collect::<Vec<_>>()));
        let scheduler =
            &find(&rendered, "Deployment", "burstlet-scheduler")["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(scheduler["image"], format!("registry.k8s.io/kube-scheduler:{tag}"));
    }
}

#[test]
fn the_schedulers_extender_cannot_be_passed_over() {
    let rendered = objects(&render("clusterId=shop"));
    let text = find(&rendered, "ConfigMap", "burstlet-scheduler")["data"]["scheduler.yaml"].as_str().unwrap();
    let configuration: Value = serde_saphyr::from_str(text).unwrap();
    let extender = &configuration["extenders"][0];
    assert_eq!(extender["ignorable"], json!(false));
    assert_eq!(extender["nodeCacheCapable"], json!(true));
    for verb in ["filter", "prioritize", "preempt", "bind"] {
        assert_eq!(extender[format!("{verb}Verb")], json!(verb));
    }
    assert_eq!(configuration["profiles"][0]["percentageOfNodesToScore"], json!(100));
}

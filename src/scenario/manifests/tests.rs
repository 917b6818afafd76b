use burstlet_engine::{model::MilliCpu, policy::Base};

use super::*;

const WEB: &str = include_str!("../../../simulations/flash-crowd/workload.yaml");

fn of(files: &[(String, String)]) -> Result<Workload, ManifestError> {
    Manifests::read(files).map(|mut manifests| manifests.workloads.remove(0).object)
}

fn read(text: &str) -> Result<Workload, ManifestError> {
    of(&[("web.yaml".to_owned(), text.to_owned())])
}

/// The error of the workload with one text replaced.
fn fault(from: &str, to: &str) -> String {
    assert!(WEB.contains(from), "{from:?} is not in the manifests");
    read(&WEB.replacen(from, to, 1)).unwrap_err().to_string()
}

#[test]
fn base_limit_and_maximum_are_read_off_the_manifests() {
    let workload = read(WEB).unwrap();
    assert_eq!(workload.base, Some(Base::count(3)));
    assert_eq!(workload.cpu_limit, Some(MilliCpu(1000)));
    assert_eq!(workload.most, 20);
}

#[test]
fn the_objects_may_stand_in_two_files() {
    let (deployment, hpa) = WEB.split_once("---\n").unwrap();
    let files = [deployment, hpa].map(|text| ("web.yaml".to_owned(), text.to_owned()));
    assert_eq!(of(&files).unwrap(), read(WEB).unwrap());
}

#[test]
fn a_pod_without_a_limit_may_use_what_it_can() {
    let workload = read(&WEB.replacen(r#"limits: {cpu: "1", memory: 256Mi}"#, "limits: {memory: 256Mi}", 1)).unwrap();
    assert_eq!(workload.cpu_limit, None);
}

#[test]
fn a_limit_alone_is_a_request_too() {
    let text = WEB.replacen("requests: {cpu: 200m,", "requests: {", 1);
    assert_eq!(read(&text).unwrap().cpu_limit, Some(MilliCpu(1000)));
}

#[test]
fn a_wrong_type_is_named_by_the_files_line_in_any_document() {
    let error = fault("maxReplicas: 20", "maxReplicas: many");
    assert_eq!(error, "web.yaml: invalid i32 at line 31, column 16");
}

#[test]
fn an_unknown_field_is_refused_by_its_path() {
    assert_eq!(
        fault("periodSeconds: 5", "periodSecond: 5"),
        "web.yaml: the HorizontalPodAutoscaler that begins at line 24 has an unknown field \
         spec.behavior.scaleUp.policies[0].periodSecond"
    );
    assert_eq!(
        fault("replicas: 3", "replcas: 3"),
        "web.yaml: the Deployment that begins at line 2 has an unknown field spec.replcas"
    );
}

#[test]
fn other_kinds_and_other_counts_are_refused() {
    assert_eq!(
        fault("kind: Deployment", "kind: StatefulSet"),
        "web.yaml: line 2 begins a apps/v1 StatefulSet; a scenario takes an apps/v1 Deployment, an autoscaling/v2 \
         HorizontalPodAutoscaler, a v1 Namespace, and BurstPolicy and VirtualPool of burstlet.dev/v1alpha1"
    );
    let count = |text: &str| read(text).unwrap_err().to_string();
    assert_eq!(
        count("# nothing\n"),
        "the manifests hold no Deployment; at least one is needed, with the HPA that scales it"
    );
    assert_eq!(
        count(&format!("{WEB}\n---\n{WEB}")),
        "web.yaml:51: Deployment web: stands at web.yaml:2 already; the second would replace the first"
    );
}

#[test]
fn what_cannot_work_is_named_by_object_field_and_what_is_allowed() {
    for (from, to, message) in [
        (
            "base: \"3\"",
            "base: \"-3\"",
            "web.yaml:2: Deployment web: metadata.annotations[burstlet.dev/base]: \"-3\" is negative; the least base is 0",
        ),
        (
            "requests: {cpu: 200m,",
            "requests: {cpu: \"0\",",
            "web.yaml:2: Deployment web: spec.template.spec.containers[].resources.requests.cpu: missing; every container needs \
             a CPU request, or the HPA cannot compute a utilization",
        ),
        (
            "kind: Deployment, name: web",
            "kind: Deployment, name: wep",
            "web.yaml:24: HorizontalPodAutoscaler web: spec.scaleTargetRef: names apps/v1 Deployment wep in namespace default, \
             but there is only apps/v1 Deployment web in namespace default",
        ),
        (
            "minReplicas: 3",
            "minReplicas: 30",
            "web.yaml:24: HorizontalPodAutoscaler web: spec: minReplicas 30 and maxReplicas 20; allowed are 1 or more, the \
             maximum not below the minimum",
        ),
    ] {
        assert_eq!(fault(from, to), message);
    }
}

#[test]
fn each_deployment_has_one_hpa() {
    let (deployment, hpa) = WEB.split_once("---\n").unwrap();
    let refused = |text: &str| read(text).unwrap_err().to_string();
    assert_eq!(
        refused(deployment),
        "web.yaml:2: Deployment web: metadata.name: no HorizontalPodAutoscaler scales it; a scenario's workloads each need one"
    );
    let second = hpa.replacen("name: web", "name: web-too", 1);
    assert_eq!(
        refused(&format!("{WEB}\n---\n{second}")),
        "web.yaml:50: HorizontalPodAutoscaler web-too: spec.scaleTargetRef: names Deployment default/web, which \
         HorizontalPodAutoscaler web (web.yaml:24) scales already; two of them would pull it to and fro"
    );
}

#[test]
fn policies_and_pools_are_read_with_the_line_of_what_is_wrong() {
    let with = |spec: &str| {
        let policy = "apiVersion: burstlet.dev/v1alpha1\nkind: BurstPolicy\nmetadata: {name: web}\nspec:\n";
        let files = [("web.yaml", WEB.to_owned()), ("policy.yaml", format!("{policy}{spec}"))];
        let manifests = Manifests::read(&files.map(|(name, text)| (name.to_owned(), text)));
        manifests.and_then(|manifests| manifests.judge(&KnownPools::new()))
    };
    let fault = |spec: &str| with(spec).unwrap_err().to_string();
    with("  base: 30%\n").unwrap();
    assert!(
        fault("  base: 3\n  tier: []\n").starts_with("policy.yaml: unknown field `tier`, expected one of selector"),
        "{}",
        fault("  base: 3\n  tier: []\n")
    );
    assert_eq!(
        fault("  base: 300%\n"),
        "policy.yaml:1: BurstPolicy default/web: spec.base: \"300%\" is over 100%; a base cannot be larger than its workload"
    );
    assert_eq!(
        fault("  tiers: [{pool: eci}]\n"),
        "policy.yaml:1: BurstPolicy default/web: spec.tiers[0].pool: there is no VirtualPool eci; there is none yet"
    );
}

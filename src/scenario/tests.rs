use std::{fs, time::Duration};

use burstlet_engine::{policy::Base, simulator, traffic::Rate};

use super::{
    folder::{BUILT_IN, FILE},
    *,
};

/// The built-in default on disk, with one text of one of its files replaced.
fn changed(file: &str, from: &str, to: &str) -> Result<Scenario, String> {
    changed_of(Scenario::DEFAULT, file, from, to)
}

fn changed_of(scenario: &str, file: &str, from: &str, to: &str) -> Result<Scenario, String> {
    let folder = tempfile::tempdir().unwrap();
    let built_in = BUILT_IN.iter().find(|built_in| built_in.name == scenario).unwrap();
    for (name, text) in built_in.files {
        assert!(*name != file || text.contains(from), "{from:?} is not in {name}");
        let text = if *name == file { text.replacen(from, to, 1) } else { (*text).to_owned() };
        fs::write(folder.path().join(name), text).unwrap();
    }
    let path = folder.path().to_str().unwrap();
    Scenario::open(path).map_err(|error| error.to_string().replace(path, "DIR"))
}

fn fault(from: &str, to: &str) -> String {
    changed(FILE, from, to).unwrap_err()
}

#[test]
fn every_built_in_scenario_opens_under_its_own_name() {
    let names = Scenario::built_in().unwrap().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names, BUILT_IN.each_ref().map(|built_in| built_in.name));
    assert!(names.contains(&Scenario::DEFAULT.to_owned()));
}

#[test]
fn the_default_asks_for_all_of_its_pods_and_ends_in_time() {
    let scenario = Scenario::open(Scenario::DEFAULT).unwrap();
    let driven = &scenario.workloads[0];
    assert_eq!((driven.workload.base, driven.workload.most), (Some(Base::count(3)), 20));
    assert!(scenario.duration() + scenario.settle <= Duration::from_secs(210));
    // A pod is meant to use 60 % of 200m.
    let pods_at = |second| {
        let rate = driven.traffic.rate_at(Duration::from_secs(second)).per_second();
        (rate * driven.request_cpu.as_secs_f64() / 0.12).ceil()
    };
    assert!((0..=22).all(|second| (2.0..=3.0).contains(&pods_at(second))), "calm");
    // More than 10 % above 19 pods, or the HPA's tolerance could leave it there.
    let plateau = (40..110).map(pods_at).sum::<f64>() / 70.0;
    assert!((20.9..23.0).contains(&plateau), "{plateau}");
    assert!(
        (130..=195).all(|second| (2.0..=3.0).contains(&pods_at(second))),
        "calm again, long enough for the way back"
    );
}

#[test]
fn the_daily_wave_is_a_day_in_four_minutes_that_crosses_its_base() {
    let scenario = Scenario::open("daily-wave").unwrap();
    let driven = &scenario.workloads[0];
    assert_eq!(driven.traffic.duration(), Duration::from_mins(4));
    let pods_at = |second| {
        let rate = driven.traffic.rate_at(Duration::from_secs(second)).per_second();
        (rate * driven.request_cpu.as_secs_f64() / 0.12).ceil()
    };
    assert!(pods_at(50) <= 2.0 && pods_at(200) >= 12.0, "{} {}", pods_at(50), pods_at(200));
}

#[test]
fn a_file_a_folder_and_a_built_in_name_open_the_same_scenario() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/simulations/flash-crowd");
    // All but where the files are.
    let open = |name: &str| {
        let mut scenario = Scenario::open(name).unwrap();
        scenario.workloads.iter_mut().for_each(|driven| driven.workload.at.clear());
        scenario
    };
    assert_eq!(open(folder), open("flash-crowd"));
    assert_eq!(open(&format!("{folder}/scenario.yaml")), open("flash-crowd"));
}

#[test]
fn speed_and_scale_change_the_traffic() {
    let faster = changed(FILE, "{file: traffic.csv}", "{file: traffic.csv, speed: 2, scale: 0.5}").unwrap();
    let recorded = Scenario::open("flash-crowd").unwrap();
    let [faster, recorded] = [faster, recorded].map(|scenario| scenario.workloads[0].traffic.clone());
    assert_eq!(faster.duration(), recorded.duration() / 2);
    assert_eq!(faster.peak(), Rate::new(recorded.peak().per_second() / 2.0).unwrap());
}

#[test]
fn an_unknown_name_lists_what_there_is() {
    assert_eq!(
        Scenario::open("flesh-crowd").unwrap_err().to_string(),
        "no scenario \"flesh-crowd\"; give the path of a scenario file or of its folder, or one of flash-crowd, daily-wave, \
         stock-out, spot-reclaim, slow-autoscaler, rolling-update, shared-pool"
    );
}

#[test]
fn what_is_not_of_a_scenarios_shape_is_named_by_line_and_column() {
    let faults = [
        ("settle: 10s", "setle: 10s"),
        ("requestCpu: 20ms", "requestCpu: 20"),
        ("nodes: 2", "nodes: 0"),
        ("{file: traffic.csv}", "{file: traffic.csv, speed: 0}"),
        ("cpuSecond: 0.000049", "cpuSecond: -1"),
        ("currency: CNY", "currency: yuan"),
        ("name: cloud", "name: Cloud"),
        ("memory: 4Gi", "memory: 4gb"),
    ]
    .map(|(from, to)| fault(from, to));
    insta::assert_snapshot!(faults.join("\n"), @r#"
    DIR/scenario.yaml: unknown field `setle`, expected one of name, about, manifests, traffic, requestCpu, workloads, startsAt, realNodes, otherNodes, pools, settle, seed, warmUp, sampleEvery, updates, cluster, rules, serving, metrics, nodeAutoscaler at line 13, column 1
    DIR/scenario.yaml: invalid value: string "20", expected a duration at line 5, column 1
    DIR/scenario.yaml: invalid value: integer `0`, expected a nonzero u32 at line 9, column 3
    DIR/scenario.yaml: 0 is no factor; allowed are 0.001 to 1000 at line 4, column 37
    DIR/scenario.yaml: -1 is no price; allowed are 0 to 1000000000 at line 12, column 22
    DIR/scenario.yaml: "yuan" is no currency; write its three capital letters, such as CNY at line 12, column 65
    DIR/scenario.yaml: "Cloud" is no pool name; allowed are up to 40 of a-z, 0-9 and -, with a letter first and no - at the end at line 8, column 9
    DIR/scenario.yaml: "4gb" is no Kubernetes quantity; write for example 200m or 2 for CPU, 256Mi or 4Gi for memory at line 6, column 41
    "#);
}

#[test]
fn what_contradicts_itself_is_named_by_its_field() {
    for (from, to, message) in [
        ("20ms", "0s", "DIR/scenario.yaml: requestCpu: allowed are more than 0s and up to 1h"),
        ("max: 4s", "max: 1s", "DIR/scenario.yaml: pools[0].startUp: min 1.5s is more than max 1s"),
        ("max: 1500ms", "max: 0s", "DIR/scenario.yaml: realNodes.startUp: min 500ms is more than max 0ns"),
        ("[workload.yaml]", "[]", "DIR/scenario.yaml: manifests: empty; name the files of the Deployment and the HPA"),
        ("name: flash-crowd", "name: ''", "DIR/scenario.yaml: name: empty; give the scenario a name"),
        (
            "count: 3,",
            "count: 3, zones: [a, b, a],",
            "DIR/scenario.yaml: realNodes.zones[2]: \"a\" is empty or stands there already",
        ),
        (
            "count: 3,",
            "count: 3, labels: {kubernetes.io/hostname: a},",
            "DIR/scenario.yaml: realNodes.labels: kubernetes.io/hostname is each node's own; leave it out",
        ),
    ] {
        assert_eq!(fault(from, to), message);
    }
    let second = |name: &str, currency: &str| {
        format!(
            "pools:\n- {{name: {name}, nodes: 1, podsPerNode: 1, startUp: {{min: 1s, max: 1s}}, \
             price: {{cpuSecond: 1, gibSecond: 1, currency: {currency}}}}}"
        )
    };
    assert_eq!(
        fault("pools:", &second("cloud", "CNY")),
        "DIR/scenario.yaml: pools[1].name: cloud names two pools; names must differ"
    );
    assert_eq!(
        fault("pools:", &second("other", "USD")),
        "DIR/scenario.yaml: pools[1].price.currency: CNY, but the first pool's is USD; all must be the same"
    );
}

/// The default with these lines more in its pods.
fn with_pods_that(lines: &str) -> Scenario {
    changed("workload.yaml", "      containers:", &format!("{lines}      containers:")).unwrap()
}

#[test]
fn what_a_replay_leaves_out_is_named_by_file_and_field_and_what_it_cannot_follow_is_refused() {
    let left_out = with_pods_that("      priorityClassName: high\n").left_out();
    let ends = "workload.yaml:2: Deployment web: spec.template.spec.priorityClassName";
    assert!(left_out.len() == 1 && left_out[0].ends_with(ends), "{left_out:?}");
    let by_name = "{nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [a]}]}]}";
    let affinity = format!("{{nodeAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {by_name}}}}}");
    let refused = with_pods_that(&format!("      affinity: {affinity}\n")).setup().unwrap_err().to_string();
    let ends = "workload.yaml:2: Deployment web: spec.template.spec.affinity.nodeAffinity: matchFields is not simulated; \
                select by labels";
    assert!(refused.ends_with(ends), "{refused}");
}

#[test]
fn pods_that_no_virtual_node_can_take_never_burst() {
    let rule = "{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, \
                labelSelector: {matchLabels: {app: web}}}";
    let scenario = with_pods_that(&format!("      topologySpreadConstraints: [{rule}]\n"));
    let outcome = simulator::run(&scenario.setup().unwrap()).unwrap();
    let summary = &outcome.workloads[0].summary;
    assert!(summary.burst_share.abs() < f64::EPSILON && summary.peak == 3, "{summary:?}");
}

#[test]
fn a_file_that_is_not_there_or_cannot_be_used_is_named() {
    let missing = fault("[workload.yaml]", "[workloads.yaml]");
    assert!(missing.starts_with("DIR/workloads.yaml: unable to read: "), "{missing}");
    assert_eq!(
        changed("traffic.csv", "\n0,", "\n0,-").unwrap_err().split(" is no rate").next(),
        Some("DIR/traffic.csv: line 3: requests_per_second: -14.1")
    );
    assert_eq!(
        changed("workload.yaml", "burstlet.dev/base: \"3\"", "burstlet.dev/bass: \"3\"").unwrap_err(),
        "DIR/workload.yaml:2: Deployment web: metadata.annotations[burstlet.dev/base]: missing; nothing governs it; a number \
         of pods or a percentage is needed, such as \"3\" or 30%, or a BurstPolicy that is for it"
    );
    assert_eq!(
        changed("workload.yaml", "base: \"3\"", "base: three").unwrap_err(),
        "DIR/workload.yaml:2: Deployment web: metadata.annotations[burstlet.dev/base]: \"three\" is neither a number of pods nor a \
         percentage; write for example 3 or 30%"
    );
}

#[test]
fn manifests_and_scenario_that_contradict_each_other_are_named_with_both_places() {
    for (file, from, to, message) in [
        (
            FILE,
            "shop/catalogue,",
            "shop/catalog,",
            "DIR/scenario.yaml: workloads[1].deployment: there is no Deployment shop/catalog in the manifests; there are \
             shop/checkout, shop/catalogue",
        ),
        (
            FILE,
            "- {deployment: shop/catalogue, traffic: {file: catalogue.csv}}\n",
            "",
            "DIR/scenario.yaml: workloads: Deployment catalogue (DIR/catalogue.yaml:2) has no traffic here; add it, or \
             leave its manifest out",
        ),
        (
            FILE,
            "shop/catalogue,",
            "shop/checkout,",
            "DIR/scenario.yaml: workloads[1].deployment: shop/checkout stands in the list already; a Deployment has one \
             traffic",
        ),
        (
            FILE,
            "requestCpu: 20ms",
            "traffic: {file: checkout.csv}",
            "DIR/scenario.yaml: traffic: stands beside workloads; write it in each of them that it is for",
        ),
        (
            FILE,
            "requestCpu: 20ms\n",
            "",
            "DIR/scenario.yaml: workloads[0].requestCpu: missing; write the CPU time that one request costs a pod, for \
             example 20ms",
        ),
        (
            FILE,
            "{name: eci,",
            "{name: eci, nodes: 3,",
            "DIR/scenario.yaml: pools[0].nodes: 3, but VirtualPool eci (DIR/pool.yaml:1) says 2; leave it out here, or write \
             the same",
        ),
        (
            FILE,
            "{name: eci,",
            "{name: eci, quota: 37,",
            "DIR/scenario.yaml: pools[0].quota: 37, but VirtualPool eci (DIR/pool.yaml:1) says 36; leave it out here, or \
             write the same",
        ),
        (
            FILE,
            "{name: eci,",
            "{name: eci, price: {cpuSecond: 0.000049, gibSecond: 0.00000613, currency: USD},",
            "DIR/scenario.yaml: pools[0].price: 0.000049 a core and 0.00000613 a GiB, in USD, but VirtualPool eci \
             (DIR/pool.yaml:1) says 0.000049 a core and 0.00000613 a GiB, in CNY; leave it out here, or write the same",
        ),
        (
            FILE,
            "{name: eci,",
            "{name: kci,",
            "DIR/scenario.yaml: pools: says nothing of VirtualPool eci (DIR/pool.yaml:1); write how its instances start, \
             for example {name: eci, startUp: {min: 2s, max: 8s}}",
        ),
    ] {
        assert_eq!(changed_of("shared-pool", file, from, to).unwrap_err(), message);
    }
}

#[test]
fn policies_and_pools_that_cannot_work_are_named_by_file_and_line() {
    for (file, from, to, message) in [
        (
            "policies.yaml",
            "pool: eci",
            "pool: ecy",
            "DIR/policies.yaml:2: BurstPolicy burstlet-system/house-rules: spec.tiers[0].pool: there is no VirtualPool ecy; \
             there are eci",
        ),
        (
            "policies.yaml",
            "app: checkout",
            "app: catalogue",
            "DIR/catalogue.yaml:2: Deployment catalogue: burstlet: shop/catalogue and shop/checkout all match by their \
             selectors, and none of them is followed; name one with burstlet.dev/policy, or narrow the selectors",
        ),
        (
            "policies.yaml",
            "  base: 4",
            "  base: 4\n  budget: {perHour: \"3 USD\"}",
            "DIR/policies.yaml:10: BurstPolicy shop/checkout: spec.budget.perHour: is in USD, but VirtualPool eci has its \
             price in CNY; write both in one currency",
        ),
        (
            "pool.yaml",
            "  quota: {pods: 36}\n",
            "",
            "DIR/pool.yaml:1: VirtualPool eci: spec: a pool needs a quota or a budget: no unlimited spending by accident; \
             write for example quota: {pods: 200}",
        ),
    ] {
        assert_eq!(changed_of("shared-pool", file, from, to).unwrap_err(), message);
    }
    let error = changed_of("shared-pool", FILE, "startsAt: 2026-03-02T19:55:00+08:00\n", "").unwrap_err();
    assert!(
        error.contains("BurstPolicy shop/catalogue has windows, so the scenario must say when its traffic"),
        "{error}"
    );
}

#[test]
fn a_real_control_plane_is_given_one_workload_with_an_annotation() {
    let refused = |name: &str| Scenario::open(name).unwrap().alone().map(|_| ()).unwrap_err().to_string();
    assert_eq!(
        refused("shared-pool"),
        "shared-pool: a real control plane plays one workload with a base by annotation; this has objects beside the \
         Deployment and its HPA; burstlet replay simulates it"
    );
    assert_eq!(Scenario::open("flash-crowd").unwrap().alone().unwrap().base, Base::count(3));
}

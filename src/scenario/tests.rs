use std::{fs, time::Duration};

use burstlet_engine::{policy::Base, traffic::Rate};

use super::{
    folder::{BUILT_IN, FILE},
    *,
};

/// The built-in default on disk, with one text of one of its files replaced.
fn changed(file: &str, from: &str, to: &str) -> Result<Scenario, String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in BUILT_IN[0].files {
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
    assert_eq!((scenario.workload.base, scenario.workload.most), (Base::count(3), 20));
    assert!(scenario.traffic.duration() + scenario.settle <= Duration::from_secs(210));
    // A pod is meant to use 60 % of 200m.
    let pods_at = |second| {
        let rate = scenario.traffic.rate_at(Duration::from_secs(second)).per_second();
        (rate * scenario.request_cpu.as_secs_f64() / 0.12).ceil()
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
    assert_eq!(scenario.traffic.duration(), Duration::from_mins(4));
    let pods_at = |second| {
        let rate = scenario.traffic.rate_at(Duration::from_secs(second)).per_second();
        (rate * scenario.request_cpu.as_secs_f64() / 0.12).ceil()
    };
    assert!(pods_at(50) <= 2.0 && pods_at(200) >= 12.0, "{} {}", pods_at(50), pods_at(200));
}

#[test]
fn a_file_a_folder_and_a_built_in_name_open_the_same_scenario() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/simulations/flash-crowd");
    let built_in = Scenario::open("flash-crowd").unwrap();
    assert_eq!(Scenario::open(folder).unwrap(), built_in);
    assert_eq!(Scenario::open(&format!("{folder}/scenario.yaml")).unwrap(), built_in);
}

#[test]
fn speed_and_scale_change_the_traffic() {
    let faster = changed(FILE, "{file: traffic.csv}", "{file: traffic.csv, speed: 2, scale: 0.5}").unwrap().traffic;
    let recorded = Scenario::open("flash-crowd").unwrap().traffic;
    assert_eq!(faster.duration(), recorded.duration() / 2);
    assert_eq!(faster.peak(), Rate::new(recorded.peak().per_second() / 2.0).unwrap());
}

#[test]
fn an_unknown_name_lists_what_there_is() {
    assert_eq!(
        Scenario::open("flesh-crowd").unwrap_err().to_string(),
        "no scenario \"flesh-crowd\"; give the path of a scenario file or of its folder, or one of flash-crowd, daily-wave, \
         stock-out, spot-reclaim, slow-autoscaler, rolling-update"
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
    DIR/scenario.yaml: unknown field `setle`, expected one of name, about, manifests, traffic, requestCpu, realNodes, pools, settle, seed, warmUp, sampleEvery, updates, cluster, rules, serving, nodeAutoscaler at line 13, column 1
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

#[test]
fn a_file_that_is_not_there_or_cannot_be_used_is_named() {
    let missing = fault("[workload.yaml]", "[workloads.yaml]");
    assert!(missing.starts_with("DIR/workloads.yaml: unable to read: "), "{missing}");
    assert_eq!(
        changed("traffic.csv", "\n0,", "\n0,-").unwrap_err().split(" is no rate").next(),
        Some("DIR/traffic.csv: line 3: requests_per_second: -14.1")
    );
    assert_eq!(
        changed("workload.yaml", "base: \"3\"", "base: three").unwrap_err(),
        "Deployment web: metadata.annotations[burstlet.dev/base]: \"three\" is neither a number of pods nor a \
         percentage; write for example 3 or 30%"
    );
}

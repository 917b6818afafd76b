//! The command: what it prints and how it exits.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

fn hpa(scenario: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burstlet"));
    let mut process =
        command.args(["hpa", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(scenario.as_bytes()).unwrap();
    process.wait_with_output().unwrap()
}

#[test]
fn a_scenario_is_answered_on_standard_output() {
    let output = hpa(r#"{"hpa": {"maxReplicas": 3}, "steps": [{"currentReplicas": 0, "pods": []}]}"#);
    assert_eq!(output.status.code(), Some(0));
    let report = serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap();
    assert_eq!(report["steps"][0]["desiredReplicas"], 0);
    assert_eq!(report["steps"][0]["conditions"][1]["reason"], "ScalingDisabled");
}

#[test]
fn what_the_api_server_refuses_exits_with_3() {
    let output = hpa(r#"{"hpa": {"minReplicas": 5, "maxReplicas": 3}, "steps": []}"#);
    assert_eq!(output.status.code(), Some(3));
    let told = String::from_utf8(output.stdout).unwrap();
    let expected = "spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`";
    assert_eq!(told, format!("{{\"invalid\":\"{expected}\"}}\n"));
}

#[test]
fn what_is_no_scenario_exits_with_1_and_says_where() {
    let output = hpa(r#"{"hpa": {"maxReplicas": "three"}}"#);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("burstlet: standard input is no scenario: hpa.maxReplicas: "), "{told}");
    assert!(told.ends_with("at line 1 column 32\n"), "{told}");
}

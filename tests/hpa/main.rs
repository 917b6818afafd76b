//! Holds `burstlet hpa` to Kubernetes' own HPA controller, and the command to its exit statuses; and the simulator's
//! kube-scheduler to the real one's plugins.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by it, its helpers too")]

mod command;
mod generate;
mod oracle;
mod scheduler;

use std::collections::BTreeSet;

use burstlet_engine::simulator::hpa::{Quantity, QuantityError, Scenario, ScenarioError};
use serde_json::{Value, json};

use self::{generate::Dice, oracle::Oracle};

/// How many random scenarios are played; `HPA_SCENARIOS` asks for more, `HPA_SEED` for others.
const SCENARIOS: u64 = 800;

/// Every reason that a sync can give.
const REASONS: [&str; 19] = [
    "SucceededGetScale",
    "SucceededRescale",
    "ReadyForNewScale",
    "ScaleUpStabilized",
    "ScaleDownStabilized",
    "ValidMetricFound",
    "ScalingDisabled",
    "FailedGetResourceMetric",
    "FailedGetContainerResourceMetric",
    "FailedGetPodsMetric",
    "FailedGetObjectMetric",
    "FailedGetExternalMetric",
    "DesiredWithinRange",
    "TooManyReplicas",
    "TooFewReplicas",
    "ScaleUpLimit",
    "ScaleDownLimit",
    "ScaledToZero",
    "NotScaledToZero",
];

#[test]
fn random_scenarios_end_as_on_upstreams_own_controller() {
    let scenarios = std::env::var("HPA_SCENARIOS").map_or(SCENARIOS, |count| count.parse().unwrap());
    let first = std::env::var("HPA_SEED").map_or(0, |seed| seed.parse().unwrap());
    let mut oracle = Oracle::start();
    let (mut syncs, mut invalid, mut reasons) = (0, 0, BTreeSet::new());
    for seed in first..first + scenarios {
        let scenario = Dice::new(seed).scenario();
        let upstream = in_order(oracle.play(&scenario));
        let ours = in_order(played(&scenario));
        compare(seed, &scenario, &ours, &upstream);
        let steps = upstream["steps"].as_array().cloned().unwrap_or_default();
        syncs += steps.len();
        let conditions = steps.iter().flat_map(|step| step["conditions"].as_array().unwrap());
        reasons.extend(conditions.map(|condition| condition["reason"].as_str().unwrap().to_owned()));
        invalid += u64::from(upstream.get("invalid").is_some());
    }
    // A generator that makes nothing worth comparing would prove nothing.
    assert!(syncs as u64 > scenarios * 5, "{syncs} syncs");
    assert!((scenarios / 50..scenarios / 2).contains(&invalid), "{invalid} invalid");
    let missed = REASONS.iter().filter(|reason| !reasons.contains(**reason)).collect::<Vec<_>>();
    assert!(missed.is_empty(), "no scenario came to {missed:?}");
}

#[test]
fn random_quantities_are_worth_what_upstream_takes_them_for() {
    let mut oracle = Oracle::start();
    let mut dice = Dice::new(1);
    let mut beyond = 0;
    for _ in 0..SCENARIOS * 10 {
        let text = dice.quantity();
        let upstream = oracle.play(&json!({"quantity": text}));
        let ours = match text.parse::<Quantity>() {
            Ok(quantity) => {
                let bits = quantity.as_f64().to_bits().to_string();
                json!({"milli": quantity.milli_value().0, "bits": bits, "text": quantity.to_string()})
            }
            // Upstream counts with any number of digits.
            Err(QuantityError::Range(_)) => {
                beyond += 1;
                continue;
            }
            Err(_) => json!({"refused": true}),
        };
        assert_eq!(ours, upstream, "{text}");
    }
    assert!(beyond < SCENARIOS, "{beyond} quantities were not read");
}

fn compare(seed: u64, scenario: &Value, ours: &Value, upstream: &Value) {
    if ours == upstream {
        return;
    }
    let steps = |report: &Value| report["steps"].as_array().cloned().unwrap_or_default();
    let differing = steps(ours).into_iter().zip(steps(upstream)).enumerate().find(|(_, (ours, theirs))| ours != theirs);
    let told = differing.map_or_else(
        || format!("ours {ours}\nupstream {upstream}"),
        |(step, (ours, theirs))| format!("step {step}\nours     {ours}\nupstream {theirs}"),
    );
    panic!("seed {seed}: {told}\n{scenario}");
}

/// The report with the faults of a spec in order: upstream tells some of them in that of a Go map.
fn in_order(mut report: Value) -> Value {
    if let Some(Value::String(invalid)) = report.get_mut("invalid") {
        let faults = invalid.trim_start_matches('[').trim_end_matches(']');
        let mut faults = faults.split(", spec.").map(|fault| fault.trim_start_matches("spec.")).collect::<Vec<_>>();
        faults.sort_unstable();
        *invalid = faults.join(", ");
    }
    report
}

/// What `burstlet hpa` prints.
fn played(scenario: &Value) -> Value {
    let scenario = serde_json::from_str::<Scenario>(&scenario.to_string()).unwrap_or_else(|error| {
        panic!("{error}: {scenario}");
    });
    match scenario.play() {
        Ok(report) => serde_json::to_value(report).unwrap(),
        Err(ScenarioError::Invalid(invalid)) => json!({"invalid": invalid.to_string()}),
        Err(error) => panic!("{error}"),
    }
}

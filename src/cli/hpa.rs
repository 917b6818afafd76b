//! `burstlet hpa`.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use burstlet_engine::simulator::hpa::{Scenario, ScenarioError};
use clap::Args;
use serde::Serialize;

/// The exit status where the API server would refuse the HPA.
const INVALID: u8 = 3;

#[derive(Debug, Args)]
pub(super) struct HpaArgs {
    /// The scenario, a JSON file; - reads standard input
    #[arg(value_name = "FILE|-")]
    scenario: PathBuf,
}

/// What is printed where the API server would refuse the HPA.
#[derive(Debug, Serialize)]
struct Refused {
    invalid: String,
}

pub(super) fn hpa(args: &HpaArgs) -> anyhow::Result<ExitCode> {
    let (name, text) = read(&args.scenario)?;
    let scenario = parse(&text).with_context(|| format!("{name} is no scenario"))?;
    match scenario.play() {
        Ok(report) => {
            print(&report)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(ScenarioError::Invalid(invalid)) => {
            print(&Refused { invalid: invalid.to_string() })?;
            Ok(ExitCode::from(INVALID))
        }
        Err(error) => Err(error).with_context(|| format!("{name} cannot be played")),
    }
}

/// What the scenario is called in errors, and its text.
fn read(path: &Path) -> anyhow::Result<(String, String)> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("unable to read standard input")?;
        return Ok(("standard input".to_owned(), text));
    }
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("unable to read {name}"))?;
    Ok((name, text))
}

/// The scenario; the error tells the field's path, line and column.
fn parse(text: &str) -> anyhow::Result<Scenario> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let scenario = serde_path_to_error::deserialize(&mut reader)?;
    reader.end().context("something follows the scenario")?;
    Ok(scenario)
}

fn print(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let line = serde_json::to_string(value)?;
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("unable to print"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        super::super::one_line(&parse(text).unwrap_err())
    }

    #[test]
    fn a_fault_is_told_with_its_path_line_and_column() {
        let error = refusal("{\"hpa\": {\"maxReplicas\": 3},\n \"steps\": [{\"pods\": [{\"name\": 7}]}]}");
        assert_eq!(error, "steps[0].pods[0].name: invalid type: integer `7`, expected a string at line 2 column 31");
    }

    #[test]
    fn unknown_fields_are_refused_wherever_they_stand() {
        for (text, field) in [
            (r#"{"hpa": {"maxReplicas": 3}, "step": []}"#, "step"),
            (r#"{"hpa": {"maxReplica": 3}}"#, "maxReplica"),
            (r#"{"hpa": {"spec": {"maxReplicas": 3, "min": 1}}}"#, "min"),
            (r#"{"hpa": {}, "steps": [{"pod": []}]}"#, "pod"),
            (r#"{"hpa": {}, "closedLoop": {"initialReplicas": 1, "delay": 3}}"#, "delay"),
            (r#"{"hpa": {}, "featureGates": {"HPAFast": true}}"#, "HPAFast"),
        ] {
            let error = refusal(text);
            assert!(error.contains(&format!("unknown field `{field}`")), "{error}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for text in [
            r#"{"hpa": {}, "syncPeriodSeconds": -1}"#,
            r#"{"hpa": {}, "tolerance": 1e999}"#,
            r#"{"hpa": {}, "steps": [{"currentReplicas": -1}]}"#,
            r#"{"hpa": {}, "steps": [{"pods": [{"name": "a", "cpuUsageMilli": 1.5}]}]}"#,
            r#"{"hpa": {}, "steps": [{"pods": [{"name": "a", "phase": "Runing"}]}]}"#,
            r#"{"hpa": {}, "steps": [{"external": {"q": "many"}}]}"#,
            r#"{"hpa": {}} {}"#,
            r#"{"hpa": {"maxReplicas": 2147483648}}"#,
            "",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

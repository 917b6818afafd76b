//! Policies in files: what the command makes of peers' samples and of those that come with burstlet.

#![allow(clippy::unwrap_used, reason = "a test may fail by it, its helpers too")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn root(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

fn files(folder: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(root(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<_> = all.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    all.sort();
    assert!(!all.is_empty(), "{folder} is empty");
    all
}

fn burstlet<S: AsRef<std::ffi::OsStr>>(folder: &str, args: impl IntoIterator<Item = S>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_burstlet")).args(args).current_dir(root(folder)).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn each_peers_documented_sample_is_imported_with_what_is_lost() {
    for path in files("tests/imports") {
        let name = path.file_name().unwrap().to_str().unwrap();
        let output = burstlet("tests/imports", ["policy", "import", name]);
        let (policy, lost) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{name}: {lost}");
        for line in lost.lines() {
            let why = line.splitn(3, ": ").nth(2).unwrap();
            assert!(policy.contains(&format!("# Not carried over: {why}\n")), "{line} stands in the YAML, too");
        }
        insta::assert_snapshot!(name.trim_end_matches(".yaml"), format!("{policy}\nOn standard error:\n{lost}"));
        let file = std::env::temp_dir().join(format!("burstlet-{}-{name}", std::process::id()));
        fs::write(&file, &policy).unwrap();
        let checked = burstlet("tests/imports", ["policy".as_ref(), "check".as_ref(), file.as_os_str()]);
        fs::remove_file(&file).unwrap();
        assert!(checked.status.success(), "{name}: {}", text(&checked.stdout));
    }
}

#[test]
fn what_is_no_peers_policy_is_refused() {
    let output = burstlet("helm/burstlet/crds", ["policy", "import", "virtualpools.yaml"]);
    assert!(!output.status.success());
    assert!(
        text(&output.stderr)
            .starts_with("virtualpools.yaml: CustomResourceDefinition of apiextensions.k8s.io/v1 is not known")
    );
}

/// Each row of the table names a file and a test of it.
#[test]
fn every_feature_that_users_compare_by_has_a_test_named_after_it() {
    let page = fs::read_to_string(root("docs").join("policies.md")).unwrap();
    let (_, table) = page.split_once("| feature | tested by |\n|---|---|\n").unwrap();
    let rows: Vec<_> = table.lines().take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= 15, "{rows:?}");
    for row in rows {
        let mut quoted = row.split('`').skip(1).step_by(2);
        let (file, test) = (quoted.next().unwrap(), quoted.next().unwrap());
        let source = fs::read_to_string(root(file)).unwrap_or_else(|error| panic!("{row}: {error}"));
        assert!(source.contains(&format!("fn {test}(")), "{row}: {file} has no such test");
    }
}

/// A provider that an object may name keeps the rules of all.
#[test]
fn open_to_any_provider_each_of_which_keeps_the_same_rules() {
    let definition = fs::read_to_string(root("helm/burstlet/crds/virtualpools.yaml")).unwrap();
    let definition: serde_json::Value = serde_saphyr::from_str(&definition).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let providers = schema["properties"]["spec"]["properties"]["provider"]["properties"].as_object().unwrap();
    let trials = [
        ("simulated", "simulated.rs"),
        ("alibabaEci", "alibaba_eci.rs"),
        ("kingsoftKci", "kingsoft_kci.rs"),
        ("awsFargate", "aws_ecs.rs"),
        ("azureAci", "azure_aci.rs"),
        ("kubernetes", "kubernetes.rs"),
    ];
    let mut named: Vec<_> = trials.iter().map(|(provider, _)| *provider).collect();
    named.sort_unstable();
    assert_eq!(providers.keys().map(String::as_str).collect::<Vec<_>>(), named);
    for (provider, file) in trials {
        let trial = fs::read_to_string(root("tests/clouds").join(file)).unwrap();
        assert!(trial.contains("::conforms"), "{provider}: tests/clouds/{file} asks for no conformance");
    }
}

#[test]
fn a_base_above_max_replicas_is_a_warning_whoever_wrote_it() {
    let deployment = |name: &str, annotations: &str| {
        format!(
            "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, annotations: {annotations}}}\n\
             spec: {{selector: {{}}, template: {{metadata: {{labels: {{app: {name}}}}}}}}}\n\
             ---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: {name}-hpa}}\n\
             spec: {{maxReplicas: 5, scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {name}}}}}\n"
        )
    };
    let policy = "---\napiVersion: burstlet.dev/v1alpha1\nkind: BurstPolicy\nmetadata: {name: six}\n\
                  spec: {base: 6, selector: {matchLabels: {app: chosen}}}\n";
    let written = [
        deployment("annotated", "{burstlet.dev/base: '9'}"),
        deployment("chosen", "{}"),
        deployment("fine", "{burstlet.dev/base: '4'}"),
        policy.to_owned(),
    ];
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), written.concat()).unwrap();
    let output = burstlet("policies", ["policy".as_ref(), "check".as_ref(), file.path().as_os_str()]);
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told}{}", text(&output.stderr));
    for (name, base) in [("annotated", 9), ("chosen", 6)] {
        let line = format!(
            "Deployment {name}: warning: base: {base} is above maxReplicas 5 of HorizontalPodAutoscaler {name}-hpa"
        );
        assert!(told.contains(&line), "{told}");
    }
    assert!(!told.contains("Deployment fine"), "{told}");
}

#[test]
fn the_policies_that_come_with_burstlet_pass_the_check_and_say_when_to_use_them() {
    let mut args = vec!["policy".to_owned(), "check".to_owned()];
    for path in files("policies") {
        let written = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(written.starts_with("# When: "), "{name} begins with a line on when to use it");
        args.push(name);
    }
    let output = burstlet("policies", &args);
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told}");
    assert!(!told.contains("warning"), "{told}");
}

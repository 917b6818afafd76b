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

//! What a release is made of agrees with itself.

use std::{collections::BTreeSet, process::Command};

use crate::tool::root;

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The value of a line `KEY: value` or `KEY = "value"`.
fn value(text: &str, key: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix([':', '=']));
    line.unwrap_or_else(|| panic!("no {key}")).trim().trim_matches('"').to_owned()
}

#[test]
fn crates_chart_and_the_engine_that_is_named_have_one_version() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(value(&read("helm/burstlet/Chart.yaml"), "version"), version);
    assert_eq!(value(&read("helm/burstlet/Chart.yaml"), "appVersion"), version);
    assert_eq!(
        value(&read("Cargo.toml"), "burstlet-engine"),
        format!(r#"{{ path = "engine", version = "{version}" }}"#)
    );
    assert!(read("engine/Cargo.toml").contains("version.workspace = true"));
}

/// The latest change is unreleased, or of the version that the crates have; releases go from the latest to the first.
#[test]
fn the_changelog_is_in_the_form_that_it_names_and_knows_this_version() {
    let text = read("CHANGELOG.md");
    let number = |version: &str| -> Vec<u32> { version.split('.').map(|part| part.parse().unwrap()).collect() };
    let headings: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(headings[0], "[Unreleased]");
    let released: Vec<_> = headings[1..]
        .iter()
        .map(|heading| {
            let (version, date) = heading.split_once(" - ").unwrap_or_else(|| panic!("{heading} has no date"));
            assert!(date.len() == 10 && date.split('-').count() == 3, "{heading}");
            number(version.trim_matches(['[', ']']))
        })
        .collect();
    assert!(released.is_sorted_by(|a, b| a > b), "{released:?}");
    if let Some(last) = released.first() {
        assert!(*last <= number(env!("CARGO_PKG_VERSION")), "the crates are older than {last:?}");
    }
    for version in text.split("\n## ").skip(1) {
        let kinds: Vec<_> = version.lines().filter_map(|line| line.strip_prefix("### ")).collect();
        let known = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
        assert!(kinds.iter().all(|kind| known.contains(kind)), "{kinds:?}");
        assert_eq!(kinds.iter().collect::<BTreeSet<_>>().len(), kinds.len(), "{kinds:?} has one twice");
    }
}

/// They are not published; who packages them all the same gets whole ones.
#[test]
fn both_crates_can_be_packaged() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["package", "--workspace", "--no-verify", "--allow-dirty", "--locked", "--offline", "--exclude-lockfile"])
        .arg("--target-dir")
        .arg(folder.path())
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["burstlet", "burstlet-engine"] {
        let file = folder.path().join(format!("package/{name}-{}.crate", env!("CARGO_PKG_VERSION")));
        let bytes = std::fs::metadata(&file).unwrap().len();
        assert!((100_000..10_000_000).contains(&bytes), "{name}: {bytes} bytes; registries take 10 MB");
    }
}

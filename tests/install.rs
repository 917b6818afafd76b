//! Holds the files of `docs/install/` to what the code does.

#![allow(clippy::unwrap_used, reason = "a test may fail by it, its helpers too")]

use std::path::{Path, PathBuf};

use burstlet::{
    admission::{Endpoint, webhook_configurations},
    run::config::Config,
};
use serde_json::{Value, json};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/install").join(name)
}

fn documents(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(file(name)).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

#[test]
fn the_explained_configuration_is_one_that_burstlet_takes() {
    let config = Config::read(&file("burstlet.yaml")).unwrap();
    let defaults: Config = serde_saphyr::from_str("clusterId: x").unwrap();
    assert_eq!(config.settings().move_on_after, defaults.settings().move_on_after, "the file shows the default");
    assert_eq!(config.settings().move_back, defaults.settings().move_back, "the file shows the default");
    assert!(config.admission.is_some() && config.extender.is_some() && config.kubelet.is_some());
}

/// To make the file anew after a change on purpose, take what this test prints.
#[test]
fn the_webhooks_file_registers_what_the_code_registers() {
    let endpoint =
        Endpoint::Service { namespace: "burstlet-system".to_owned(), name: "burstlet".to_owned(), port: 8443 };
    let (gate, warn) = webhook_configurations(&endpoint, b"PUT YOUR CA HERE", "burstlet-system");
    let wanted = [serde_json::to_value(gate).unwrap(), serde_json::to_value(warn).unwrap()];
    let made = wanted.iter().map(|document| format!("---\n{}", serde_saphyr::to_string(document).unwrap()));
    assert_eq!(
        documents("webhooks.yaml"),
        wanted,
        "docs/install/webhooks.yaml should be:\n{}",
        made.collect::<String>()
    );
}

#[test]
fn the_schedulers_extender_cannot_be_passed_over() {
    let scheduler = &documents("scheduler.yaml")[0];
    let extender = &scheduler["extenders"][0];
    assert_eq!(extender["ignorable"], json!(false));
    assert_eq!(extender["nodeCacheCapable"], json!(true));
    for verb in ["filter", "prioritize", "preempt", "bind"] {
        assert_eq!(extender[format!("{verb}Verb")], json!(verb));
    }
    assert_eq!(scheduler["profiles"][0]["percentageOfNodesToScore"], json!(100));
}

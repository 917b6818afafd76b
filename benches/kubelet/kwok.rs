//! KWOK, the kubelet to compare with: built once at a pinned version, and run as its users run it.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Go's checksum database vouches for what this version is.
const MODULE: &str = "sigs.k8s.io/kwok";
const VERSION: &str = "v0.8.0";

/// The stages that KWOK's own installation applies: pods run and go at once.
const STAGES: [&str; 4] = [
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
    "node/fast/node-initialize.yaml",
];

/// A KWOK that can be run.
pub(super) struct Kwok {
    binary: PathBuf,
    stages: PathBuf,
}

impl Kwok {
    /// Builds it with the machine's Go, unless that has been done: some two minutes.
    pub(super) fn ensure() -> Self {
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from);
        let folder = target.join("kwok").join(VERSION);
        let binary = folder.join("kwok");
        if !binary.is_file() {
            eprintln!("building KWOK {VERSION} (once)");
            let mut go = go();
            go.args(["install", "-trimpath", "-ldflags", "-s -w"]).arg(format!("{MODULE}/cmd/kwok@{VERSION}"));
            assert!(go.env("GOBIN", &folder).status().unwrap().success(), "KWOK cannot be built");
        }
        let cache = go().args(["env", "GOMODCACHE"]).output().unwrap().stdout;
        let cache = PathBuf::from(String::from_utf8(cache).unwrap().trim());
        Self { binary, stages: cache.join(format!("{MODULE}@{VERSION}")).join("kustomize/stage") }
    }

    /// Runs it for the nodes with its own annotation.
    pub(super) fn run(&self, kubeconfig: &Path) -> Child {
        let mut kwok = Command::new(&self.binary);
        for stage in STAGES {
            kwok.arg("--config").arg(self.stages.join(stage));
        }
        kwok.arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--manage-all-nodes=false", "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake"])
            .args(["--node-lease-duration-seconds=40", "--cidr=10.0.0.0/16"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }
}

fn go() -> Command {
    let mut go = Command::new("go");
    go.envs([("CGO_ENABLED", "0"), ("GOWORK", "off"), ("GOFLAGS", ""), ("GOTOOLCHAIN", "local")]);
    go
}

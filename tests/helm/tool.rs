//! The real Helm, built once from its Go module.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

const VERSION: &str = "v3.22.0";

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The chart.
pub(crate) fn chart() -> PathBuf {
    root().join("helm/burstlet")
}

/// Helm's binary under `target/`: built by the first that needs it (two minutes), while others wait at the lock.
fn helm() -> &'static Path {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    HELM.get_or_init(|| {
        let folder = root().join("target/tools/helm").join(VERSION);
        std::fs::create_dir_all(&folder).unwrap();
        let lock = File::create(folder.join("lock")).unwrap();
        lock.lock().unwrap();
        let binary = folder.join("helm");
        if !binary.is_file() {
            eprintln!("building helm {VERSION}, once");
            let built = Command::new("go")
                .args(["install", "-trimpath", &format!("helm.sh/helm/v3/cmd/helm@{VERSION}")])
                .envs([("GOBIN", folder.as_os_str()), ("GOFLAGS", "".as_ref()), ("GOWORK", "off".as_ref())])
                .status();
            assert!(built.expect("Go runs; install it from https://go.dev/dl").success(), "helm builds");
        }
        binary
    })
}

/// Runs Helm, away from the settings and caches of whoever runs the test.
pub(crate) fn run(arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(helm())
        .args(arguments)
        .env("HELM_CACHE_HOME", home.path())
        .env("HELM_CONFIG_HOME", home.path())
        .env("HELM_DATA_HOME", home.path())
        .output();
    output.unwrap()
}

/// Runs Helm, which shall succeed, and answers what it printed.
pub(crate) fn succeed(arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "helm {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

//! The real Helm, built once from its Go module.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

const VERSION: &str = "v3.22.0";

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Helm's binary under `target/`: built by the first that needs it (two minutes), while others wait at the lock.
pub(crate) fn helm() -> &'static Path {
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

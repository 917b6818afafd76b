//! Upstream's own code behind small Go programs: the HPA's controller around a copy of its package whose clock is the
//! scenario's, and kube-scheduler's plugins.
//!
//! They are built in the control plane's module, from files that stand elsewhere (`go build -overlay`), so that they add nothing
//! to what the demo builds. Upstream's files come from the module cache; only their calls of `time.Now` are replaced.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

use serde_json::{Value, json};

const PACKAGE: &str = "pkg/controller/podautoscaler";
const UPSTREAM: [&str; 3] = ["horizontal.go", "replica_calculator.go", "rate_limiters.go"];

pub(crate) struct Oracle {
    process: Child,
    scenarios: Option<ChildStdin>,
    reports: BufReader<ChildStdout>,
}

impl Oracle {
    /// The HPA's controller.
    pub(crate) fn start() -> Self {
        // Once for all tests, which run at the same time.
        static BINARY: OnceLock<PathBuf> = OnceLock::new();
        Self::of(BINARY.get_or_init(controller))
    }

    /// kube-scheduler's plugins.
    pub(crate) fn scheduler() -> Self {
        static BINARY: OnceLock<PathBuf> = OnceLock::new();
        Self::of(BINARY.get_or_init(|| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            build("scheduleroracle", &[("main.go", root.join("tests/hpa/scheduler/main.go"))])
        }))
    }

    fn of(binary: &Path) -> Self {
        let mut process =
            Command::new(binary).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let scenarios = process.stdin.take();
        let reports = BufReader::new(process.stdout.take().unwrap());
        Self { process, scenarios, reports }
    }

    pub(crate) fn play(&mut self, scenario: &Value) -> Value {
        let scenarios = self.scenarios.as_mut().unwrap();
        writeln!(scenarios, "{scenario}").unwrap();
        scenarios.flush().unwrap();
        let mut report = String::new();
        self.reports.read_line(&mut report).unwrap();
        serde_json::from_str(&report).unwrap_or_else(|error| panic!("{error}: upstream fell over {scenario}"))
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // At the end of its input it ends.
        drop(self.scenarios.take());
        let _ = self.process.wait();
    }
}

/// Builds the HPA's controller.
fn controller() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let module = root.join("controlplane");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hpaoracle-upstream");
    fs::create_dir_all(&folder).unwrap();
    go(&module, &["mod", "download", "k8s.io/kubernetes"]);
    let kubernetes = go(&module, &["list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"]);
    let package = Path::new(kubernetes.trim()).join(PACKAGE);

    let own = root.join("tests/hpa/oracle");
    let mut files: Vec<(String, PathBuf)> =
        ["main.go", "plant.go", "loop.go"].map(|name| (name.into(), own.join(name))).into();
    files.push(("podautoscaler/open.go".into(), own.join("open.go")));
    for name in UPSTREAM {
        let text = fs::read_to_string(package.join(name)).unwrap().replace("time.Now()", "Clock()");
        fs::write(folder.join(name), text).unwrap();
        files.push((format!("podautoscaler/{name}"), folder.join(name)));
    }
    build("hpaoracle", &files)
}

/// Builds a program of these files, which Go believes to stand in this folder of the control plane's module.
fn build<N: AsRef<str>>(place: &str, files: &[(N, PathBuf)]) -> PathBuf {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("controlplane");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(place);
    fs::create_dir_all(&folder).unwrap();
    let placed =
        |(name, file): &(N, PathBuf)| (module.join(place).join(name.as_ref()).display().to_string(), json!(file));
    let replaced: serde_json::Map<String, Value> = files.iter().map(placed).collect();
    let overlay = folder.join("overlay.json");
    fs::write(&overlay, json!({"Replace": replaced}).to_string()).unwrap();

    let binary = folder.join(place);
    let (overlay, output) = (overlay.display().to_string(), binary.display().to_string());
    let target = format!("./{place}");
    // The control plane's own flags, so that its cache serves here too.
    let flags = ["build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w"];
    go(&module, &[&flags[..], &["-overlay", &overlay, "-o", &output, &target]].concat());
    binary
}

fn go(module: &Path, arguments: &[&str]) -> String {
    let output = Command::new("go")
        .args(arguments)
        .current_dir(module)
        .envs([("CGO_ENABLED", "0"), ("GOWORK", "off"), ("GOFLAGS", ""), ("GOTOOLCHAIN", "local")])
        .output()
        .unwrap_or_else(|error| panic!("go, which this test needs: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "go {arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

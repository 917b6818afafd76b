//! Upstream's own controller: a small Go program around a copy of its package whose clock is the scenario's.
//!
//! It is built in the control plane's module, from files that stand elsewhere (`go build -overlay`), so that it adds nothing
//! to what the demo builds. Upstream's files come from the module cache; only their calls of `time.Now` are replaced.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

const PACKAGE: &str = "pkg/controller/podautoscaler";
const UPSTREAM: [&str; 3] = ["horizontal.go", "replica_calculator.go", "rate_limiters.go"];
/// Where Go believes the program to stand, in the control plane's module.
const PLACE: &str = "hpaoracle";

pub(crate) struct Oracle {
    process: Child,
    scenarios: Option<ChildStdin>,
    reports: BufReader<ChildStdout>,
}

impl Oracle {
    pub(crate) fn start() -> Self {
        let binary = build();
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

fn build() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let module = root.join("controlplane");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hpa-oracle");
    fs::create_dir_all(&folder).unwrap();
    go(&module, &["mod", "download", "k8s.io/kubernetes"]);
    let kubernetes = go(&module, &["list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"]);
    let package = Path::new(kubernetes.trim()).join(PACKAGE);

    let mut replaced = serde_json::Map::new();
    let mut place = |name: &str, file: &Path| {
        replaced.insert(module.join(PLACE).join(name).display().to_string(), json!(file));
    };
    let own = root.join("tests/hpa/oracle");
    place("main.go", &own.join("main.go"));
    place("plant.go", &own.join("plant.go"));
    place("podautoscaler/open.go", &own.join("open.go"));
    for name in UPSTREAM {
        let text = fs::read_to_string(package.join(name)).unwrap().replace("time.Now()", "Clock()");
        fs::write(folder.join(name), text).unwrap();
        place(&format!("podautoscaler/{name}"), &folder.join(name));
    }
    let overlay = folder.join("overlay.json");
    fs::write(&overlay, json!({"Replace": replaced}).to_string()).unwrap();

    let binary = folder.join("hpa-oracle");
    let (overlay, output) = (overlay.display().to_string(), binary.display().to_string());
    let target = format!("./{PLACE}");
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

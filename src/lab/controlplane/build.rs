//! Builds the control plane's binary, once.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use super::progress::Progress;
use super::source::Source;
use super::{ControlPlaneError, toolchain};

const TICK: Duration = Duration::from_millis(200);
/// Measured with empty caches: about ten minutes of one core's time, and one more that does not divide (download, link).
const SERIAL_SECONDS: u64 = 60;
const SHARED_CORE_SECONDS: u64 = 600;

/// Builds `source` into `binary` inside `folder`, unless another process has done so by the time it is our turn.
pub(super) fn build(source: &Source, folder: &Path, binary: &Path) -> Result<(), ControlPlaneError> {
    toolchain::check(source.go_version()?)?;
    fs::create_dir_all(folder).map_err(ControlPlaneError::file("create", folder))?;
    let mut progress = Progress::start(expected());
    let lock = take_turn(&folder.join("lock"), &mut progress)?;
    if binary.is_file() {
        return Ok(());
    }
    let log = folder.join("build.log");
    let unfinished = folder.join(format!("unfinished-{}", std::process::id()));
    let mut go = start_go(source, &unfinished, &log)?;
    let status = wait(&mut go, &mut progress)?;
    if !status.success() {
        return Err(failure(status, folder, log));
    }
    // Renamed when complete: a binary that is there is a whole one.
    fs::rename(&unfinished, binary).map_err(ControlPlaneError::file("rename", unfinished))?;
    drop(lock);
    Ok(())
}

fn expected() -> Duration {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Duration::from_secs(SERIAL_SECONDS + SHARED_CORE_SECONDS / u64::try_from(cores).unwrap_or(1))
}

/// Waits for the file lock; the kernel gives it back however its holder ends.
fn take_turn(path: &Path, progress: &mut Progress) -> Result<File, ControlPlaneError> {
    let lock = File::create(path).map_err(ControlPlaneError::file("create", path))?;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => progress.tick("another process builds the control plane"),
            Err(TryLockError::Error(error)) => return Err(ControlPlaneError::file("lock", path)(error)),
        }
        thread::sleep(TICK);
    }
}

fn start_go(source: &Source, output: &Path, log: &Path) -> Result<Child, ControlPlaneError> {
    let file = File::create(log).map_err(ControlPlaneError::file("create", log))?;
    let errors = file.try_clone().map_err(ControlPlaneError::file("write", log))?;
    let flags = linker_flags(source.kubernetes_version()?);
    Command::new("go")
        .args(["build", "-trimpath", "-buildvcs=false", "-modfile", source.module(), "-ldflags", &flags, "-o"])
        .arg(output)
        .arg(".")
        .current_dir(source.folder())
        // The module decides what is built, for this machine: not a workspace, flags or a target of the one who calls.
        .envs([("CGO_ENABLED", "0"), ("GOWORK", "off"), ("GOFLAGS", ""), ("GOTOOLCHAIN", "local")])
        .env_remove("GOOS")
        .env_remove("GOARCH")
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .spawn()
        .map_err(ControlPlaneError::file("run `go build` in", source.folder()))
}

/// Leaves symbols out, and sets the version that the components and their clients report.
fn linker_flags(kubernetes: &str) -> String {
    let mut numbers = kubernetes.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let server = "k8s.io/component-base/version";
    let client = "k8s.io/client-go/pkg/version";
    format!(
        "-s -w -X {server}.gitVersion={kubernetes} -X {server}.gitMajor={major} -X {server}.gitMinor={minor} \
         -X {client}.gitVersion={kubernetes}"
    )
}

fn wait(go: &mut Child, progress: &mut Progress) -> Result<ExitStatus, ControlPlaneError> {
    loop {
        if let Some(status) = go.try_wait().map_err(ControlPlaneError::file("wait for", "go build"))? {
            return Ok(status);
        }
        progress.tick("building the control plane (once)");
        thread::sleep(TICK);
    }
}

fn failure(status: ExitStatus, folder: &Path, log: PathBuf) -> ControlPlaneError {
    let text = fs::read_to_string(&log).unwrap_or_default();
    if text.contains("no space left on device") {
        return ControlPlaneError::DiskFull { folder: folder.to_owned(), log };
    }
    let last_line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it printed nothing");
    ControlPlaneError::Build { status, last_line: last_line.trim().to_owned(), log }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn failure_of(log: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("build.log");
        fs::write(&path, log).unwrap();
        failure(ExitStatus::from_raw(256), folder.path(), path).to_string()
    }

    #[test]
    fn a_failed_build_is_told_by_its_last_line_and_its_log() {
        let error = failure_of("go: downloading x\ndial tcp: no such host\n\n");
        assert!(error.contains("dial tcp: no such host"), "{error}");
        assert!(error.contains("build.log") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn a_full_disk_is_told_as_such() {
        let error = failure_of("write /tmp/x: no space left on device\nmore\n");
        assert!(error.contains("free 6 GB"), "{error}");
    }

    #[test]
    fn the_version_reaches_the_servers() {
        let flags = linker_flags("v1.36.3");
        assert!(flags.contains("version.gitVersion=v1.36.3"), "{flags}");
        assert!(flags.contains("version.gitMajor=1 ") && flags.contains("version.gitMinor=36 "), "{flags}");
    }
}

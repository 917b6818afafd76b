//! Official SDKs, in a virtual environment that the test makes itself.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Mutex,
};

/// Only one test at a time makes an environment.
static MAKING: Mutex<()> = Mutex::new(());

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clouds/python")
}

/// The interpreter of an environment with the packages that `tests/clouds/python/PINS.txt` pins. Kept under cargo's
/// target folder by the digest of the pins, so that it is made once.
pub(crate) fn python(pins: &str) -> PathBuf {
    let _one = MAKING.lock().unwrap();
    let pins = folder().join(format!("{pins}.txt"));
    let mut hasher = DefaultHasher::new();
    fs::read_to_string(&pins).unwrap().hash(&mut hasher);
    let name = format!("sdk-{}-{:016x}", pins.file_stem().unwrap().display(), hasher.finish());
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let (interpreter, made) = (target.join("bin/python"), target.join("made"));
    if !made.exists() {
        let _ = fs::remove_dir_all(&target);
        run(Command::new("python3").args(["-m", "venv"]).arg(&target));
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
        run(Command::new(&interpreter).args(install).arg(&pins));
        fs::write(made, "").unwrap();
    }
    interpreter
}

/// Runs `tests/clouds/python/SCRIPT.py ADDRESS CHECK`; its exceptions are the test's failure.
pub(crate) fn check(script: &str, address: &str, check: &str) {
    let interpreter = python(script);
    run(Command::new(interpreter).arg(folder().join(format!("{script}.py"))).args([address, check]));
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?} failed:\n{out}{err}");
    output
}

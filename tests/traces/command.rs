//! `burstlet record` as people run it: what is wrong is refused by line, or repaired and counted; nothing else changes a
//! byte of what it writes.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};

/// A folder with one trace in it.
struct Case {
    folder: tempfile::TempDir,
    trace: PathBuf,
}

impl Case {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join(name);
        fs::write(&trace, bytes).unwrap();
        Self { folder, trace }
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("out.traffic")
    }

    fn command(&self, input: &Path, repairs: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_burstlet"));
        command.arg("record").arg(input).arg("-o").arg(self.output()).arg("--json");
        command.args(repairs.iter().flat_map(|repair| ["--repair", repair]));
        command
    }

    fn record(&self, repairs: &[&str]) -> Output {
        self.command(&self.trace, repairs).output().unwrap()
    }
}

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The summary that is printed beside what is written.
fn summary(output: &Output) -> serde_json::Value {
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    serde_json::from_str(told.lines().find(|line| line.starts_with('{')).unwrap()).unwrap()
}

#[test]
fn what_is_wrong_is_refused_by_line_and_repaired_as_asked_and_counted() {
    let row = |index: u32| format!("{index},{}\n", index * 7919 % 1000);
    let long: String = (0..20_000).map(row).collect();
    let whole = packed(&format!("time,count\n{long}"));
    let table = |rows: &str| format!("time,count\n{rows}").into_bytes();
    let zones = "time,count\n1995-07-12 00:00Z,1\n1995-07-11 20:01-04:00,2\n1995-07-12 00:02Z,3\n";
    for (name, bytes, refused, repair, kind, requests) in [
        (
            "gap.csv",
            table("0,1\n1,1\n2,1\n5,1\n"),
            "line 5: 2 intervals are missing after 2s",
            "gaps=hold",
            "gaps",
            6.0,
        ),
        ("nan.csv", table("0,1\n1,1\n2,NaN\n3,3\n"), "line 4: count is \"NaN\"", "gaps=interpolate", "gaps", 7.0),
        ("negative.csv", table("0,1\n1,-4\n1,2\n2,2\n"), "line 3: count is \"-4\"", "rows=skip", "rows", 5.0),
        ("order.csv", table("0,1\n2,3\n1,2\n"), "line 4: time 1s is before 2s", "order=sort", "order", 6.0),
        (
            "twice.csv",
            table("0,1\n1,2\n1,4\n"),
            "line 4: time 1s has a row already",
            "duplicates=sum",
            "duplicates",
            7.0,
        ),
        ("columns.csv", table("0,1\n1,2,3\n1,2\n"), "line 3: 3 columns; the header has 2", "rows=skip", "rows", 3.0),
        ("zones.csv", zones.into(), "line 3: the zone is -04:00", "zones=each", "zones", 6.0),
        ("cut.csv.gz", whole[..whole.len() / 2].to_vec(), "the file is cut off or damaged here", "end=cut", "end", 0.0),
    ] {
        let case = Case::new(name, &bytes);
        let output = case.record(&[]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains(&format!("{name}: line ")), "{name}: {told}");
        assert!(told.contains(refused) && told.contains("say --repair "), "{name}: {told}");
        assert!(!case.output().exists(), "{name}: refused, and yet something was written");

        let output = case.record(&[repair]);
        assert!(output.status.success() && case.output().exists(), "{name}: {output:?}");
        let told = summary(&output);
        assert_eq!(told["faults"].as_object().unwrap().keys().collect::<Vec<_>>(), [kind], "{told}");
        assert_eq!(told["faults"][kind]["repaired"], repair.split_once('=').unwrap().1, "{told}");
        // Of the cut file, as much as could be unpacked.
        let found = told["requests"].as_f64().unwrap();
        assert!(if kind == "end" { found > 1000.0 } else { (found - requests).abs() < 1e-9 }, "{name}: {told}");
    }
}

#[test]
fn an_empty_file_is_refused_whatever_repairs_are_asked_for() {
    for (name, bytes) in [("empty.csv", Vec::new()), ("blank.csv", b"\n \n".to_vec()), ("empty.csv.gz", packed(""))] {
        let case = Case::new(name, &bytes);
        let output = case.record(&["gaps=zero,order=sort,duplicates=sum,zones=each,rows=skip,end=cut"]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains(&format!("{name}: the file is empty")), "{told}");
        assert!(!case.output().exists());
    }
}

#[test]
fn time_zone_locale_and_place_change_no_byte_of_a_recording() {
    // Times without a zone, which a program might take for local ones.
    let row = |hour: u32| format!("2026-03-{:02} {:02}:30:00,{hour}.5\n", 28 + hour / 24, hour % 24);
    let rows: String = (0..48).map(row).collect();
    let case = Case::new("local.csv", format!("time,count\n{rows}").as_bytes());
    assert!(case.record(&[]).status.success());
    let here = fs::read(case.output()).unwrap();
    let abroad = tempfile::tempdir().unwrap();
    for zone in ["Asia/Kathmandu", "America/New_York", "Europe/Berlin"] {
        fs::remove_file(case.output()).unwrap();
        let mut command = case.command(&case.trace, &[]);
        command.envs([("TZ", zone), ("LANG", "de_DE.UTF-8"), ("LC_ALL", "tr_TR.UTF-8")]).current_dir(abroad.path());
        assert!(command.output().unwrap().status.success());
        assert!(fs::read(case.output()).unwrap() == here, "{zone}: other bytes");
    }
}

/// Interrupts `burstlet record -` once it has read some lines; how it ended.
fn interrupted(case: &Case, repairs: &[&str]) -> Output {
    let mut command = case.command(Path::new("-"), repairs);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let line = |second: u32| format!("h - - [01/Aug/1995:00:00:{second:02} -0400] \"GET / HTTP/1.0\" 200 1\n");
    (0..30).for_each(|second| input.write_all(line(second).as_bytes()).unwrap());
    // More comes all the time: only the signal ends it.
    let begin = Instant::now();
    let mut is_told = false;
    while child.try_wait().unwrap().is_none() {
        assert!(begin.elapsed() < Duration::from_mins(1), "it does not end");
        if !is_told && begin.elapsed() > Duration::from_secs(2) {
            is_told = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success();
        }
        // It may have ended meanwhile.
        let _ = input.write_all(line(30).as_bytes());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(is_told, "it ended by itself");
    child.wait_with_output().unwrap()
}

#[test]
fn ctrl_c_keeps_what_was_read_of_a_log_where_that_is_asked_for() {
    let case = Case::new("unused.csv", b"");
    let refused = interrupted(&case, &[]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && told.contains("stopped; nothing was written: --repair end=cut"), "{told}");
    assert!(!case.output().exists());
    let kept = interrupted(&case, &["end=cut"]);
    assert!(kept.status.success(), "{kept:?}");
    let told = summary(&kept);
    assert!(told["rows"].as_u64().unwrap() >= 30 && told["faults"]["end"]["repaired"] == "cut", "{told}");
    let path = case.output();
    let again =
        Command::new(env!("CARGO_BIN_EXE_burstlet")).arg("record").arg(path).args(["--summary", "--json"]).output();
    let again: serde_json::Value = serde_json::from_slice(&again.unwrap().stdout).unwrap();
    assert_eq!(again["requests"], told["requests"]);
}

#[test]
fn traces_are_scaled_cut_and_added_up() {
    let case = Case::new("a.csv", b"time,count\n2026-03-01 10:00Z,60\n2026-03-01 10:01Z,120\n2026-03-01 10:02Z,30\n");
    let later = case.folder.path().join("b.csv");
    fs::write(&later, "time,count\n2026-03-01 10:02Z,6\n2026-03-01 10:03Z,12\n").unwrap();
    let shaped = |files: &[&Path], arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_burstlet"));
        command.arg("record").args(files).args(arguments).args(["--json", "-o"]).arg(case.output());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let told = summary(&output);
        (told["requests"].as_f64().unwrap(), told["span_s"].as_f64().unwrap(), told["max"].as_f64().unwrap())
    };
    let a = case.trace.as_path();
    assert_eq!(shaped(&[a], &[]), (210.0, 180.0, 2.0));
    assert_eq!(shaped(&[a], &["--scale", "3"]), (630.0, 180.0, 6.0));
    assert_eq!(shaped(&[a], &["--from", "1m"]), (150.0, 120.0, 2.0));
    assert_eq!(shaped(&[a], &["--from", "2026-03-01T11:01:00+01:00", "--to", "2m"]), (120.0, 60.0, 2.0));
    // Of the time that both cover: by the clock the last minute of the first one, from their starts the first two.
    assert_eq!(shaped(&[a, &later], &["--weight", "1", "--weight", "10"]), (90.0, 60.0, 1.5));
    assert_eq!(shaped(&[a, &later], &["--weight", "1", "--weight", "10", "--align", "start"]), (360.0, 120.0, 4.0));
}

//! Every real trace of `../shared/traces`, read and held to the figures of its README, and replayed. The folder stands
//! beside the checkout and is no part of it: its licences differ.

#![allow(clippy::unwrap_used, reason = "a test may fail by it, its helpers too")]

mod command;
mod prometheus;
mod replay;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use burstlet::record::{import_file, read_traffic, write_recording};
use burstlet_engine::traffic::{
    Recording, Step,
    import::{FaultKind, Import, Settings, Values},
};

/// What the README says of a trace.
struct Trace {
    file: &'static str,
    rows: u64,
    /// Sum of all counts; None where values are rates.
    total: Option<f64>,
    /// Lowest, mean and highest value of `per` seconds.
    figures: Option<(f64, f64, f64)>,
    per: u64,
    settings: Settings,
    /// Intervals that are missing.
    gaps: u64,
}

fn step(seconds: u64) -> Step {
    Step::new(Duration::from_secs(seconds)).unwrap()
}

fn trace(file: &'static str, rows: u64, total: f64, per: u64, figures: (f64, f64, f64)) -> Trace {
    Trace { file, rows, total: Some(total), figures: Some(figures), per, settings: Settings::default(), gaps: 0 }
}

impl Trace {
    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Single requests, counted in steps as long as the README's figures are for.
    fn counted(self) -> Self {
        let seconds = self.per;
        self.with(|settings| settings.step = Some(step(seconds)))
    }

    fn of_rates(mut self) -> Self {
        self.total = None;
        self.with(|settings| settings.values = Some(Values::Rates))
    }

    fn with_gaps(mut self, gaps: u64, way: &str) -> Self {
        self.gaps = gaps;
        self.with(|settings| settings.repairs = [format!("gaps={way}").parse().unwrap()].into_iter().collect())
    }

    fn without_figures(mut self) -> Self {
        self.figures = None;
        self
    }

    fn of_columns(self, columns: &[&str], filters: &[&str]) -> Self {
        self.with(|settings| {
            settings.time = Some(columns[0].to_owned());
            settings.value = columns.get(1).map(|column| (*column).to_owned());
            settings.values = Some(if columns.len() > 1 { Values::Rates } else { Values::Events });
            settings.filters = filters.iter().map(|filter| filter.parse().unwrap()).collect();
        })
    }
}

fn traces() -> Vec<Trace> {
    vec![
        trace(
            "worldcup98_per_minute_1998-04-30_07-02.csv.gz",
            90_860,
            1_067_022_935.0,
            60,
            (1.0, 11_743.59, 225_138.0),
        )
        .with_gaps(10, "zero"),
        trace("nasa_http_1995-07_per_minute.csv.gz", 39_693, 1_891_713.0, 60, (0.0, 47.66, 405.0)),
        trace("nasa_http_1995-07-12_14_per_second.csv.gz", 259_200, 310_842.0, 60, (0.0, 71.95, 405.0)).counted(),
        trace("nasa_http_1995-08-01_raw_clf.log.gz", 1880, 1880.0, 60, (7.0, 25.75, 63.0)).counted(),
        trace(
            "azure_functions_2019_invocations_500f_min480-959.csv.gz",
            500,
            3_037_902.0,
            60,
            (3013.0, 6328.96, 7603.0),
        ),
        trace("azure_functions_2019_fullday_top200_rekeyed.csv.gz", 200, 797_258.0, 60, (368.0, 553.65, 3962.0)),
        // The README's figures are of the invocations' ends; requests come at their starts.
        trace("azure_functions_2021_invocations_998.csv.gz", 998, 998.0, 60, (1.0, 9.24, 53.0)).counted(),
        trace("azure_llm_2023_conv_requests.csv.gz", 19_366, 19_366.0, 60, (7.0, 322.77, 502.0)).counted(),
        trace("alibaba_genai_2026_qps.csv.gz", 24_627, 0.0, 60, (5.40, 184.79, 576.0)).of_containers(),
        trace("alibaba_genai_2026_lora_requests.csv.gz", 26_823, 26_823.0, 60, (0.0, 0.81, 64.0)).counted(),
        trace("alibaba_dlrm_2025_instances.csv.gz", 16_591, 16_591.0, 60, (0.0, 0.37, 179.0))
            .counted()
            .of_columns(&["creation_time"], &[]),
        // One of its pairs of app and role: the README has no figures of it.
        trace("alibaba_dlrm_2025_replica_history_top20.csv.gz", 400, 0.0, 1, (0.0, 0.0, 0.0))
            .of_columns(&["t_seconds", "instances_existing"], &["app_name=app_126", "role=HN"])
            .of_rates()
            .without_figures()
            .with_gaps(0, "hold"),
        trace("alibaba_openb_2023_pod_list.csv.gz", 8152, 8152.0, 60, (0.0, 0.04, 6.0))
            .counted()
            .of_columns(&["creation_time"], &[]),
        trace("alibaba_2018_machine_usage_30s.csv.gz", 22_415, 0.0, 1, (14.80, 38.45, 79.10)).of_rates().with(
            |settings| {
                settings.value = Some("cpu_util_percent".to_owned());
                settings.interval = Some(step(30));
            },
        ),
        trace("nginx_org_2015_status_api.jsonl.gz", 500, 28_384.0, 60, (0.0, 0.0, 0.0))
            .without_figures()
            .with_gaps(1, "interpolate"),
        trace("nginx_org_2015_query_range.json", 500, 28_384.0, 60, (0.0, 0.0, 0.0))
            .without_figures()
            .with(|settings| settings.filters = vec!["__name__=nginxplus_http_requests_total".parse().unwrap()])
            .with_gaps(1, "interpolate"),
        trace("nab_elb_request_count_8c0756.csv.gz", 4032, 249_327.0, 300, (1.0, 61.84, 656.0)).with_gaps(8, "zero"),
        trace("nab_cpu_utilization_asg_misconfiguration.csv.gz", 18_050, 0.0, 1, (11.50, 38.28, 100.0)).of_rates(),
        trace("nab_grok_asg_anomaly.csv.gz", 4621, 0.0, 1, (0.0, 27.68, 45.60)).of_rates(),
        trace("nab_Twitter_volume_AAPL.csv.gz", 15_902, 1_360_453.0, 300, (0.0, 85.55, 13_479.0)),
        trace("nab_nyc_taxi.csv.gz", 10_320, 156_219_716.0, 1800, (8.0, 15_137.57, 39_197.0)),
    ]
}

impl Trace {
    fn of_containers(mut self) -> Self {
        self.total = None;
        self.with_gaps(265, "zero")
    }
}

/// Holds no times: it cannot be traffic, and says so.
const DURATIONS: &str = "azure_functions_2019_durations_500f.csv.gz";

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/traces");
    assert!(
        folder.join("README.md").is_file(),
        "{}: missing; the recorded traces must stand beside the checkout for this test",
        folder.display()
    );
    folder
}

fn import(file: &str, settings: &Settings) -> Import {
    import_file(&folder().join(file), settings, |_| true).map_err(|error| error.to_string()).unwrap()
}

#[test]
fn every_trace_is_read_as_its_readme_says() {
    for trace in traces() {
        let import = import(trace.file, &trace.settings);
        let (recording, report) = (&import.recording, &import.report);
        let file = trace.file;
        assert_eq!(report.rows, trace.rows, "{file}");
        if let Some(total) = trace.total {
            assert!((report.requests - total).abs() < 0.5, "{file}: {}", report.requests);
        }
        let found = report.faults.get(&FaultKind::Gaps).map_or(0, |found| found.count);
        assert!(trace.gaps == 0 || found == trace.gaps, "{file}: {found} gaps");
        if let Some((lowest, mean, highest)) = trace.figures {
            let (found_lowest, found_mean, found_highest) = figures(recording, found, trace.per);
            let close = |found: f64, told: f64| (found - told).abs() <= 0.005 * told.max(1.0);
            assert!(close(found_lowest, lowest), "{file}: lowest {found_lowest}");
            assert!(close(found_mean, mean), "{file}: mean {found_mean}");
            assert!(close(found_highest, highest), "{file}: highest {found_highest}");
        }
    }
}

/// Lowest, mean and highest requests in `per` seconds. Steps that fill `gaps` with nothing do not count.
fn figures(recording: &Recording, gaps: u64, per: u64) -> (f64, f64, f64) {
    let unit = Duration::from_secs(per).as_secs_f64() / recording.step().length().as_secs_f64();
    let counts = recording.requests().iter().map(|requests| requests * unit).filter(|count| gaps == 0 || *count > 0.0);
    let counts: Vec<f64> = counts.collect();
    let lowest = counts.iter().copied().fold(f64::INFINITY, f64::min);
    let number = f64::from(u32::try_from(counts.len()).unwrap());
    (lowest, counts.iter().sum::<f64>() / number, counts.iter().copied().fold(0.0, f64::max))
}

#[test]
fn no_trace_of_the_folder_is_left_out() {
    let mut known: BTreeSet<_> = traces().iter().map(|trace| trace.file.to_owned()).collect();
    known.insert(DURATIONS.to_owned());
    let names = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let present: BTreeSet<_> = names.filter(|name| name != "README.md").collect();
    assert_eq!(present, known);
}

#[test]
fn a_file_without_times_is_no_traffic() {
    let refused = import_file(&folder().join(DURATIONS), &Settings::default(), |_| true).unwrap_err().to_string();
    assert!(refused.contains("line 1: no column is a known time; name it with --time COLUMN"), "{refused}");
}

#[test]
fn gaps_of_real_traces_are_refused_where_no_repair_is_asked_for() {
    for (file, told) in [
        (
            "worldcup98_per_minute_1998-04-30_07-02.csv.gz",
            "line 10434: 1 interval is missing after 1998-05-08T03:21:00Z; ",
        ),
        ("nab_elb_request_count_8c0756.csv.gz", "line 140: 1 interval is missing after 2014-04-10T11:29:00Z; "),
    ] {
        let refused = import_file(&folder().join(file), &Settings::default(), |_| true).unwrap_err().to_string();
        assert!(refused.contains(told) && refused.ends_with("gaps=zero or gaps=hold or gaps=interpolate"), "{refused}");
    }
}

#[test]
fn real_recordings_come_back_from_traffic_files_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    for trace in traces() {
        let recording = import(trace.file, &trace.settings).recording;
        for name in ["a.traffic", "a.traffic.gz"] {
            let path = folder.path().join(name);
            write_recording(&path, &recording).unwrap();
            let (read, written) = (read_traffic(&path).unwrap(), recording.traffic());
            assert_eq!(read.duration(), written.duration(), "{}", trace.file);
            let rates = |at: u64| {
                let at = Duration::from_millis(at * recording.step().as_millis());
                (read.rate_at(at).per_second(), written.rate_at(at).per_second())
            };
            let steps = u64::try_from(recording.requests().len()).unwrap();
            let furthest = (0..steps).map(rates).map(|(read, written)| (read - written).abs()).fold(0.0, f64::max);
            assert!(furthest < 1e-6, "{}: off by {furthest}", trace.file);
        }
    }
}

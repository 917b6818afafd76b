use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::traffic::{Rate, in_utc};

fn import_as(text: &[u8], settings: &Settings) -> Result<Import, ImportError> {
    let mut importer = Importer::new(settings.clone());
    importer.push(text)?;
    importer.finish()
}

fn import(text: &str) -> Result<Import, ImportError> {
    import_as(text.as_bytes(), &Settings::default())
}

fn repaired(text: &str, repairs: &[&str]) -> Result<Import, ImportError> {
    let repairs = repairs.iter().map(|repair| repair.parse().unwrap()).collect();
    import_as(text.as_bytes(), &Settings { repairs, ..Settings::default() })
}

const LOG: &str = r#"in24.inetnebr.com - - [01/Aug/1995:00:00:01 -0400] "GET /a HTTP/1.0" 200 1839
uplherc.upl.com - - [01/Aug/1995:00:00:08 -0400] "GET / HTTP/1.0" 304 0
uplherc.upl.com - - [01/Aug/1995:00:00:07 -0400] "GET / HTTP/1.0" 304 - "-" "Mozilla"
"#;

const TABLE: &str = "timestamp,value\n2014-04-10 00:04:00,94.0\n2014-04-10 00:09:00,56.0\n2014-04-10 00:14:00,187.0\n";

const ANSWER: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[
{"metric":{"__name__":"requests_total","pod":"a"},"values":[[1000,"10"],[1015,"40"],[1030,"5"]]},
{"metric":{"__name__":"requests_total","pod":"b"},"values":[[1015,"7"],[1030,"22"],[1045,"22"]]}]}}"#;

const STATUS: &str = r#"{"version":6,"nginx_version":"1.9.4","timestamp":1446249500000,"requests":{"total":100,"current":2}}
{"version":6,"nginx_version":"1.9.4","timestamp":1446249505000,"requests":{"total":150,"current":2}}
{"version":6,"nginx_version":"1.9.4","timestamp":1446249510000,"requests":{"total":170,"current":2}}
"#;

const MINUTES: &str = "HashOwner,HashApp,HashFunction,Trigger,480,481\no,a,f,http,1,2\no,a,g,http,3,4\n";

const INVOCATIONS: &str = "app,func,end_timestamp,duration\na,g,3.5,1.0\na,f,57.25,57\na,f,0.5,0.25\n";

const SAMPLES: [&str; 6] = [LOG, TABLE, ANSWER, STATUS, MINUTES, INVOCATIONS];

#[test]
fn an_access_log_is_counted_by_the_second() {
    let Import { recording, report } = import(LOG).unwrap();
    assert_eq!((report.format, report.rows, report.resolution), (Format::AccessLog, 3, None));
    assert_eq!(recording.requests(), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    assert_eq!(in_utc(recording.start().unwrap()), "1995-08-01T04:00:01Z");
    let disorder = Disorder { rows: 1, line: 3, most: Duration::from_secs(1) };
    assert_eq!((report.disorder, report.faults.len()), (Some(disorder), 0));
    assert_eq!(report.assumptions, ["times are of zone -04:00"]);
}

#[test]
fn a_table_counts_by_its_own_interval() {
    let Import { recording, report } = import(TABLE).unwrap();
    assert_eq!((recording.requests(), recording.step().as_millis()), (&[94.0, 56.0, 187.0][..], 300_000));
    assert_eq!(
        report.assumptions,
        [r#""value" counts requests of an interval, at "timestamp""#, "times state no zone; they were taken as +00:00"]
    );
    let rates = Settings { values: Some(Values::Rates), ..Settings::default() };
    let rates = import_as(TABLE.as_bytes(), &rates).unwrap().recording.rates();
    assert_eq!(rates.2, Rate::new(187.0).unwrap());
}

#[test]
fn series_of_prometheus_are_added_up_and_restarts_counted() {
    let Import { recording, report } = import(ANSWER).unwrap();
    assert_eq!((recording.requests(), recording.step().as_millis()), (&[30.0, 20.0, 0.0][..], 15_000));
    assert_eq!((report.rows, report.resets, report.requests), (6, 1, 50.0));
    let one = Settings { filters: vec!["pod=b".parse().unwrap()], ..Settings::default() };
    assert_eq!(import_as(ANSWER.as_bytes(), &one).unwrap().recording.requests(), [15.0, 0.0]);
    let turned =
        r#"{"data":{"result":[{"metric":{},"values":[[0,"1"],[1,"1"]]}],"resultType":"matrix"},"status":"success"}"#;
    assert_eq!(import(turned).unwrap().recording.requests(), [1.0, 1.0]);
    let rates = ANSWER.replace("requests_total", "rps");
    assert_eq!(import(&rates).unwrap().recording.requests(), [150.0, 705.0, 405.0, 330.0]);
}

#[test]
fn what_prometheus_says_of_its_answer_is_told_and_histograms_are_no_numbers() {
    // As Prometheus 3 answers a rate of what is no counter, and native histograms.
    let told =
        r#""infos":["PromQL info: metric might not be a counter: \"up\" (1:6)"],"warnings":["a remote is down"]}"#;
    let answer = ANSWER.strip_suffix('}').unwrap().to_owned() + "," + told;
    let Import { recording, report } = import(&answer).unwrap();
    assert_eq!(recording, import(ANSWER).unwrap().recording);
    assert_eq!(
        report.assumptions[1..],
        [
            "Prometheus says: a remote is down",
            "Prometheus says: PromQL info: metric might not be a counter: \"up\" (1:6)"
        ]
    );
    let histograms = r#"{"status":"success","data":{"resultType":"matrix","result":[
{"metric":{"__name__":"latency_seconds"},"histograms":[[1000,{"count":"17","sum":"0.0186","buckets":[[0,"0.5","1","17"]]}]]}]}}"#;
    assert_eq!(
        import(histograms).unwrap_err().to_string(),
        "series 1 of latency_seconds is of native histograms, which are no numbers; ask for \
         histogram_count(rate(…[1m])), the requests a second"
    );
}

#[test]
fn status_documents_minutes_and_invocations_are_read() {
    assert_eq!(import(STATUS).unwrap().recording.requests(), [50.0, 20.0]);
    let Import { recording, report } = import(MINUTES).unwrap();
    assert_eq!((recording.requests(), recording.start(), report.rows), (&[4.0, 6.0][..], None, 2));
    let Import { recording, report } = import(INVOCATIONS).unwrap();
    assert_eq!((recording.requests(), report.rows), (&[2.0, 0.0, 1.0][..], 3));
    assert_eq!(report.disorder.unwrap().rows, 2);
}

#[test]
fn the_projects_own_files_are_traces_too() {
    let recording = import(TABLE).unwrap().recording;
    let again = import_as(&recording.to_bytes(), &Settings::default()).unwrap();
    assert_eq!((again.recording, again.report.format), (recording.clone(), Format::Traffic));
    let csv = import(&recording.traffic().to_csv()).unwrap();
    assert_eq!((csv.recording.step(), csv.recording.requests().len()), (recording.step(), 3));
}

#[test]
fn an_endless_rate_is_refused_as_a_wrong_reading() {
    let rates = Settings { values: Some(Values::Rates), ..Settings::default() };
    let refused = import_as(b"time,rate\n0,1e12\n1,1\n", &rates).unwrap_err().to_string();
    assert!(
        refused.ends_with("is more than 1000000000 requests a second; say what values are with --values"),
        "{refused}"
    );
}

#[test]
fn every_bad_trace_is_named_with_its_line() {
    for (text, told) in [
        ("", "the file is empty: it has no bytes but blank ones"),
        ("\n \n", "the file is empty: it has no bytes but blank ones"),
        ("timestamp,value\n", "the file is empty: it has no rows (that --where would take)"),
        (
            "timestamp,value\n2014-04-10,1\n",
            "the file is empty: a recording needs two values of different times at least",
        ),
        (
            "PK\u{3}\u{4}",
            "line 1 is \"PK\\u{3}\\u{4}\": neither an access log nor a table with a time column nor any other format that is known; name it with --format",
        ),
        (
            "time,count\n0,1\n1,NaN\n2,1\n",
            "line 3: count is \"NaN\", so this interval is missing; to go on all the same, say --repair gaps=zero or gaps=hold or gaps=interpolate",
        ),
        (
            "time,count\n0,1\n1,\n",
            "line 3: count is \"\", so this interval is missing; to go on all the same, say --repair gaps=zero or gaps=hold or gaps=interpolate",
        ),
        (
            "time,count\n0,1\n1,-4\n",
            "line 3: count is \"-4\"; it must be a number from 0; to go on all the same, say --repair rows=skip",
        ),
        (
            "time,count\n0,1\n1,inf\n",
            "line 3: count is \"inf\"; it must be a number from 0; to go on all the same, say --repair rows=skip",
        ),
        ("time,count\n0,1\n1\n", "line 3: 1 columns; the header has 2; to go on all the same, say --repair rows=skip"),
        (
            "time,count\n0,1\n1,2,3\n",
            "line 3: 3 columns; the header has 2; to go on all the same, say --repair rows=skip",
        ),
        (
            "time,count\n0,1\n5,1\n2,1\n",
            "line 4: time 2s is before 5s of the row before; to go on all the same, say --repair order=sort",
        ),
        (
            "time,count\n0,1\n1,1\n1,1\n",
            "line 4: time 1s has a row already; rows of several series are told apart by --where COLUMN=VALUE; to go on all the same, say --repair duplicates=first or duplicates=last or duplicates=sum",
        ),
        (
            "time,count\n0,1\n1,1\n2,1\n9,1\n",
            "line 5: 6 intervals are missing after 2s; to go on all the same, say --repair gaps=zero or gaps=hold or gaps=interpolate",
        ),
        (
            "time,count\n1995-07-12 00:00Z,1\n1995-07-12 00:01-04:00,1\n",
            "line 3: the zone is -04:00, that of the rows before is +00:00; to go on all the same, say --repair zones=each",
        ),
        (
            "time,count\n1995-07-12 00:00Z,1\n1995-07-12 00:01,1\n",
            "line 3: the zone is not stated, that of the rows before is +00:00; to go on all the same, say --repair zones=each",
        ),
        (
            "seconds,requests_per_second\n0,1\n0,1\n",
            "line 3: time 0ns is not after 0ns of the row before; times must strictly increase",
        ),
        (
            "{\"status\":\"success\",",
            "line 1: column 20: no answer of Prometheus: EOF while parsing a value at line 1 column 20",
        ),
        ("{\"status\":\"error\",\"error\":\"bad query\"}", "Prometheus refused the query: bad query"),
    ] {
        let refused = import(text).map(|import| import.recording).unwrap_err().to_string();
        assert_eq!(refused, told, "{text:?}");
    }
}

#[test]
fn a_repair_is_counted_and_told() {
    let text = "time,count\n0,1\nx,1\n1,3\n1,9\n4,1\n3,NaN\n5,1\n";
    let repairs = ["rows=skip", "duplicates=last", "order=sort", "gaps=hold"];
    let Import { recording, report } = repaired(text, &repairs).unwrap();
    assert_eq!(recording.requests(), [1.0, 9.0, 9.0, 9.0, 1.0, 1.0]);
    let told: Vec<_> = report
        .faults
        .iter()
        .map(|(kind, found)| {
            format!("{kind}={} {} times, first at {}", found.repaired.unwrap(), found.count, found.place)
        })
        .collect();
    assert_eq!(
        told,
        [
            "gaps=hold 3 times, first at line 7",
            "duplicates=last 1 times, first at line 5",
            "rows=skip 1 times, first at line 3"
        ]
    );
    for missing in 0..3 {
        let fewer: Vec<_> =
            repairs.iter().enumerate().filter(|(index, _)| *index != missing).map(|(_, way)| *way).collect();
        let refused = repaired(text, &fewer);
        assert_eq!(refused.is_err(), missing != 2, "without {}", repairs[missing]);
    }
}

#[test]
fn a_summary_tells_of_faults_and_refuses_none() {
    let lenient = Settings { lenient: true, ..Settings::default() };
    let report = import_as(b"time,count\n0,1\n1,-3\n2,1\n3,1\n9,1\n4,1\n", &lenient).unwrap().report;
    let kinds: Vec<_> =
        report.faults.iter().map(|(kind, found)| (kind.to_string(), found.count, found.repaired)).collect();
    assert_eq!(kinds, [("gaps".to_owned(), 5, None), ("order".to_owned(), 1, None), ("rows".to_owned(), 1, None)]);
}

#[test]
fn a_cut_file_is_refused_or_kept_as_far_as_it_goes() {
    let cut = |repairs: &[&str]| {
        let repairs = repairs.iter().map(|repair| repair.parse().unwrap()).collect();
        let mut importer = Importer::new(Settings { repairs, ..Settings::default() });
        importer.push(LOG.as_bytes()).unwrap();
        importer.push(b"half a li").unwrap();
        importer.cut_off("unexpected end of file")?;
        importer.finish()
    };
    assert_eq!(
        cut(&[]).unwrap_err().to_string(),
        "line 4: the file is cut off or damaged here (unexpected end of file); what comes after is lost; to go on all the \
         same, say --repair end=cut"
    );
    assert_eq!(cut(&["end=cut"]).unwrap().report.rows, 3);
}

proptest! {
    #[test]
    fn pieces_do_not_matter(sample in 0..SAMPLES.len(), cuts in prop::collection::vec(0_usize..500, 0..6)) {
        let bytes = SAMPLES[sample].as_bytes();
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut importer = Importer::new(Settings::default());
        for pair in cuts.windows(2) {
            importer.push(&bytes[pair[0]..pair[1]]).unwrap();
        }
        prop_assert_eq!(importer.finish(), import_as(bytes, &Settings::default()));
    }

    #[test]
    fn no_bytes_break_the_importer(
        sample in 0..SAMPLES.len(),
        changes in prop::collection::vec((0_usize..500, prop::option::of(any::<u8>())), 0..8),
        lenient: bool, mended: bool, cut: bool,
    ) {
        let mut bytes = SAMPLES[sample].as_bytes().to_vec();
        for (at, change) in changes {
            let at = at.min(bytes.len() - 1);
            match change {
                Some(byte) => bytes[at] = byte,
                None => { bytes.remove(at); }
            }
            if bytes.is_empty() {
                break;
            }
        }
        let all = ["gaps=interpolate", "order=sort", "duplicates=sum", "zones=each", "rows=skip", "end=cut"];
        let repairs = all.iter().filter(|_| mended).map(|repair| repair.parse().unwrap()).collect();
        let mut importer = Importer::new(Settings { repairs, lenient, ..Settings::default() });
        let pushed = importer.push(&bytes);
        let cut = if cut { importer.cut_off("cut") } else { Ok(()) };
        if pushed.is_ok() && cut.is_ok() && let Ok(import) = importer.finish() {
            let traffic = import.recording.traffic();
            prop_assert_eq!(traffic.duration(), import.recording.duration());
            prop_assert_eq!(Recording::from_bytes(&import.recording.to_bytes()).unwrap().to_bytes(), import.recording.to_bytes());
        }
    }
}

#[test]
fn a_log_far_longer_than_the_head_is_the_same_in_any_pieces() {
    let line = |index: u64| {
        format!(
            "h - - [01/Aug/1995:{:02}:{:02}:{:02} -0400] \"GET /{index} HTTP/1.0\" 200 1\n",
            index / 3600,
            index / 60 % 60,
            index % 60
        )
    };
    let text: String = (0..5000).map(line).collect();
    let whole = import(&text).unwrap();
    assert_eq!((whole.report.rows, whole.recording.requests().len()), (5000, 5000));
    for size in [1, 77, 4096, HEAD - 1, HEAD, HEAD + 1] {
        let mut importer = Importer::new(Settings::default());
        text.as_bytes().chunks(size).for_each(|piece| importer.push(piece).unwrap());
        assert_eq!(importer.finish().as_ref(), Ok(&whole), "{size}");
    }
}

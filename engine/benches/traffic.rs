//! Reading access logs, in MB/s, against counting their lines: `wc -l` of the same file.
//!
//! The log is made here, 256 MB in the combined format, with the times of a site that meets 300 requests a second.

use std::{
    env,
    error::Error,
    fs::{self, File},
    io::{BufWriter, Read, Write},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use burstlet_engine::{
    model::Timestamp,
    traffic::{
        import::{Importer, Settings},
        in_utc,
    },
};

const SIZE: u64 = 256_000_000;
const ROUNDS: usize = 5;
const A_SECOND: u64 = 300;

fn main() -> Result<(), Box<dyn Error>> {
    let log = env::temp_dir().join(format!("burstlet-bench-{}.log", std::process::id()));
    let told = compare(&log);
    fs::remove_file(&log)?;
    told
}

fn compare(log: &Path) -> Result<(), Box<dyn Error>> {
    let lines = write_log(log)?;
    let megabytes = Duration::from_micros(fs::metadata(log)?.len()).as_secs_f64();
    println!("{megabytes:.0} MB, {lines} lines; the best of {ROUNDS} rounds each");
    let read = best(|| {
        let rows = read(log)?;
        if rows == lines { Ok(()) } else { Err(format!("{rows} of {lines} lines were read").into()) }
    })?;
    let counted = best(|| {
        let output = Command::new("wc").arg("-l").arg(log).output()?;
        if output.status.success() { Ok(()) } else { Err("wc failed".into()) }
    })?;
    println!("access log {:>7.0} MB/s", megabytes / read.as_secs_f64());
    println!("wc -l      {:>7.0} MB/s", megabytes / counted.as_secs_f64());
    println!("ratio      {:>7.2}", counted.as_secs_f64() / read.as_secs_f64());
    Ok(())
}

/// Rows of the log, read in pieces as `burstlet record` does.
fn read(log: &Path) -> Result<u64, Box<dyn Error>> {
    let (mut log, mut piece) = (File::open(log)?, vec![0; 256 * 1024]);
    let mut importer = Importer::new(Settings::default());
    loop {
        match log.read(&mut piece)? {
            0 => return Ok(importer.finish()?.report.rows),
            length => importer.push(&piece[..length])?,
        }
    }
}

fn best(mut work: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        work()?;
        best = best.min(begun.elapsed());
    }
    Ok(best)
}

/// Lines as a server writes them; paths and agents of the usual lengths.
fn write_log(path: &Path) -> Result<u64, Box<dyn Error>> {
    let mut log = BufWriter::new(File::create(path)?);
    let (mut written, mut lines) = (0, 0);
    while written < SIZE {
        let moment = in_utc(Timestamp::from_millis(1_760_000_000_000 + lines / A_SECOND * 1000));
        let (date, clock) = (&moment[..10], &moment[11..19]);
        let month = if &date[5..7] == "10" { "Oct" } else { "Nov" };
        let line = format!(
            "203.0.113.{} - - [{}/{month}/{}:{clock} +0000] \"GET /shop/item/{}?ref=list HTTP/1.1\" 200 {} \"https://shop.example/list\" \
             \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36\"\n",
            lines % 254,
            &date[8..],
            &date[..4],
            lines * 7919 % 100_000,
            500 + lines % 9000,
        );
        log.write_all(line.as_bytes())?;
        written += u64::try_from(line.len())?;
        lines += 1;
    }
    log.flush()?;
    Ok(lines)
}

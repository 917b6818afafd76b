//! Pieces of a study: run on all cores, kept in a file, never run twice.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use burstlet_engine::{
    simulator::{self, Setup, Source, hpa},
    traffic::Traffic,
};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::Figures;

/// One simulation.
#[derive(Debug, Clone)]
pub struct Piece {
    /// What it is, for people.
    pub label: String,
    /// All that it needs.
    pub setup: Setup,
}

impl Piece {
    /// Tells this piece from every other: a digest of all that goes into it.
    pub fn key(&self) -> String {
        // FNV-1a, 64 bits: a fault costs a study one figure, and needs four thousand million pieces to be likely.
        let digest = format!("{:?}", self.setup)
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        format!("{digest:016x}")
    }
}

/// Why pieces could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The API server would refuse the HPA.
    #[error("{label}: {source}")]
    Hpa {
        /// The piece.
        label: String,
        /// What is wrong.
        source: hpa::Invalid,
    },
    /// The results' file cannot be used.
    #[error("{file}: {source}")]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The results' file holds something else.
    #[error("{file}: line {line}: {source}; name a file that burstlet wrote, or a new one")]
    Line {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Somebody pressed Ctrl-C.
    #[error("interrupted after {done} of {all} pieces; {kept}")]
    Interrupted {
        /// Pieces that are done.
        done: usize,
        /// All pieces.
        all: usize,
        /// What became of them.
        kept: String,
    },
}

/// The figures of pieces that are done, and the file that keeps them.
#[derive(Debug, Default)]
pub struct Results {
    done: BTreeMap<String, Figures>,
    file: Option<(PathBuf, File)>,
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    piece: String,
    label: String,
    figures: Figures,
}

impl Results {
    /// Reads what the file holds, if it is there, and keeps what comes in it. A last line that was cut off is dropped.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let failed = |source| RunError::File { file: path.to_owned(), source };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut done = BTreeMap::new();
        for (line, text) in (1..).zip(text[..whole].lines()) {
            let read: Line =
                serde_json::from_str(text).map_err(|source| RunError::Line { file: path.to_owned(), line, source })?;
            done.insert(read.piece, read.figures);
        }
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        file.set_len(whole as u64).map_err(failed)?;
        Ok(Self { done, file: Some((path.to_owned(), file)) })
    }

    fn add(&mut self, piece: &Piece, figures: Figures) -> Result<(), RunError> {
        let key = piece.key();
        if let Some((path, file)) = &mut self.file {
            let line = Line { piece: key.clone(), label: piece.label.clone(), figures: figures.clone() };
            let written = serde_json::to_string(&line).map_err(io::Error::other);
            let written = written.and_then(|text| file.write_all(format!("{text}\n").as_bytes()));
            written.map_err(|source| RunError::File { file: path.clone(), source })?;
        }
        self.done.insert(key, figures);
        Ok(())
    }
}

/// Runs pieces.
pub struct Runner<'a> {
    results: Mutex<Results>,
    threads: NonZeroUsize,
    stop: &'a CancellationToken,
    /// Hears how many of how many pieces are done, and the last one's label.
    progress: &'a (dyn Fn(usize, usize, &str) + Sync),
}

impl<'a> Runner<'a> {
    /// A runner on so many threads.
    pub fn new(
        results: Results,
        threads: NonZeroUsize,
        stop: &'a CancellationToken,
        progress: &'a (dyn Fn(usize, usize, &str) + Sync),
    ) -> Self {
        Self { results: Mutex::new(results), threads, stop, progress }
    }

    /// The figures of these pieces, in their order. What is done already is not run again.
    pub fn run(&self, pieces: &[Piece]) -> Result<Vec<Figures>, RunError> {
        let missing: Vec<&Piece> = {
            let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
            pieces.iter().filter(|piece| !results.done.contains_key(&piece.key())).collect()
        };
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || -> Result<(), RunError> {
            while let Some(piece) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                if self.stop.is_cancelled() {
                    return Ok(());
                }
                let outcome = simulator::run(&piece.setup)
                    .map_err(|source| RunError::Hpa { label: piece.label.clone(), source })?;
                self.results.lock().unwrap_or_else(PoisonError::into_inner).add(piece, Figures::of(&outcome))?;
                (self.progress)(done.fetch_add(1, Ordering::Relaxed) + 1, missing.len(), &piece.label);
            }
            Ok(())
        };
        let threads = self.threads.get().min(missing.len());
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            // A panic in a simulation is a fault of burstlet's: it goes on up.
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        let figures: Option<Vec<_>> = pieces.iter().map(|piece| results.done.get(&piece.key()).cloned()).collect();
        figures.ok_or_else(|| RunError::Interrupted {
            done: done.load(Ordering::Relaxed),
            all: missing.len(),
            kept: match &results.file {
                Some((file, _)) => format!("{} keeps them: the same command goes on from there", file.display()),
                None => "name a file with --results, and the next time it goes on from there".to_owned(),
            },
        })
    }
}

/// The traffic of a setup in days of this length, as setups of their own; what is left over at the end is dropped, unless it
/// is all there is.
pub fn days(setup: &Setup, day: Duration) -> Vec<Setup> {
    let longest = setup.workloads.iter().map(|workload| workload.traffic.duration()).max().unwrap_or_default();
    let count = u32::try_from(longest.as_millis() / day.as_millis().max(1)).unwrap_or(u32::MAX);
    if count < 2 {
        return vec![setup.clone()];
    }
    let part = |index: u32| {
        let mut setup = setup.clone();
        // Windows and budgets go by the clock of that day.
        setup.starts_at = setup.starts_at.after(day * index);
        for workload in &mut setup.workloads {
            let cut = |traffic: &mut Traffic| *traffic = traffic.clone().part(day * index, day * (index + 1));
            cut(&mut workload.traffic);
            for source in workload.metrics.values_mut() {
                if let Source::Recorded(recorded) = source {
                    cut(recorded);
                }
            }
        }
        setup
    };
    (0..count).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn each_day_begins_when_it_does() {
        let setup = Scenario::open("shared-pool").unwrap().setup().unwrap();
        let parts = days(&setup, Duration::from_mins(20));
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[1].starts_at.since(setup.starts_at), Duration::from_mins(20));
        let rows = parts.iter().map(|part| part.workloads.iter().map(|workload| workload.traffic.duration()).max());
        assert_eq!(rows.collect::<Vec<_>>(), [Some(Duration::from_mins(20)); 2]);
    }
}

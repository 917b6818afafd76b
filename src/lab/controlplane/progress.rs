//! Tells the one who waits that a build goes on: a spinner on a terminal, else a line every 15 seconds.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

const LINE_EVERY: Duration = Duration::from_secs(15);

/// Progress on standard error. It is written to directly: the test harness swallows only what the print macros write.
pub(super) struct Progress {
    spinner: Option<ProgressBar>,
    started: Instant,
    expected: Duration,
    last_line: Option<Instant>,
}

impl Progress {
    pub(super) fn start(expected: Duration) -> Self {
        let spinner = io::stderr().is_terminal().then(ProgressBar::new_spinner);
        Self { spinner, started: Instant::now(), expected, last_line: None }
    }

    /// To be called several times a second while `what` goes on.
    pub(super) fn tick(&mut self, what: &str) {
        let text = line(what, self.started.elapsed(), self.expected);
        if let Some(spinner) = &self.spinner {
            spinner.set_message(text);
            spinner.tick();
        } else if self.last_line.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            self.last_line = Some(Instant::now());
            // Progress that nobody can read is no reason to fail.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

fn line(what: &str, elapsed: Duration, expected: Duration) -> String {
    let (elapsed, expected) = (elapsed.as_secs(), expected.as_secs());
    format!("{what}: {}:{:02} of about {} min", elapsed / 60, elapsed % 60, expected.div_ceil(60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_goes_on_and_how_long_it_takes() {
        let line = line("building", Duration::from_secs(75), Duration::from_secs(241));
        assert_eq!(line, "building: 1:15 of about 5 min");
    }
}

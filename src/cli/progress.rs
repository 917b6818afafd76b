//! Progress on a terminal, for commands that simulate a lot.

use std::{
    io::{IsTerminal, Write},
    sync::{Mutex, PoisonError},
};

/// Cells of the bar.
const CELLS: usize = 24;

/// A bar on standard error; nothing where that is no terminal.
#[derive(Debug)]
pub(super) struct Progress {
    is_shown: bool,
    /// Characters of the line that stands there.
    width: Mutex<usize>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_shown: std::io::stderr().is_terminal(), width: Mutex::new(0) }
    }

    /// Shows that so many of so many pieces are done.
    pub(super) fn show(&self, done: usize, all: usize, label: &str) {
        let cells = (done * CELLS).checked_div(all).unwrap_or(CELLS);
        self.write(&format!("{}{} {done}/{all} {label}", "━".repeat(cells), "╌".repeat(CELLS - cells)));
    }

    /// Takes the bar away.
    pub(super) fn clear(&self) {
        self.write("");
    }

    fn write(&self, line: &str) {
        if !self.is_shown {
            return;
        }
        let mut width = self.width.lock().unwrap_or_else(PoisonError::into_inner);
        let now = line.chars().count();
        let rest = " ".repeat(width.saturating_sub(now));
        *width = now;
        // A bar that cannot be drawn harms nothing.
        let _ = write!(std::io::stderr(), "\r{line}{rest}{}", if line.is_empty() { "\r" } else { "" });
    }
}

//! One component's process.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::lab::controlplane::ControlPlane;

use super::Component;

const POLL: Duration = Duration::from_millis(10);

/// A running component. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    // Holds the write end of the child's standard input: the child exits when the kernel closes it, however we end.
    child: Child,
}

impl Process {
    /// Starts a component in a process group of its own: Ctrl-C on the terminal reaches this process alone, which then stops
    /// its components in order.
    pub(super) fn start(
        plane: &ControlPlane,
        component: Component,
        arguments: &[String],
        log: &Path,
    ) -> io::Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let child = plane
            .command(component.program())
            .args(arguments)
            .env("BURSTLET_STOP_WITH_STDIN", "1")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        Ok(Self { child })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Takes all processor time from it, as a hang or a stalled machine would.
    pub(super) fn pause(&mut self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Ends a pause.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Asks it to end, also while it is paused.
    pub(super) fn ask_to_end(&mut self) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        self.signal(Signal::CONT)
    }

    /// Blocks until it has ended by itself or `deadline` has passed; then kills it.
    pub(super) fn await_end(&mut self, deadline: Instant) -> io::Result<()> {
        while self.ended()?.is_none() {
            if Instant::now() >= deadline {
                return self.kill();
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Its id is its own until the child is waited for, so a signal never reaches a stranger.
    fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if self.ended()?.is_none() {
            kill_process(Pid::from_child(&self.child), signal)?;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; there is nobody to tell of anything else.
        let _ = self.kill();
    }
}

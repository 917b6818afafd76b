//! Conversations with a container: logs, and what `exec`, `attach` and `port-forward` connect.

use std::{fmt, io, pin::Pin};

use bytes::Bytes;
use futures::stream::BoxStream;
use k8s_openapi::jiff::Timestamp;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

/// Which part of a container's log is wanted, as `kubectl logs` asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogOptions {
    /// Goes on with what is written from now on, until the container ends.
    pub follow: bool,
    /// The log of the run before the last restart.
    pub previous: bool,
    /// Each line begins with its moment in RFC 3339.
    pub timestamps: bool,
    /// Only lines written at this moment or later.
    pub since: Option<Timestamp>,
    /// Only the last so many lines of what is there.
    pub tail_lines: Option<u64>,
    /// Ends after so many bytes.
    pub limit_bytes: Option<u64>,
}

/// A log, in pieces as they come.
pub type LogStream = BoxStream<'static, io::Result<Bytes>>;

/// Both directions of one connection.
pub type Duplex = Pin<Box<dyn Connection>>;

/// What can be read and written.
pub trait Connection: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Connection for T {}

/// Size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// The standard streams of a command: those that are there are connected. Dropping one closes it for the other side.
pub struct Streams {
    /// What the command reads; its end is the command's end of input.
    pub stdin: Option<Pin<Box<dyn AsyncRead + Send>>>,
    /// Where its standard output goes.
    pub stdout: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// Where its standard error goes; absent with a terminal, which has only one way out.
    pub stderr: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// Whether the command gets a terminal.
    pub tty: bool,
    /// The terminal's size, the latest one only; `None` until the first.
    pub resize: Option<watch::Receiver<Option<TerminalSize>>>,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stdin, stdout, stderr, tty, .. } = self;
        let there = (stdin.is_some(), stdout.is_some(), stderr.is_some());
        f.debug_struct("Streams").field("in_out_err", &there).field("tty", tty).finish_non_exhaustive()
    }
}

/// A command to run in a container.
#[derive(Debug)]
pub struct Exec {
    /// The container's name.
    pub container: String,
    /// The program, and its arguments.
    pub command: Vec<String>,
    /// What it reads and writes.
    pub streams: Streams,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus {
    /// Its exit code; 128 and the signal's number where a signal ended it.
    pub code: i32,
}

impl ExitStatus {
    /// It ended well.
    pub const SUCCESS: Self = Self { code: 0 };
}

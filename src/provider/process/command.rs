//! Programs on this host: started in a group of their own, with pipes or a terminal, and waited for.

use std::{
    convert::Infallible,
    io,
    os::unix::process::ExitStatusExt,
    pin::pin,
    process::{ExitStatus as Ended, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    process::{Child, ChildStdin},
    sync::watch,
    time::timeout,
};

use super::{
    plan::ContainerPlan,
    system::{Group, KillOnDrop},
};
use crate::provider::{ExitStatus, Streams, TerminalSize};

/// How long the rest of the output may take when the program has ended.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a client may take to tell its terminal's size before the program begins without.
const FIRST_SIZE: Duration = Duration::from_millis(300);

/// Bytes read at a time.
const PIECE: usize = 32 * 1024;

/// Where a program reads.
pub(super) enum Input {
    Pipe(ChildStdin),
    Terminal(pty_process::OwnedWritePty),
}

/// Ctrl-D: a terminal's end of input.
const END_OF_INPUT: &[u8] = &[4];

impl Input {
    async fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        match self {
            Self::Pipe(pipe) => pipe.write_all(data).await,
            Self::Terminal(terminal) => terminal.write_all(data).await,
        }
    }

    fn resize(&self, size: TerminalSize) {
        if let Self::Terminal(terminal) = self {
            // A program that has ended has no terminal left to resize.
            let _ = terminal.resize(pty_process::Size::new(size.height, size.width));
        }
    }
}

/// What a program writes.
pub(super) type Output = Box<dyn AsyncRead + Send + Unpin>;

/// A program that runs. Dropping it ends its whole group.
pub(super) struct Running {
    child: Child,
    group: KillOnDrop,
    pub(super) input: Option<Input>,
    pub(super) stdout: Option<Output>,
    /// With a terminal there is none.
    pub(super) stderr: Option<Output>,
}

/// Whether a program gets a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Terminal {
    None,
    /// Of a size, if that is known.
    Of(Option<TerminalSize>),
}

/// Starts `command` as the container's: on a terminal or with pipes.
pub(super) fn start(plan: &ContainerPlan, command: &[String], stdin: bool, terminal: Terminal) -> io::Result<Running> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    match terminal {
        Terminal::Of(size) => on_a_terminal(plan, program, arguments, size),
        Terminal::None => on_pipes(plan, program, arguments, stdin),
    }
}

fn on_pipes(plan: &ContainerPlan, program: &str, arguments: &[String], stdin: bool) -> io::Result<Running> {
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(&plan.environment)
        .current_dir(&plan.work)
        .stdin(if stdin { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let group = KillOnDrop(Group::led_by(child.id()).ok_or(io::ErrorKind::NotFound)?);
    Ok(Running {
        group,
        input: child.stdin.take().map(Input::Pipe),
        stdout: child.stdout.take().map(|pipe| Box::new(pipe) as _),
        stderr: child.stderr.take().map(|pipe| Box::new(pipe) as _),
        child,
    })
}

fn on_a_terminal(
    plan: &ContainerPlan,
    program: &str,
    arguments: &[String],
    size: Option<TerminalSize>,
) -> io::Result<Running> {
    let (terminal, slave) = pty_process::open().map_err(io::Error::other)?;
    if let Some(size) = size {
        terminal.resize(pty_process::Size::new(size.height, size.width)).map_err(io::Error::other)?;
    }
    let child = pty_process::Command::new(program)
        .args(arguments)
        .env_clear()
        .env("TERM", "xterm")
        .envs(&plan.environment)
        .current_dir(&plan.work)
        .kill_on_drop(true)
        .spawn(slave)
        .map_err(|error| match error {
            pty_process::Error::Io(error) => error,
            error => io::Error::other(error),
        })?;
    // The first process of a session leads its group, too.
    let group = KillOnDrop(Group::led_by(child.id()).ok_or(io::ErrorKind::NotFound)?);
    let (output, input) = terminal.into_split();
    let (input, stdout) = (Some(Input::Terminal(input)), Some(Box::new(output) as _));
    Ok(Running { child, group, input, stdout, stderr: None })
}

impl Running {
    pub(super) fn group(&self) -> Group {
        self.group.0
    }

    /// Waits for the program's end, and then ends what it left behind in its group.
    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let ended = self.child.wait().await?;
        self.group.0.kill();
        Ok(exit_status(ended))
    }
}

fn exit_status(ended: Ended) -> ExitStatus {
    ExitStatus { code: ended.code().or_else(|| Some(128 + ended.signal()?)).unwrap_or(255) }
}

/// Copies what a program writes until it ends. A terminal whose program has ended answers with an error: that is its end.
pub(super) async fn copy_output(
    from: &mut (impl AsyncRead + Unpin + ?Sized),
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        to.write_all(&piece[..length]).await?;
    }
    to.shutdown().await
}

/// Feeds a program's input, and its terminal's size, for as long as there is any. Where `ends` says so, the end of
/// `stdin` is the end of the program's input.
pub(super) async fn feed(
    input: &mut Option<Input>,
    mut stdin: Option<impl AsyncRead + Unpin>,
    mut sizes: Option<watch::Receiver<Option<TerminalSize>>>,
    ends: bool,
) {
    let mut piece = vec![0; PIECE];
    while stdin.is_some() || sizes.is_some() {
        let Some(open) = input.as_mut() else { return };
        tokio::select! {
            size = next_size(&mut sizes) => match size {
                Some(size) => open.resize(size),
                None => sizes = None,
            },
            read = read_some(stdin.as_mut(), &mut piece) => {
                if let Ok(length @ 1..) = read {
                    if open.write_all(&piece[..length]).await.is_err() {
                        return;
                    }
                } else {
                    stdin = None;
                    match open {
                        Input::Pipe(_) if ends => *input = None,
                        Input::Terminal(terminal) if ends => drop(terminal.write_all(END_OF_INPUT).await),
                        Input::Pipe(_) | Input::Terminal(_) => {}
                    }
                }
            },
        }
    }
}

async fn read_some(from: Option<&mut (impl AsyncRead + Unpin)>, piece: &mut [u8]) -> io::Result<usize> {
    match from {
        Some(from) => from.read(piece).await,
        None => std::future::pending().await,
    }
}

/// The next size that a terminal is given; `None` when there will be no other.
async fn next_size(sizes: &mut Option<watch::Receiver<Option<TerminalSize>>>) -> Option<TerminalSize> {
    let Some(sizes) = sizes else { return std::future::pending().await };
    loop {
        sizes.changed().await.ok()?;
        if let Some(size) = *sizes.borrow_and_update() {
            return Some(size);
        }
    }
}

/// Runs `command` in the container, connected to `streams`, to its end.
pub(super) async fn run(plan: &ContainerPlan, command: &[String], streams: Streams) -> io::Result<ExitStatus> {
    let Streams { stdin, stdout, stderr, tty, mut resize } = streams;
    let size = if tty { timeout(FIRST_SIZE, next_size(&mut resize)).await.ok().flatten() } else { None };
    let mut running = start(plan, command, stdin.is_some(), if tty { Terminal::Of(size) } else { Terminal::None })?;
    let mut input = running.input.take();
    let feeding = async {
        feed(&mut input, stdin, resize, true).await;
        std::future::pending::<Infallible>().await
    };
    let (out, err) = (running.stdout.take(), running.stderr.take());
    let draining = async { tokio::join!(drain(out, stdout), drain(err, stderr)) };
    let (mut feeding, mut draining) = (pin!(feeding), pin!(draining));
    let mut is_drained = false;
    let ended = loop {
        tokio::select! {
            ended = running.wait() => break ended?,
            never = &mut feeding => match never {},
            // It has closed its output, and may go on all the same.
            _ = &mut draining, if !is_drained => is_drained = true,
        }
    };
    if !is_drained {
        let _ = timeout(DRAIN, draining).await;
    }
    Ok(ended)
}

async fn drain(from: Option<Output>, to: Option<impl AsyncWrite + Unpin>) -> io::Result<()> {
    match (from, to) {
        (Some(mut from), Some(to)) => copy_output(&mut from, to).await,
        (Some(mut from), None) => copy_output(&mut from, tokio::io::sink()).await,
        (None, _) => Ok(()),
    }
}

//! One container: its runs, one after the other, and what is known of it meanwhile.

use std::{
    collections::HashMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt;
use k8s_openapi::jiff::Timestamp;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    sync::{Mutex as AsyncMutex, mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    Settings,
    command::{self, Input, Output, Running, Terminal, feed},
    log::{Lines, Log},
    plan::{ContainerPlan, Hook, Restart},
    probe,
    system::{Group, Used},
};
use crate::provider::{
    ContainerEnd, ContainerReport, ContainerState, ExitStatus, LogOptions, LogStream, ProviderError, Streams,
};

/// How long the rest of the output may take when the container has ended.
const DRAIN: Duration = Duration::from_secs(2);

/// A run of this length starts the back-off anew.
const LONG_RUN: Duration = Duration::from_mins(10);

/// Longest last words.
const LONGEST_MESSAGE: u64 = 4096;

/// Lines of the log that serve as last words.
const LAST_LINES: u64 = 80;

/// Pieces of output that wait for someone attached.
const QUEUE: usize = 16;

/// When a pod must have stopped; `None` while it may run.
pub(super) type Stopping = watch::Receiver<Option<Instant>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Stdout,
    Stderr,
}

type Listener = mpsc::Sender<(Channel, Bytes)>;

/// A container, for as long as its pod is here.
pub(super) struct Container {
    pub(super) plan: ContainerPlan,
    facts: Mutex<Facts>,
    listeners: Mutex<Vec<Listener>>,
    input: AsyncMutex<Option<Input>>,
    /// Told whenever the report differs.
    changed: watch::Sender<u64>,
}

struct Facts {
    report: ContainerReport,
    log: Option<Log>,
    previous: Option<Log>,
    group: Option<Group>,
    /// CPU of the runs that have ended.
    used_before: Duration,
    used: Used,
}

impl Container {
    pub(super) fn new(plan: ContainerPlan, changed: watch::Sender<u64>) -> Self {
        let state = ContainerState::Waiting { reason: "PodInitializing".to_owned(), message: None };
        let report = ContainerReport {
            name: plan.name.clone(),
            state,
            last: None,
            is_ready: false,
            has_started: false,
            restarts: 0,
        };
        let (used_before, used) = (Duration::ZERO, Used::default());
        let facts = Facts { report, log: None, previous: None, group: None, used_before, used };
        Self { plan, facts: Mutex::new(facts), listeners: Mutex::default(), input: AsyncMutex::default(), changed }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn report(&self) -> ContainerReport {
        self.facts().report.clone()
    }

    /// Changes the report, and tells.
    pub(super) fn update(&self, change: impl FnOnce(&mut ContainerReport)) {
        self.alter(|facts| change(&mut facts.report));
    }

    /// Changes what is known, and tells where the report differs.
    fn alter(&self, change: impl FnOnce(&mut Facts)) {
        let differs = {
            let mut facts = self.facts();
            let before = facts.report.clone();
            change(&mut facts);
            facts.report != before
        };
        if differs {
            self.changed.send_modify(|changes| *changes = changes.wrapping_add(1));
        }
    }

    /// What it has used so far, by what each group uses now; CPU never goes back.
    pub(super) fn used(&self, by_group: &HashMap<Group, Used>) -> Used {
        let mut facts = self.facts();
        if let Some(now) = facts.group.and_then(|group| by_group.get(&group)) {
            facts.used = Used { cpu: facts.used.cpu.max(now.cpu), memory: now.memory };
        }
        Used { cpu: facts.used_before + facts.used.cpu, memory: facts.used.memory }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.facts().report.state, ContainerState::Running { .. })
    }

    /// Runs it, and again where it is restarted, until it has ended for good or its pod stops.
    pub(super) async fn run(&self, settings: &Settings, mut stopping: Stopping) -> ContainerEnd {
        let mut pause = settings.first_back_off;
        loop {
            let begun = Instant::now();
            let end = self.run_once(settings, &mut stopping).await;
            let again = match self.plan.restart {
                Restart::Always => true,
                Restart::OnFailure => end.exit_code != 0,
                Restart::Never => false,
            };
            if !again || stopping.borrow().is_some() {
                let is_done = end.exit_code == 0;
                self.update(|report| (report.state, report.is_ready) = (ContainerState::Ended(end.clone()), is_done));
                return end;
            }
            if begun.elapsed() > LONG_RUN {
                pause = settings.first_back_off;
            }
            self.update(|report| {
                let message = format!("back-off {pause:?} restarting failed container");
                report.state =
                    ContainerState::Waiting { reason: "CrashLoopBackOff".to_owned(), message: Some(message) };
                report.last = Some(end.clone());
            });
            tokio::select! {
                () = sleep(pause) => {}
                _ = stopping.wait_for(Option::is_some) => {
                    self.update(|report| report.state = ContainerState::Ended(end.clone()));
                    return end;
                }
            }
            pause = (pause * 2).min(settings.most_back_off);
        }
    }

    async fn run_once(&self, settings: &Settings, stopping: &mut Stopping) -> ContainerEnd {
        let started = Timestamp::now();
        let log = self.next_run(settings).await;
        let failed = |error: &io::Error| ContainerEnd {
            // What container runtimes answer where a program cannot be started.
            exit_code: if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 },
            reason: "StartError".to_owned(),
            message: Some(format!("unable to start {:?}: {error}", self.plan.command.first().map_or("", |p| p))),
            started,
            finished: Timestamp::now(),
        };
        let terminal = if self.plan.tty { Terminal::Of(None) } else { Terminal::None };
        let mut running = match command::start(&self.plan, &self.plan.command, self.plan.stdin, terminal) {
            Ok(running) => running,
            Err(error) => return failed(&error),
        };
        self.facts().group = Some(running.group());
        *self.input.lock().await = running.input.take();
        let outputs = [(Channel::Stdout, running.stdout.take()), (Channel::Stderr, running.stderr.take())];
        let readers = outputs.into_iter().filter_map(|(channel, output)| Some((channel, output?)));
        let pumping = futures::future::join_all(readers.map(|(channel, output)| self.pump(channel, output, &log)));
        self.update(|report| {
            let is_started = self.plan.startup.is_none();
            report.state = ContainerState::Running { since: started };
            report.has_started = is_started;
            report.is_ready = is_started && self.plan.readiness.is_none();
        });
        let ended = {
            let mut pumping = std::pin::pin!(pumping);
            let ending = self.until_end(&mut running, stopping);
            let mut ending = std::pin::pin!(ending);
            let mut is_pumped = false;
            let ended = loop {
                tokio::select! {
                    ended = &mut ending => break ended,
                    _ = &mut pumping, if !is_pumped => is_pumped = true,
                }
            };
            if !is_pumped {
                let _ = timeout(DRAIN, pumping).await;
            }
            ended
        };
        self.end_run(&log).await;
        match ended {
            Ok(status) => self.end_of(status, started, &log).await,
            Err(error) => failed(&error),
        }
    }

    /// Waits for the program's end, which the pod's end or a failing probe brings about.
    async fn until_end(&self, running: &mut Running, stopping: &mut Stopping) -> io::Result<ExitStatus> {
        let group = running.group();
        let ended = tokio::select! {
            ended = running.wait() => return ended,
            _ = stopping.wait_for(Option::is_some) => None,
            () = probe::until_dead(self) => Some(Instant::now() + self.plan.grace),
            () = self.until_start_fails() => Some(Instant::now() + self.plan.grace),
        };
        if let Some(hook) = &self.plan.pre_stop {
            tokio::select! {
                _ = self.done(hook) => {}
                ended = running.wait() => return ended,
                () = until_deadline(stopping, ended) => {}
            }
        }
        group.terminate();
        tokio::select! {
            ended = running.wait() => return ended,
            () = until_deadline(stopping, ended) => group.kill(),
        }
        running.wait().await
    }

    /// Does what is to be done at the start; ends only where that fails.
    async fn until_start_fails(&self) {
        if let Some(hook) = &self.plan.post_start
            && !self.done(hook).await
        {
            return;
        }
        std::future::pending::<()>().await;
    }

    /// Whether it could be done.
    async fn done(&self, hook: &Hook) -> bool {
        match hook {
            Hook::Act(act) => probe::passes(self, act).await,
            Hook::Sleep(time) => {
                sleep(*time).await;
                true
            }
        }
    }

    /// Counts the next run and gives it a log, in one step: whoever sees the count finds the log of the run before.
    /// Older logs go.
    async fn next_run(&self, settings: &Settings) -> Log {
        let run = {
            let facts = self.facts();
            facts.report.restarts + u32::from(facts.log.is_some())
        };
        let path = |run: u32| self.plan.logs.join(format!("{run}.log"));
        let log = Log::create(path(run), settings.log_limit).await;
        self.alter(|facts| {
            facts.report.restarts = run;
            facts.previous = facts.log.replace(log.clone());
        });
        if let Some(old) = run.checked_sub(2) {
            let _ = tokio::fs::remove_file(path(old)).await;
            let _ = tokio::fs::remove_file(path(old).with_added_extension("1")).await;
        }
        log
    }

    /// Takes what the program writes to the log and to those who are attached.
    async fn pump(&self, channel: Channel, mut output: Output, log: &Log) {
        let mut lines = Lines::of(if channel == Channel::Stdout { "stdout" } else { "stderr" });
        let mut piece = vec![0; 8 * 1024];
        while let Ok(length @ 1..) = output.read(&mut piece).await {
            let data = &piece[..length];
            if let Err(error) = log.write(&mut lines, data, Timestamp::now()).await {
                tracing::warn!(container = %self.plan.name, %error, "log not written");
            }
            let listeners = self.listeners().clone();
            for listener in listeners {
                // One that has left is forgotten below.
                let _ = listener.send((channel, Bytes::copy_from_slice(data))).await;
            }
            self.listeners().retain(|listener| !listener.is_closed());
        }
        let _ = log.finish(&mut lines, Timestamp::now()).await;
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn end_run(&self, log: &Log) {
        log.end();
        self.listeners().clear();
        *self.input.lock().await = None;
        let mut facts = self.facts();
        facts.group = None;
        let used = std::mem::take(&mut facts.used);
        facts.used_before += used.cpu;
    }

    async fn end_of(&self, ExitStatus { code }: ExitStatus, started: Timestamp, log: &Log) -> ContainerEnd {
        let mut message = read_short(&self.plan.termination_message).await;
        if message.is_none() && code != 0 && self.plan.falls_back_to_logs {
            let options = LogOptions { tail_lines: Some(LAST_LINES), limit_bytes: Some(2048), ..LogOptions::default() };
            let pieces: Vec<Bytes> = log.read(options).filter_map(|piece| async { piece.ok() }).collect().await;
            message = Some(String::from_utf8_lossy(&pieces.concat()).into_owned()).filter(|text| !text.is_empty());
        }
        let _ = tokio::fs::remove_file(&self.plan.termination_message).await;
        let reason = if code == 0 { "Completed" } else { "Error" }.to_owned();
        ContainerEnd { exit_code: code, reason, message, started, finished: Timestamp::now() }
    }

    /// A part of its log.
    pub(super) fn logs(&self, options: &LogOptions) -> Result<LogStream, ProviderError> {
        let facts = self.facts();
        let log = if options.previous { facts.previous.as_ref() } else { facts.log.as_ref() };
        let missing = || {
            let which = if options.previous { "run before this one" } else { "run" };
            ProviderError::NotFound(format!("container {} has had no {which}", self.plan.name))
        };
        Ok(log.ok_or_else(missing)?.read(*options))
    }

    /// Runs a command beside the program.
    pub(super) async fn exec(&self, command: &[String], streams: Streams) -> Result<ExitStatus, ProviderError> {
        self.must_run()?;
        let program = command.first().map_or("", String::as_str);
        let failed = |error: io::Error| ProviderError::Invalid(format!("unable to run {program:?}: {error}"));
        command::run(&self.plan, command, streams).await.map_err(failed)
    }

    fn must_run(&self) -> Result<(), ProviderError> {
        let stopped = || ProviderError::NotFound(format!("container {} does not run", self.plan.name));
        if self.is_running() { Ok(()) } else { Err(stopped()) }
    }

    /// Joins the program's streams until it ends.
    pub(super) async fn attach(&self, streams: Streams) -> Result<ExitStatus, ProviderError> {
        self.must_run()?;
        let Streams { stdin, mut stdout, mut stderr, resize, .. } = streams;
        let (sender, mut outputs) = mpsc::channel(QUEUE);
        self.listeners().push(sender);
        let feeding = async {
            if stdin.is_some() || resize.is_some() {
                self.feed(stdin, resize).await;
            }
            std::future::pending::<()>().await;
        };
        let listening = async {
            while let Some((channel, data)) = outputs.recv().await {
                let to = if channel == Channel::Stdout { &mut stdout } else { &mut stderr };
                if let Some(to) = to {
                    if to.write_all(&data).await.is_err() {
                        return;
                    }
                    let _ = to.flush().await;
                }
            }
        };
        tokio::select! {
            () = feeding => {}
            () = listening => {}
        }
        Ok(ExitStatus::SUCCESS)
    }

    /// Feeds the program's own input; where it is fed only once, the end of this is the end of that.
    async fn feed(
        &self,
        stdin: Option<impl AsyncRead + Unpin>,
        resize: Option<watch::Receiver<Option<crate::provider::TerminalSize>>>,
    ) {
        let mut input = self.input.lock().await;
        feed(&mut input, stdin, resize, self.plan.stdin_once).await;
    }
}

/// Waits until the pod must have stopped, or `other`, whichever is first. A shorter grace holds as soon as it is known.
async fn until_deadline(stopping: &mut Stopping, other: Option<Instant>) {
    loop {
        let asked = *stopping.borrow_and_update();
        let deadline = [asked, other].into_iter().flatten().min().unwrap_or_else(Instant::now);
        tokio::select! {
            () = sleep_until(deadline) => return,
            Ok(()) = stopping.changed() => {}
        }
    }
}

async fn read_short(path: &std::path::Path) -> Option<String> {
    let file = tokio::fs::File::open(path).await.ok()?;
    let mut text = Vec::new();
    file.take(LONGEST_MESSAGE).read_to_end(&mut text).await.ok()?;
    Some(String::from_utf8_lossy(&text).into_owned()).filter(|text| !text.is_empty())
}

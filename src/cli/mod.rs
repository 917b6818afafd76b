//! The command line: one file a subcommand.

mod cluster;
mod compare;
mod completion;
mod crd;
#[cfg(feature = "lab")]
mod demo;
mod doctor;
#[cfg(feature = "lab")]
mod emulate;
mod explain;
#[cfg(feature = "lab")]
mod fidelity;
mod hpa;
mod observe;
mod output;
mod policy;
mod pool;
mod progress;
mod record;
mod release;
mod replay;
mod routes;
mod run;
mod status;
mod tune;
mod vnode;
mod workload;

use std::{io::Write, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use cluster::ClusterArgs;

/// Keeps a base of each workload on real nodes and bursts the rest to serverless clouds.
#[derive(Debug, Parser)]
#[command(name = "burstlet", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run burstlet's components against a cluster
    Run(run::RunArgs),
    /// Tell why a pod is where it is, or why a workload's pods wait
    Explain(workload::AskedArgs),
    /// Show all workloads, budgets and pools
    Status(status::StatusArgs),
    /// Tell whether burstlet is installed right, and what in the cluster keeps pods from bursting
    ///
    /// Changes nothing. Exits with 1 where something is broken.
    Doctor(doctor::DoctorArgs),
    /// Show what workloads in mode Observe would have burst, and its cost
    Observe(observe::ObserveArgs),
    /// Import, check and show policies
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Work on pools
    Pool(pool::PoolArgs),
    /// Make, list and delete virtual nodes: those that ECI manages itself, as vnodectl does, and the pools'
    Vnode(vnode::VnodeArgs),
    /// Plan, apply and check the VPC's routes from instances to the cluster's own pods
    Routes(routes::RoutesArgs),
    /// Print the definitions of BurstPolicy and VirtualPool, for `kubectl apply --filename -`
    Crd,
    /// Print the script by which a shell completes burstlet's arguments
    ///
    /// For example: source <(burstlet completion bash)
    Completion(completion::CompletionArgs),
    /// Take the gates off all pods that wait behind one
    ///
    /// For when burstlet does not run and pods shall not wait for it. With --uninstall, everything of burstlet's goes:
    /// while its controller still runs, burst pods are evicted within disruption budgets, and their instances end.
    Release(release::ReleaseArgs),
    /// Simulate a scenario: what its policy would have delivered and cost
    ///
    /// The same scenario and seed give the same output on every machine.
    Replay(replay::ReplayArgs),
    /// Simulate several policies on one traffic, side by side
    ///
    /// Each sizes the real nodes as one would who follows it: for the HPA's maximum, by a node autoscaler, none, or for
    /// the base.
    Compare(compare::CompareArgs),
    /// Find the cheapest base that meets objectives, on real nodes that just hold it
    ///
    /// Ctrl-C keeps what is done where --results names a file.
    Tune(tune::TuneArgs),
    /// Make recorded traffic of access logs, tables, answers of Prometheus
    Record(Box<record::RecordArgs>),
    /// Tell what an HPA does, sync by sync, over pods and metrics that a file lists; JSON in and out
    ///
    /// Exits with 3 where the API server would refuse the HPA.
    Hpa(hpa::HpaArgs),
    /// See a burst on a real control plane of your own, under recorded traffic
    ///
    /// Ctrl-C ends it early: amid the traffic with the summary of what was played and exit code 0, before it with 1.
    /// Whatever was made is removed either way.
    #[cfg(feature = "lab")]
    Demo(demo::DemoArgs),
    /// Answer like a cloud, on this machine and for free
    #[cfg(feature = "lab")]
    Emulate(emulate::EmulateArgs),
}

impl Cli {
    /// Parses the arguments. As `kubectl-burstlet` it is a plugin of kubectl's, and its help says so.
    fn from_command_line() -> Self {
        let own_name = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
        let is_plugin = own_name.file_stem().is_some_and(|name| name == "kubectl-burstlet");
        let command = if is_plugin { Self::command().bin_name("kubectl burstlet") } else { Self::command() };
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }
}

/// Parses the arguments, runs the command, and prints an error as one line, and what to do next where that is known.
pub fn main() -> ExitCode {
    let cli = Cli::from_command_line();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("burstlet: unable to start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Run(args) => Box::pin(run::run(args, stop_on_signal()?)).await?,
            Command::Explain(args) => explain::explain(args).await?,
            Command::Status(args) => status::status(args).await?,
            Command::Observe(args) => observe::observe(args).await?,
            Command::Policy(command) => policy::policy(command).await?,
            Command::Pool(args) => pool::pool(args)?,
            Command::Vnode(args) => Box::pin(vnode::vnode(args)).await?,
            Command::Routes(args) => return Box::pin(routes::routes(args)).await,
            Command::Crd => crd::crd()?,
            Command::Completion(args) => completion::completion(&args, Cli::command())?,
            Command::Doctor(args) => {
                return Ok(if doctor::doctor(args).await? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            Command::Release(args) => release::release(args).await?,
            Command::Replay(args) => Box::pin(replay::replay(args)).await?,
            Command::Compare(args) => compare::compare(&args, &stop_on_signal()?)?,
            Command::Tune(args) => tune::tune(&args, &stop_on_signal()?)?,
            Command::Record(args) => Box::pin(record::record(*args, stop_on_signal()?)).await?,
            Command::Hpa(args) => return hpa::hpa(&args),
            #[cfg(feature = "lab")]
            Command::Demo(args) => Box::pin(demo::demo(args, stop_on_signal()?)).await?,
            #[cfg(feature = "lab")]
            Command::Emulate(args) => Box::pin(emulate::emulate(args, stop_on_signal()?)).await?,
        }
        Ok(ExitCode::SUCCESS)
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("burstlet: {}", one_line(&error));
            if let Some(next) = cluster::next_step(&error) {
                eprintln!("  {next}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Prints a text; a reader that went away is no error.
fn printed(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("unable to print"),
    }
}

/// The error and its causes in one line; a cause that the text before it tells already is not repeated.
fn one_line(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        let cause = cause.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        if told.is_empty() {
            told = cause;
        } else if !told.contains(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

/// A token that the first Ctrl-C or SIGTERM cancels.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};

    let stop = CancellationToken::new();
    let mut interrupted = signal(SignalKind::interrupt()).context("unable to listen for signals")?;
    let mut terminated = signal(SignalKind::terminate()).context("unable to listen for signals")?;
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
        token.cancel();
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of shell blocks that begin with `burstlet`, up to a pipe, a redirection or a comment.
    fn commands(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for block in text.split("```sh").skip(1).filter_map(|rest| rest.split("```").next()) {
            let lines = block.lines().map(str::trim).filter(|line| line.starts_with("burstlet "));
            found.extend(lines.map(|line| line.split(['|', '>', '#']).next().unwrap_or_default().trim().to_owned()));
        }
        found
    }

    #[test]
    fn commands_in_the_documentation_are_ones_that_the_command_line_takes() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let pages = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
        let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
        let mut count = 0;
        for page in pages.chain([root.join("README.md")]) {
            for command in commands(&std::fs::read_to_string(&page).unwrap()) {
                let words = command.split_whitespace().map(|word| word.trim_matches('\''));
                let told = Cli::command().try_get_matches_from(words).err().map(|error| error.to_string());
                assert_eq!(told, None, "{}: {command}", page.display());
                count += 1;
            }
        }
        assert!(count > 10, "{count}");
    }

    /// Commands that talk to a cluster and lack one of kubectl's flags, and why.
    const OTHERWISE: [(&str, &str, &str); 8] = [
        ("run", "namespace", "it serves the whole cluster"),
        ("run", "output", "it answers by --log-format"),
        ("demo", "namespace", "it makes one of its own"),
        ("demo", "output", "--json prints a line a sample"),
        ("replay", "namespace", "what it plays on a cluster has one of its own"),
        ("replay", "output", "--json and --report"),
        ("record", "output", "names the file that it writes"),
        ("vnode config set-context", "context", "it writes vnodectl's contexts, each with a kubeconfig"),
    ];

    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, clap::Command)>) {
        let mut inner = command.get_subcommands().peekable();
        if inner.peek().is_none() {
            found.push((path.to_owned(), command.clone()));
        }
        for sub in inner {
            let path = if path.is_empty() { sub.get_name().to_owned() } else { format!("{path} {}", sub.get_name()) };
            leaves(sub, &path, found);
        }
    }

    #[test]
    fn every_command_that_talks_to_a_cluster_takes_kubectls_flags() {
        let mut all = Vec::new();
        leaves(&Cli::command(), "", &mut all);
        let mut count = 0;
        for (path, command) in all {
            let find = |name: &str| command.get_arguments().find(|arg| arg.get_long() == Some(name)).cloned();
            if find("kubeconfig").is_none() {
                continue;
            }
            count += 1;
            for (flag, short) in [("context", None), ("namespace", Some('n')), ("output", Some('o'))] {
                let is_otherwise = OTHERWISE.iter().any(|(of, lacks, _)| *of == path && *lacks == flag)
                    || OTHERWISE.iter().any(|(of, lacks, _)| *of == path && *lacks == "context");
                let has = find(flag).is_some_and(|arg| short.is_none() || arg.get_short() == short);
                assert!(has || is_otherwise, "burstlet {path} has no --{flag} as kubectl has it");
            }
        }
        assert!(count >= 8, "{count}");
    }

    #[test]
    fn an_error_is_one_line_and_no_cause_is_told_twice() {
        let inner = anyhow::anyhow!("address in use\n  (os error 98)");
        let error = inner.context("unable to listen: address in use (os error 98)").context("unable to run");
        assert_eq!(one_line(&error), "unable to run: unable to listen: address in use (os error 98)");
    }
}

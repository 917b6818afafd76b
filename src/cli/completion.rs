//! `burstlet completion`.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use crate::cli::printed;

#[derive(Debug, Args)]
pub(super) struct CompletionArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn completion(args: &CompletionArgs, mut command: Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    generate(args.shell, &mut command, "burstlet", &mut script);
    printed(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn each_shells_script_knows_every_subcommand() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            generate(shell, &mut Cli::command(), "burstlet", &mut script);
            let script = String::from_utf8(script).unwrap();
            for name in Cli::command().get_subcommands().map(|sub| sub.get_name().to_owned()) {
                assert!(script.contains(&name), "{shell} does not complete {name}");
            }
        }
    }
}

//! How answers are printed: tables for people, JSON and YAML for programs.

use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use serde::Serialize;

/// Form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Table,
    /// For people, with more columns where there are more.
    Wide,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
}

/// Where and how.
#[derive(Debug, Clone, Args)]
pub(super) struct OutputArgs {
    /// Form of the answer
    #[arg(long, short, value_enum, default_value_t, value_name = "FORM")]
    output: Format,
}

impl OutputArgs {
    /// Whether more columns are asked for.
    pub(super) fn is_wide(&self) -> bool {
        self.output == Format::Wide
    }

    /// Prints `answer`, as a table by `table`.
    pub(super) fn print<T: Serialize>(&self, answer: &T, table: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        match self.output {
            Format::Table | Format::Wide => println!("{}", table(answer).trim_end()),
            Format::Json => println!("{}", serde_json::to_string_pretty(answer)?),
            Format::Yaml => print!("{}", serde_saphyr::to_string(answer)?),
        }
        Ok(())
    }
}

/// A table without lines, as kubectl's are.
pub(super) fn table<R: IntoIterator<Item = String>>(header: &[&str], rows: impl IntoIterator<Item = R>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    for row in rows {
        table.add_row(row.into_iter().collect::<Vec<_>>());
    }
    table.trim_fmt() + "\n"
}

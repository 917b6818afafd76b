//! What the query strings of `containerLogs`, `exec` and `attach` ask for.

use std::borrow::Cow;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::provider::LogOptions;

/// Longest command of an `exec`, in words and in bytes: the system takes no longer ones.
const MAX_WORDS: usize = 4096;

/// What an `exec` or `attach` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent wishes, as the wire has them")]
pub struct Wishes {
    /// The command and its arguments; empty for `attach`.
    pub command: Vec<String>,
    /// The caller sends standard input.
    pub stdin: bool,
    /// The caller takes standard output.
    pub stdout: bool,
    /// The caller takes standard error; with a terminal it has none.
    pub stderr: bool,
    /// The command gets a terminal.
    pub tty: bool,
}

/// Why a query is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A value is no number, boolean or moment.
    #[error("{name}={value:?} is not understood; it takes {takes}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What it was given.
        value: String,
        /// What it takes.
        takes: &'static str,
    },
    /// Both ways to say since when.
    #[error("sinceTime and sinceSeconds are given; give one of them")]
    SinceTwice,
    /// No stream is asked for.
    #[error("give at least one of stdin, stdout and stderr")]
    NoStream,
    /// Nothing to run.
    #[error("exec takes a command")]
    NoCommand,
    /// Too much to run.
    #[error("the command has more than {MAX_WORDS} words")]
    LongCommand,
}

/// Pairs of a query, decoded; what is no UTF-8 is replaced.
fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, String)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name).into(), decoded(value))
    })
}

/// Undoes `%20` and `+`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let (byte, length) = match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => (u8::try_from(high * 16 + low).unwrap_or(b'%'), 3),
            (b'+', ..) => (b' ', 1),
            _ => (first, 1),
        };
        bytes.push(byte);
        rest = rest.get(length..).unwrap_or_default();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn truth(name: &'static str, value: &str) -> Result<bool, QueryError> {
    match value {
        "" | "0" | "false" => Ok(false),
        "1" | "true" => Ok(true),
        _ => Err(QueryError::Value { name, value: value.to_owned(), takes: "true or false" }),
    }
}

fn number(name: &'static str, value: &str) -> Result<u64, QueryError> {
    value.parse().map_err(|_| QueryError::Value { name, value: value.to_owned(), takes: "a whole number, 0 or more" })
}

/// Reads the query of an `exec` or, where `takes_command` is false, of an `attach`.
pub fn wishes(query: &str, takes_command: bool) -> Result<Wishes, QueryError> {
    let mut wishes = Wishes::default();
    for (name, value) in pairs(query) {
        match &*name {
            "command" if wishes.command.len() >= MAX_WORDS => return Err(QueryError::LongCommand),
            "command" if takes_command => wishes.command.push(value),
            "input" | "stdin" => wishes.stdin = truth("input", &value)?,
            "output" | "stdout" => wishes.stdout = truth("output", &value)?,
            "error" | "stderr" => wishes.stderr = truth("error", &value)?,
            "tty" => wishes.tty = truth("tty", &value)?,
            // Unknown ones are another version's.
            _ => {}
        }
    }
    // A terminal has one way out.
    wishes.stderr &= !wishes.tty;
    if takes_command && wishes.command.is_empty() {
        return Err(QueryError::NoCommand);
    }
    if !(wishes.stdin || wishes.stdout || wishes.stderr) {
        return Err(QueryError::NoStream);
    }
    Ok(wishes)
}

/// Reads the query of a `containerLogs`, as of `now`.
pub fn log_options(query: &str, now: Timestamp) -> Result<LogOptions, QueryError> {
    let mut options = LogOptions::default();
    let mut ago = None;
    for (name, value) in pairs(query) {
        match &*name {
            "follow" => options.follow = truth("follow", &value)?,
            "previous" => options.previous = truth("previous", &value)?,
            "timestamps" => options.timestamps = truth("timestamps", &value)?,
            // Older clients say "all" by a negative number.
            "tailLines" if value.starts_with('-') => options.tail_lines = None,
            "tailLines" => options.tail_lines = Some(number("tailLines", &value)?),
            "limitBytes" => options.limit_bytes = Some(number("limitBytes", &value)?),
            "sinceSeconds" => ago = Some(number("sinceSeconds", &value)?),
            "sinceTime" => {
                let moment = value.parse::<Timestamp>();
                let takes = "a moment in RFC 3339, such as 2026-01-31T12:00:00Z";
                options.since =
                    Some(moment.map_err(|_| QueryError::Value { name: "sinceTime", value: value.clone(), takes })?);
            }
            _ => {}
        }
    }
    if let Some(ago) = ago {
        if options.since.is_some() {
            return Err(QueryError::SinceTwice);
        }
        let ago = SignedDuration::from_secs(i64::try_from(ago).unwrap_or(i64::MAX));
        options.since = Some(now.saturating_sub(ago).unwrap_or(Timestamp::MIN));
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Timestamp {
        "2026-02-03T04:05:06Z".parse().unwrap()
    }

    #[test]
    fn an_exec_says_its_command_word_by_word_and_its_streams() {
        let query = "command=sh&command=-c&command=echo+%22a%26b%22+%C3%BC&input=1&output=1&error=1";
        let command = vec!["sh".to_owned(), "-c".to_owned(), "echo \"a&b\" ü".to_owned()];
        let expected = Wishes { command, stdin: true, stdout: true, stderr: true, tty: false };
        assert_eq!(wishes(query, true), Ok(expected));
    }

    #[test]
    fn a_terminal_has_no_standard_error_of_its_own() {
        let read = wishes("stdin=true&stdout=true&stderr=true&tty=true", false).unwrap();
        assert!(read.tty && read.stdin && read.stdout && !read.stderr);
    }

    #[test]
    fn an_exec_without_command_or_streams_is_refused() {
        assert_eq!(wishes("output=1", true), Err(QueryError::NoCommand));
        assert_eq!(wishes("command=ls", true), Err(QueryError::NoStream));
        assert_eq!(wishes("output=1", false).unwrap().command, [""; 0]);
        assert_eq!(wishes(&"command=a&".repeat(5000), true), Err(QueryError::LongCommand));
        assert!(wishes("command=ls&output=yes", true).unwrap_err().to_string().contains("true or false"));
    }

    #[test]
    fn logs_are_asked_for_in_every_way_that_kubectl_has() {
        let query = "follow=true&previous=true&timestamps=true&tailLines=5&limitBytes=100&sinceSeconds=60";
        let expected = LogOptions {
            follow: true,
            previous: true,
            timestamps: true,
            since: Some("2026-02-03T04:04:06Z".parse().unwrap()),
            tail_lines: Some(5),
            limit_bytes: Some(100),
        };
        assert_eq!(log_options(query, now()), Ok(expected));
        let since = log_options("sinceTime=2026-02-03T05%3A00%3A00%2B01%3A00", now()).unwrap().since;
        assert_eq!(since, Some("2026-02-03T04:00:00Z".parse().unwrap()));
        assert_eq!(log_options("tailLines=-1&follow=", now()), Ok(LogOptions::default()));
        assert_eq!(log_options("sinceSeconds=18446744073709551615", now()).unwrap().since, Some(Timestamp::MIN));
    }

    #[test]
    fn what_is_not_understood_is_said() {
        assert!(log_options("tailLines=many", now()).unwrap_err().to_string().starts_with("tailLines=\"many\""));
        assert!(log_options("sinceTime=today", now()).is_err());
        let twice = log_options("sinceTime=2026-02-03T04:00:00Z&sinceSeconds=1", now());
        assert_eq!(twice, Err(QueryError::SinceTwice));
    }

    proptest! {
        #[test]
        fn no_query_makes_it_panic(query in "[ -~]{0,200}") {
            let _ = (wishes(&query, true), log_options(&query, now()));
        }

        #[test]
        fn whatever_a_client_encodes_comes_back(word in ".{0,40}") {
            let encoded = word.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
            let read = wishes(&format!("output=1&command={encoded}"), true).unwrap();
            prop_assert_eq!(&read.command, &[word]);
        }
    }
}

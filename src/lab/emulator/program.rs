//! What a command does, as far as an emulator can know: when it ends, with which code, and what it prints.

use std::time::Duration;

/// A line that a command prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// When, after its start.
    pub(super) after: Duration,
    pub(super) text: String,
    /// To standard error.
    pub(super) is_error: bool,
}

/// A command's course.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Program {
    /// When and how it ends by itself; services never do.
    pub(super) end: Option<(Duration, i32)>,
    /// What it prints, in order.
    pub(super) output: Vec<Line>,
}

impl Program {
    /// Understands `sleep N`, `true`, `false`, `echo …` (to standard error with `>&2`), `exit N`, and a shell's `-c` with
    /// those joined by `;` or `&&`. Everything else runs for ever and prints nothing.
    pub(super) fn of(command: &[String], args: &[String]) -> Self {
        let words = command.iter().chain(args).map(String::as_str).collect::<Vec<_>>();
        match words.as_slice() {
            [shell, "-c", script, ..] if is_shell(shell) => Self::script(script),
            words => Self::script(&words.join(" ")),
        }
    }

    /// A command that somebody runs in a container: as above, but what is not understood prints its words and ends.
    pub(super) fn executed(command: &[String]) -> Self {
        let known = Self::of(command, &[]);
        if known.end.is_some() {
            return known;
        }
        let after = known.output.last().map(|line| line.after).unwrap_or_default();
        let line = Line { after, text: command.join(" "), is_error: false };
        Self { end: Some((after, 0)), output: [known.output, vec![line]].concat() }
    }

    fn script(script: &str) -> Self {
        let mut elapsed = Duration::ZERO;
        let mut output = Vec::new();
        let mut code = None;
        for step in script.replace("&&", ";").split(';').map(str::trim).filter(|step| !step.is_empty()) {
            let (name, rest) = step.split_once(' ').unwrap_or((step, ""));
            match (name.rsplit('/').next().unwrap_or(name), rest.trim()) {
                ("sleep", seconds) => match seconds.parse::<f64>() {
                    Ok(seconds) if (0.0..1e9).contains(&seconds) => {
                        elapsed += Duration::from_secs_f64(seconds);
                        code = Some(0);
                    }
                    _ => return Self { end: None, output },
                },
                ("true" | ":", _) => code = Some(0),
                ("false", _) => code = Some(1),
                ("exit", number) => return Self { end: Some((elapsed, number.parse().unwrap_or(0))), output },
                ("echo", text) => {
                    let (text, is_error) = text.strip_suffix(">&2").map_or((text, false), |text| (text, true));
                    let text = text.trim().trim_matches(['"', '\'']).to_owned();
                    output.push(Line { after: elapsed, text, is_error });
                    code = Some(0);
                }
                _ => return Self { end: None, output },
            }
        }
        Self { end: code.map(|code| (elapsed, code)), output }
    }
}

fn is_shell(program: &str) -> bool {
    program.rsplit('/').next().is_some_and(|name| name.ends_with("sh"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn small_commands_end_as_they_would() {
        let ends =
            |command: &[&str]| Program::of(&words(command), &[]).end.map(|(after, code)| (after.as_millis(), code));
        assert_eq!(ends(&["sleep", "2"]), Some((2000, 0)));
        assert_eq!(ends(&["/bin/sh", "-c", "echo hi; sleep 0.5 && exit 3"]), Some((500, 3)));
        assert_eq!(ends(&["false"]), Some((0, 1)));
        assert_eq!(ends(&["nginx", "-g", "daemon off;"]), None);
        assert_eq!(ends(&[]), None);
    }

    #[test]
    fn lines_are_printed_at_their_time_and_to_their_stream() {
        let told = Program::of(&words(&["sh", "-c", "echo \"hi\" && sleep 1; echo bad >&2"]), &[]).output;
        let told =
            told.iter().map(|line| (line.after.as_secs(), line.text.as_str(), line.is_error)).collect::<Vec<_>>();
        assert_eq!(told, [(0, "hi", false), (1, "bad", true)]);
    }

    #[test]
    fn what_is_executed_and_not_understood_prints_its_words() {
        let ls = Program::executed(&words(&["ls", "-l"]));
        assert_eq!((ls.end, ls.output[0].text.as_str()), (Some((Duration::ZERO, 0)), "ls -l"));
        assert_eq!(Program::executed(&words(&["sh", "-c", "exit 4"])).end, Some((Duration::ZERO, 4)));
        assert_eq!(Program::executed(&words(&["sh", "-c", "ls"])).output[0].text, "sh -c ls");
    }
}

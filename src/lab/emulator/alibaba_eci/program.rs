//! What a container's command does, as far as an emulator can know: when it ends, with which code, and what it prints.

use std::time::Duration;

/// A command's course.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Program {
    /// When and how it ends by itself; services never do.
    pub(super) end: Option<(Duration, i32)>,
    /// Lines that it prints at its start.
    pub(super) output: Vec<String>,
}

impl Program {
    /// Understands `sleep N`, `true`, `false`, `echo …`, `exit N`, and a shell's `-c` with those joined by `;` or `&&`.
    /// Everything else runs for ever and prints nothing.
    pub(super) fn of(command: &[String], args: &[String]) -> Self {
        let words = command.iter().chain(args).map(String::as_str).collect::<Vec<_>>();
        match words.as_slice() {
            [shell, "-c", script, ..] if shell.rsplit('/').next().is_some_and(|name| name.ends_with("sh")) => {
                Self::script(script)
            }
            words => Self::script(&words.join(" ")),
        }
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
                    output.push(text.trim_matches(['"', '\'']).to_owned());
                    code = Some(0);
                }
                _ => return Self { end: None, output },
            }
        }
        Self { end: code.map(|code| (elapsed, code)), output }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(words: &[&str]) -> Program {
        Program::of(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), &[])
    }

    #[test]
    fn small_commands_end_as_they_would() {
        let ends = |words: &[&str]| program(words).end.map(|(after, code)| (after.as_millis(), code));
        assert_eq!(ends(&["sleep", "2"]), Some((2000, 0)));
        assert_eq!(ends(&["/bin/sh", "-c", "echo hi; sleep 0.5 && exit 3"]), Some((500, 3)));
        assert_eq!(ends(&["false"]), Some((0, 1)));
        assert_eq!(ends(&["nginx", "-g", "daemon off;"]), None);
        assert_eq!(ends(&[]), None);
        assert_eq!(program(&["sh", "-c", "echo \"hi\" && sleep 1"]).output, ["hi"]);
    }
}

//! Colours for a terminal.

use std::ffi::OsStr;

/// Whether output is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Characters alone.
    Plain,
    /// With ANSI colours.
    Colour,
}

/// Colours that the table uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    Green,
    Blue,
    Magenta,
    Cyan,
    Dim,
}

impl Paint {
    /// Colours on a terminal, unless the `NO_COLOR` variable is set and not empty (<https://no-color.org>).
    pub fn choose(is_terminal: bool, no_color: Option<&OsStr>) -> Self {
        if is_terminal && no_color.is_none_or(OsStr::is_empty) { Self::Colour } else { Self::Plain }
    }

    pub(super) fn apply(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Green => 32,
            Ink::Blue => 34,
            Ink::Magenta => 35,
            Ink::Cyan => 36,
            Ink::Dim => 2,
        };
        match self {
            Self::Colour if !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_need_a_terminal_and_no_objection() {
        let set = Some(OsStr::new("1"));
        assert_eq!(Paint::choose(true, None), Paint::Colour);
        assert_eq!(Paint::choose(true, Some(OsStr::new(""))), Paint::Colour);
        assert_eq!(Paint::choose(true, set), Paint::Plain);
        assert_eq!(Paint::choose(false, None), Paint::Plain);
    }
}

//! The Go toolchain: is there one, and is it new enough?

use std::fmt;
use std::io;
use std::process::Command;

use super::ControlPlaneError;

/// A Go release, such as `1.26.4`. A release without a patch number counts as patch 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoVersion {
    major: u32,
    minor: u32,
    patch: u32,
}

impl GoVersion {
    /// Reads `1.26`, `1.26.4` and pre-releases such as `1.27rc1`, which count as their release.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).map_or(part, |end| &part[..end]);
            digits.parse().ok()
        });
        let major = numbers.next()??;
        let minor = numbers.next()??;
        let patch = numbers.next().unwrap_or(Some(0))?;
        Some(Self { major, minor, patch })
    }

    /// Reads what `go version` prints: `go version go1.26.4 linux/amd64`.
    fn parse_output(text: &str) -> Option<Self> {
        Self::parse(text.split_whitespace().nth(2)?.strip_prefix("go")?)
    }
}

impl fmt::Display for GoVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Refuses a missing or old `go` with what to install.
pub(super) fn check(needed: GoVersion) -> Result<(), ControlPlaneError> {
    let output = match Command::new("go").arg("version").env("GOTOOLCHAIN", "local").output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ControlPlaneError::NoGo { needed }),
        Err(error) => return Err(ControlPlaneError::UnknownGo { needed, said: error.to_string() }),
    };
    judge(&String::from_utf8_lossy(&output.stdout), needed)
}

fn judge(said: &str, needed: GoVersion) -> Result<(), ControlPlaneError> {
    match GoVersion::parse_output(said) {
        Some(found) if found >= needed => Ok(()),
        Some(found) => Err(ControlPlaneError::OldGo { needed, found }),
        None => Err(ControlPlaneError::UnknownGo { needed, said: said.trim().to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> GoVersion {
        GoVersion::parse(text).unwrap()
    }

    #[test]
    fn releases_are_ordered_by_their_numbers_not_their_text() {
        assert!(version("1.9") < version("1.26"));
        assert!(version("1.26") < version("1.26.4"));
        assert!(version("1.26.4") < version("1.27rc1"));
    }

    #[test]
    fn what_go_prints_is_read() {
        assert_eq!(GoVersion::parse_output("go version go1.26.8 linux/amd64\n"), Some(version("1.26.8")));
        assert_eq!(GoVersion::parse_output("go version devel +abc"), None);
        assert_eq!(GoVersion::parse_output(""), None);
    }

    #[test]
    fn an_old_go_is_refused_with_both_versions() {
        let error = judge("go version go1.25.3 linux/amd64", version("1.26.4")).unwrap_err().to_string();
        assert!(error.contains("1.25.3") && error.contains("1.26.4"), "{error}");
    }

    #[test]
    fn the_asked_for_go_and_a_later_one_are_taken() {
        assert!(judge("go version go1.26.4 linux/amd64", version("1.26.4")).is_ok());
        assert!(judge("go version go1.27 darwin/arm64", version("1.26.4")).is_ok());
    }
}

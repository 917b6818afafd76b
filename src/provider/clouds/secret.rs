//! Texts that nobody may see.

use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

/// A secret. Neither `Debug` nor any other way of printing shows it, and it cannot be serialised.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes the text, without white space around it: files and Secrets often end with a line feed.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The text, to sign or send with.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_stars_wherever_it_is_printed() {
        #[derive(Debug)]
        struct Holder {
            key: Option<Secret>,
        }
        let holder = Holder { key: Some(Secret::new("hunter2\n")) };
        assert_eq!(format!("{holder:?}"), "Holder { key: Some(***) }");
        assert_eq!(holder.key.unwrap().reveal(), "hunter2");
    }
}

//! The documents of a manifest file, read with the lines of what is wrong.

use k8s_openapi::Resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::Value;

use super::ManifestError;

/// What every object begins with.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    pub(super) api_version: String,
    pub(super) kind: String,
}

/// An object of one of burstlet's kinds: all that counts is its spec.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Custom<S> {
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    pub(super) metadata: ObjectMeta,
    pub(super) spec: S,
    #[serde(default, rename = "status")]
    _status: IgnoredAny,
}

/// One document of a file.
pub(super) struct Document<'a> {
    pub(super) file: &'a str,
    /// Line at which it begins.
    pub(super) line: usize,
    /// Its text below as many empty lines as the file has before it, so that errors name the file's lines.
    text: String,
}

impl Document<'_> {
    /// Where it begins.
    pub(super) fn at(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }

    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ManifestError> {
        serde_saphyr::from_str(&self.text)
            .map_err(|error| ManifestError::Yaml { file: self.file.to_owned(), error: Box::new(error) })
    }

    /// The document as an object that holds all of its fields.
    pub(super) fn object<T: DeserializeOwned + Serialize + Resource>(&self) -> Result<T, ManifestError> {
        let object = self.parse::<T>()?;
        let kept = serde_json::to_value(&object).unwrap_or_default();
        match lost_field("", &self.parse()?, &kept) {
            None => Ok(object),
            Some(field) => {
                Err(ManifestError::UnknownField { file: self.file.to_owned(), kind: T::KIND, line: self.line, field })
            }
        }
    }
}

/// The documents of a file that hold more than comments. A line that begins with `---` ends a document anywhere in
/// YAML, so lines suffice to tell them apart.
pub(super) fn documents<'a>(file: &'a str, text: &str) -> Vec<Document<'a>> {
    let mut texts = vec![String::new()];
    for (number, line) in (1..).zip(text.lines()) {
        let rest = line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        match (rest, texts.last_mut()) {
            (None, Some(text)) => text.extend([line, "\n"]),
            // Lines before it stay, empty, so that a parser counts as the file does.
            (rest, _) => texts.push(format!("{}   {}\n", "\n".repeat(number - 1), rest.unwrap_or_default())),
        }
    }
    let holds = |line: &str| !matches!(line.trim().chars().next(), None | Some('#'));
    let begun = texts.into_iter().filter_map(|text| Some((text.lines().position(holds)? + 1, text)));
    begun.map(|(line, text)| Document { file, line, text }).collect()
}

/// Path of the first field of `written` that `kept` no longer has. Fields without a value do not count.
fn lost_field(path: &str, written: &Value, kept: &Value) -> Option<String> {
    match (written, kept) {
        (Value::Object(written), Value::Object(kept)) => {
            written.iter().filter(|(_, value)| !value.is_null()).find_map(|(name, value)| {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match kept.get(name) {
                    Some(kept) => lost_field(&path, value, kept),
                    None => Some(path),
                }
            })
        }
        (Value::Array(written), Value::Array(kept)) => (0..)
            .zip(written.iter().zip(kept))
            .find_map(|(index, (written, kept))| lost_field(&format!("{path}[{index}]"), written, kept)),
        _ => None,
    }
}

//! Flat parameters (`Container.1.Port.2.Protocol`) as the structure that they spell.

use std::{collections::BTreeMap, str::FromStr};

use super::error::ApiError;
use crate::provider::clouds::alibaba_eci::signing::Parameters;

/// A parameter with those below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tree {
    value: Option<String>,
    below: BTreeMap<Key, Tree>,
    /// Its full name, for refusals.
    name: String,
}

/// Numbers sort as numbers, and before names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Index(u32),
    Name(String),
}

impl Key {
    fn of(part: &str) -> Self {
        part.parse().map_or_else(|_| Self::Name(part.to_owned()), Self::Index)
    }
}

impl Tree {
    pub(super) fn new(parameters: &Parameters) -> Self {
        let mut root = Self::default();
        for (name, value) in parameters {
            let mut at = &mut root;
            let mut path = String::new();
            for part in name.split('.') {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(part);
                at = at.below.entry(Key::of(part)).or_default();
                at.name.clone_from(&path);
            }
            at.value = Some(value.clone());
        }
        root
    }

    /// The parameters that it was made of.
    pub(super) fn flat(&self) -> BTreeMap<String, String> {
        let mut flat = BTreeMap::new();
        let mut left = vec![self];
        while let Some(at) = left.pop() {
            flat.extend(at.value.iter().map(|value| (at.name.clone(), value.clone())));
            left.extend(at.below.values());
        }
        flat
    }

    fn child(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |at, part| at.below.get(&Key::of(part)))
    }

    fn full(&self, path: &str) -> String {
        if self.name.is_empty() { path.to_owned() } else { format!("{}.{path}", self.name) }
    }

    /// Whether anything is given below `path`.
    pub(super) fn has(&self, path: &str) -> bool {
        self.child(path).is_some()
    }

    /// A text; an empty one counts as missing.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.child(path)?.value.as_deref().filter(|value| !value.is_empty())
    }

    /// A text that must be given.
    pub(super) fn needed(&self, path: &str) -> Result<&str, ApiError> {
        self.text(path).ok_or_else(|| ApiError::missing(&self.full(path)))
    }

    /// A number, `2.0` also where a whole one is wanted.
    pub(super) fn number<T: FromStr>(&self, path: &str) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(path) else { return Ok(None) };
        let parsed = text.parse().or_else(|error| text.strip_suffix(".0").unwrap_or("").parse().map_err(|_| error));
        parsed
            .map(Some)
            .map_err(|_| ApiError::parameter(&self.full(path), &format!("{text:?} is no number of this kind.")))
    }

    /// A truth, as any SDK writes it.
    pub(super) fn truth(&self, path: &str) -> Result<bool, ApiError> {
        match self.text(path) {
            None => Ok(false),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(ApiError::parameter(&self.full(path), &format!("{text:?} is neither true nor false."))),
        }
    }

    /// The members of a list, by their numbers.
    pub(super) fn list(&self, path: &str) -> Vec<&Self> {
        let members = self.child(path).into_iter().flat_map(|list| &list.below);
        members.filter(|(key, _)| matches!(key, Key::Index(_))).map(|(_, member)| member).collect()
    }

    /// A list of texts.
    pub(super) fn texts(&self, path: &str) -> Vec<String> {
        self.list(path).into_iter().filter_map(|member| member.value.clone()).collect()
    }

    /// `Tag.N.Key` and `Tag.N.Value`.
    pub(super) fn tags(&self) -> Result<BTreeMap<String, String>, ApiError> {
        let tags = self.list("Tag").into_iter();
        tags.map(|tag| Ok((tag.needed("Key")?.to_owned(), tag.text("Value").unwrap_or_default().to_owned()))).collect()
    }

    /// A JSON array of texts, such as `ContainerGroupIds` has; at most `most`.
    pub(super) fn json_list(&self, path: &str, most: usize) -> Result<Option<Vec<String>>, ApiError> {
        let Some(text) = self.text(path) else { return Ok(None) };
        let ids: Vec<String> = serde_json::from_str(text)
            .map_err(|_| ApiError::parameter(&self.full(path), "it is no JSON array of texts."))?;
        if ids.len() > most {
            return Err(ApiError::parameter(&self.full(path), &format!("at most {most} are taken in one call.")));
        }
        Ok(Some(ids))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(pairs: &[(&str, &str)]) -> Tree {
        Tree::new(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn lists_come_in_the_order_of_their_numbers() {
        let tree = tree(&[("C.10.Name", "j"), ("C.2.Name", "b"), ("C.2.Arg.1", "x"), ("C.1.Name", "a")]);
        let names = tree.list("C").into_iter().map(|c| c.needed("Name").unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(names, ["a", "b", "j"]);
        assert_eq!(tree.list("C")[1].texts("Arg"), ["x"]);
        assert_eq!(tree.flat().into_iter().next().unwrap(), ("C.1.Name".to_owned(), "a".to_owned()));
        assert_eq!(tree.flat().len(), 4);
        assert_eq!(tree.list("C")[1].needed("Image").unwrap_err().code, "MissingC.2.Image");
    }

    #[test]
    fn pythons_spellings_are_understood() {
        let tree = tree(&[("A", "True"), ("B", "2.0"), ("C", "no"), ("Ids", "[\"a\",\"b\"]")]);
        assert_eq!(tree.truth("A"), Ok(true));
        assert_eq!(tree.number::<u32>("B"), Ok(Some(2)));
        assert!(tree.truth("C").is_err() && tree.number::<u32>("C").is_err());
        assert_eq!(tree.json_list("Ids", 2).unwrap().unwrap(), ["a", "b"]);
        assert!(tree.json_list("Ids", 1).is_err());
    }
}

//! Parameters of Kingsoft's API: a flat form whose names spell lists and objects.

use std::collections::BTreeMap;

use axum::{body::Bytes, http::request::Parts};

/// A request's parameters, or those below a prefix.
#[derive(Debug, Clone, Default)]
pub(super) struct Params(BTreeMap<String, String>);

impl Params {
    /// Of the body where it is a form, else of the query.
    pub(super) fn read(head: &Parts, body: &Bytes) -> Self {
        let query = head.uri.query().unwrap_or_default().as_bytes();
        let pairs = form_urlencoded::parse(query)
            .chain(form_urlencoded::parse(body))
            .map(|(name, value)| (name.into_owned(), value.into_owned()));
        Self(pairs.collect())
    }

    /// All of them, as they came.
    pub(super) fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// A value that is there and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Values of `name.N`, counted from 0 or 1.
    pub(super) fn list(&self, name: &str) -> Vec<&str> {
        let first = usize::from(!self.0.contains_key(&format!("{name}.0")));
        (first..).map_while(|at| self.get(&format!("{name}.{at}"))).collect()
    }

    /// Objects `name.N.…`, counted from 0 or 1.
    pub(super) fn objects(&self, name: &str) -> Vec<Params> {
        let at = |at: usize| self.below(&format!("{name}.{at}."));
        let first = usize::from(at(0).0.is_empty());
        let mut objects = Vec::new();
        loop {
            let object = at(first + objects.len());
            if object.0.is_empty() {
                return objects;
            }
            objects.push(object);
        }
    }

    fn below(&self, prefix: &str) -> Self {
        let below = self.0.range(prefix.to_owned()..).take_while(|(name, _)| name.starts_with(prefix));
        Self(below.map(|(name, value)| (name[prefix.len()..].to_owned(), value.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(text: &str) -> Params {
        Params(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    #[test]
    fn lists_count_from_zero_or_from_one() {
        assert_eq!(params("S.0=a&S.1=b").list("S"), ["a", "b"]);
        assert_eq!(params("S.1=a&S.2=b").list("S"), ["a", "b"]);
        assert!(params("S=a").list("S").is_empty());
    }

    #[test]
    fn objects_keep_their_lists_and_order() {
        let text = (0..12).map(|at| format!("C.{at}.Name=n{at}&C.{at}.Command.0=sh")).collect::<Vec<_>>().join("&");
        let objects = params(&text).objects("C");
        assert_eq!(objects.len(), 12);
        assert_eq!((objects[11].get("Name"), objects[11].list("Command")), (Some("n11"), vec!["sh"]));
        assert_eq!(params("C.1.Name=a").objects("C").len(), 1);
    }
}

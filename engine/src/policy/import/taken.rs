//! A document whose fields are taken out one by one: what is left at the end is told as lost.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{ImportError, Lost};
use crate::policy::spec::Amount;

/// The fields that nobody has taken yet, and the path to them.
pub(super) struct Taken {
    path: String,
    left: Map<String, Value>,
}

impl Taken {
    pub(super) fn new(path: impl Into<String>, fields: Map<String, Value>) -> Self {
        Self { path: path.into(), left: fields }
    }

    /// Path of one of its fields.
    pub(super) fn at(&self, field: &str) -> String {
        format!("{}.{field}", self.path)
    }

    fn no<T>(&self, field: &str, value: &Value, what: &str) -> Result<T, ImportError> {
        Err(ImportError::Field { path: self.at(field), says: format!("{value} is no {what}") })
    }

    /// Takes a field, whatever it is. A null is a field left out.
    pub(super) fn take(&mut self, field: &str) -> Option<Value> {
        self.left.remove(field).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, field: &str) -> Result<Option<String>, ImportError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => self.no(field, &other, "text"),
        }
    }

    pub(super) fn truth(&mut self, field: &str) -> Result<Option<bool>, ImportError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(truth)),
            Some(other) => self.no(field, &other, "true or false"),
        }
    }

    pub(super) fn number(&mut self, field: &str) -> Result<Option<i64>, ImportError> {
        match self.take(field) {
            None => Ok(None),
            Some(value) => {
                value.as_i64().map_or_else(|| self.no(field, &value, "whole number"), |number| Ok(Some(number)))
            }
        }
    }

    /// A number, or a percentage.
    pub(super) fn amount(&mut self, field: &str) -> Result<Option<Amount>, ImportError> {
        match self.take(field) {
            None => Ok(None),
            Some(value) => match serde_json::from_value(value.clone()) {
                Ok(amount) => Ok(Some(amount)),
                Err(_) => self.no(field, &value, "number or percentage"),
            },
        }
    }

    pub(super) fn texts(&mut self, field: &str) -> Result<Vec<String>, ImportError> {
        match self.take(field) {
            None => Ok(Vec::new()),
            Some(value) => match serde_json::from_value(value.clone()) {
                Ok(texts) => Ok(texts),
                Err(_) => self.no(field, &value, "list of texts"),
            },
        }
    }

    /// Labels, annotations and the like.
    pub(super) fn labels(&mut self, field: &str) -> Result<BTreeMap<String, String>, ImportError> {
        match self.take(field) {
            None => Ok(BTreeMap::new()),
            Some(value) => match serde_json::from_value(value.clone()) {
                Ok(labels) => Ok(labels),
                Err(_) => self.no(field, &value, "map of texts"),
            },
        }
    }

    /// An object within; empty where it is left out. It must be finished, too.
    pub(super) fn object(&mut self, field: &str) -> Result<Self, ImportError> {
        match self.take(field) {
            None => Ok(Self::new(self.at(field), Map::new())),
            Some(Value::Object(fields)) => Ok(Self::new(self.at(field), fields)),
            Some(other) => self.no(field, &other, "object"),
        }
    }

    /// A list of objects within, each of which must be finished, too.
    pub(super) fn objects(&mut self, field: &str) -> Result<Vec<Self>, ImportError> {
        let list = match self.take(field) {
            None => Vec::new(),
            Some(Value::Array(list)) => list,
            Some(other) => return self.no(field, &other, "list"),
        };
        let each = list.into_iter().enumerate().map(|(index, value)| match value {
            Value::Object(fields) => Ok(Self::new(format!("{}[{index}]", self.at(field)), fields)),
            other => self.no(field, &other, "list of objects"),
        });
        each.collect()
    }

    /// Tells a field as lost, if it is there.
    pub(super) fn lose(&mut self, field: &str, lost: &mut Vec<Lost>, why: &str) {
        if self.take(field).is_some() {
            lost.push(Lost { path: self.at(field), why: why.to_owned() });
        }
    }

    /// Tells all that is left as lost.
    pub(super) fn finish(self, lost: &mut Vec<Lost>) {
        for (field, value) in self.left {
            leaves(&format!("{}.{field}", self.path), &value, lost);
        }
    }
}

fn leaves(path: &str, value: &Value, lost: &mut Vec<Lost>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            fields.iter().for_each(|(field, value)| leaves(&format!("{path}.{field}"), value, lost));
        }
        Value::Array(list) if list.iter().any(Value::is_object) => {
            list.iter().enumerate().for_each(|(index, value)| leaves(&format!("{path}[{index}]"), value, lost));
        }
        Value::Null => {}
        _ => lost.push(Lost { path: path.to_owned(), why: "burstlet has nothing that it stands for".to_owned() }),
    }
}

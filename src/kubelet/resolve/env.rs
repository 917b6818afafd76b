//! Variables of a container, made literal.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::core::v1::{Container, EnvFromSource, EnvVar, EnvVarSource},
};

use super::{ObjectKind, Source, Unresolved, fields};
use crate::provider::literal;

/// Values so far, in the order in which they came to be.
#[derive(Default)]
struct Values {
    order: Vec<String>,
    /// `None` for what only the instance knows, which stays a reference.
    values: BTreeMap<String, Value>,
}

enum Value {
    Text(String),
    /// The provider fills it in.
    Field(Box<EnvVarSource>),
}

impl Values {
    fn set(&mut self, name: &str, value: Value) {
        if self.values.insert(name.to_owned(), value).is_none() {
            self.order.push(name.to_owned());
        }
    }

    /// Puts values in the place of `$(NAME)`. Unknown names stay, as do those that only the instance knows. What is a dollar
    /// is answered as `$$`, so that expanding once more, by what only the instance knows, gives the value.
    fn expand(&self, text: &str) -> String {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            rest = after;
            if let Some(after) = after.strip_prefix('$') {
                expanded.push_str("$$");
                rest = after;
            } else if let Some((name, after)) = after.strip_prefix('(').and_then(|after| after.split_once(')')) {
                match self.values.get(name) {
                    Some(Value::Text(value)) => expanded.push_str(value),
                    Some(Value::Field(_)) | None => {
                        expanded.push_str("$(");
                        expanded.push_str(name);
                        expanded.push(')');
                    }
                }
                rest = after;
            } else {
                expanded.push_str("$$");
            }
        }
        expanded + rest
    }
}

impl Source<'_> {
    /// Makes a container's variables literal, `envFrom` first, which those named one by one overrule.
    pub(super) fn literal_env(&mut self, container: &mut Container) -> Result<(), Unresolved> {
        let sources = container.env_from.take().unwrap_or_default();
        if sources.is_empty() && !container.env.iter().flatten().any(|variable| variable.value_from.is_some()) {
            return Ok(());
        }
        let mut values = Values::default();
        for source in &sources {
            for (name, value) in self.all_of(source) {
                values.set(&name, Value::Text(literal(&value)));
            }
        }
        for variable in container.env.take().unwrap_or_default() {
            let value = match variable.value_from {
                None => Some(Value::Text(values.expand(variable.value.as_deref().unwrap_or_default()))),
                Some(from) => self.value_of(container, &variable.name, from)?,
            };
            if let Some(value) = value {
                values.set(&variable.name, value);
            }
        }
        let Values { order, mut values } = values;
        let variables = order.into_iter().filter_map(|name| {
            let (value, value_from) = match values.remove(&name)? {
                Value::Text(text) => (Some(text), None),
                Value::Field(from) => (None, Some(*from)),
            };
            Some(EnvVar { name, value, value_from })
        });
        container.env = Some(variables.collect());
        Ok(())
    }

    /// All keys of an object as variables.
    fn all_of(&mut self, source: &EnvFromSource) -> Vec<(String, String)> {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let mut all = Vec::new();
        if let Some(reference) = &source.config_map_ref {
            match self.objects.config_maps.get(&reference.name) {
                Some(map) => all.extend(map.data.iter().flatten().map(|(key, value)| (key.clone(), value.clone()))),
                None => self.lacks(ObjectKind::ConfigMap, &reference.name, None, reference.optional),
            }
        }
        if let Some(reference) = &source.secret_ref {
            match self.objects.secrets.get(&reference.name) {
                Some(secret) => all.extend(secret.data.iter().flatten().map(|(key, value)| (key.clone(), text(value)))),
                None => self.lacks(ObjectKind::Secret, &reference.name, None, reference.optional),
            }
        }
        all.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)).collect()
    }

    /// The value of one variable; `None` for one that has none.
    fn value_of(
        &mut self,
        container: &Container,
        variable: &str,
        from: EnvVarSource,
    ) -> Result<Option<Value>, Unresolved> {
        let at = || format!("container {}: env {variable}", container.name);
        if let Some(reference) = &from.config_map_key_ref {
            let map = self.objects.config_maps.get(&reference.name);
            let value = map.and_then(|map| map.data.as_ref()?.get(&reference.key));
            if value.is_none() {
                let key = map.is_some().then_some(reference.key.as_str());
                self.lacks(ObjectKind::ConfigMap, &reference.name, key, reference.optional);
            }
            return Ok(value.map(|value| Value::Text(literal(value))));
        }
        if let Some(reference) = &from.secret_key_ref {
            let secret = self.objects.secrets.get(&reference.name);
            let value = secret.and_then(|secret| secret.data.as_ref()?.get(&reference.key));
            if value.is_none() {
                let key = secret.is_some().then_some(reference.key.as_str());
                self.lacks(ObjectKind::Secret, &reference.name, key, reference.optional);
            }
            return Ok(value.map(|value| Value::Text(literal(&text(value)))));
        }
        if let Some(field) = &from.field_ref {
            if fields::is_instances_own(&field.field_path) {
                return Ok(Some(Value::Field(Box::new(from))));
            }
            let value = fields::field(self.pod, self.host, &field.field_path);
            return match value.map_err(|problem| Unresolved::Invalid { field: at(), problem })? {
                Some(value) => Ok(Some(Value::Text(literal(&value)))),
                None => Ok(None),
            };
        }
        if let Some(reference) = &from.resource_field_ref {
            let amount = fields::resource(self.pod, self.host, Some(&container.name), reference);
            let amount = amount.map_err(|problem| Unresolved::Invalid { field: at(), problem })?;
            return Ok(Some(Value::Text(amount)));
        }
        let problem = "its source is none that burstlet knows; use configMapKeyRef, secretKeyRef, fieldRef or \
                       resourceFieldRef"
            .to_owned();
        Err(Unresolved::Invalid { field: at(), problem })
    }
}

/// A Secret's value as a variable.
fn text(value: &ByteString) -> String {
    String::from_utf8_lossy(&value.0).into_owned()
}

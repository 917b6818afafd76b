//! BurstPolicy and VirtualPool as documents: read with the path of what is wrong.

use burstlet_engine::{
    model::ObjectName,
    policy::{Spec, fields::FieldFault},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::{names, policy, pool, pool::PoolSpec};

/// An object of one of burstlet's kinds.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// A BurstPolicy; without a namespace where the document has none.
    Policy(Option<String>, String, Box<Spec>),
    /// A VirtualPool.
    Pool(String, Box<PoolSpec>),
}

/// Why a document is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Of another kind.
    #[error(
        "{0} is neither BurstPolicy nor VirtualPool of {group}/{version}",
        group = names::GROUP,
        version = names::VERSION
    )]
    Kind(String),
    /// Without `metadata.name`.
    #[error("metadata.name: is missing")]
    Name,
    /// A field is not known, or of another type.
    #[error(transparent)]
    Field(FieldFault),
}

impl Document {
    /// Reads a document.
    pub fn read(document: &Value) -> Result<Self, DocumentError> {
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
        let kind = text("/kind").unwrap_or("a document without kind");
        if text("/apiVersion") != Some(&format!("{}/{}", names::GROUP, names::VERSION)) {
            return Err(DocumentError::Kind(format!("{kind} of {}", text("/apiVersion").unwrap_or("no apiVersion"))));
        }
        let name = text("/metadata/name").ok_or(DocumentError::Name)?.to_owned();
        match kind {
            policy::KIND => {
                let namespace = text("/metadata/namespace").map(str::to_owned);
                Ok(Self::Policy(namespace, name, Box::new(spec(document)?)))
            }
            pool::KIND => Ok(Self::Pool(name, Box::new(spec(document)?))),
            other => Err(DocumentError::Kind(other.to_owned())),
        }
    }

    /// Kind and name, for people.
    pub fn title(&self) -> String {
        match self {
            Self::Policy(Some(namespace), name, _) => format!("{} {}", policy::KIND, ObjectName::new(namespace, name)),
            Self::Policy(None, name, _) => format!("{} {name}", policy::KIND),
            Self::Pool(name, _) => format!("{} {name}", pool::KIND),
        }
    }
}

fn spec<T: DeserializeOwned>(document: &Value) -> Result<T, DocumentError> {
    let Some(spec) = document.get("spec") else {
        return Err(DocumentError::Field(FieldFault::new("spec", "is missing")));
    };
    serde_path_to_error::deserialize(spec).map_err(|error| {
        let path = match error.path().to_string().as_str() {
            "." => "spec".to_owned(),
            path => format!("spec.{path}"),
        };
        DocumentError::Field(FieldFault::new(path, error.into_inner().to_string()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(kind: &str, spec: &Value) -> String {
        let document =
            json!({"apiVersion": "burstlet.dev/v1alpha1", "kind": kind, "metadata": {"name": "a"}, "spec": spec});
        Document::read(&document).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_told_by_its_path_with_what_is_allowed() {
        let told = fault("BurstPolicy", &json!({"tiers": [{"pool": "a"}, {"pool": "b", "maximum": 3}]}));
        assert!(told.starts_with("spec.tiers[1].maximum: unknown field `maximum`, expected one of `pool`"), "{told}");
        let told = fault("BurstPolicy", &json!({"mode": "Sometimes"}));
        assert!(told.starts_with("spec.mode: unknown variant `Sometimes`, expected one of `Observe`"), "{told}");
        let told =
            fault("VirtualPool", &json!({"quota": {"pods": -5}, "provider": {"simulated": {"endpoint": "http://x"}}}));
        assert!(told.starts_with("spec.quota.pods: invalid value: integer `-5`, expected u32"), "{told}");
        assert!(fault("VirtualPool", &json!({})).contains("missing field `provider`"));
        assert!(fault("Pod", &json!({})).starts_with("Pod is neither BurstPolicy nor VirtualPool"));
    }
}

//! Policies of other products, as BurstPolicies; and every field that could not be carried over, with the reason.
//!
//! A field counts as carried over only where it was taken out of the document (`taken`): what nobody took is
//! told, also fields that no product documents.

mod ack;
mod baidu;
mod eci;
mod huawei;
mod kruise;
mod taken;
mod upstream;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::policy::spec::{MoveOn, Reason, Selector, Spec, Tier};
use taken::Taken;

/// What became of one document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Kind and name of the document, such as `ResourcePolicy web`.
    pub source: String,
    /// Namespace of the policy, where the document has one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The policy.
    pub spec: Spec,
    /// What could not be carried over.
    pub lost: Vec<Lost>,
    /// Pools that the policy names, and that must be there.
    pub pools: BTreeSet<String>,
}

/// A field that could not be carried over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{path}: {why}")]
pub struct Lost {
    /// Its path, such as `spec.units[1].spotInstance`.
    pub path: String,
    /// Why, and what to do instead.
    pub why: String,
}

/// Why a document is not imported at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Of a kind that is not known.
    #[error(
        "{kind} of {api_version} is not known; known are {}",
        KINDS.map(|(group, kind, _)| format!("{kind} of {group}")).join(", ")
    )]
    Unknown {
        /// Its `apiVersion`.
        api_version: String,
        /// Its `kind`.
        kind: String,
    },
    /// No object of Kubernetes.
    #[error("no object of Kubernetes: apiVersion, kind, metadata.name and spec are needed")]
    NoObject,
    /// A field is no such thing.
    #[error("{path}: {says}")]
    Field {
        /// The field's path.
        path: String,
        /// What is wrong.
        says: String,
    },
}

type Import = fn(&mut Taken, &mut Imported) -> Result<(), ImportError>;

/// API group and kind of what can be imported, and by whom.
const KINDS: [(&str, &str, Import); 6] = [
    ("scheduling.alibabacloud.com", "ResourcePolicy", ack::import),
    ("scheduling.sigs.x-k8s.io", "ResourcePolicy", upstream::import),
    ("scheduling.cci.io", "ScheduleProfile", huawei::import),
    ("scheduling.bci.cloud.baidu.com", "ScheduleProfile", baidu::import),
    ("apps.kruise.io", "WorkloadSpread", kruise::import),
    ("eci.aliyun.com", "Selector", eci::import),
];

/// Carries a document over.
pub fn import(document: &Value) -> Result<Imported, ImportError> {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
    let (Some(api_version), Some(kind), Some(name), Some(Value::Object(spec))) =
        (text("/apiVersion"), text("/kind"), text("/metadata/name"), document.get("spec"))
    else {
        return Err(ImportError::NoObject);
    };
    let group = api_version.split('/').next().unwrap_or_default();
    let Some((.., import)) = KINDS.iter().find(|(known, of, _)| *known == group && *of == kind) else {
        return Err(ImportError::Unknown { api_version: api_version.to_owned(), kind: kind.to_owned() });
    };
    let mut imported = Imported {
        source: format!("{kind} {name}"),
        namespace: text("/metadata/namespace").map(str::to_owned),
        name: name.to_owned(),
        ..Imported::default()
    };
    let mut spec = Taken::new("spec", spec.clone());
    import(&mut spec, &mut imported)?;
    spec.finish(&mut imported.lost);
    let tiers = imported.spec.tiers.iter().flatten();
    imported.pools = tiers.filter_map(|tier| tier.pool.clone()).collect();
    Ok(imported)
}

impl Imported {
    fn lose(&mut self, path: impl Into<String>, why: impl Into<String>) {
        self.lost.push(Lost { path: path.into(), why: why.into() });
    }
}

/// Labels of a pool's virtual nodes, by which peers' policies name them.
const VIRTUAL_NODE: [(&str, &str); 2] = [("type", "virtual-kubelet"), ("node.kubernetes.io/instance-type", "eklet")];

/// Whether labels mean virtual nodes.
fn is_virtual<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> bool {
    labels.into_iter().any(|(key, value)| VIRTUAL_NODE.contains(&(key, value)))
}

fn match_labels(labels: std::collections::BTreeMap<String, String>) -> Selector {
    Selector { match_labels: labels, ..Selector::default() }
}

fn pool(name: &str) -> Tier {
    Tier { pool: Some(name.to_owned()), ..Tier::default() }
}

fn when(reasons: &[Reason], after: Option<String>) -> MoveOn {
    MoveOn { when: Some(reasons.to_vec()), after, waiting: None }
}

/// Text that is a pool's name, made of one that may not be.
fn pool_name(text: &str) -> String {
    let lower = text.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let name = lower.trim_matches('-');
    let name =
        if name.starts_with(|c: char| c.is_ascii_lowercase()) { name.to_owned() } else { format!("pool-{name}") };
    name.chars().take(40).collect::<String>().trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_that_is_not_known_is_refused_with_those_that_are() {
        let document = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {}});
        let told = import(&document).unwrap_err().to_string();
        assert!(
            told.starts_with("Pod of v1 is not known; known are ResourcePolicy of scheduling.alibabacloud.com"),
            "{told}"
        );
        assert_eq!(import(&json!({"kind": "Pod"})), Err(ImportError::NoObject));
    }

    #[test]
    fn a_field_that_nobody_documents_is_told_as_lost() {
        let document = json!({"apiVersion": "scheduling.cci.io/v2", "kind": "ScheduleProfile", "metadata": {"name": "a"},
            "spec": {"strategy": "enforce", "brandNew": {"deep": 1}}});
        let imported = import(&document).unwrap();
        assert_eq!(imported.lost.iter().map(|lost| lost.path.as_str()).collect::<Vec<_>>(), ["spec.brandNew.deep"]);
    }

    #[test]
    fn a_field_of_another_type_is_refused_by_its_path() {
        let document = json!({"apiVersion": "scheduling.cci.io/v2", "kind": "ScheduleProfile", "metadata": {"name": "a"},
            "spec": {"strategy": 7}});
        assert_eq!(import(&document).unwrap_err().to_string(), "spec.strategy: 7 is no text");
    }

    #[test]
    fn any_text_becomes_a_pools_name() {
        for (text, name) in [("Bursting_Node", "bursting-node"), ("1st", "pool-1st"), ("-", "pool"), ("eci", "eci")] {
            assert_eq!(pool_name(text), name);
            assert!(name.parse::<crate::model::PoolName>().is_ok());
        }
    }
}

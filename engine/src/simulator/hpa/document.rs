//! An HPA as a document holds it: the spec alone, or a manifest around it.

use serde::{Deserialize, de::IgnoredAny};

use super::spec::{Behavior, DescribedObject, MetricSpec, Spec};

/// An HPA's spec, and its namespace where the document names one.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(try_from = "Written")]
pub struct Document {
    /// What the HPA is to do.
    pub spec: Spec,
    /// Where it is.
    pub namespace: Option<String>,
}

/// A manifest's fields and a spec's, of which one kind may be there.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(rename = "apiVersion")]
    _api_version: Option<String>,
    #[serde(rename = "kind")]
    _kind: Option<String>,
    metadata: Option<Metadata>,
    #[serde(rename = "status")]
    _status: Option<IgnoredAny>,
    spec: Option<Spec>,
    scale_target_ref: Option<DescribedObject>,
    min_replicas: Option<i32>,
    max_replicas: Option<i32>,
    metrics: Option<Vec<MetricSpec>>,
    behavior: Option<Behavior>,
}

/// Of an object's metadata, what matters here.
#[derive(Debug, Deserialize)]
struct Metadata {
    namespace: Option<String>,
}

impl TryFrom<Written> for Document {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, &'static str> {
        let own = Spec {
            scale_target_ref: written.scale_target_ref,
            min_replicas: written.min_replicas,
            max_replicas: written.max_replicas.unwrap_or_default(),
            metrics: written.metrics,
            behavior: written.behavior,
        };
        let namespace = written.metadata.and_then(|metadata| metadata.namespace);
        match written.spec {
            Some(_) if own != Spec::default() => {
                Err("the HPA has a `spec` and fields of a spec beside it; write them in one place")
            }
            spec => {
                let mut spec = spec.unwrap_or(own);
                spec.scale_target_ref.get_or_insert_with(target);
                Ok(Self { spec, namespace })
            }
        }
    }
}

/// What is scaled where the document does not say; its pods have a container of that name.
fn target() -> DescribedObject {
    DescribedObject { api_version: "apps/v1".to_owned(), kind: "Deployment".to_owned(), name: "app".to_owned() }
}

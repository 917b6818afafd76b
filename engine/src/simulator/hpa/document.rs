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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Document, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_spec_stands_alone_or_in_a_manifest() {
        let alone = read(r#"{"maxReplicas": 3}"#).unwrap();
        let manifest = read(
            r#"{"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"maxReplicas": 3}, "status": {"currentReplicas": 1}}"#,
        )
        .unwrap();
        assert_eq!(alone.spec, manifest.spec);
        assert_eq!((alone.namespace, manifest.namespace.as_deref()), (None, Some("shop")));
    }

    #[test]
    fn a_spec_in_two_places_is_refused() {
        let error = read(r#"{"maxReplicas": 3, "spec": {"maxReplicas": 4}}"#).unwrap_err();
        assert!(error.starts_with("the HPA has a `spec` and fields of a spec beside it"), "{error}");
    }

    #[test]
    fn null_is_as_if_it_were_absent() {
        let spec = read(r#"{"maxReplicas": null, "minReplicas": null, "metrics": [{"type": null, "pods": null}]}"#)
            .unwrap()
            .spec;
        assert_eq!((spec.max_replicas, spec.min_replicas), (0, None));
        assert_eq!(spec.metrics.unwrap()[0].kind, "");
    }
}

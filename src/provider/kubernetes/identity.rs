//! Whose an object of the other cluster is. Nothing that does not prove to be ours is ever touched.

use std::collections::BTreeMap;

use kube::api::ObjectMeta;
use ring::digest;

use crate::provider::{Owner, hex::hex};

/// Label: the cluster that an object belongs to, as a label can hold it.
const CLUSTER: &str = "burstlet.dev/cluster";
/// Label: UID of the pod that an object stands for.
pub(super) const UID: &str = "burstlet.dev/pod-uid";
/// Annotation: the whole [`Owner`], as JSON.
const OWNER: &str = "burstlet.dev/owner";

/// Longest value of a label.
const LONGEST_LABEL: usize = 63;
/// Longest name of an object, with room for what is hung on for its Secrets.
const LONGEST_NAME: usize = 240;

/// The name of a pod's instance: it ends with the UID, so that creating again finds it.
pub(super) fn name_of(owner: &Owner) -> String {
    let room = LONGEST_NAME.saturating_sub(owner.uid.len() + 1);
    let head = owner.name.get(..owner.name.len().min(room)).unwrap_or_default();
    format!("{}-{}", head.trim_end_matches(['-', '.']), owner.uid)
}

/// What selects the objects of a cluster.
pub(super) fn selector(cluster: &str) -> String {
    format!("{CLUSTER}={}", label_of(cluster))
}

/// Name, labels and annotation of an object that belongs to `owner`.
pub(super) fn metadata(owner: &Owner, namespace: &str, name: String) -> ObjectMeta {
    let labels = [(CLUSTER, label_of(&owner.cluster)), (UID, owner.uid.clone())];
    let text = serde_json::to_string(owner).unwrap_or_default();
    ObjectMeta {
        name: Some(name),
        namespace: Some(namespace.to_owned()),
        labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        annotations: Some(BTreeMap::from([(OWNER.to_owned(), text)])),
        ..ObjectMeta::default()
    }
}

/// Whose the object is; `None` for one that nobody of burstlet's has made.
pub(super) fn owner_of(metadata: &ObjectMeta) -> Option<Owner> {
    let owner: Owner = serde_json::from_str(metadata.annotations.as_ref()?.get(OWNER)?).ok()?;
    let label = |key: &str| metadata.labels.as_ref()?.get(key).map(String::as_str);
    // All three must agree: an annotation alone is easily copied with a template.
    let is_true = label(UID) == Some(&owner.uid)
        && label(CLUSTER) == Some(&label_of(&owner.cluster))
        && metadata.name.as_deref().is_some_and(|name| name.starts_with(&name_of(&owner)));
    is_true.then_some(owner)
}

/// Whether the object stands for this pod of this cluster.
pub(super) fn belongs(metadata: &ObjectMeta, owner: &Owner) -> bool {
    owner_of(metadata).is_some_and(|own| (&own.cluster, &own.uid) == (&owner.cluster, &owner.uid))
}

/// A cluster's name where it can be a label's value, else a digest of it.
fn label_of(cluster: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric();
    let ends = [cluster.bytes().next(), cluster.bytes().last()];
    let can_be = cluster.len() <= LONGEST_LABEL
        && cluster.bytes().all(|byte| is_plain(byte) || b"-_.".contains(&byte))
        && ends.iter().all(|byte| byte.is_some_and(is_plain));
    if can_be {
        return cluster.to_owned();
    }
    let digest = digest::digest(&digest::SHA256, cluster.as_bytes());
    hex(&digest.as_ref()[..20])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::provider::kubernetes) fn owner(uid: &str) -> Owner {
        Owner {
            cluster: "lab".to_owned(),
            node: "node-0".to_owned(),
            namespace: "shop".to_owned(),
            name: "web-1".to_owned(),
            uid: uid.to_owned(),
        }
    }

    #[test]
    fn an_object_is_ours_only_where_name_labels_and_annotation_agree() {
        let own = metadata(&owner("u-1"), "burst", name_of(&owner("u-1")));
        assert_eq!(owner_of(&own), Some(owner("u-1")));
        assert!(belongs(&own, &owner("u-1")) && !belongs(&own, &owner("u-2")));
        let there = Owner { cluster: "there".to_owned(), ..owner("u-1") };
        assert!(!belongs(&own, &there));
        let renamed = ObjectMeta { name: Some("theirs".to_owned()), ..own.clone() };
        let mut unlabelled = own.clone();
        unlabelled.labels.as_mut().unwrap().remove(UID);
        let mut relabelled = own.clone();
        relabelled.labels.as_mut().unwrap().insert(CLUSTER.to_owned(), "there".to_owned());
        let bare = ObjectMeta { annotations: None, ..own };
        for theirs in [renamed, unlabelled, relabelled, bare] {
            assert_eq!(owner_of(&theirs), None, "{theirs:?}");
        }
    }

    #[test]
    fn any_cluster_has_a_label_of_its_own() {
        assert_eq!(selector("prod-1"), "burstlet.dev/cluster=prod-1");
        let labels = ["a cluster & more", "a cluster & less", &"x".repeat(64), "-a", ""].map(label_of);
        assert!(labels.iter().all(|label| label.len() == 40 && label.bytes().all(|b| b.is_ascii_hexdigit())));
        assert_ne!(labels[0], labels[1]);
    }

    #[test]
    fn names_fit_whatever_the_pod_is_called() {
        let long = Owner { name: format!("{}.{}", "a".repeat(203), "b".repeat(49)), ..owner("u") };
        let uid = "01234567-89ab-cdef-0123-456789abcdef";
        let name = name_of(&Owner { uid: uid.to_owned(), ..long });
        assert!(name.len() <= 240 && name.ends_with(uid) && !name.contains(".-"), "{name}");
    }
}

//! An ECI profile (`selectors` of the ConfigMap `kube-system/eci-profile`): labels and annotations that matching pods
//! get when they are created, as if they had been written in their template.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::policy::{Marks, fields::FieldFault, spec::Selector};

/// Selectors in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile(Vec<ProfileSelector>);

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProfileSelector {
    /// For people.
    #[serde(default, rename = "name")]
    _name: String,
    #[serde(default)]
    namespace_selector: Selector,
    #[serde(default)]
    object_selector: Selector,
    #[serde(default)]
    effect: Effect,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Effect {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Profile {
    /// Reads `selectors`; an empty text has none.
    pub fn read(text: &str) -> Result<Self, FieldFault> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let read = serde_json::from_str(text).map(Self);
        read.map_err(|error| FieldFault::new("data.selectors", format!("{error}; the last good selectors stay")))
    }

    /// Whether it changes no pod.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a pod gets of its namespace's labels and its own marks. The selectors that match are followed in order:
    /// the earlier one's word counts, and nothing that the pod has is changed.
    pub fn effect(&self, namespace: &BTreeMap<String, String>, pod: &Marks) -> Marks {
        let mut given = Marks::default();
        let matches = |selector: &Selector, labels: &BTreeMap<String, String>| {
            selector.matches(|key| labels.get(key).map(String::as_str))
        };
        for ProfileSelector { namespace_selector, object_selector, effect, .. } in &self.0 {
            if !matches(namespace_selector, namespace) || !matches(object_selector, &pod.labels) {
                continue;
            }
            let new = |from: &BTreeMap<String, String>, has: &BTreeMap<String, String>| {
                let new = from.iter().filter(|(key, _)| !has.contains_key(*key));
                new.map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>()
            };
            for (key, value) in new(&effect.labels, &pod.labels) {
                given.labels.entry(key).or_insert(value);
            }
            for (key, value) in new(&effect.annotations, &pod.annotations) {
                given.annotations.entry(key).or_insert(value);
            }
        }
        given
    }

    /// The pod's marks with what it gets.
    pub fn applied(&self, namespace: &BTreeMap<String, String>, pod: &Marks) -> Marks {
        let Marks { mut labels, mut annotations } = self.effect(namespace, pod);
        labels.extend(pod.labels.clone());
        annotations.extend(pod.annotations.clone());
        Marks { labels, annotations }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    const TWO: &str = r#"[
        {"name": "dev", "namespaceSelector": {"matchLabels": {"team": "dev"}}, "objectSelector": {"matchLabels": {"app": "web"}},
         "effect": {"labels": {"alibabacloud.com/eci": "true"}, "annotations": {"k8s.aliyun.com/eci-use-specs": "2-4Gi"}}},
        {"name": "all", "effect": {"annotations": {"k8s.aliyun.com/eci-use-specs": "1-2Gi", "note": "all"}}}
    ]"#;

    #[test]
    fn both_selectors_must_match_the_earlier_wins_and_nothing_of_the_pods_is_changed() {
        let profile = Profile::read(TWO).unwrap();
        let mut pod = Marks { labels: labels(&[("app", "web")]), annotations: BTreeMap::new() };
        let given = profile.effect(&labels(&[("team", "dev")]), &pod);
        assert_eq!(given.labels, labels(&[("alibabacloud.com/eci", "true")]));
        assert_eq!(given.annotations, labels(&[("k8s.aliyun.com/eci-use-specs", "2-4Gi"), ("note", "all")]));
        let elsewhere = profile.effect(&labels(&[("team", "ops")]), &pod);
        assert_eq!(elsewhere.annotations["k8s.aliyun.com/eci-use-specs"], "1-2Gi");
        assert!(elsewhere.labels.is_empty());
        pod.annotations = labels(&[("note", "own")]);
        assert!(!profile.effect(&labels(&[]), &pod).annotations.contains_key("note"));
        assert_eq!(profile.applied(&labels(&[]), &pod).annotations["note"], "own");
    }

    #[test]
    fn what_is_no_list_of_selectors_is_told() {
        assert!(Profile::read("").unwrap().is_empty());
        let told = Profile::read(r#"[{"objectSelectors": {}}]"#).unwrap_err().to_string();
        assert!(told.starts_with("data.selectors: unknown field `objectSelectors`"), "{told}");
    }
}

//! What people are told when they write a base that will not do what they think.

use burstlet_engine::policy::Base;
use kube::{ResourceExt, core::DynamicObject};

use crate::api::{
    kinds::{controller, cron_job_of},
    misplaced::Misplaced,
    names,
};

/// Warnings about the base on an object, each naming the object and the fault. `kind` is the object's kind.
pub(super) fn warnings(kind: &str, object: &DynamicObject) -> Vec<String> {
    let carrier = Carrier::of(kind, object);
    let own = object.annotations().get(names::BASE).and_then(|text| carrier.fault(kind, text));
    let in_template = (carrier != Carrier::Copy && has_base_in_template(object)).then(|| {
        format!("the annotation is in the pod template, where it has no effect; write it in the {kind}'s own metadata")
    });
    let name = name_of(object);
    own.into_iter().chain(in_template).map(|fault| format!("{kind} {name}: {}: {fault}", names::BASE)).collect()
}

/// What a base on an object means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    /// The workload's base.
    Governed,
    /// The default of the namespace's workloads.
    Namespace,
    /// Another object's annotation, copied to what it scales: it was warned about there.
    Copy,
    /// Nothing, for its kind.
    Nothing(Misplaced),
}

impl Carrier {
    fn of(kind: &str, object: &DynamicObject) -> Self {
        match kind {
            "Namespace" => Self::Namespace,
            // Of a foreign kind's, its own counts only where the configuration does not name the kind.
            "ReplicaSet" if controller(&object.metadata).is_some() => Self::Copy,
            "Job" if cron_job_of(&object.metadata).is_some() => Self::Copy,
            "Deployment" | "ReplicaSet" | "StatefulSet" | "Job" | "CronJob" => Self::Governed,
            _ => Self::Nothing(Misplaced::of(kind)),
        }
    }

    /// What is wrong with `text` as the base of an object that means this.
    fn fault(self, kind: &str, text: &str) -> Option<String> {
        let no_base = text.parse::<Base>().err();
        match self {
            Self::Governed => no_base.map(|fault| format!("{fault}; the {kind} is not governed")),
            Self::Namespace => no_base.map(|fault| format!("{fault}; its workloads get no base from it")),
            Self::Copy => None,
            Self::Nothing(misplaced) => Some(misplaced.told_of(kind)),
        }
    }
}

fn has_base_in_template(object: &DynamicObject) -> bool {
    let annotations = object.data.pointer("/spec/template/metadata/annotations");
    annotations.is_some_and(|annotations| annotations.get(names::BASE).is_some())
}

/// The object's name, or what it will begin with.
fn name_of(object: &DynamicObject) -> &str {
    let metadata = &object.metadata;
    metadata.name.as_deref().or(metadata.generate_name.as_deref()).unwrap_or("(no name yet)")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    fn told(kind: &str, object: &Value) -> Vec<String> {
        warnings(kind, &DynamicObject::deserialize(object).unwrap())
    }

    fn based(base: &str) -> Value {
        json!({"metadata": {"name": "web", "annotations": {"burstlet.dev/base": base}}, "spec": {}})
    }

    #[test]
    fn a_right_base_and_none_are_not_warned_about() {
        for kind in ["Deployment", "ReplicaSet", "StatefulSet", "Job", "CronJob", "Namespace"] {
            assert_eq!(told(kind, &based("30%")), [""; 0]);
        }
        for kind in ["Deployment", "StatefulSet", "DaemonSet", "Pod", "CronJob"] {
            assert_eq!(told(kind, &json!({"metadata": {"name": "web"}})), [""; 0]);
        }
    }

    #[test]
    fn what_is_no_base_is_named_with_its_object() {
        assert_eq!(
            told("Deployment", &based("three")),
            ["Deployment web: burstlet.dev/base: \"three\" is neither a number of pods nor a percentage; write for \
              example 3 or 30%; the Deployment is not governed"]
        );
        assert!(told("Namespace", &based("-1"))[0].ends_with("the least base is 0; its workloads get no base from it"));
        assert!(told("ReplicaSet", &based("101%"))[0].contains("is over 100%"));
    }

    #[test]
    fn kinds_that_have_no_base_are_named() {
        for kind in ["DaemonSet", "Pod"] {
            assert!(told(kind, &based("3"))[0].contains(&format!("a {kind} does not scale")));
        }
    }

    #[test]
    fn a_copy_is_warned_about_where_it_was_written() {
        let of = |kind: &str, api_version: &str, by: &str| {
            let mut object = based("three");
            object["metadata"]["ownerReferences"] =
                json!([{"apiVersion": api_version, "kind": by, "name": "w", "uid": "u", "controller": true}]);
            object["spec"] = json!({"template": {"metadata": {"annotations": {"burstlet.dev/base": "3"}}}});
            told(kind, &object)
        };
        assert_eq!(of("ReplicaSet", "apps/v1", "Deployment"), [""; 0]);
        assert_eq!(of("Job", "batch/v1", "CronJob"), [""; 0]);
        assert_eq!(of("Job", "example.com/v1", "JobSet").len(), 2, "a Job for itself");
    }

    #[test]
    fn a_base_in_the_pod_template_is_told_where_it_belongs() {
        let object = json!({"metadata": {"generateName": "web-"},
                            "spec": {"template": {"metadata": {"annotations": {"burstlet.dev/base": "3"}}}}});
        assert_eq!(
            told("Deployment", &object),
            [
                "Deployment web-: burstlet.dev/base: the annotation is in the pod template, where it has no effect; write \
              it in the Deployment's own metadata"
            ]
        );
    }
}

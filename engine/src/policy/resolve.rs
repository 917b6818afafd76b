//! From everything that was written to the one policy that holds for a pod.
//!
//! Each field is asked of these sources in order, and the first that says anything is followed:
//!
//! 1. the pod's annotations, then marks of other products on the pod ([`super::opt_in`]);
//! 2. the workload's annotations;
//! 3. the BurstPolicy that an annotation of the pod, or else of the workload, names; or else the one of the pod's
//!    namespace whose selector matches; or else the one that the namespace names; each with those that it extends;
//! 4. the namespace's annotations, then marks of other products on it;
//! 5. the cluster's default: the BurstPolicy `default` of burstlet's namespace, then the configuration.

use std::collections::BTreeMap;

use crate::{
    model::ObjectName,
    policy::{
        Marks, Policies, PolicyName, Settings, annotation,
        fields::{FieldFault, Fields},
        graph::{self, GraphError},
        opt_in::{self, On},
        policies::Known,
    },
};
use pick::Picker;

pub use origin::{By, Level, Origin};

mod origin;
mod pick;

/// Name of the cluster's default in burstlet's namespace.
pub const DEFAULT: &str = "default";

/// Whose policy is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's marks.
    pub pod: &'a Marks,
    /// Those of what scales it, such as a Deployment.
    pub workload: &'a Marks,
    /// Those of its namespace.
    pub namespace_marks: &'a Marks,
}

/// What people should know of a resolution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Note {
    /// Two policies match, and nothing tells them apart.
    #[error("{} all match by their selectors, and none of them is followed; name one with {}, or narrow the selectors", names(.0), annotation::POLICY)]
    Conflict(Vec<ObjectName>),
    /// An annotation names a policy that is not there.
    #[error(
        "{} on the {level} names {name}, but there is no such BurstPolicy in {namespace} or in burstlet's namespace",
        annotation::POLICY
    )]
    NoPolicy {
        /// Where the annotation stands.
        level: Level,
        /// What it names.
        name: String,
        /// The pod's namespace.
        namespace: String,
    },
    /// An annotation names a policy that makes no sense, and no version of it that did is known.
    #[error("{} on the {level} names BurstPolicy {policy}, which makes no sense: {fault}", annotation::POLICY)]
    Faulty {
        /// Where the annotation stands.
        level: Level,
        /// The policy.
        policy: ObjectName,
        /// What is wrong with it.
        fault: String,
    },
    /// The policies do not hang together.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An annotation, or another product's mark, makes no sense.
    #[error("on the {level}: {fault}")]
    Fault {
        /// Where it stands.
        level: Level,
        /// Which, and what is allowed.
        fault: FieldFault,
    },
    /// What was said together is no policy.
    #[error("{0}")]
    Incomplete(String),
}

fn names(all: &[ObjectName]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

/// What holds for a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// Its policy; `None`: it is not burstlet's, or a note tells why it is left plain.
    pub governed: Option<Governed>,
    /// What people should know.
    pub notes: Vec<Note>,
}

/// A policy that holds, and where each of its fields comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Governed {
    /// The policy.
    pub policy: super::EffectivePolicy,
    /// By the field's path in a BurstPolicy, such as `moveOn.after`.
    pub origins: BTreeMap<&'static str, Origin>,
}

impl Policies {
    /// What holds for a pod.
    pub fn resolve(&self, asked: &Asked<'_>, settings: &Settings) -> Resolution {
        let mut sources = Sources::default();
        self.gather(asked, &mut sources);
        if sources.is_faulty || !sources.governs {
            return Resolution { governed: None, notes: sources.notes };
        }
        let mut picker = Picker::new(sources.layers);
        match picker.settle(settings) {
            Ok(mut policy) => {
                policy.name = sources.followed.map(|name| PolicyName::from(name.to_string().as_str()));
                Resolution { governed: Some(Governed { policy, origins: picker.origins }), notes: sources.notes }
            }
            Err(fault) => {
                sources.notes.push(Note::Incomplete(fault));
                Resolution { governed: None, notes: sources.notes }
            }
        }
    }

    fn gather<'a>(&'a self, asked: &Asked<'_>, sources: &mut Sources<'a>) {
        let Asked { namespace, pod, workload, namespace_marks } = *asked;
        sources.annotations(Level::Pod, pod);
        sources.opt_in(Level::Pod, &[On::PodLabel, On::PodAnnotation], pod);
        sources.annotations(Level::Workload, workload);
        self.gather_policy(asked, sources);
        let has_own_base = sources.has_base();
        sources.annotations(Level::Namespace, namespace_marks);
        // Who wrote a base meant to keep it, whatever other product's mark the namespace has.
        if !has_own_base && !namespace_marks.annotations.contains_key(annotation::BASE) {
            sources.opt_in(Level::Namespace, &[On::NamespaceLabel], namespace_marks);
        }
        let default = ObjectName::new(&self.home, DEFAULT);
        if let Some(known) = self.known.get(&default).filter(|_| sources.followed.as_ref() != Some(&default)) {
            let matches = known.selector.as_ref().is_some_and(|selector| selector.matches(|key| pod.label(key)));
            if matches || sources.governs {
                sources.follow(self, &default, By::Default);
            }
        }
        debug_assert!(!namespace.is_empty(), "pods live in namespaces");
    }

    fn gather_policy<'a>(&'a self, asked: &Asked<'_>, sources: &mut Sources<'a>) {
        let named = |level, marks: &Marks| marks.annotation(annotation::POLICY).map(|name| (level, name.to_owned()));
        let own = named(Level::Pod, asked.pod).or_else(|| named(Level::Workload, asked.workload));
        if let Some((level, name)) = own {
            return self.follow_named(asked, level, &name, sources);
        }
        let default = ObjectName::new(&self.home, DEFAULT);
        let matching = |(name, known): &(&ObjectName, &Known)| {
            *name.namespace == *asked.namespace
                && **name != default
                && known.selector.as_ref().is_some_and(|selector| selector.matches(|key| asked.pod.label(key)))
        };
        let matching: Vec<_> = self.known.iter().filter(matching).map(|(name, _)| name.clone()).collect();
        match matching.as_slice() {
            [only] => return sources.follow(self, only, By::Selector),
            [] => {}
            _ => sources.notes.push(Note::Conflict(matching)),
        }
        if let Some((level, name)) = named(Level::Namespace, asked.namespace_marks) {
            self.follow_named(asked, level, &name, sources);
        }
    }

    fn follow_named<'a>(&'a self, asked: &Asked<'_>, level: Level, name: &str, sources: &mut Sources<'a>) {
        if let Some((found, _)) = graph::find(&self.known, asked.namespace, name, &self.home) {
            sources.follow(self, &found.clone(), By::Name(level));
        } else if let Some((policy, fault)) = graph::find(&self.faulty, asked.namespace, name, &self.home) {
            sources.refuse(Note::Faulty { level, policy: policy.clone(), fault: fault.clone() });
        } else {
            let (name, namespace) = (name.to_owned(), asked.namespace.to_owned());
            sources.refuse(Note::NoPolicy { level, name, namespace });
        }
    }
}

/// What was found, in order of precedence.
#[derive(Default)]
struct Sources<'a> {
    layers: Vec<Layer<'a>>,
    notes: Vec<Note>,
    /// Whether anything asks burstlet to care for the pod.
    governs: bool,
    /// Whether its owner meant something that nobody understands.
    is_faulty: bool,
    /// The policy that holds, if any.
    followed: Option<ObjectName>,
}

struct Layer<'a> {
    fields: std::borrow::Cow<'a, Fields>,
    from: From,
}

enum From {
    Annotations(Level),
    Exactly(Origin),
}

impl<'a> Sources<'a> {
    fn refuse(&mut self, note: Note) {
        self.is_faulty = true;
        self.notes.push(note);
    }

    fn has_base(&self) -> bool {
        self.layers.iter().any(|layer| layer.fields.base.is_some())
    }

    fn annotations(&mut self, level: Level, marks: &Marks) {
        let (fields, faults) = annotation::read(level != Level::Pod, |key| marks.annotation(key));
        for fault in faults {
            // The namespace's word is a default: where somebody nearer spoke, a fault in it changes nothing.
            if level == Level::Namespace && self.governs {
                self.notes.push(Note::Fault { level, fault });
            } else {
                self.refuse(Note::Fault { level, fault });
            }
        }
        self.governs |= fields.base.is_some() || fields.mode.is_some();
        self.layers.push(Layer { fields: std::borrow::Cow::Owned(fields), from: From::Annotations(level) });
    }

    fn opt_in(&mut self, level: Level, at: &[On], marks: &Marks) {
        let value = |on, key: &str| match on {
            On::PodAnnotation => marks.annotations.get(key).map(String::as_str),
            On::PodLabel | On::NamespaceLabel => marks.labels.get(key).map(String::as_str),
        };
        let Some(found) = opt_in::found(at, value) else { return };
        match found.fields {
            Ok(fields) => {
                self.governs = true;
                let from = From::Exactly(Origin::OptIn(found.on, found.key));
                self.layers.push(Layer { fields: std::borrow::Cow::Owned(fields), from });
            }
            Err(fault) => self.refuse(Note::Fault { level, fault }),
        }
    }

    fn follow(&mut self, policies: &'a Policies, name: &ObjectName, by: By) {
        let lineage = match policies.lineage(name) {
            Ok(lineage) => lineage,
            Err(error) => return self.refuse(error.into()),
        };
        self.governs = true;
        for (step, fields) in lineage {
            let origin = if step == name {
                Origin::Policy(step.clone(), by)
            } else {
                Origin::Extended { policy: step.clone(), by: name.clone() }
            };
            self.layers.push(Layer { fields: std::borrow::Cow::Borrowed(fields), from: From::Exactly(origin) });
        }
        if self.followed.is_none() {
            self.followed = Some(name.clone());
        }
    }
}

#[cfg(test)]
mod tests;

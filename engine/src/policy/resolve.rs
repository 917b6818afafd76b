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

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
};

use crate::{
    model::ObjectName,
    policy::{
        Base, Budget, Cap, Count, EffectivePolicy, Mode, MoveBack, MoveOn, Per, Place, PolicyName, Settings, TierRule,
        Waiting, annotation,
        fields::{self, FieldFault, Fields, MoveOnFields, TierFields},
        graph::{self, GraphError, Parents},
        opt_in::{self, On},
        spec::{Selector, Spec},
    },
};

/// Name of the cluster's default in burstlet's namespace.
pub const DEFAULT: &str = "default";

/// Labels and annotations of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

impl Marks {
    fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// These annotations, and where they say nothing, those of `other`.
    #[must_use]
    pub fn or(mut self, other: &Self) -> Self {
        for (key, value) in &other.annotations {
            self.annotations.entry(key.clone()).or_insert_with(|| value.clone());
        }
        self
    }

    /// Keeps the annotations that resolution reads: others, such as what `kubectl apply` keeps, can be long.
    #[must_use]
    pub fn slim(mut self) -> Self {
        let is_read = |key: &str| annotation::ALL.contains(&key) || opt_in::TABLE.iter().any(|mark| mark.key == key);
        self.annotations.retain(|key, _| is_read(key));
        self
    }
}

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

/// Where an object stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// The pod.
    Pod,
    /// What scales it.
    Workload,
    /// Its namespace.
    Namespace,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pod => "pod",
            Self::Workload => "workload",
            Self::Namespace => "namespace",
        })
    }
}

/// How a BurstPolicy came to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// An annotation there names it.
    Name(Level),
    /// Its selector matches the pod.
    Selector,
    /// It is the cluster's default.
    Default,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(level) => write!(f, "named by the {level}"),
            Self::Selector => f.write_str("by its selector"),
            Self::Default => f.write_str("the cluster's default"),
        }
    }
}

/// Where a field of a policy comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An annotation of burstlet's.
    Annotation(Level, &'static str),
    /// A mark of another product.
    OptIn(On, &'static str),
    /// A BurstPolicy.
    Policy(ObjectName, By),
    /// A BurstPolicy that another one extends.
    Extended {
        /// The policy that says it.
        policy: ObjectName,
        /// The policy that holds for the pod.
        by: ObjectName,
    },
    /// burstlet's configuration.
    Configuration,
    /// Nobody said anything.
    BuiltIn,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Annotation(level, key) => write!(f, "annotation {key} on the {level}"),
            Self::OptIn(on, key) => write!(f, "{key}, {}", on.words()),
            Self::Policy(name, by) => write!(f, "BurstPolicy {name}, {by}"),
            Self::Extended { policy, by } => write!(f, "BurstPolicy {policy}, extended by {by}"),
            Self::Configuration => f.write_str("burstlet's configuration"),
            Self::BuiltIn => f.write_str("built in"),
        }
    }
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
    pub policy: EffectivePolicy,
    /// By the field's path in a BurstPolicy, such as `moveOn.after`.
    pub origins: BTreeMap<&'static str, Origin>,
}

/// All policies of the cluster, read.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    home: String,
    known: BTreeMap<ObjectName, Known>,
    /// What is wrong with those that make no sense as they are now.
    faulty: BTreeMap<ObjectName, String>,
    parents: Parents,
}

#[derive(Debug, Clone)]
struct Known {
    selector: Option<Selector>,
    fields: Fields,
}

impl Policies {
    /// None yet; `home` is burstlet's own namespace.
    pub fn new(home: &str) -> Self {
        Self { home: home.to_owned(), ..Self::default() }
    }

    /// burstlet's own namespace.
    pub fn home(&self) -> &str {
        &self.home
    }

    /// Takes a policy, new or changed. Where it makes no sense, or would close a circle, the last one of its name that
    /// made sense stays in force.
    pub fn set(&mut self, name: ObjectName, spec: &Spec) -> Result<(), Vec<FieldFault>> {
        let set = self.try_set(name.clone(), spec);
        match &set {
            Ok(()) => drop(self.faulty.remove(&name)),
            Err(faults) => self.note_faulty(name, faults),
        }
        set
    }

    /// Remembers that a policy makes no sense as it is now; the last one of its name stays in force.
    pub fn note_faulty(&mut self, name: ObjectName, faults: &[FieldFault]) {
        let told = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        self.faulty.insert(name, told);
    }

    fn try_set(&mut self, name: ObjectName, spec: &Spec) -> Result<(), Vec<FieldFault>> {
        let fields = fields::read(spec)?;
        let mut parents = self.parents.clone();
        parents.insert(name.clone(), spec.extends.clone());
        if let Err(circle @ GraphError::Circle(_)) = graph::lineage(&parents, &name, &self.home) {
            return Err(vec![FieldFault::new("spec.extends", circle.to_string())]);
        }
        self.parents = parents;
        self.known.insert(name, Known { selector: spec.selector.clone(), fields });
        Ok(())
    }

    /// Forgets a policy.
    pub fn remove(&mut self, name: &ObjectName) {
        self.known.remove(name);
        self.faulty.remove(name);
        self.parents.remove(name);
    }

    /// The names of policies that are followed.
    pub fn names(&self) -> impl Iterator<Item = &ObjectName> {
        self.known.keys()
    }

    /// The names of policies that make no sense as they are now.
    pub fn faulty(&self) -> impl Iterator<Item = &ObjectName> {
        self.faulty.keys()
    }

    /// Who extends whom.
    pub fn parents(&self) -> &Parents {
        &self.parents
    }

    /// What a policy and those that it extends say together, its own word first.
    pub fn lineage(&self, name: &ObjectName) -> Result<Vec<(&ObjectName, &Fields)>, GraphError> {
        let lineage = graph::lineage(&self.parents, name, &self.home)?;
        let known = lineage.into_iter().filter_map(|step| self.known.get_key_value(&step));
        Ok(known.map(|(name, known)| (name, &known.fields)).collect())
    }

    /// Another policy of the same namespace with the same selector.
    pub fn twin(&self, name: &ObjectName) -> Option<&ObjectName> {
        let selector = self.known.get(name)?.selector.as_ref()?;
        let is_twin = |(other, known): &(&ObjectName, &Known)| {
            *other != name && other.namespace == name.namespace && known.selector.as_ref() == Some(selector)
        };
        self.known.iter().find(is_twin).map(|(other, _)| other)
    }

    /// What holds for a pod.
    pub fn resolve(&self, asked: &Asked<'_>, settings: &Settings) -> Resolution {
        let mut sources = Sources::default();
        self.gather(asked, &mut sources);
        if sources.is_faulty || !sources.governs {
            return Resolution { governed: None, notes: sources.notes };
        }
        let mut picker = Picker { layers: sources.layers, origins: BTreeMap::new() };
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

/// Asks each field of the layers in order.
struct Picker<'a> {
    layers: Vec<Layer<'a>>,
    origins: BTreeMap<&'static str, Origin>,
}

impl Picker<'_> {
    fn pick<T>(&mut self, field: &'static str, of: impl Fn(&Fields) -> Option<T>) -> Option<T> {
        let (value, from) = self.layers.iter().find_map(|layer| Some((of(&layer.fields)?, &layer.from)))?;
        let origin = match from {
            From::Exactly(origin) => origin.clone(),
            From::Annotations(level) => Origin::Annotation(*level, key_of(field)),
        };
        self.origins.insert(field, origin);
        Some(value)
    }

    fn pick_or<T>(&mut self, field: &'static str, of: impl Fn(&Fields) -> Option<T>, or: T, whose: Origin) -> T {
        self.pick(field, of).unwrap_or_else(|| {
            if let Entry::Vacant(vacant) = self.origins.entry(field) {
                vacant.insert(whose);
            }
            or
        })
    }

    fn settle(&mut self, settings: &Settings) -> Result<EffectivePolicy, String> {
        let base = self.base();
        let default = if base == Cap::default() { Mode::WhenFull } else { Mode::AfterBase };
        let mode = self.pick_or("mode", |fields| fields.mode, default, Origin::BuiltIn);
        if matches!(mode, Mode::AfterBase | Mode::Observe) && base == Cap::default() {
            return Err(format!("mode {mode} needs a base; write base: 3 or 30%, or choose mode WhenFull or Always"));
        }
        let base = if mode == Mode::Always { Cap::pods(Base::count(0)) } else { base };
        let when = self.pick("moveOn.when", |fields| fields.move_on.when);
        let after = self.pick("moveOn.after", |fields| fields.move_on.after);
        if after.is_none() {
            self.origins.insert("moveOn.after", Origin::Configuration);
        }
        let waiting = self.pick_or("moveOn.waiting", |fields| fields.move_on.waiting, Waiting::Plain, Origin::BuiltIn);
        let all = MoveOnFields { when, after, waiting: Some(waiting) };
        let move_on = MoveOn {
            full: true,
            short: when.is_none_or(|when| when.short),
            after: after.unwrap_or(settings.move_on_after),
            waiting,
        };
        let tiers = self.pick_or("tiers", |fields| fields.tiers.clone(), Vec::new(), Origin::BuiltIn);
        graph::reachable(&tiers, all).map_err(|error| error.to_string())?;
        Ok(EffectivePolicy {
            name: None,
            mode,
            base,
            move_on,
            tiers: tiers.into_iter().map(|tier| rule(tier, all, settings)).collect(),
            count: self.count(),
            move_back: self.move_back(settings),
            budget: self.budget()?,
            windows: self.pick_or("windows", |fields| fields.windows.clone(), Vec::new(), Origin::BuiltIn),
            priority: self.pick_or("priority", |fields| fields.priority, 0, Origin::BuiltIn),
        })
    }

    fn base(&mut self) -> Cap {
        Cap {
            pods: self.pick("base", |fields| fields.base),
            cpu: self.pick("baseResources.cpu", |fields| fields.base_cpu),
            memory: self.pick("baseResources.memory", |fields| fields.base_memory),
        }
    }

    fn count(&mut self) -> Count {
        let built_in = Origin::BuiltIn;
        Count {
            per: self.pick_or("count.per", |fields| fields.per, Per::Revision, built_in.clone()),
            ignore_terminating: self.pick_or(
                "count.ignoreTerminating",
                |fields| fields.ignore_terminating,
                true,
                built_in.clone(),
            ),
            ignore_previous: self.pick_or("count.ignorePrevious", |fields| fields.ignore_previous, false, built_in),
        }
    }

    fn move_back(&mut self, settings: &Settings) -> Option<MoveBack> {
        let configured = settings.move_back;
        let enabled = self.pick_or("moveBack.enabled", |fields| fields.move_back, true, Origin::BuiltIn);
        enabled.then(|| MoveBack {
            after: self.pick_or(
                "moveBack.after",
                |fields| fields.move_back_after,
                configured.after,
                Origin::Configuration,
            ),
            at_once: self.pick_or(
                "moveBack.atOnce",
                |fields| fields.at_once,
                configured.at_once,
                Origin::Configuration,
            ),
            cool_down: self.pick_or(
                "moveBack.coolDown",
                |fields| fields.cool_down,
                configured.cool_down,
                Origin::Configuration,
            ),
        })
    }

    fn budget(&mut self) -> Result<Option<Budget>, String> {
        let per_hour = self.pick("budget.perHour", |fields| fields.per_hour.clone());
        let per_day = self.pick("budget.perDay", |fields| fields.per_day.clone());
        if per_hour.is_none() && per_day.is_none() {
            return Ok(None);
        }
        if let Some(fault) = fields::currencies(per_hour.as_ref(), per_day.as_ref()) {
            return Err(format!("the budget {fault}"));
        }
        let wait = super::Exhausted::Wait;
        let exhausted = self.pick_or("budget.exhausted", |fields| fields.exhausted, wait, Origin::BuiltIn);
        Ok(Some(Budget { per_hour, per_day, exhausted }))
    }
}

/// The annotation that says a field.
fn key_of(field: &str) -> &'static str {
    match field {
        "base" => annotation::BASE,
        "mode" => annotation::MODE,
        "tiers" => annotation::POOLS,
        "moveOn.after" => annotation::MOVE_ON_AFTER,
        _ => annotation::PRIORITY,
    }
}

fn rule(tier: TierFields, all: MoveOnFields, settings: &Settings) -> TierRule {
    let TierFields { place, cap, move_on: own, labels, annotations } = tier;
    let when = own.when.or(all.when);
    let patience = match place {
        Place::Real { .. } => settings.move_on_after,
        Place::Pool(_) => MoveOn::AT_ONCE.after,
    };
    let move_on = MoveOn {
        full: when.is_none_or(|when| when.full),
        short: when.is_none_or(|when| when.short),
        after: own.after.or(all.after).unwrap_or(patience),
        waiting: own.waiting.or(all.waiting).unwrap_or(Waiting::Plain),
    };
    TierRule { place, cap, move_on, labels, annotations, falls_back_from: None }
}

#[cfg(test)]
mod tests;

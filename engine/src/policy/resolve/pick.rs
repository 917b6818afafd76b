//! From layers of fields, the first of which comes first, to one policy.

use std::collections::{BTreeMap, btree_map::Entry};

use crate::policy::{
    Base, Budget, Cap, Count, EffectivePolicy, Exhausted, Mode, MoveBack, MoveOn, Per, Place, Settings, TierRule,
    Waiting, annotation,
    fields::{self, Fields, MoveOnFields, TierFields},
    graph,
    resolve::{From, Layer, Origin},
};

/// Asks each field of the layers in order.
pub(super) struct Picker<'a> {
    layers: Vec<Layer<'a>>,
    pub(super) origins: BTreeMap<&'static str, Origin>,
}

impl<'a> Picker<'a> {
    pub(super) fn new(layers: Vec<Layer<'a>>) -> Self {
        Self { layers, origins: BTreeMap::new() }
    }

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

    pub(super) fn settle(&mut self, settings: &Settings) -> Result<EffectivePolicy, String> {
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
        let wait = Exhausted::Wait;
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

//! Policies and ECI profiles as the model has them, and as people write them.

use burstlet_engine::policy::{Spec, profile::Profile};
use serde_json::{Value, json};

use super::{POOLS, view::Text};

/// A policy in the model's few words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a field of a policy that is on or off")]
pub(crate) struct Rules {
    pub(crate) mode: &'static str,
    pub(crate) base: Text,
    pub(crate) tiers: &'static [TierRules],
    /// One base for all revisions of a workload.
    pub(crate) is_shared: bool,
    pub(crate) counts_terminating: bool,
    pub(crate) ignores_previous: bool,
    /// Pod-minutes an hour; what would burst beyond them waits.
    pub(crate) minutes: Option<u64>,
    /// Bursts only in the first half of a day's first hour.
    pub(crate) is_windowed: bool,
    pub(crate) priority: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TierRules {
    /// By its number among the pools; `None`: real nodes.
    pub(crate) pool: Option<usize>,
    pub(crate) max: Option<Text>,
    pub(crate) passes_full: bool,
    /// After how many seconds it is passed while short; `None`: never.
    pub(crate) after: Option<u64>,
}

const SPOT: TierRules = TierRules { pool: Some(0), max: None, passes_full: true, after: Some(0) };
const ECI: TierRules = TierRules { pool: Some(1), ..SPOT };
const REAL: TierRules = TierRules { pool: None, ..SPOT };
const PLAIN: Rules = Rules {
    mode: "AfterBase",
    base: Text::Number(1),
    tiers: &[SPOT, ECI],
    is_shared: false,
    counts_terminating: false,
    ignores_previous: false,
    minutes: None,
    is_windowed: false,
    priority: 0,
};

/// The two that share a pool and differ in their priority alone.
pub(crate) const LOW: Rules = Rules { tiers: &[ECI], ..PLAIN };
pub(crate) const HIGH: Rules = Rules { priority: 7, ..LOW };

pub(crate) const RULES: &[Rules] = &[
    LOW,
    HIGH,
    Rules { base: Text::Percent(40), tiers: &[TierRules { max: Some(Text::Percent(50)), ..SPOT }, ECI, REAL], ..PLAIN },
    Rules {
        base: Text::Number(2),
        tiers: &[TierRules { max: Some(Text::Number(1)), ..ECI }, SPOT],
        counts_terminating: true,
        ..PLAIN
    },
    Rules {
        tiers: &[TierRules { max: Some(Text::Number(1)), passes_full: false, ..SPOT }, ECI],
        ignores_previous: true,
        ..PLAIN
    },
    Rules {
        base: Text::Percent(30),
        tiers: &[TierRules { after: Some(20), ..SPOT }, ECI],
        counts_terminating: true,
        ..PLAIN
    },
    Rules { tiers: &[TierRules { max: Some(Text::Number(2)), after: None, ..SPOT }, REAL], ..PLAIN },
    Rules { is_shared: true, base: Text::Number(3), counts_terminating: true, ..PLAIN },
    Rules { is_shared: true, base: Text::Percent(50), ..PLAIN },
    Rules { base: Text::Percent(60), ..PLAIN },
    Rules { base: Text::Percent(25), tiers: &[ECI], ..PLAIN },
    Rules { counts_terminating: true, base: Text::Percent(50), ..PLAIN },
    Rules { ignores_previous: true, ..PLAIN },
    Rules { minutes: Some(1), ignores_previous: true, ..PLAIN },
    Rules { minutes: Some(2), base: Text::Percent(20), tiers: &[ECI], ..PLAIN },
    Rules { is_windowed: true, ..PLAIN },
    Rules { mode: "Observe", ..PLAIN },
    Rules { mode: "WhenFull", ..PLAIN },
    Rules { mode: "Always", ..PLAIN },
    Rules { mode: "Never", ..PLAIN },
];

/// What an ECI profile gives to the pods of a workload, or of all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gift {
    /// The label `app` of the pods; `None`: whatever it is.
    pub(crate) app: Option<&'static str>,
    pub(crate) given: Given,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given {
    /// The annotation that names a policy.
    Policy(&'static str),
    /// ECI's label, by which every pod bursts.
    Eci,
}

const P0: Given = Given::Policy("p0");
const P1: Given = Given::Policy("p1");

/// Of two gifts of the same kind, the first counts.
pub(crate) const PROFILES: &[&[Gift]] = &[
    &[],
    &[Gift { app: Some("web"), given: P0 }],
    &[Gift { app: Some("web"), given: P1 }, Gift { app: Some("api"), given: P0 }, Gift { app: None, given: P1 }],
    &[Gift { app: Some("api"), given: Given::Eci }, Gift { app: Some("db"), given: P1 }],
    &[Gift { app: None, given: P0 }, Gift { app: Some("job"), given: Given::Eci }],
];

/// A profile as its owner writes it.
pub(crate) fn profile(gifts: &[Gift]) -> Profile {
    let selector = |gift: &Gift| {
        let effect = match gift.given {
            Given::Policy(name) => json!({"annotations": {"burstlet.dev/policy": name}}),
            Given::Eci => json!({"labels": {"alibabacloud.com/eci": "true"}}),
        };
        let labels = gift.app.map_or_else(|| json!({}), |app| json!({"app": app}));
        json!({"objectSelector": {"matchLabels": labels}, "effect": effect})
    };
    let selectors: Vec<_> = gifts.iter().map(selector).collect();
    Profile::read(&json!(selectors).to_string()).unwrap()
}

impl Rules {
    /// What an annotation says that gives a base alone.
    pub(crate) fn based(base: Text) -> Self {
        Self { base, ..PLAIN }
    }

    /// The base in pods; without bound where real nodes come first.
    pub(crate) fn base(self, wanted: usize) -> usize {
        match self.mode {
            "Always" => 0,
            "WhenFull" | "Never" => usize::MAX,
            _ => self.base.up(wanted),
        }
    }

    /// Whether nothing new may burst at this moment.
    pub(crate) fn is_closed(self, now: u64) -> bool {
        self.is_windowed && now / 60_000 % (24 * 60) >= 30
    }

    pub(crate) fn spec(self) -> Spec {
        let tier = |tier: &TierRules| {
            let mut when = Vec::new();
            when.extend(tier.passes_full.then_some("Full"));
            when.extend(tier.after.map(|_| "Short"));
            let move_on = json!({"when": when, "after": format!("{}s", tier.after.unwrap_or(0))});
            let mut value = match tier.pool {
                Some(pool) => json!({"pool": POOLS[pool], "moveOn": move_on}),
                None => json!({"real": {}, "moveOn": move_on}),
            };
            if let Some(max) = tier.max {
                value["max"] = max.value();
            }
            value
        };
        let mut spec = json!({
            "mode": self.mode,
            "base": self.base.value(),
            "tiers": self.tiers.iter().map(tier).collect::<Vec<_>>(),
            "moveOn": {"after": "10s"},
            "count": {
                "per": if self.is_shared { "Workload" } else { "Revision" },
                "ignoreTerminating": !self.counts_terminating,
                "ignorePrevious": self.ignores_previous,
            },
            "priority": self.priority,
        });
        if let Some(minutes) = self.minutes {
            spec["budget"] = json!({"perHour": format!("{minutes} pod-minutes")});
        }
        if self.is_windowed {
            spec["windows"] = json!(["* 00:00-00:30 UTC"]);
        }
        serde_json::from_value(spec).unwrap()
    }
}

impl Text {
    fn value(self) -> Value {
        match self {
            Self::Number(number) => json!(number),
            Self::Percent(percent) => json!(format!("{percent}%")),
        }
    }
}

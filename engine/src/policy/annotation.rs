//! Annotations that say something of a policy, on pods, workloads and namespaces.

use crate::policy::{
    Cap, Mode, Place,
    fields::{FieldFault, Fields, MoveOnFields, Reader, TierFields},
};

/// Base of a workload, or of a namespace as its workloads' default: a number (`3`) or a percentage (`30%`).
pub const BASE: &str = "burstlet.dev/base";
/// What happens at all: `Observe`, `AfterBase`, `WhenFull`, `Always` or `Never`.
pub const MODE: &str = "burstlet.dev/mode";
/// Name of the BurstPolicy to follow, of the pod's namespace or else of burstlet's own.
pub const POLICY: &str = "burstlet.dev/policy";
/// Pools to burst to in this order, such as `eci-spot,eci`; `real` stands for real nodes.
pub const POOLS: &str = "burstlet.dev/pools";
/// How long a short place gets before pods pass it, such as `90s`.
pub const MOVE_ON_AFTER: &str = "burstlet.dev/move-on-after";
/// Who goes first where workloads share a pool: larger before smaller.
pub const PRIORITY: &str = "burstlet.dev/priority";

/// All of them.
pub const ALL: [&str; 6] = [BASE, MODE, POLICY, POOLS, MOVE_ON_AFTER, PRIORITY];

/// What annotations say, beside the policy that they name; and what is wrong with them. `with_base`: whether a base may
/// stand here (it belongs to a workload, not to one of its pods).
pub fn read<'a>(with_base: bool, value: impl Fn(&str) -> Option<&'a str>) -> (Fields, Vec<FieldFault>) {
    let mut reader = Reader::default();
    let base = value(BASE).filter(|_| with_base);
    let fields = Fields {
        base: base.and_then(|text| reader.read(BASE, text)),
        mode: value(MODE).and_then(|text| mode(&mut reader, text)),
        tiers: value(POOLS).map(|text| tiers(&mut reader, text)),
        move_on: MoveOnFields {
            after: value(MOVE_ON_AFTER).and_then(|text| reader.duration(MOVE_ON_AFTER, text)),
            ..MoveOnFields::default()
        },
        priority: value(PRIORITY).and_then(|text| {
            let number = text.parse().ok();
            if number.is_none() {
                reader.fault(PRIORITY, format!("{text:?} is no whole number; write for example 10 or -5"));
            }
            number
        }),
        ..Fields::default()
    };
    (fields, reader.into_faults())
}

fn mode(reader: &mut Reader, text: &str) -> Option<Mode> {
    let known = Mode::ALL.into_iter().find(|mode| mode.word() == text);
    if known.is_none() {
        let words: Vec<_> = Mode::ALL.iter().map(|mode| mode.word()).collect();
        reader.fault(MODE, format!("{text:?} is no mode; allowed are {}", words.join(", ")));
    }
    known
}

fn tiers(reader: &mut Reader, text: &str) -> Vec<TierFields> {
    let places = text.split(',').map(str::trim).filter_map(|name| match name {
        "real" => Some(Place::Real { node_selector: std::collections::BTreeMap::new() }),
        name => reader.read(POOLS, name).map(Place::Pool),
    });
    places
        .map(|place| TierFields {
            place,
            cap: Cap::default(),
            move_on: MoveOnFields::default(),
            labels: std::collections::BTreeMap::new(),
            annotations: std::collections::BTreeMap::new(),
        })
        .collect()
}

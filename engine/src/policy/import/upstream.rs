//! scheduler-plugins: `scheduling.sigs.x-k8s.io ResourcePolicy`.

use super::{ImportError, Imported, ack, is_virtual, match_labels, pool, pool_name, taken::Taken, when};
use crate::policy::spec::{Count, Real, Reason, Selector, Tier};

pub(super) fn import(from: &mut Taken, to: &mut Imported) -> Result<(), ImportError> {
    to.spec.selector = Some(selector(from)?);
    ack::strategy(from, to)?;
    let keys = from.texts("matchLabelKeys")?;
    let per = ack::per(&keys, &from.at("matchLabelKeys"), to);
    let mut matching = from.object("matchPolicy")?;
    to.spec.count = Some(Count {
        per: Some(per),
        ignore_terminating: matching.truth("ignoreTerminatingPod")?,
        ignore_previous: matching.truth("ignorePreviousPod")?,
    });
    matching.finish(&mut to.lost);
    if from.truth("forceMaxNum")? == Some(false) {
        to.lose(from.at("forceMaxNum"), "burstlet's caps always hold; leave max out where it may be passed");
    }
    to.spec.move_on = Some(when(&[Reason::Full, Reason::Short], Some("0s".to_owned())));
    let mut units = Vec::new();
    for mut unit in from.objects("units")? {
        let priority = unit.number("priority")?.unwrap_or_default();
        let path = unit.at("priority");
        units.push((priority, path, tier(&mut unit)?));
        unit.finish(&mut to.lost);
    }
    // Stable: units of one priority stay in the order in which they are written.
    units.sort_by_key(|(priority, ..)| std::cmp::Reverse(*priority));
    for pair in units.windows(2) {
        if let [(first, ..), (second, path, _)] = pair
            && first == second
        {
            to.lose(path, format!("{second}: the unit before has the same; burstlet fills one after the other"));
        }
    }
    ack::settle(units.into_iter().map(|(.., tier)| tier).collect(), to);
    Ok(())
}

/// A map of labels in its first version, a label selector since.
fn selector(from: &mut Taken) -> Result<Selector, ImportError> {
    let Some(value) = from.take("podSelector") else { return Ok(Selector::default()) };
    if let Ok(selector) = serde_json::from_value(value.clone()) {
        return Ok(selector);
    }
    let labels = serde_json::from_value(value.clone());
    labels
        .map(match_labels)
        .map_err(|_| ImportError::Field { path: from.at("podSelector"), says: format!("{value} is no label selector") })
}

fn tier(unit: &mut Taken) -> Result<Tier, ImportError> {
    let name = unit.text("name")?.unwrap_or_default();
    let node_selector = unit.labels("nodeSelector")?;
    let place = if is_virtual(&node_selector) {
        pool(&pool_name(&name))
    } else {
        Tier { real: Some(Real { node_selector }), ..Tier::default() }
    };
    Ok(Tier { max: unit.amount("maxCount")?, ..place })
}

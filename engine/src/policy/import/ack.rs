//! Alibaba ACK: `scheduling.alibabacloud.com ResourcePolicy`.

use super::{ImportError, Imported, match_labels, pool, taken::Taken, when};
use crate::policy::{
    Mode, Per, Waiting,
    spec::{Count, MoveOn, Real, Reason, ResourceAmounts, Tier},
};

/// Label that has a unit's pods wait as plain pods for the node autoscaler.
const WAIT_FOR_SCALING: &str = "k8s.aliyun.com/resource-policy-wait-for-ecs-scaling";

pub(super) fn import(from: &mut Taken, to: &mut Imported) -> Result<(), ImportError> {
    let selector = from.labels("selector")?;
    to.spec.selector = Some(match_labels(selector));
    strategy(from, to)?;
    to.spec.count = Some(count(from, to)?);
    to.spec.move_on = Some(move_on(from, to)?);
    from.lose(
        "preemptPolicy",
        &mut to.lost,
        "burstlet evicts no pod of an earlier tier for another; pods wait or pass on",
    );
    let mut tiers = Vec::new();
    for mut unit in from.objects("units")? {
        tiers.push(tier(&mut unit, to)?);
        unit.finish(&mut to.lost);
    }
    settle(tiers, to);
    Ok(())
}

/// `prefer` and `required` differ only in nodes of no unit, which a BurstPolicy names where it wants them.
pub(super) fn strategy(from: &mut Taken, to: &mut Imported) -> Result<(), ImportError> {
    match from.text("strategy")?.as_deref() {
        None | Some("required") => {}
        Some("prefer") => to.lose(
            from.at("strategy"),
            "prefer lets pods onto nodes of no unit; burstlet keeps to the tiers. Add a last tier real: {} for it",
        ),
        Some(other) => to.lose(from.at("strategy"), format!("{other} is not known")),
    }
    Ok(())
}

fn count(from: &mut Taken, to: &mut Imported) -> Result<Count, ImportError> {
    let keys = from.texts("matchLabelKeys")?;
    let per = per(&keys, &from.at("matchLabelKeys"), to);
    Ok(Count {
        per: Some(per),
        ignore_terminating: from.truth("ignoreTerminatingPod")?,
        ignore_previous: from.truth("ignorePreviousPod")?,
    })
}

/// What pods are counted by, from the labels that tell groups apart.
pub(super) fn per(keys: &[String], path: &str, to: &mut Imported) -> Per {
    let others: Vec<_> = keys.iter().filter(|key| *key != "pod-template-hash").cloned().collect();
    if !others.is_empty() {
        let why = format!(
            "burstlet counts by revision or workload, not by {}; write a policy for each group",
            others.join(", ")
        );
        to.lose(path, why);
    }
    if keys.iter().any(|key| key == "pod-template-hash") { Per::Revision } else { Per::Workload }
}

fn move_on(from: &mut Taken, to: &mut Imported) -> Result<MoveOn, ImportError> {
    let mut next = from.object("whenTryNextUnits")?;
    let timeout = next.text("timeout")?;
    let policy = next.text("policy")?;
    let at_once = || Some("0s".to_owned());
    let (found, uses_timeout) = match policy.as_deref() {
        None | Some("LackResourceOrExceedMax") => (when(&[Reason::Full, Reason::Short], at_once()), false),
        Some("ExceedMax") => (when(&[Reason::Full], None), false),
        Some("TimeoutOrExceedMax") => {
            let after = timeout.clone().or_else(|| Some("15m".to_owned()));
            (when(&[Reason::Full, Reason::Short], after), true)
        }
        Some(other) => {
            let is_known = other.eq_ignore_ascii_case("LackResourceAndNoTerminating");
            let why = if is_known {
                "burstlet does not wait for terminating pods of a tier; moveOn.after gives them 30s instead"
            } else {
                "is not known; taken for LackResourceOrExceedMax"
            };
            to.lose(next.at("policy"), format!("{other}: {why}"));
            let after = if is_known { Some("30s".to_owned()) } else { at_once() };
            (when(&[Reason::Full, Reason::Short], after), false)
        }
    };
    if timeout.is_some() && !uses_timeout {
        to.lose(next.at("timeout"), "counts only with the policy TimeoutOrExceedMax");
    }
    next.finish(&mut to.lost);
    Ok(found)
}

fn tier(unit: &mut Taken, to: &mut Imported) -> Result<Tier, ImportError> {
    let selector = unit.labels("nodeSelector")?;
    let resource = unit.text("resource")?.unwrap_or_else(|| "ecs".to_owned());
    let mut tier = match resource.as_str() {
        "ecs" | "elastic" => Tier { real: Some(Real { node_selector: selector }), ..Tier::default() },
        virtual_ => {
            if !selector.is_empty() {
                to.lose(unit.at("nodeSelector"), "a pool's virtual nodes are all alike; make a VirtualPool of its own");
            }
            pool(&super::pool_name(virtual_))
        }
    };
    tier.max = unit.amount("max")?;
    let mut most = unit.labels("maxResources")?;
    let amounts = ResourceAmounts { cpu: most.remove("cpu"), memory: most.remove("memory") };
    for other in most.keys() {
        to.lose(format!("{}.{other}", unit.at("maxResources")), "burstlet sums CPU and memory only");
    }
    tier.max_resources = (amounts != ResourceAmounts::default()).then_some(amounts);
    tier.labels = unit.labels("podLabels")?;
    tier.annotations = unit.labels("podAnnotations")?;
    if tier.labels.remove(WAIT_FOR_SCALING).as_deref() == Some("true") {
        tier.move_on = Some(MoveOn { waiting: Some(Waiting::Plain), ..to.spec.move_on.clone().unwrap_or_default() });
    }
    unit.lose(
        "spotInstance",
        &mut to.lost,
        "spot is a pool's setting; make a VirtualPool for spot and name it in this tier",
    );
    unit.lose("scaleInWeight", &mut to.lost, "scale-in takes the last tier first, the base last; order the tiers so");
    Ok(tier)
}

/// Real nodes that come first are the base, where they are any real nodes: all that a base may be.
pub(super) fn settle(mut tiers: Vec<Tier>, to: &mut Imported) {
    let is_base = |tier: &Tier| {
        tier.real.as_ref().is_some_and(|real| real.node_selector.is_empty())
            && tier.labels.is_empty()
            && tier.annotations.is_empty()
    };
    if tiers.first().is_some_and(is_base) {
        let base = tiers.remove(0);
        let has_cap = base.max.is_some() || base.max_resources.is_some();
        to.spec.mode = Some(if has_cap { Mode::AfterBase } else { Mode::WhenFull });
        to.spec.base = base.max;
        to.spec.base_resources = base.max_resources;
    } else {
        to.spec.mode = Some(Mode::Always);
    }
    if tiers.is_empty() {
        to.spec.mode = Some(Mode::Never);
    } else {
        to.spec.tiers = Some(tiers);
    }
}

//! OpenKruise: `apps.kruise.io WorkloadSpread`.

use std::collections::BTreeMap;

use super::{ImportError, Imported, is_virtual, pool, pool_name, taken::Taken, when};
use crate::policy::{
    Mode, annotation,
    spec::{Amount, Real, Reason, Tier},
};

pub(super) fn import(from: &mut Taken, to: &mut Imported) -> Result<(), ImportError> {
    let mut target = from.object("targetRef")?;
    let _ = target.take("apiVersion");
    let (kind, name) = (target.text("kind")?.unwrap_or_default(), target.text("name")?.unwrap_or_default());
    to.lose(
        from.at("targetRef"),
        format!("a BurstPolicy names no workload; annotate {kind} {name} with {}: {}", annotation::POLICY, to.name),
    );
    target.finish(&mut to.lost);
    from.lose("targetFilter", &mut to.lost, "write a selector of pod labels instead");
    let mut strategy = from.object("scheduleStrategy")?;
    let mut adaptive = strategy.object("adaptive")?;
    let seconds = adaptive.number("rescheduleCriticalSeconds")?;
    adaptive.lose(
        "disableSimulationSchedule",
        &mut to.lost,
        "burstlet simulates no scheduling: it follows what kube-scheduler says",
    );
    to.spec.move_on = Some(match strategy.text("type")?.as_deref() {
        Some("Adaptive") => when(&[Reason::Full, Reason::Short], seconds.map(|seconds| format!("{seconds}s"))),
        _ => when(&[Reason::Full], None),
    });
    adaptive.finish(&mut to.lost);
    strategy.finish(&mut to.lost);
    let mut tiers = Vec::new();
    for mut subset in from.objects("subsets")? {
        tiers.push(tier(&mut subset, to)?);
        subset.finish(&mut to.lost);
    }
    to.spec.mode = Some(Mode::Always);
    to.spec.tiers = Some(tiers);
    Ok(())
}

fn tier(subset: &mut Taken, to: &mut Imported) -> Result<Tier, ImportError> {
    let name = subset.text("name")?.unwrap_or_default();
    let node_selector = labels(subset, to)?;
    let is_pool = is_virtual(&node_selector);
    let mut tier =
        if is_pool { pool(&pool_name(&name)) } else { Tier { real: Some(Real { node_selector }), ..Tier::default() } };
    subset.lose(
        "preferredNodeSelectorTerms",
        &mut to.lost,
        "burstlet ranks no nodes within a tier; write a tier for each",
    );
    if is_pool {
        // burstlet adds what its own virtual nodes need.
        let _ = subset.take("tolerations");
    } else {
        subset.lose(
            "tolerations",
            &mut to.lost,
            "burstlet adds tolerations for pools only; write them in the pod template",
        );
    }
    tier.max = subset.amount("maxReplicas")?;
    if matches!(&tier.max, Some(Amount::Text(text)) if text.ends_with('%')) {
        to.lose(subset.at("maxReplicas"), "is carried over, but rounds down here, where it rounds up there");
    }
    let mut patch = subset.object("patch")?;
    let mut metadata = patch.object("metadata")?;
    tier.labels = metadata.labels("labels")?;
    tier.annotations = metadata.labels("annotations")?;
    metadata.finish(&mut to.lost);
    patch.finish(&mut to.lost);
    Ok(tier)
}

/// The labels that a term asks for, where each is one of one value: all that a tier can say.
fn labels(subset: &mut Taken, to: &mut Imported) -> Result<BTreeMap<String, String>, ImportError> {
    let mut term = subset.object("requiredNodeSelectorTerm")?;
    let mut found = BTreeMap::new();
    for mut expression in term.objects("matchExpressions")? {
        let key = expression.text("key")?.unwrap_or_default();
        let operator = expression.text("operator")?.unwrap_or_default();
        let values = expression.texts("values")?;
        match (operator.as_str(), values.as_slice()) {
            ("In", [value]) => {
                found.insert(key, value.clone());
            }
            _ => {
                let path = expression.at("operator");
                to.lose(
                    path,
                    format!(
                        "{key} {operator} {}: a tier knows one value a label; write a tier for each",
                        values.join(",")
                    ),
                );
            }
        }
        expression.finish(&mut to.lost);
    }
    term.finish(&mut to.lost);
    Ok(found)
}

//! Alibaba ECI profiles: `eci.aliyun.com Selector`.

use super::{ImportError, Imported, match_labels, pool, taken::Taken};
use crate::policy::Mode;

pub(super) fn import(from: &mut Taken, to: &mut Imported) -> Result<(), ImportError> {
    from.lose(
        "namespaceLabels",
        &mut to.lost,
        "a BurstPolicy is for its own namespace; apply it in each, or name it on the namespaces with burstlet.dev/policy",
    );
    let mut objects = from.object("objectLabels")?;
    to.spec.selector = Some(match_labels(objects.labels("matchLabels")?));
    objects.finish(&mut to.lost);
    from.lose(
        "priority",
        &mut to.lost,
        "burstlet follows no policy by rank: two that match one pod are a conflict; name one on the workload",
    );
    let mut effect = from.object("effect")?;
    let mut tier = pool("eci");
    (tier.labels, tier.annotations) = (effect.labels("labels")?, effect.labels("annotations")?);
    effect.finish(&mut to.lost);
    let mut policy = from.object("policy")?;
    let modes = [
        ("virtualNodeOnly", Mode::Always),
        ("normalNodeOnly", Mode::Never),
        ("normalNodePrefer", Mode::WhenFull),
        ("fair", Mode::WhenFull),
    ];
    for (word, mode) in modes {
        if policy.take(word).is_some() && to.spec.mode.is_none() {
            to.spec.mode = Some(mode);
            if word == "fair" {
                to.lose(policy.at(word), "leaves the choice to scheduler scores; burstlet goes to real nodes first");
            }
        }
    }
    policy.finish(&mut to.lost);
    if to.spec.mode == Some(Mode::Never) {
        if !tier.labels.is_empty() || !tier.annotations.is_empty() {
            to.lose(from.at("effect"), "burstlet marks pods of a pool only, and these stay on real nodes");
        }
    } else {
        to.spec.mode = Some(to.spec.mode.unwrap_or(Mode::WhenFull));
        to.spec.tiers = Some(vec![tier]);
    }
    Ok(())
}

//! Baidu BCI: `scheduling.bci.cloud.baidu.com ScheduleProfile`.

use super::{ImportError, Imported, match_labels, pool, taken::Taken};
use crate::policy::Mode;

pub(super) fn import(from: &mut Taken, to: &mut Imported) -> Result<(), ImportError> {
    let mut objects = from.object("objectSelector")?;
    objects.lose(
        "namespace",
        &mut to.lost,
        "a BurstPolicy is for its own namespace; apply it in each, or name it on the namespaces with burstlet.dev/policy",
    );
    let mut pods = objects.object("pod")?;
    to.spec.selector = Some(match_labels(pods.labels("labels")?));
    pods.finish(&mut to.lost);
    objects.finish(&mut to.lost);
    let mut distribution = from.object("distribution")?;
    let mut local = distribution.object("local")?;
    let mut bci = distribution.object("bci")?;
    to.spec.base = local.amount("maxNum")?;
    let goes = (local.number("deletionPriority")?, bci.number("deletionPriority")?);
    if let (Some(local_goes), Some(bci_goes)) = goes
        && local_goes > bci_goes
    {
        to.lose(local.at("deletionPriority"), "burstlet takes burst pods first on scale-in, and the base last");
    }
    local.finish(&mut to.lost);
    bci.finish(&mut to.lost);
    distribution.finish(&mut to.lost);
    let strategy = from.text("strategy")?.unwrap_or_default();
    to.spec.mode = Some(match strategy.to_lowercase().as_str() {
        "bcionly" => Mode::Always,
        "localonly" => Mode::Never,
        known => {
            if known != "localprefer" {
                to.lose(from.at("strategy"), format!("{strategy:?} is not known; taken for localprefer"));
            }
            if to.spec.base.is_some() { Mode::AfterBase } else { Mode::WhenFull }
        }
    });
    if to.spec.mode != Some(Mode::Never) {
        to.spec.tiers = Some(vec![pool("bci")]);
    }
    Ok(())
}

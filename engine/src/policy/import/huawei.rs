//! Huawei CCE: `scheduling.cci.io ScheduleProfile`.

use super::{ImportError, Imported, match_labels, pool, pool_name, taken::Taken};
use crate::policy::Mode;

/// Kind of virtual node where a profile names none.
const DEFAULT: &str = "cci";

pub(super) fn import(from: &mut Taken, to: &mut Imported) -> Result<(), ImportError> {
    let mut objects = from.object("objectLabels")?;
    to.spec.selector = Some(match_labels(objects.labels("matchLabels")?));
    objects.finish(&mut to.lost);
    let strategy = from.text("strategy")?;
    let mut location = from.object("location")?;
    let mut local = location.object("local")?;
    let mut cci = location.object("cci")?;
    to.spec.base = local.amount("maxNum")?;
    let most = cci.amount("maxNum")?;
    let order = (local.number("scaleDownPriority")?, cci.number("scaleDownPriority")?);
    if let (Some(local_goes), Some(cci_goes)) = order
        && local_goes > cci_goes
    {
        to.lose(local.at("scaleDownPriority"), "burstlet takes burst pods first on scale-in, and the base last");
    }
    local.finish(&mut to.lost);
    cci.finish(&mut to.lost);
    location.finish(&mut to.lost);
    let mut tiers = Vec::new();
    for mut node in from.objects("virtualNodes")? {
        let name = node.text("type")?.unwrap_or_else(|| DEFAULT.to_owned());
        tiers.push(pool(&pool_name(&name)));
        node.finish(&mut to.lost);
    }
    if tiers.is_empty() {
        tiers.push(pool(DEFAULT));
    }
    if let Some(last) = tiers.last_mut() {
        last.max = most;
    }
    to.spec.mode = Some(match strategy.as_deref() {
        Some("enforce") => Mode::Always,
        Some("off") => Mode::Never,
        known => {
            if known == Some("auto") {
                to.lose(
                    from.at("strategy"),
                    "auto leaves the choice to scheduler scores; burstlet goes to real nodes first, as localPrefer",
                );
            } else if known.is_some_and(|known| known != "localPrefer") {
                to.lose(
                    from.at("strategy"),
                    format!("{} is not known; taken for localPrefer", known.unwrap_or_default()),
                );
            }
            if to.spec.base.is_some() { Mode::AfterBase } else { Mode::WhenFull }
        }
    });
    if to.spec.mode != Some(Mode::Never) {
        to.spec.tiers = Some(tiers);
    }
    Ok(())
}

//! The judgement of what policies say beyond a base: caps in their order, real nodes first, disruption budgets.

use std::time::Duration;

use super::history::{History, Life, at};

/// Judges tiers with caps: no pool ever holds more of an app's live pods than its cap, and a pod is sent to a later
/// pool only while those before it hold as many as they may. Pods count as soon as they are sent; those whose own write
/// follows, by an earlier decision, count for the pools before.
pub fn caps(history: &History, app: &str, tiers: &[(&str, u64)]) -> Vec<String> {
    let lives: Vec<_> = history.lives.values().filter(|life| life.app == app).collect();
    let mut violations = Vec::new();
    for life in &lives {
        let (Some(sent), Some(pool)) = (life.burst_at(), life.pool.as_deref()) else { continue };
        let Some(own) = tiers.iter().position(|(name, _)| *name == pool) else {
            violations.push(format!("{} was sent to {pool}, which is no tier", life.name));
            continue;
        };
        let (held, cap) = (held(&lives, pool, sent), tiers[own].1);
        if held > cap {
            violations.push(format!("{}: {pool} held {held} of {cap} pods at {sent}", life.name));
        }
        for (before, cap) in &tiers[..own] {
            let promised = lives.iter().filter(|other| {
                let follows = other.burst_at().is_some_and(|at| at > sent) && other.is_live(sent);
                follows && other.pool.as_deref() == Some(before) && other.decided <= life.decided
            });
            let held = self::held(&lives, before, sent) + promised.count() as u64;
            if held < *cap {
                violations.push(format!("{} was sent to {pool} while {before} held {held} of {cap}", life.name));
            }
        }
    }
    violations
}

/// An app's pods that were sent to the pool and live.
fn held(lives: &[&Life], pool: &str, version: u64) -> u64 {
    let is_there = |life: &&&Life| {
        let is_sent = life.burst_at().is_some_and(|sent| sent <= version);
        is_sent && life.pool.as_deref() == Some(pool) && life.is_live(version)
    };
    lives.iter().filter(is_there).count() as u64
}

/// Judges pods that wait for real nodes first: one was let onto a pool no sooner than `after` its decision, and only
/// while real nodes held `capacity` pods. Answers how many were, and what was wrong.
pub fn passed_on(history: &History, app: &str, after: Duration, capacity: usize) -> (usize, Vec<String>) {
    let (mut passed, mut violations) = (0, Vec::new());
    for life in history.lives.values().filter(|life| life.app == app) {
        if let Some(sent) = life.burst_at() {
            violations.push(format!("{} was sent to burst at {sent}, not to real nodes first", life.name));
        }
        let moved = life.tier.iter().find(|(_, tier)| tier.as_deref() == Some("base-short"));
        let Some((version, _)) = moved else { continue };
        passed += 1;
        let (Some(opened), Some(seen)) = (life.opened, history.moments.get(version)) else { continue };
        // The decision's time is on the pod, in whole seconds or finer; what is told here arrives a little later.
        let waited = seen.saturating_duration_since(opened.seen);
        if waited + Duration::from_secs(1) < after {
            violations.push(format!("{} passed on after {waited:?}, not {after:?}", life.name));
        }
        let on_real = history.lives.values().filter(|other| {
            let is_there = other.gone.is_none_or(|gone| *version < gone.version);
            is_there && other.node(*version).is_some_and(|node| history.is_real(node))
        });
        let held = on_real.count();
        if held < capacity {
            violations.push(format!("{} passed on while real nodes held {held} of {capacity}", life.name));
        }
    }
    (passed, violations)
}

/// The fewest pods of an app that were Ready and live at any moment since a version.
pub fn least_ready(history: &History, app: &str, since: u64) -> usize {
    let lives: Vec<_> = history.lives.values().filter(|life| life.app == app).collect();
    let versions = history.moments.keys().copied().filter(|version| *version >= since);
    let ready = |version: u64| {
        let is_ready = |life: &&&Life| life.is_live(version) && at(&life.ready, version) == Some(&true);
        lives.iter().filter(is_ready).count()
    };
    versions.map(ready).min().unwrap_or(0)
}

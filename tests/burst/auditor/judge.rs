//! The judgement.
//!
//! **Base.** A pod is *sent to real nodes* from the event that shows it without the gate and without tier `burst`, unless
//! it is bound to a virtual node: earlier, and so stricter, than from its binding. It counts while it lives: until the event
//! that shows its deletionTimestamp, a finished phase, or that it is gone. So a successor may be sent by the write right
//! after the one that began its predecessor's deletion, not by one before. Of each revision (ReplicaSet UID), the pods that had
//! burstlet's gate at creation and are sent to real nodes are never more than its base, at any event. A percentage
//! is of the ReplicaSet's wanted replicas, or of its live pods if these are more, and is judged whenever a pod is sent or
//! bound: the count must be right by at least one moment between that pod's creation and the write, because the
//! decision was made then. (Scaling in makes the share smaller before any pod has gone.)
//!
//! **Burst.** At the write that sends a pod to burst, the base must be full: of pods sent to real nodes (also those without
//! a gate, and base pods that moved on for lack of room), and of pods still gated in that event order whose
//! own write follows and names an earlier decision time; writes of one batch may land in any order. Where it is not full at
//! the write but was at a moment since the pod's creation (a base pod began to terminate while the write
//! was under way, or a gated pod meant for the base was deleted before its own write came), the write was *overtaken*: no
//! write to one object can be conditioned on another object. These are counted and told with the time that had passed since
//! the base was last full; more than [`OVERTAKEN_WITHIN`] is a violation.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use super::history::{History, Life, Moment, Revision, at};

/// A decision on older knowledge than this is wrong, not overtaken.
const OVERTAKEN_WITHIN: Duration = Duration::from_secs(5);

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    pub violations: Vec<String>,
    /// Burst decisions whose write landed just after the base had got room, with the time since.
    pub overtaken: Vec<(String, Duration)>,
    /// Pods of governed revisions created without the gate: nobody asked the webhook.
    pub gateless: Vec<String>,
    /// Pods judged.
    pub governed: usize,
    pub sent_to_burst: usize,
    /// The most that any revision had on real nodes, and its base, by the revision's name.
    pub most: BTreeMap<String, (u64, u64)>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { violations, overtaken, gateless, governed, sent_to_burst, most } = self;
        let longest = overtaken.iter().map(|(_, since)| *since).max().unwrap_or_default();
        let over = most.values().filter(|(most, base)| most > base).count();
        write!(
            f,
            "auditor: {governed} governed pods of {} revisions, {sent_to_burst} sent to burst, {} without the gate, \
             {} overtaken (longest {longest:?}), {over} revisions above their base, {} violations",
            most.len(),
            gateless.len(),
            overtaken.len(),
            violations.len(),
        )
    }
}

/// Judges what is always to hold.
pub fn judge(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    for (uid, revision) in &history.revisions {
        if revision.base.iter().all(|(_, base)| base.is_none()) {
            continue;
        }
        let lives: Vec<_> = history.pods_of(uid).collect();
        let trial = Trial { history, uid, revision, lives };
        trial.judge_base(&mut verdict);
        trial.judge_burst(&mut verdict);
        for life in &trial.lives {
            verdict.governed += 1;
            if !life.was_gated {
                verdict.gateless.push(life.name.clone());
            }
        }
    }
    judge_nodes_of_pods(history, &mut verdict);
    judge_virtual_nodes(history, &mut verdict);
    verdict
}

struct Trial<'a> {
    history: &'a History,
    uid: &'a str,
    revision: &'a Revision,
    lives: Vec<&'a Life>,
}

impl Trial<'_> {
    /// The base at a version; `None` where there is none.
    fn base(&self, version: u64) -> Option<u64> {
        let text = at(&self.revision.base, version)?.as_deref()?;
        let Some(share) = text.strip_suffix('%') else { return text.parse().ok() };
        let share: u64 = share.parse().ok()?;
        let wanted = at(&self.revision.wanted, version).copied().unwrap_or(0);
        Some((wanted.max(self.count(|life| life.is_live(version))) * share).div_ceil(100))
    }

    fn is_share(&self) -> bool {
        self.revision.base.iter().any(|(_, base)| base.as_ref().is_some_and(|base| base.ends_with('%')))
    }

    fn count(&self, holds: impl Fn(&Life) -> bool) -> u64 {
        self.lives.iter().filter(|life| holds(life)).count() as u64
    }

    fn is_sent_to_real(&self, life: &Life, version: u64) -> bool {
        let place = match life.node(version) {
            Some(node) => self.history.is_real(node),
            None => life.tier(version) != Some("burst"),
        };
        life.is_live(version) && !life.is_gated(version) && place
    }

    fn judge_base(&self, verdict: &mut Verdict) {
        let mut most = (0, 0);
        for life in self.lives.iter().filter(|life| life.was_gated) {
            let moments = [life.opened, life.bound.as_ref().map(|(moment, _)| *moment)];
            for moment in moments.into_iter().flatten() {
                let version = moment.version;
                if !self.is_sent_to_real(life, version) {
                    continue;
                }
                let sent = self.count(|other| other.was_gated && self.is_sent_to_real(other, version));
                let base = if self.is_share() {
                    let since = self.history.changes(self.uid, life.created.version, version);
                    since.into_iter().filter_map(|version| self.base(version)).max()
                } else {
                    self.base(version)
                };
                let base = base.unwrap_or(u64::MAX);
                most = most.max((sent, base));
                if sent > base {
                    let (name, pod) = (&self.revision.name, &life.name);
                    let who = self.lives.iter().filter(|other| self.is_sent_to_real(other, version));
                    let who: Vec<_> = who.map(|other| &other.name).collect();
                    verdict.violations.push(format!(
                        "{name}: {sent} pods on real nodes with {pod} at {version}, base {base}: {who:?}"
                    ));
                }
            }
        }
        verdict.most.insert(format!("{} {}", self.revision.name, self.uid), most);
    }

    /// Pods that fill the base for a burst decision made at `decided`: those sent, and those on their way by an earlier
    /// decision. With `hopeful`, also gated pods that were deleted before anything was written to them.
    fn held(&self, version: u64, burst: &Life, hopeful: bool) -> u64 {
        self.count(|life| {
            if !life.is_live(version) || life.uid == burst.uid {
                return false;
            }
            if life.is_gated(version) {
                return match life.opened {
                    Some(_) => life.burst_at().is_none() && life.decided.is_some() && life.decided <= burst.decided,
                    None => hopeful && life.ended.is_some(),
                };
            }
            match life.tier(version) {
                Some("burst") => false,
                Some(_) => true,
                None => life.node(version).is_none_or(|node| self.history.is_real(node)),
            }
        })
    }

    fn judge_burst(&self, verdict: &mut Verdict) {
        for life in &self.lives {
            let Some(sent) = life.burst_at() else { continue };
            verdict.sent_to_burst += 1;
            let is_full = |version: u64, hopeful: bool| {
                self.base(version).is_some_and(|base| self.held(version, life, hopeful) >= base)
            };
            if is_full(sent, false) {
                continue;
            }
            let since = self.history.changes(self.uid, life.created.version, sent);
            let last = since.iter().rposition(|version| is_full(*version, true));
            let seen = |version: &u64| self.history.moments.get(version).copied().unwrap_or_else(Instant::now);
            let name = format!("{}: {} at {sent}", self.revision.name, life.name);
            match last {
                None => verdict.violations.push(format!(
                    "{name} was sent to burst while the base held {} of {:?}, and never was full since its creation",
                    self.held(sent, life, true),
                    self.base(sent)
                )),
                Some(last) => {
                    let ceased = since.get(last + 1).unwrap_or(&sent);
                    let ago = seen(&sent).saturating_duration_since(seen(ceased));
                    if ago > OVERTAKEN_WITHIN {
                        verdict
                            .violations
                            .push(format!("{name} was sent to burst {ago:?} after the base had got room"));
                    }
                    verdict.overtaken.push((name, ago));
                }
            }
        }
    }
}

fn judge_nodes_of_pods(history: &History, verdict: &mut Verdict) {
    for life in history.lives.values() {
        let Some((moment, node)) = &life.bound else { continue };
        let (tier, is_real) = (life.tier(moment.version), history.is_real(node));
        let fault = match tier {
            _ if life.is_gated(moment.version) => "while gated",
            Some("burst") if is_real => "of tier burst",
            Some("base") if !is_real => "of tier base",
            None if !is_real => "without a tier",
            _ => continue,
        };
        verdict.violations.push(format!("{} {fault} was bound to {node}", life.name));
    }
}

fn judge_virtual_nodes(history: &History, verdict: &mut Verdict) {
    for (name, node) in history.nodes.iter().filter(|(_, node)| node.is_virtual) {
        let lapse = node.ready.iter().skip_while(|(_, ready)| !ready).find(|(_, ready)| !ready);
        if let Some((version, _)) = lapse {
            verdict.violations.push(format!("virtual node {name} was not Ready at {version}"));
        }
        if node.is_gone {
            verdict.violations.push(format!("virtual node {name} was deleted"));
        }
    }
}

/// Judges the instances at the end, when all has settled. `made` has, by pod UID, how many instances clouds ever made for it and
/// how many are alive.
pub fn instances(history: &History, made: &BTreeMap<String, (u64, u64)>) -> Vec<String> {
    let mut violations = Vec::new();
    for (uid, (created, alive)) in made {
        let life = history.lives.get(uid);
        let name = life.map_or(uid, |life| &life.name);
        if *created > 1 {
            violations.push(format!("{name} got {created} instances"));
        }
        if *alive > 0 && life.is_none_or(|life| life.gone.is_some()) {
            violations.push(format!("{name} is gone, and its instance is not"));
        }
    }
    for life in history.lives.values().filter(|life| life.ended.is_none() && life.phase == "Running") {
        if made.get(&life.uid).is_none_or(|(_, alive)| *alive != 1) {
            violations.push(format!("{} is Running without an instance", life.name));
        }
    }
    violations
}

/// Judges scale-in between two versions in which nothing else deleted pods: a base pod may go only if no Ready burst
/// pod of its revision stays. The controller deletes a batch at once, so it counts who is left when the ReplicaSet has
/// as many as it wants. Returns how many pods of burst and of the base went, and the violations.
pub fn scale_in(history: &History, from: u64, to: u64) -> (usize, usize, Vec<String>) {
    let (mut burst, mut base, mut violations) = (0, 0, Vec::new());
    for life in history.lives.values() {
        let Some(ended) = life.ended.filter(|ended| (from..=to).contains(&ended.version)) else { continue };
        let Some(uid) = life.revision.as_deref().filter(|uid| history.revisions.contains_key(*uid)) else { continue };
        if life.burst_at().is_some() {
            burst += 1;
            continue;
        }
        base += 1;
        let wanted = &history.revisions[uid].wanted;
        let settled = history.changes(uid, ended.version, u64::MAX).into_iter().find(|version| {
            let live = history.pods_of(uid).filter(|life| life.is_live(*version)).count() as u64;
            at(wanted, *version).is_some_and(|wanted| live <= *wanted)
        });
        let settled = settled.unwrap_or(u64::MAX);
        let stays = history.pods_of(uid).find(|other| {
            let was_ready = at(&other.ready, ended.version).is_some_and(|ready| *ready);
            other.burst_at().is_some_and(|sent| sent <= ended.version) && was_ready && other.is_live(settled)
        });
        if let Some(stays) = stays {
            violations.push(format!("{} of the base went, and {} of burst stayed", life.name, stays.name));
        }
    }
    (burst, base, violations)
}

/// Times between two events of each pod.
#[derive(Debug, Default)]
pub struct Delays(Vec<Duration>);

impl Delays {
    /// From creation to binding, of the pods of apps whose names begin so.
    pub fn to_bound(history: &History, app: &str) -> Self {
        Self::between(history, app, |life| Some((life.created, life.bound.as_ref()?.0)))
    }

    /// From creation until the gate was off.
    pub fn to_opened(history: &History, app: &str) -> Self {
        Self::between(history, app, |life| Some((life.created, life.opened?)))
    }

    /// From the change of what an app's ReplicaSets want to the creation of the pods that follow it.
    pub fn to_created(history: &History, app: &str) -> Self {
        Self::between(history, app, |life| {
            let wanted = &history.revisions.get(life.revision.as_ref()?)?.wanted;
            let (version, _) = wanted.iter().rev().find(|(version, _)| *version <= life.created.version)?;
            Some((Moment { version: *version, seen: *history.moments.get(version)? }, life.created))
        })
    }

    fn between(history: &History, app: &str, ends: impl Fn(&Life) -> Option<(Moment, Moment)>) -> Self {
        let lives = history.lives.values().filter(|life| life.app.starts_with(app));
        let ends = lives.filter_map(ends);
        Self::of(ends.map(|(from, to)| to.seen.saturating_duration_since(from.seen)))
    }

    pub fn of(delays: impl Iterator<Item = Duration>) -> Self {
        let mut delays: Vec<_> = delays.collect();
        delays.sort();
        Self(delays)
    }

    pub fn longest(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }
}

impl fmt::Display for Delays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quantile =
            |per_cent: usize| self.0.get((self.0.len() * per_cent / 100).min(self.0.len().saturating_sub(1)));
        let quantile = |per_cent| quantile(per_cent).copied().unwrap_or_default();
        write!(
            f,
            "{} times: p50 {:.1?}, p95 {:.1?}, max {:.1?}",
            self.0.len(),
            quantile(50),
            quantile(95),
            self.longest()
        )
    }
}

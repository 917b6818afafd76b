//! What each decision is judged by, and what must have come about when all is quiet.

use std::collections::{BTreeMap, BTreeSet};

use burstlet_engine::{
    model::{NodeKind, Pod, PodUid, RevisionId, Stage, Tier, Timestamp},
    placement::{Action, Controller, Placing},
};

use super::{
    POOLS, is_live, node_of, ordinal,
    rules::{HIGH, LOW, Rules, TierRules},
    view::Text,
    world::{Look, World, Write},
};

/// How long a base pod that fits no real node is left there.
pub(super) const MOVE_ON: u64 = 10_000;

fn word(action: &Action) -> &'static str {
    match action {
        Action::Place { .. } => "place",
        Action::MoveOn { .. } => "move on",
        Action::Evict { .. } => "evict",
        Action::Explain { .. } => "explain",
        Action::Look { .. } => "look",
        Action::Warn { .. } | Action::Note { .. } => "warn",
    }
}

impl World {
    pub(super) fn note_pods_away(&mut self) {
        let now = self.truth.now;
        let away: Vec<_> = self.view.pods.values().filter(|pod| self.view.pool_of(pod).is_some()).collect();
        self.away_since.retain(|uid, _| away.iter().any(|pod| pod.uid == *uid));
        for pod in away {
            let budget = pod.revision.as_ref().and_then(|revision| self.budget_of(revision));
            let since = self.away_since.entry(pod.uid.clone()).or_insert_with(|| (budget.clone(), now));
            if since.0 != budget {
                *since = (budget, now);
            }
        }
    }

    /// The policy whose budget the revision's pods cost.
    fn budget_of(&self, revision: &RevisionId) -> Option<String> {
        let (policy, rules) = self.view.governed(revision)?;
        policy.filter(|_| rules.minutes.is_some())
    }

    /// Of two policies that differ in nothing but their priority, the higher one's pods get room first.
    pub(super) fn check_priority(&self, actions: &[Action]) {
        let follows = |uid: &PodUid, rules: Rules| {
            let pod = self.view.pods.get(uid);
            pod.and_then(|pod| self.view.rules(pod.revision.as_ref()?)) == Some(rules)
        };
        let is_burst = |action: &&Action| matches!(action, Action::Place { placing: Placing::Burst { .. }, .. });
        let low = actions.iter().filter(is_burst).filter_map(Action::pod).find(|uid| follows(uid, LOW));
        let waits = |pod: &&Pod| pod.stage == Stage::Gated && is_live(pod) && !self.view.pending.contains_key(&pod.uid);
        let high = |pod: &&Pod| follows(&pod.uid, HIGH) && !self.view.refused.contains(&pod.uid);
        let waiting = self.view.pods.values().filter(waits).find(high);
        assert!(low.is_none() || waiting.is_none(), "{low:?} bursts before {waiting:?}: {actions:?}");
    }

    /// A lower bound of what the revision's policy used of this hour, in milliseconds of pods.
    fn surely_used(&self, revision: &RevisionId) -> u64 {
        let hour = self.truth.now / 3_600_000 * 3_600_000;
        let policy = self.budget_of(revision);
        let of_it = self.away_since.values().filter(|(of, _)| *of == policy);
        of_it.map(|(_, since)| self.truth.now - hour.max(*since)).sum()
    }

    pub(super) fn check_decision(&mut self, action: Action) {
        if let Action::Look { revision, arrivals, .. } = action {
            self.looks.push(Look { revision, arrivals, at: self.truth.now });
            return;
        }
        let Some(uid) = action.pod().cloned() else { return };
        let pod = self.view.pods.get(&uid).expect("the pod is known").clone();
        assert!(is_live(&pod), "{action:?} for a pod that does not live");
        let rules = pod.revision.as_ref().and_then(|revision| self.view.rules(revision));
        let mut placed = None;
        match &action {
            Action::Explain { .. } | Action::Look { .. } | Action::Warn { .. } | Action::Note { .. } => return,
            Action::Place { placing, .. } => {
                assert!(pod.stage == Stage::Gated && !self.view.pending.contains_key(&uid), "{action:?} again");
                placed = self.check_placing(&action, placing, &pod, rules);
                self.view.pending.insert(uid.clone(), placing.clone());
            }
            Action::MoveOn { pool, tier, .. } => {
                let (rules, revision) = (rules.expect("governed"), pod.revision.as_ref().expect("controlled"));
                let is_plain = matches!(pod.tier, None | Some(Tier::Base));
                assert!(is_plain && pod.stage == Stage::Unbound { unschedulable: true }, "{action:?}");
                assert_eq!(*tier, Tier::BaseShort(pool.clone()), "{action:?}");
                let since = pod.decided.map_or(0, Timestamp::as_millis);
                let is_early = self.truth.now < since + MOVE_ON && !self.was_set_back;
                assert!(!is_early, "{action:?} too early: decided at {since}");
                assert!(!matches!(rules.mode, "Never" | "Observe"), "{action:?} under {rules:?}");
                self.check_tiers(&action, revision, &pod, rules, Some(pool.as_str()));
                self.view.moving.insert(uid.clone());
            }
            Action::Evict { .. } => {
                let (rules, revision) = (rules.expect("governed"), pod.revision.as_ref().expect("controlled"));
                let held = self.view.held(revision);
                let node = node_of(&pod).and_then(|node| self.view.nodes.get(node)).expect("on a node that is known");
                assert!(node.kind != NodeKind::Real, "{action:?} from a real node");
                let goes_home = self.view.base_has_room(revision, &pod) || held.contains(&uid);
                assert!(goes_home, "{action:?} while the base is full: {held:?}");
                let controller = self.view.revisions[revision].controller;
                assert!(controller != Controller::Job && rules.mode != "Observe", "{action:?} under {rules:?}");
            }
        }
        assert!(self.unanswered.insert((word(&action), uid)), "{action:?} while the first is unanswered");
        self.writes.push(Write { action, decided: self.truth.now, base: placed });
    }

    /// Checks where a gated pod is sent; answers what its landing is checked by, for one of the base.
    fn check_placing(
        &mut self,
        action: &Action,
        placing: &Placing,
        pod: &Pod,
        rules: Option<Rules>,
    ) -> Option<(RevisionId, usize, BTreeSet<PodUid>)> {
        if *placing == Placing::Release {
            assert!(rules.is_none_or(|rules| rules.mode == "Observe"), "{action:?} under {rules:?}");
            return None;
        }
        let (Some(rules), Some(revision)) = (rules, &pod.revision) else { panic!("{action:?}, ungoverned") };
        assert!(rules.mode != "Observe", "{action:?}, which only observes");
        let held = self.view.held(revision);
        let base = self.view.base(revision).expect("governed");
        self.check_share(action, revision, pod, rules);
        let has_room = self.view.base_has_room(revision, pod);
        let is_closed = rules.is_closed(self.truth.now);
        match placing {
            Placing::Base => {
                assert!(has_room || is_closed, "{action:?} beyond the base of {base}: {held:?}");
                // A StatefulSet's ordinals are told apart above; its plain pods may be beyond them.
                let is_told_apart = rules.is_shared || rules.ignores_previous || self.view.is_stateful(revision);
                let base = if is_closed || is_told_apart { usize::MAX } else { base };
                let placed = (revision.clone(), self.bases.len(), held);
                self.bases.push((revision.clone(), base));
                return Some(placed);
            }
            Placing::Burst { pool, nodes } => {
                assert!(!has_room, "{action:?} while the base of {base} has room: {held:?}");
                let kind = NodeKind::Virtual(pool.clone());
                let open = self.view.nodes.values().filter(|node| node.open && node.kind == kind);
                assert!(open.map(|node| &node.name).eq(nodes), "{action:?}");
                self.check_tiers(action, revision, pod, rules, Some(pool.as_str()));
            }
            Placing::Real { .. } => {
                assert!(!has_room, "{action:?} while the base of {base} has room: {held:?}");
                self.check_tiers(action, revision, pod, rules, None);
            }
            Placing::Release => {}
        }
        None
    }

    /// A share is one of what its revision wanted when it made the pod, or of what it came to want since. Of one that is
    /// gone nobody can tell any more, and its pods go, too.
    fn check_share(&self, action: &Action, revision: &RevisionId, pod: &Pod, rules: Rules) {
        let is_share = rules.mode == "AfterBase" && matches!(rules.base, Text::Percent(_));
        let can_be_told = self.truth.revisions.contains_key(revision) && !self.was_look_lost;
        if is_share && can_be_told {
            let (known, made_by) = (&self.view.revisions[revision], self.truth.made_by[&pod.uid]);
            let generation = known.generation;
            assert!(generation >= made_by, "{action:?} of generation {made_by} by what was said of {generation}");
        }
    }

    /// No tier before the one that is chosen could take the pod, or is to be waited for; and that one can take it.
    fn check_tiers(&self, action: &Action, revision: &RevisionId, pod: &Pod, rules: Rules, chosen: Option<&str>) {
        let name = |tier: &TierRules| tier.pool.map(|pool| POOLS[pool]);
        let index = rules.tiers.iter().position(|tier| name(tier) == chosen);
        let index = index.unwrap_or_else(|| panic!("{action:?} to no tier of {rules:?}"));
        for tier in &rules.tiers[..index] {
            let pool = name(tier).expect("real tiers are last");
            let may_be_full =
                tier.max.is_some_and(|max| self.view.used(revision, pool).1 >= self.view.cap(revision, max));
            let waited = |after: u64| {
                let is_early = self.truth.now < pod.created.as_millis() + after * 1_000;
                !is_early || self.was_set_back
            };
            let is_short = !self.view.has_room(pool) && tier.after.is_some_and(waited);
            assert!(may_be_full && tier.passes_full || is_short, "{action:?} passes {tier:?} of {rules:?}");
        }
        let Some(pool) = chosen else { return };
        assert!(self.view.has_room(pool), "{action:?} to a pool without room");
        assert!(!rules.is_closed(self.truth.now), "{action:?} outside of the window");
        let limit = rules.minutes.map(|minutes| minutes * 60_000);
        assert!(limit.is_none_or(|limit| self.surely_used(revision) < limit), "{action:?} beyond the budget");
        if let Some(max) = rules.tiers[index].max {
            let (used, cap) = (self.view.used(revision, pool).0, self.view.cap(revision, max));
            assert!(used < cap, "{action:?} beyond the cap of {cap}");
        }
    }

    /// All is quiet: what is under way comes through, and the cluster goes on for a while.
    pub(crate) fn calm_down(&mut self) {
        self.truth.webhook = true;
        let mut unhealed = BTreeMap::<RevisionId, (usize, u64)>::new();
        for second in 0..200_u64 {
            self.live();
            let holes = self.holes();
            unhealed.retain(|revision, (held, _)| holes.get(revision) == Some(held));
            for (revision, held) in holes {
                let (_, since) = *unhealed.entry(revision.clone()).or_insert((held, second));
                assert!(second - since <= 60, "{revision}: {held} of the base, not healed in a minute");
            }
        }
        assert!(self.writes.iter().all(|write| matches!(write.action, Action::Evict { .. } | Action::MoveOn { .. })));
        for pod in self.view.pods.values().filter(|pod| pod.stage == Stage::Gated && is_live(pod)) {
            let Some(revision) = &pod.revision else { panic!("{} stays gated", pod.uid) };
            if !self.view.revisions.contains_key(revision) {
                continue;
            }
            let rules = self.view.rules(revision).unwrap_or_else(|| panic!("{}: ungoverned, gated", pod.uid));
            assert!(rules.mode != "Observe", "{}: only observed, gated", pod.uid);
            assert!(!self.view.base_has_room(revision, pod), "{}: gated, the base has room", pod.uid);
            assert!(!rules.is_closed(self.truth.now), "{}: gated, outside of the window", pod.uid);
            assert!(!self.has_tier(revision, rules), "{}: gated, a tier of {rules:?} has room", pod.uid);
        }
        self.replay();
    }

    /// Whether a tier surely takes one more pod that has waited long enough.
    fn has_tier(&self, revision: &RevisionId, rules: Rules) -> bool {
        for tier in rules.tiers {
            let Some(pool) = tier.pool.map(|pool| POOLS[pool]) else { return true };
            // What the budget says is counted by its lower bound only.
            if rules.minutes.is_some() {
                return false;
            }
            let is_full = tier.max.is_some_and(|max| self.view.used(revision, pool).1 >= self.view.cap(revision, max));
            let has_room = self.view.has_room(pool);
            if has_room && !is_full {
                return true;
            }
            if is_full && !tier.passes_full || !has_room && !is_full && tier.after.is_none() {
                return false;
            }
        }
        false
    }

    /// Revisions with room in the base, a pod on a virtual node and a real node that would take it; and how many pods
    /// their base holds.
    fn holes(&self) -> BTreeMap<RevisionId, usize> {
        let mut holes = BTreeMap::new();
        for revision in self.truth.revisions.keys() {
            let held = self.view.held(revision).len();
            let rules = self.view.rules(revision).filter(|rules| rules.mode == "AfterBase" && !rules.is_shared);
            let is_job = self.view.revisions.get(revision).is_none_or(|known| known.controller == Controller::Job);
            let base = self.view.base(revision).filter(|_| rules.is_some() && !is_job);
            let has_hole = base.is_some_and(|base| held < base);
            let is_stateful = self.view.is_stateful(revision);
            let is_away = |pod: &&Pod| {
                let is_of = pod.revision.as_ref() == Some(revision) && matches!(pod.tier, Some(Tier::Burst(_)));
                let belongs = !is_stateful || base.is_some_and(|base| ordinal(pod) < base);
                is_of && belongs && is_live(pod) && node_of(pod).is_some()
            };
            let away = self.truth.pods.values().find(is_away);
            let fits = |pod: &Pod| {
                let mut real = self.truth.nodes.values().filter(|node| node.kind == NodeKind::Real);
                real.any(|node| self.truth.has_room(node, pod))
            };
            if has_hole && away.is_some_and(fits) {
                holes.insert(revision.clone(), held);
            }
        }
        holes
    }
}

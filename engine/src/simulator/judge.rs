//! How kube-scheduler judges the real nodes for one pod: which fit, and how good each is.
//!
//! These are the rules of its plugins as they come, in its own whole numbers: 0 to 100 from each, times the plugin's
//! weight. A trial holds them to kube-scheduler's own plugins. All nodes are looked at, where kube-scheduler looks at a part of
//! those of a cluster of more than a hundred. Images are taken to be on no node.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    model::Resources,
    simulator::{
        constraints::{HOSTNAME, Spread, ZONE},
        nodes::{Kind, Meeting, Nodes, Shape, Standing, State, Suit},
        pod::{NodeId, Place, PodId, WorkloadIx},
        setup::{Setup, Workload},
    },
};

/// The best score of a plugin.
const MOST: i64 = 100;
/// Weights of the plugins, as they come.
const TAINTS: i64 = 3;
const AFFINITY: i64 = 2;
const SPREAD: i64 = 2;
const APART: i64 = 2;

/// Where Kubernetes spreads the pods of a controller that say nothing: the topology, and its skew.
const USUAL_SPREAD: [(&str, u32); 2] = [(HOSTNAME, 3), (ZONE, 5)];

/// A pod that stands on a real node already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupant {
    /// The node, by its number.
    pub node: u32,
    /// The workload, by its place in the setup.
    pub workload: usize,
    /// The revision, by its number.
    pub revision: usize,
    /// Whether it terminates.
    pub is_terminating: bool,
}

/// The score of each real node that fits one more pod of a workload's revision; the nodes are all of the setup's, by their numbers.
pub fn judge(setup: &Setup, there: &[Occupant], workload: usize, revision: usize) -> BTreeMap<u32, i64> {
    let mut nodes = Nodes::new(Shape::all(&setup.workloads), 0);
    let mut number = 0;
    for group in setup.all_real_nodes() {
        let kinds = nodes.add_kinds(group);
        for kind in kinds.iter().cycle().take(group.count as usize) {
            nodes.add(format!("node-{number:05}").into(), Place::Real, *kind);
            number += 1;
        }
    }
    for (pod, occupant) in (0..).map(PodId).zip(there) {
        let (node, of) = (NodeId(occupant.node), (WorkloadIx(occupant.workload), occupant.revision));
        nodes.occupy(node, pod, of);
        if occupant.is_terminating {
            nodes.leave(node, of);
        }
    }
    let judged = nodes.judge(WorkloadIx(workload), revision, &BTreeMap::new()).into_iter();
    let none = BTreeSet::new();
    let each = |(state, score)| nodes.classes.get(state).unwrap_or(&none).iter().map(move |id| (id.0, score));
    judged.flat_map(each).collect()
}

impl Setup {
    /// The fewest of the real nodes that come and go on which kube-scheduler finds room for so many pods of each workload; where
    /// it never does, as many as the workloads need each on nodes of its own.
    pub fn nodes_for(&self, pods: &[u32]) -> u32 {
        let asked: Vec<(&Workload, u32)> =
            self.workloads.iter().zip(pods.iter().copied()).filter(|(_, pods)| *pods > 0).collect();
        let alone = asked.iter().map(|(workload, pods)| pods.div_ceil(workload.held_by(&self.real_nodes).max(1)));
        let (least, most) = alone.fold((0, 0_u32), |(least, most), each| (least.max(each), most.saturating_add(each)));
        if asked.len() < 2 { most } else { (least..most).find(|count| self.is_room(*count, pods)).unwrap_or(most) }
    }

    /// Whether kube-scheduler finds room for these pods, which come by turns, on so many nodes.
    fn is_room(&self, count: u32, pods: &[u32]) -> bool {
        let mut nodes = Nodes::new(Shape::all(&self.workloads), 0);
        let kinds = nodes.add_kinds(&self.real_nodes);
        for (number, kind) in (0..count).zip(kinds.iter().cycle()) {
            nodes.add(format!("node-{number:05}").into(), Place::Real, *kind);
        }
        let anywhere = BTreeMap::new();
        let most = pods.iter().max().copied().unwrap_or_default();
        let in_turn =
            (0..most).flat_map(|round| (0..).map(WorkloadIx).zip(pods).filter(move |(_, pods)| round < **pods));
        (0..).map(PodId).zip(in_turn).all(|(pod, (workload, _))| {
            let node = nodes.choose_real(workload, 0, &anywhere);
            node.inspect(|node| nodes.occupy(*node, pod, (workload, 0))).is_some()
        })
    }
}

impl Nodes {
    /// The nodes that fit a pod of this revision which selects these labels as well, each class with its score.
    pub(super) fn judge(
        &self,
        workload: WorkloadIx,
        revision: usize,
        selector: &BTreeMap<String, String>,
    ) -> Vec<(&State, i64)> {
        let Some(shape) = self.shapes.get(workload.0) else { return Vec::new() };
        let mut classes = Vec::with_capacity(self.classes.len());
        for (state, ids) in &self.classes {
            let kind = self.kind(state.kind);
            let mut suit = kind.suit(workload);
            suit.is_affine &= selector.iter().all(|(key, value)| kind.labels.get(key) == Some(value));
            classes.push(Class { state, kind, suit, nodes: ids.len() as u64 });
        }
        let trial = Trial { nodes: self, shape, workload, revision, classes };
        let fitting = trial.fitting();
        let scores = trial.scores(&fitting);
        fitting.into_iter().map(|index| trial.classes[index].state).zip(scores).collect()
    }
}

/// Nodes that are alike.
struct Class<'a> {
    state: &'a State,
    kind: &'a Kind,
    suit: Suit,
    nodes: u64,
}

/// One pod before all nodes.
struct Trial<'a> {
    nodes: &'a Nodes,
    shape: &'a Shape,
    workload: WorkloadIx,
    revision: usize,
    classes: Vec<Class<'a>>,
}

/// What was counted in the domains of a topology.
struct Counted {
    /// The count in the domain of each class; `None` where its nodes are in none.
    of: Vec<Option<u64>>,
    /// The least count of any domain, and how many domains there are.
    least: u64,
    domains: u64,
}

impl Class<'_> {
    fn has(&self, topology: &str) -> bool {
        topology == HOSTNAME || self.kind.labels.contains_key(topology)
    }

    /// Pods that a meeting is about, on one of these nodes.
    fn met(&self, meeting: &Meeting) -> u64 {
        let meant = self.state.standing.iter().filter(|standing| meeting.with.contains(&standing.workload));
        meant.map(|standing| u64::from(standing.all)).sum()
    }
}

impl<'a> Trial<'a> {
    /// The classes that fit, by their indices.
    fn fitting(&self) -> Vec<usize> {
        let has_room = |index: &usize| {
            let class = &self.classes[*index];
            class.suit.is_affine && self.nodes.room(class.state, self.workload) > 0
        };
        let mut fitting: Vec<usize> = (0..self.classes.len()).filter(has_room).collect();
        for meeting in &self.shape.kept_out {
            let met = self.counted(&meeting.topology, |class| Some(class.met(meeting)));
            fitting.retain(|index| met.of[*index].unwrap_or_default() == 0);
        }
        let hard = || self.shape.spread.iter().filter(|(rule, _)| rule.is_hard);
        for (rule, over) in hard() {
            let is_everywhere = |class: &Class<'_>| hard().all(|(rule, _)| class.has(&rule.topology));
            let counted = self.counted(&rule.topology, |class| {
                (is_everywhere(class) && counts_for(rule, class)).then(|| self.live(rule.per_revision, over, class))
            });
            let least = if counted.domains < u64::from(rule.min_domains) { 0 } else { counted.least };
            let after = |count: u64| (count + u64::from(rule.counts_itself)).saturating_sub(least);
            fitting.retain(|index| counted.of[*index].is_some_and(|count| after(count) <= u64::from(rule.max_skew)));
        }
        fitting
    }

    fn scores(&self, fitting: &[usize]) -> Vec<i64> {
        let class = |index: &usize| &self.classes[*index];
        let dislikes: Vec<i64> = fitting.iter().map(|index| whole(class(index).suit.dislikes)).collect();
        let preferences: Vec<i64> = fitting.iter().map(|index| class(index).suit.preference.into()).collect();
        let plugins = [
            (TAINTS, normalised(&dislikes).into_iter().map(|score| MOST - score).collect()),
            (AFFINITY, if self.shape.prefers() { normalised(&preferences) } else { vec![0; fitting.len()] }),
            (SPREAD, self.spread(fitting)),
            (APART, self.apart(fitting)),
            (1, fitting.iter().map(|index| self.least_allocated(class(index).state, class(index).kind)).collect()),
            (1, fitting.iter().map(|index| self.balanced(class(index).state, class(index).kind)).collect()),
        ];
        let mut scores = vec![0; fitting.len()];
        for (weight, plugin) in plugins {
            let plugin: Vec<i64> = plugin;
            scores.iter_mut().zip(plugin).for_each(|(all, score)| *all += weight * score);
        }
        scores
    }

    /// Preferred anti-affinity, the pods' that are there as well as its own.
    fn apart(&self, fitting: &[usize]) -> Vec<i64> {
        let mut scores = vec![0_i64; fitting.len()];
        for (weight, meeting) in &self.shape.shunned {
            let met = self.counted(&meeting.topology, |class| Some(class.met(meeting)));
            for (score, index) in scores.iter_mut().zip(fitting) {
                *score -= i64::from(*weight) * whole(met.of[*index].unwrap_or_default());
            }
        }
        let (least, most) = bounds(&scores);
        scores.into_iter().map(|score| part_of_most(score - least, most - least)).collect()
    }

    /// Preferred spread, or that of pods which say nothing.
    fn spread(&self, fitting: &[usize]) -> Vec<i64> {
        let usual = |(topology, max_skew): (&str, u32)| Spread {
            topology: topology.to_owned(),
            max_skew,
            min_domains: 1,
            is_hard: false,
            over: Vec::new(),
            counts_itself: true,
            per_revision: true,
            honors_affinity: true,
            honors_taints: false,
        };
        let own = !self.shape.spread.is_empty();
        let rules: Vec<(Spread, Vec<WorkloadIx>)> = if own {
            self.shape.spread.iter().filter(|(rule, _)| !rule.is_hard).cloned().collect()
        } else {
            USUAL_SPREAD.map(|rule| (usual(rule), vec![self.workload])).into()
        };
        if rules.is_empty() {
            return vec![0; fitting.len()];
        }
        // Nodes in no domain of a spread that was asked for are the worst of all.
        let is_in = |class: &Class<'_>| !own || rules.iter().all(|(rule, _)| class.has(&rule.topology));
        let judged = || fitting.iter().filter(|index| is_in(&self.classes[**index]));
        let mut sums = vec![0.0; fitting.len()];
        for (rule, over) in &rules {
            let counted = self.counted(&rule.topology, |class| {
                (is_in(class) && counts_for(rule, class)).then(|| self.live(rule.per_revision, over, class))
            });
            let size = if rule.topology == HOSTNAME {
                judged().map(|index| self.classes[*index].nodes).sum()
            } else {
                judged()
                    .map(|index| self.classes[*index].kind.labels.get(&rule.topology))
                    .collect::<BTreeSet<_>>()
                    .len() as u64
            };
            let weight = ln(size + 2);
            for (sum, index) in sums.iter_mut().zip(fitting) {
                if let Some(count) = counted.of[*index] {
                    *sum += real(count) * weight + f64::from(rule.max_skew.saturating_sub(1));
                }
            }
        }
        let scores: Vec<i64> = sums.into_iter().map(rounded).collect();
        let is_in = |index: &usize| is_in(&self.classes[*index]);
        let of_those_in: Vec<i64> =
            scores.iter().zip(fitting).filter(|(_, index)| is_in(index)).map(|(score, _)| *score).collect();
        let (least, most) = bounds(&of_those_in);
        let normal = |(score, index): (i64, &usize)| {
            let score = (MOST * (most + least - score)).checked_div(most).unwrap_or(MOST);
            if is_in(index) { score } else { 0 }
        };
        scores.into_iter().zip(fitting).map(normal).collect()
    }

    /// The more a node has left, the better.
    fn least_allocated(&self, state: &State, kind: &Kind) -> i64 {
        let used = self.nodes.sum(state, |shape| shape.scored) + self.shape.scored;
        let left =
            |(used, all): (u64, u64)| all.checked_sub(used).map_or(0, |left| u128::from(left) * 100 / u128::from(all));
        let parts: Vec<u128> = pairs(used, kind.allocatable).map(left).collect();
        let sum: u128 = parts.iter().sum();
        i64::try_from(sum.checked_div(parts.len() as u128).unwrap_or_default()).unwrap_or(MOST)
    }

    /// The better a pod balances the CPU and the memory that are used of a node, the better.
    fn balanced(&self, state: &State, kind: &Kind) -> i64 {
        if self.shape.requests == Resources::default() {
            return 0;
        }
        let used = self.nodes.sum(state, |shape| shape.requests);
        let balance = |used| {
            let parts: Vec<f64> =
                pairs(used, kind.allocatable).map(|(used, all)| (real(used) / real(all)).min(1.0)).collect();
            let off = if let [cpu, memory] = parts.as_slice() { ((cpu - memory) / 2.0).abs() } else { 0.0 };
            floored((1.0 - off) * 100.0)
        };
        MOST / 2 + (MOST / 2 + balance(used + self.shape.requests) - balance(used)) / 2
    }

    /// Pods of these workloads on one of the class's nodes that do not terminate.
    fn live(&self, per_revision: bool, over: &[WorkloadIx], class: &Class<'_>) -> u64 {
        let is_meant = |standing: &&Standing| {
            let is_own = standing.workload == self.workload;
            over.contains(&standing.workload) && !(per_revision && is_own && standing.revision != self.revision)
        };
        class.state.standing.iter().filter(is_meant).map(|standing| u64::from(standing.live)).sum()
    }

    /// Counts in the domains of a topology; classes whose nodes do not count tell none.
    fn counted(&self, topology: &str, count: impl Fn(&Class<'a>) -> Option<u64>) -> Counted {
        let each: Vec<Option<u64>> = self.classes.iter().map(count).collect();
        if topology == HOSTNAME {
            return Counted {
                least: each.iter().flatten().min().copied().unwrap_or_default(),
                domains: each
                    .iter()
                    .zip(&self.classes)
                    .filter(|(count, _)| count.is_some())
                    .map(|(_, of)| of.nodes)
                    .sum(),
                of: each.into_iter().map(|count| Some(count.unwrap_or_default())).collect(),
            };
        }
        let value = |class: &Class<'a>| class.kind.labels.get(topology);
        let mut values = BTreeMap::<&String, u64>::new();
        for (count, class) in each.iter().zip(&self.classes) {
            if let (Some(count), Some(value)) = (count, value(class)) {
                *values.entry(value).or_default() += count * class.nodes;
            }
        }
        let of = |class| value(class).map(|value| values.get(value).copied().unwrap_or_default());
        Counted {
            of: self.classes.iter().map(of).collect(),
            least: values.values().min().copied().unwrap_or_default(),
            domains: values.len() as u64,
        }
    }
}

/// Whether pods on these nodes count for a spread.
fn counts_for(rule: &Spread, class: &Class<'_>) -> bool {
    (class.suit.is_affine || !rule.honors_affinity) && (class.suit.is_tolerated || !rule.honors_taints)
}

/// CPU and memory, each what is used and all there is, where there is any.
fn pairs(used: Resources, all: Resources) -> impl Iterator<Item = (u64, u64)> {
    [(used.cpu.0, all.cpu.0), (used.memory.0, all.memory.0)].into_iter().filter(|(_, all)| *all > 0)
}

/// Parts of the largest, in whole hundredths.
fn normalised(numbers: &[i64]) -> Vec<i64> {
    let (_, most) = bounds(numbers);
    numbers.iter().map(|number| (MOST * number).checked_div(most).unwrap_or_default()).collect()
}

fn bounds(numbers: &[i64]) -> (i64, i64) {
    (numbers.iter().min().copied().unwrap_or_default(), numbers.iter().max().copied().unwrap_or_default())
}

fn part_of_most(part: i64, of: i64) -> i64 {
    if of > 0 { floored(100.0 * (real(part.unsigned_abs()) / real(of.unsigned_abs()))) } else { 0 }
}

/// The natural logarithm, by sums and products alone: the same bits on every machine.
fn ln(number: u64) -> f64 {
    let (mut mantissa, mut twos) = (real(number.max(1)), 0.0);
    while mantissa >= 2.0 {
        (mantissa, twos) = (mantissa / 2.0, twos + 1.0);
    }
    let step = (mantissa - 1.0) / (mantissa + 1.0);
    let (mut power, mut sum, mut odd) = (step, 0.0, 1.0);
    while odd < 41.0 {
        sum += power / odd;
        (power, odd) = (power * step * step, odd + 2.0);
    }
    2.0 * sum + twos * std::f64::consts::LN_2
}

fn whole(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "kube-scheduler divides so, too")]
fn real(number: u64) -> f64 {
    number as f64
}

#[allow(clippy::cast_possible_truncation, reason = "scores are small; kube-scheduler cuts them so, too")]
fn floored(number: f64) -> i64 {
    number as i64
}

fn rounded(number: f64) -> i64 {
    floored(number.round())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_right_to_the_last_places() {
        for number in [1, 2, 3, 4, 7, 10, 102, 5_002] {
            let off = (ln(number) - real(number).ln()).abs();
            assert!(off < 1e-14, "{number}: {off}");
        }
    }
}

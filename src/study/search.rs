//! The cheapest base that meets its objectives, with few simulations.
//!
//! Both ends are simulated first. From what they show the cost of every other base is [predicted](super::Prices), and
//! bases are simulated in the order of these predictions, cheapest first, until none that is left could still be cheaper:
//! not even if its prediction were off by twice as much as the worst so far. Whether objectives are met is taken to
//! change once between the ends: where a base fails, all between it and the end that fails are left out. Between two
//! bases that cost the same, all do. So the choice is
//! that of an exhaustive search as long as predictions err alike; a test holds it to that.

use std::collections::BTreeMap;

/// What is known of one base.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// What it costs.
    pub cost: f64,
    /// Whether it meets every objective.
    pub holds: bool,
}

/// What a search has found.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The cheapest base that meets the objectives; none where none does.
    pub base: Option<u32>,
    /// Every base that was simulated.
    pub judged: BTreeMap<u32, Judged>,
}

/// So many bases that all fail, the ends among them, and nothing is hoped for any more.
const HOPELESS: usize = 6;

/// Least error that predictions are taken to have.
const LEAST_ERROR: f64 = 0.0005;

/// Finds the cheapest base of 0 to `most`. `judge` simulates bases, several at once; `predict` tells what a base would
/// cost after the simulation of `reference`.
pub fn cheapest<E>(
    most: u32,
    mut judge: impl FnMut(&[u32]) -> Result<Vec<Judged>, E>,
    predict: impl Fn(u32, u32) -> f64,
) -> Result<Choice, E> {
    let mut search = Search { most, judged: BTreeMap::new() };
    let ends = if most == 0 { vec![0] } else { vec![0, most] };
    search.learn(&ends, judge(&ends)?);
    while let Some(base) = search.next(&predict) {
        search.learn(&[base], judge(&[base])?);
    }
    Ok(Choice { base: search.best().map(|(base, _)| base), judged: search.judged })
}

struct Search {
    most: u32,
    judged: BTreeMap<u32, Judged>,
}

impl Search {
    fn learn(&mut self, bases: &[u32], judged: Vec<Judged>) {
        self.judged.extend(bases.iter().copied().zip(judged));
    }

    /// The cheapest that meets the objectives; of equals the smallest.
    fn best(&self) -> Option<(u32, f64)> {
        let holding = self.judged.iter().filter(|(_, judged)| judged.holds).map(|(base, judged)| (*base, judged.cost));
        holding.reduce(|best, next| if next.1 < best.1 { next } else { best })
    }

    /// The base to look at next, if any could still be better than the best.
    fn next(&self, predict: &impl Fn(u32, u32) -> f64) -> Option<u32> {
        let error = self.error(predict);
        let best = self.best();
        if best.is_none() && self.judged.len() >= HOPELESS {
            return None;
        }
        let unknown = (0..=self.most).filter(|base| !self.judged.contains_key(base));
        let predicted = unknown.map(|base| (base, self.predicted(base, predict)));
        let promising = predicted.filter(|(_, cost)| best.is_none_or(|(_, best)| cost * (1.0 - error) < best));
        // A larger base that changes nothing costs as much as the best, and of equals the smallest is chosen.
        let changes = |base: u32| {
            best.is_none_or(|(best, _)| base < best || (predict(best, base) - predict(best, best)).abs() > f64::EPSILON)
        };
        let open: Vec<(u32, f64)> = promising.filter(|(base, _)| !self.is_hopeless(*base) && changes(*base)).collect();
        let cheapest = open.iter().copied().reduce(|best, next| if next.1 < best.1 { next } else { best })?;
        // Where nothing is predicted to be cheaper, only an error of the predictions can be: the smallest of these bases
        // tells most, as all up to the best cost the same if it does.
        let is_cheaper = best.is_none_or(|(_, best)| cheapest.1 < best);
        let (base, _) = if is_cheaper { cheapest } else { open.first().copied()? };
        Some(self.halfway(base))
    }

    /// Where the cheapest open base lies in the dark between one that fails and one that holds, and the last such look
    /// has failed too, the middle of the dark tells more than its cheap end.
    fn halfway(&self, base: u32) -> u32 {
        let Some((below, above)) = self.neighbours(base) else { return base };
        let is_edge = self.judged[&below].holds != self.judged[&above].holds;
        let failures = self.judged.values().filter(|judged| !judged.holds).count();
        if is_edge && failures > 1 { below + (above - below) / 2 } else { base }
    }

    /// The cost of the nearest simulated base, and what predictions say about the difference.
    fn predicted(&self, base: u32, predict: &impl Fn(u32, u32) -> f64) -> f64 {
        let nearest = self.judged.iter().min_by_key(|(known, _)| known.abs_diff(base));
        nearest.map_or(0.0, |(known, judged)| judged.cost + predict(*known, base) - predict(*known, *known))
    }

    /// By how much, in parts of the cost, predictions from one neighbour to the next were off; twice that.
    fn error(&self, predict: &impl Fn(u32, u32) -> f64) -> f64 {
        let known: Vec<_> = self.judged.iter().collect();
        let off = known.windows(2).filter_map(|pair| {
            let [(from, one), (to, other)] = pair else { return None };
            let predicted = one.cost + predict(**from, **to) - predict(**from, **from);
            // Far neighbours err more, as the ends do to begin with: only what is near counts in full.
            let distance = f64::from(to.abs_diff(**from)).max(1.0);
            Some((predicted - other.cost).abs() / other.cost.max(f64::MIN_POSITIVE) / distance)
        });
        off.fold(LEAST_ERROR, |worst, off| worst.max(2.0 * off))
    }

    /// Whether nothing is to be had between its neighbours: both fail though others hold, or both hold and cost the same.
    fn is_hopeless(&self, base: u32) -> bool {
        let Some((below, above)) = self.neighbours(base) else { return false };
        let (below, above) = (&self.judged[&below], &self.judged[&above]);
        match (below.holds, above.holds) {
            (false, false) => self.judged.values().any(|judged| judged.holds),
            (true, true) => (below.cost - above.cost).abs() < f64::EPSILON,
            _ => false,
        }
    }

    /// The simulated bases next to one that is not.
    fn neighbours(&self, base: u32) -> Option<(u32, u32)> {
        let (below, _) = self.judged.range(..base).next_back()?;
        let (above, _) = self.judged.range(base..).next()?;
        Some((*below, *above))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches costs that are known, with predictions that are off by `error`, and counts what it looks at.
    fn searched(costs: &[f64], holds: impl Fn(u32) -> bool, error: impl Fn(u32) -> f64) -> (Option<u32>, usize) {
        let most = u32::try_from(costs.len() - 1).unwrap();
        let at = |base: u32| costs[base as usize];
        let judge = |bases: &[u32]| {
            let judged = |base: &u32| Judged { cost: at(*base), holds: holds(*base) };
            Ok::<_, ()>(bases.iter().map(judged).collect())
        };
        let choice = cheapest(most, judge, |_, base| at(base) + error(base)).unwrap();
        (choice.base, choice.judged.len())
    }

    /// Nodes for eight pods each, and what bursts beyond the base.
    fn costs() -> Vec<f64> {
        (0..=100_u32).map(|base| f64::from(base.div_ceil(8)) * 30.0 + f64::from(100 - base).powi(2) / 10.0).collect()
    }

    fn exhaustive(costs: &[f64], holds: impl Fn(u32) -> bool) -> Option<u32> {
        let bases = (0..u32::try_from(costs.len()).unwrap()).filter(|base| holds(*base));
        bases.min_by(|a, b| costs[*a as usize].total_cmp(&costs[*b as usize]))
    }

    #[test]
    fn it_finds_what_an_exhaustive_search_finds_with_a_fifth_of_its_looks() {
        let costs = costs();
        let thresholds: [&dyn Fn(u32) -> bool; 5] =
            [&|_| true, &|base| base >= 90, &|base| base >= 97, &|base| base <= 31, &|base| base <= 3];
        for holds in thresholds {
            let (base, looks) = searched(&costs, holds, |base| f64::from(base % 3) * 0.02);
            assert_eq!(base, exhaustive(&costs, holds));
            assert!(looks <= costs.len() / 5, "{looks}");
        }
    }

    #[test]
    fn of_bases_that_cost_the_same_the_smallest_is_chosen_without_looking_at_all() {
        // Nothing bursts beyond 40, though predictions say that a little does.
        let costs: Vec<f64> = (0..=60_u32).map(|base| 30.0 + f64::from(40_u32.saturating_sub(base))).collect();
        let (base, looks) = searched(&costs, |_| true, |base| f64::from(60 - base) * 0.001);
        assert_eq!(base, Some(40));
        assert!(looks <= costs.len() / 5, "{looks}");
    }

    #[test]
    fn where_nothing_holds_nothing_is_chosen() {
        assert_eq!(searched(&costs(), |_| false, |_| 0.0), (None, HOPELESS));
    }

    #[test]
    fn a_lone_base_is_the_choice() {
        assert_eq!(searched(&[5.0], |_| true, |_| 0.0), (Some(0), 1));
    }
}

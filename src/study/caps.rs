//! The cheapest base and caps that meet their objectives, with few simulations.
//!
//! A row is a base with caps of all pools but the last. Within one row a larger cap of the last pool lets more pods run: it costs
//! more and serves more, so only the smallest cap that meets the objectives matters. For base 0 with the least caps it is looked
//! for from all pods downwards, for each other row from where base and caps together make as many pods as they did before, which
//! costs two or three simulations. Rows are looked at in the order of what they are predicted to cost with such a cap, until none
//! that is left could still be cheaper, not even if its prediction were off by twice as much as the worst so far.

use std::collections::BTreeMap;

use super::{Judged, Limits};

/// What a search has found.
#[derive(Debug, Clone, PartialEq)]
pub struct CappedChoice {
    /// The cheapest base and caps; none where none meets the objectives.
    pub limits: Option<Limits>,
    /// All that was simulated.
    pub judged: BTreeMap<Limits, Judged>,
}

impl CappedChoice {
    /// The cheapest of what was judged; of equals the smallest base, then the smallest caps.
    pub fn of(judged: BTreeMap<Limits, Judged>) -> Self {
        let holding = judged.iter().filter(|(_, judged)| judged.holds);
        let best = holding.reduce(|best, next| if next.1.cost < best.1.cost { next } else { best });
        Self { limits: best.map(|(limits, _)| limits.clone()), judged }
    }
}

/// Least error that predictions are taken to have.
const LEAST_ERROR: f64 = 0.01;

/// Rows that are looked at to learn how far predictions err.
const LEAST_ROWS: usize = 3;

/// Most rows that a search goes through; where there would be more, caps of the pools before the last are tried in strides.
const MOST_ROWS: usize = 20_000;

/// All limits of 0 to `most` with so many caps of 1 to `most`.
pub fn all_limits(most: u32, pools: usize) -> Vec<Limits> {
    rows(most, pools, 1)
}

/// Limits with a base of 0 to `most` and so many caps of 1 to `most`, in strides.
fn rows(most: u32, pools: usize, stride: u32) -> Vec<Limits> {
    let caps = || (1..=most.max(1)).step_by(stride.max(1) as usize);
    let mut all: Vec<Limits> = (0..=most).map(Limits::base).collect();
    for _ in 0..pools {
        let with = |limits: &Limits, cap| Limits { caps: [limits.caps.as_slice(), &[cap]].concat(), ..*limits };
        all = all.iter().flat_map(|limits| caps().map(move |cap| with(limits, cap))).collect();
    }
    all
}

/// Finds the cheapest base of 0 to `most` with a cap of 1 to `most` for each of so many pools. `judge` simulates; `predict` tells
/// what limits would cost.
pub fn cheapest_capped<E>(
    most: u32,
    pools: usize,
    mut judge: impl FnMut(&Limits) -> Result<Judged, E>,
    mut predict: impl FnMut(&Limits) -> f64,
) -> Result<CappedChoice, E> {
    let most = most.max(1);
    let before = pools.saturating_sub(1);
    let power =
        |stride: u32| (most.div_ceil(stride) as usize).saturating_pow(u32::try_from(before).unwrap_or(u32::MAX));
    let is_few = |stride: &u32| power(*stride).saturating_mul(most as usize) <= MOST_ROWS;
    let stride = (1..=most).find(is_few).unwrap_or(most);
    let mut search = Search { most, judged: BTreeMap::new(), judge: &mut judge };
    let first = Limits { base: 0, caps: vec![1; before] };
    let mut open: Vec<Limits> = rows(most, before, stride).into_iter().filter(|row| *row != first).collect();
    // Pods that base and caps together make where the objectives are just met.
    let mut together = match search.least_cap(&first, most)? {
        Some(cap) => first.pods() + cap,
        None if !search.holds(&Limits { base: most, caps: vec![most; pools] })? => {
            return Ok(CappedChoice::of(search.judged));
        }
        None => first.pods() + most + 1,
    };
    let mut seen = 1;
    loop {
        // A larger base serves no less: where all pods did not suffice, neither do those of a smaller one.
        open.retain(|row| row.pods().saturating_add(most) >= together);
        let guess = |row: &Limits| together.saturating_sub(row.pods()).clamp(1, most);
        let predicted = open.iter().map(|row| (row, predict(&with(row, guess(row)))));
        let Some((row, cost)) = predicted.reduce(|best, next| if next.1 < best.1 { next } else { best }) else { break };
        let row = row.clone();
        let (bias, error) = search.error(&mut predict);
        if search.best().is_some_and(|best| seen >= LEAST_ROWS && cost * bias * (1.0 - error) > best) {
            break;
        }
        open.retain(|other| *other != row);
        seen += 1;
        match search.least_cap(&row, guess(&row))? {
            Some(cap) if cap > 1 => together = row.pods() + cap,
            // Fewer would do, too: how many pods are needed does not show.
            Some(_) => {}
            None => together = together.max(row.pods() + most + 1),
        }
    }
    Ok(CappedChoice::of(search.judged))
}

/// A row with a cap of the last pool.
fn with(row: &Limits, cap: u32) -> Limits {
    Limits { caps: [row.caps.as_slice(), &[cap]].concat(), ..*row }
}

struct Search<'a, J> {
    most: u32,
    judged: BTreeMap<Limits, Judged>,
    judge: &'a mut J,
}

impl<E, J: FnMut(&Limits) -> Result<Judged, E>> Search<'_, J> {
    fn holds(&mut self, limits: &Limits) -> Result<bool, E> {
        if let Some(known) = self.judged.get(limits) {
            return Ok(known.holds);
        }
        let judged = (self.judge)(limits)?;
        let holds = judged.holds;
        self.judged.insert(limits.clone(), judged);
        Ok(holds)
    }

    fn best(&self) -> Option<f64> {
        self.judged.values().filter(|judged| judged.holds).map(|judged| judged.cost).reduce(f64::min)
    }

    /// The smallest cap of the last pool with which this row meets the objectives, looked for from a guess in strides that double,
    /// then by halves.
    fn least_cap(&mut self, row: &Limits, guess: u32) -> Result<Option<u32>, E> {
        // A cap that fails, and one that holds; 0 fails, as far as anybody may ask.
        let (mut fails, mut stride) = (0, 1);
        let mut holds = if self.holds(&with(row, guess))? {
            let mut holds = guess;
            while holds > 1 {
                let lower = holds.saturating_sub(stride).max(1);
                if !self.holds(&with(row, lower))? {
                    fails = lower;
                    break;
                }
                (holds, stride) = (lower, stride * 2);
            }
            holds
        } else {
            fails = guess;
            loop {
                if fails >= self.most {
                    return Ok(None);
                }
                let higher = (fails + stride).min(self.most);
                if self.holds(&with(row, higher))? {
                    break higher;
                }
                (fails, stride) = (higher, stride * 2);
            }
        };
        while holds - fails > 1 {
            let middle = fails + (holds - fails) / 2;
            if self.holds(&with(row, middle))? { holds = middle } else { fails = middle }
        }
        Ok(Some(holds))
    }

    /// By which factor predictions are off on average, and twice by how much of it the worst one is off beside that.
    fn error(&self, predict: &mut impl FnMut(&Limits) -> f64) -> (f64, f64) {
        let held = self.judged.iter().filter(|(_, judged)| judged.holds);
        let ratios: Vec<f64> =
            held.map(|(limits, judged)| judged.cost / predict(limits).max(f64::MIN_POSITIVE)).collect();
        let Some(count) = u32::try_from(ratios.len()).ok().filter(|count| *count > 0) else {
            return (1.0, LEAST_ERROR);
        };
        let bias = ratios.iter().fold(0.0, |sum, ratio| sum + ratio) / f64::from(count);
        let worst = ratios.iter().map(|ratio| (ratio / bias - 1.0).abs()).fold(0.0, f64::max);
        (bias, (2.0 * worst).max(LEAST_ERROR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes for eight pods each, and burst pods up to the caps, the first pool's at two thirds of the last one's price.
    fn cost(limits: &Limits) -> f64 {
        let mut burst = 40_u32.saturating_sub(limits.base);
        let mut cost = f64::from(limits.base.div_ceil(8)) * 30.0;
        for (pool, cap) in limits.caps.iter().enumerate() {
            let here = burst.min(*cap);
            burst -= here;
            let price = if pool + 1 < limits.caps.len() { 2.0 } else { 3.0 };
            cost += f64::from(here).powf(1.3) * price;
        }
        cost
    }

    fn judged(limits: &Limits, needed: u32) -> Judged {
        Judged { cost: cost(limits), holds: limits.pods() >= needed }
    }

    fn searched(most: u32, pools: usize, needed: u32, off: impl Fn(u32) -> f64) -> (Option<Limits>, usize) {
        let judge = |limits: &Limits| Ok::<_, ()>(judged(limits, needed));
        let choice = cheapest_capped(most, pools, judge, |limits| cost(limits) * off(limits.base)).unwrap();
        (choice.limits, choice.judged.len())
    }

    fn exhaustive(most: u32, pools: usize, needed: u32) -> (Option<Limits>, usize) {
        let all: BTreeMap<_, _> =
            all_limits(most, pools).into_iter().map(|limits| (limits.clone(), judged(&limits, needed))).collect();
        let looks = all.len();
        (CappedChoice::of(all).limits, looks)
    }

    #[test]
    fn it_finds_what_an_exhaustive_search_finds_with_a_fifth_of_its_looks() {
        for (most, pools, all) in [(40, 1, [1, 9, 20, 33, 40, 60, 80]), (16, 2, [1, 5, 9, 17, 24, 40, 48])] {
            for needed in all {
                let (limits, looks) = searched(most, pools, needed, |base| 1.0 + f64::from(base % 3) * 0.01);
                let (best, whole) = exhaustive(most, pools, needed);
                assert_eq!(limits, best, "{pools} pools, {needed}");
                assert!(looks <= whole / 5, "{pools} pools, {needed}: {looks} of {whole}");
            }
        }
    }

    #[test]
    fn where_nothing_holds_nothing_is_chosen_and_little_is_looked_at() {
        let (limits, looks) = searched(40, 1, 200, |_| 1.0);
        assert_eq!(limits, None);
        assert!(looks <= 30, "{looks}");
    }

    #[test]
    fn of_many_pools_not_every_row_is_gone_through() {
        let (limits, _) = searched(60, 3, 90, |_| 1.0);
        assert!(limits.is_some_and(|limits| limits.pods() >= 90));
    }
}

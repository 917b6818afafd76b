//! The cheapest base and cap that meet their objectives, with few simulations.
//!
//! The cap is that of the last pool. Within one base a larger cap lets more pods run: it costs more and serves more, so
//! only the smallest cap that meets the objectives matters. For base 0 it is looked for from all pods downwards, for each other
//! base from where base and cap together make as many pods as they did before, which costs two or three simulations. Bases are
//! looked at in the order of what they are predicted to cost with such a cap, until none that is left could still be cheaper,
//! not even if its prediction were off by twice as much as the worst so far.

use std::collections::BTreeMap;

use super::Judged;

/// A base, and the most pods of a revision in the last pool.
pub type Limits = (u32, u32);

/// What a search has found.
#[derive(Debug, Clone, PartialEq)]
pub struct CappedChoice {
    /// The cheapest base and cap; none where none meets the objectives.
    pub limits: Option<Limits>,
    /// All that was simulated.
    pub judged: BTreeMap<Limits, Judged>,
}

impl CappedChoice {
    /// The cheapest of what was judged; of equals the smallest base, then the smallest cap.
    pub fn of(judged: BTreeMap<Limits, Judged>) -> Self {
        let holding = judged.iter().filter(|(_, judged)| judged.holds);
        let best = holding.reduce(|best, next| if next.1.cost < best.1.cost { next } else { best });
        Self { limits: best.map(|(limits, _)| *limits), judged }
    }
}

/// Least error that predictions are taken to have.
const LEAST_ERROR: f64 = 0.01;

/// Rows that are looked at to learn how far predictions err.
const LEAST_ROWS: usize = 3;

/// Finds the cheapest base of 0 to `most` with a cap of 1 to `most`. `judge` simulates; `predict` tells what limits would
/// cost.
pub fn cheapest_capped<E>(
    most: u32,
    mut judge: impl FnMut(Limits) -> Result<Judged, E>,
    mut predict: impl FnMut(Limits) -> f64,
) -> Result<CappedChoice, E> {
    let most = most.max(1);
    let mut search = Search { most, judged: BTreeMap::new(), judge: &mut judge };
    let mut open: Vec<u32> = (1..=most).collect();
    // Pods that base and cap together make where the objectives are just met.
    let mut together = match search.least_cap((0, most))? {
        Some(cap) => cap,
        None if !search.holds((most, most))? => return Ok(CappedChoice::of(search.judged)),
        None => most + 1,
    };
    let mut rows = 1;
    loop {
        // A larger base serves no less: where all pods did not suffice, neither do those of a smaller one.
        open.retain(|base| base + most >= together);
        let guess = |base: u32| (base, together.saturating_sub(base).clamp(1, most));
        let predicted: Vec<(u32, f64)> = open.iter().map(|base| (*base, predict(guess(*base)))).collect();
        let Some((base, cost)) = predicted.into_iter().reduce(|best, next| if next.1 < best.1 { next } else { best })
        else {
            break;
        };
        let (bias, error) = search.error(&mut predict);
        if search.best().is_some_and(|best| rows >= LEAST_ROWS && cost * bias * (1.0 - error) > best) {
            break;
        }
        open.retain(|other| *other != base);
        rows += 1;
        match search.least_cap(guess(base))? {
            Some(cap) if cap > 1 => together = base + cap,
            // Fewer would do, too: how many pods are needed does not show.
            Some(_) => {}
            None => together = together.max(base + most + 1),
        }
    }
    Ok(CappedChoice::of(search.judged))
}

struct Search<'a, J> {
    most: u32,
    judged: BTreeMap<Limits, Judged>,
    judge: &'a mut J,
}

impl<E, J: FnMut(Limits) -> Result<Judged, E>> Search<'_, J> {
    fn holds(&mut self, limits: Limits) -> Result<bool, E> {
        if let Some(known) = self.judged.get(&limits) {
            return Ok(known.holds);
        }
        let judged = (self.judge)(limits)?;
        let holds = judged.holds;
        self.judged.insert(limits, judged);
        Ok(holds)
    }

    fn best(&self) -> Option<f64> {
        self.judged.values().filter(|judged| judged.holds).map(|judged| judged.cost).reduce(f64::min)
    }

    /// The smallest cap with which this base meets the objectives, looked for from a guess in strides that double, then by
    /// halves.
    fn least_cap(&mut self, (base, guess): Limits) -> Result<Option<u32>, E> {
        // A cap that fails, and one that holds; 0 fails, as far as anybody may ask.
        let (mut fails, mut stride) = (0, 1);
        let mut holds = if self.holds((base, guess))? {
            let mut holds = guess;
            while holds > 1 {
                let lower = holds.saturating_sub(stride).max(1);
                if !self.holds((base, lower))? {
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
                if self.holds((base, higher))? {
                    break higher;
                }
                (fails, stride) = (higher, stride * 2);
            }
        };
        while holds - fails > 1 {
            let middle = fails + (holds - fails) / 2;
            if self.holds((base, middle))? { holds = middle } else { fails = middle }
        }
        Ok(Some(holds))
    }

    /// By which factor predictions are off on average, and twice by how much of it the worst one is off beside that.
    fn error(&self, predict: &mut impl FnMut(Limits) -> f64) -> (f64, f64) {
        let held = self.judged.iter().filter(|(_, judged)| judged.holds);
        let ratios: Vec<f64> =
            held.map(|(limits, judged)| judged.cost / predict(*limits).max(f64::MIN_POSITIVE)).collect();
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

    /// Nodes for eight pods each, and burst pods up to the cap; all is served from `needed` pods on.
    fn cost((base, cap): Limits) -> f64 {
        let burst = 40_u32.saturating_sub(base).min(cap);
        f64::from(base.div_ceil(8)) * 30.0 + f64::from(burst).powf(1.3) * 3.0
    }

    fn searched(needed: u32, off: impl Fn(Limits) -> f64) -> (Option<Limits>, usize) {
        let judge = |limits: Limits| Ok::<_, ()>(Judged { cost: cost(limits), holds: limits.0 + limits.1 >= needed });
        let choice = cheapest_capped(40, judge, |limits| cost(limits) * off(limits)).unwrap();
        (choice.limits, choice.judged.len())
    }

    fn exhaustive(needed: u32) -> Option<Limits> {
        let all = (0..=40).flat_map(|base| (1..=40).map(move |cap| (base, cap)));
        let judged = |limits: Limits| (limits, Judged { cost: cost(limits), holds: limits.0 + limits.1 >= needed });
        CappedChoice::of(all.map(judged).collect()).limits
    }

    #[test]
    fn it_finds_what_an_exhaustive_search_finds_with_a_fifth_of_its_looks() {
        for needed in [1, 9, 20, 33, 40, 60, 80] {
            let (limits, looks) = searched(needed, |(base, _)| 1.0 + f64::from(base % 3) * 0.01);
            assert_eq!(limits, exhaustive(needed), "{needed}");
            assert!(looks <= 41 * 40 / 5, "{needed}: {looks}");
        }
    }

    #[test]
    fn where_nothing_holds_nothing_is_chosen_and_little_is_looked_at() {
        let (limits, looks) = searched(200, |_| 1.0);
        assert_eq!(limits, None);
        assert!(looks <= 30, "{looks}");
    }
}

//! As many moments as a chart can show: the rest is folded into them so that no peak is lost.

use std::collections::BTreeMap;

use burstlet_engine::{model::PoolName, simulator::Sample};

/// Columns of a chart. More are finer than a screen's pixels.
const MOST: usize = 360;

/// One column of the charts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    /// Its begin, in seconds from the start.
    pub(super) t: f64,
    /// Highest rate of requests.
    pub(super) rps: f64,
    /// Most pods wanted.
    pub(super) wanted: f64,
    /// Ready pods by tier at the moment that has most of them.
    pub(super) ready_real: f64,
    pub(super) ready_pools: BTreeMap<PoolName, f64>,
    /// Money so far.
    pub(super) cost: f64,
    /// Longest delay; None where no pod became Ready.
    pub(super) delay: Option<f64>,
    /// Requests that were late and that were not served, each per second.
    pub(super) late: f64,
    pub(super) unserved: f64,
}

/// `samples` in at most [`MOST`] columns, or fewer if so asked.
pub(super) fn columns(samples: &[Sample], most: usize) -> Vec<Column> {
    let size = samples.len().div_ceil(most.clamp(1, MOST)).max(1);
    let mut before = (0.0, 0.0, 0.0);
    let chunks = samples.chunks(size);
    chunks
        .filter_map(|chunk| {
            let (first, last) = (chunk.first()?, chunk.last()?);
            let load = last.load.unwrap_or_default();
            let seconds = (last.t - before.0).max(1e-9);
            let per_second = |now: f64, then: f64| ((now - then) / seconds).max(0.0);
            let (late, unserved) = (per_second(load.late, before.1), per_second(load.unserved, before.2));
            before = (last.t, load.late, load.unserved);
            let fullest = chunk.iter().max_by_key(|sample| sample.ready).unwrap_or(first);
            let most = |value: &dyn Fn(&Sample) -> f64| chunk.iter().map(value).fold(0.0, f64::max);
            let delays = chunk.iter().filter_map(|sample| sample.delay_s);
            Some(Column {
                t: first.t,
                rps: most(&|sample| sample.rps),
                wanted: most(&|sample| f64::from(sample.wanted)),
                ready_real: f64::from(fullest.ready_real),
                ready_pools: fullest.ready_pools.iter().map(|(pool, pods)| (pool.clone(), f64::from(*pods))).collect(),
                cost: last.cost,
                delay: delays.reduce(f64::max),
                late,
                unserved,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_peak_is_lost() {
        let sample = |index: u32| Sample {
            t: f64::from(index),
            rps: if index == 777 { 99.0 } else { 1.0 },
            wanted: u32::from(index == 5),
            delay_s: (index == 999).then_some(4.0),
            cost: f64::from(index),
            ..Sample::default()
        };
        let samples: Vec<_> = (0..1000).map(sample).collect();
        let columns = columns(&samples, MOST);
        assert_eq!(columns.len(), 334);
        assert_eq!(columns.iter().filter(|column| column.rps > 50.0).count(), 1);
        assert_eq!(columns.iter().filter(|column| column.wanted > 0.0).count(), 1);
        let last = columns.last().unwrap();
        assert_eq!((last.delay, last.cost), (Some(4.0), 999.0));
    }
}

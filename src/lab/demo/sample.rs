//! What the demo says about each moment and about the whole run, as JSON objects.
//!
//! Shape, one object a line:
//!
//! ```json
//! {"t":61.0,"rps":128.1,"wanted":20,"ready":14,"pending":6,"gated":0,"real":3,"pools":{"cloud":17},"cost":0.0121}
//! {"summary":{"peak":20,"burst_share":0.61,"delay_p50_s":3.1,"delay_p95_s":4.2,"base":3,"base_exceeded":0,"instances_left":0}}
//! ```

use std::collections::BTreeMap;

use burstlet_engine::model::PoolName;
use serde::Serialize;

/// One line of the demo's output.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Record {
    /// A moment.
    Sample(Sample),
    /// The last line.
    Summary {
        /// The whole run.
        summary: Summary,
    },
}

/// One moment. Pods that are terminating or finished count nowhere.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// Seconds since the traffic's start.
    pub t: f64,
    /// Requests per second.
    pub rps: f64,
    /// Replicas that the workload should have, as the HPA set them.
    pub wanted: u32,
    /// Pods that are Ready.
    pub ready: u32,
    /// Pods that are neither Ready nor gated: waiting for a node, or starting on one.
    pub pending: u32,
    /// Pods that wait behind the scheduling gate.
    pub gated: u32,
    /// Pods placed on real nodes, Ready or starting.
    pub real: u32,
    /// Pods placed in each pool, Ready or starting.
    pub pools: BTreeMap<PoolName, u32>,
    /// Money accrued so far by burst pods, in the scenario's currency.
    pub cost: f64,
}

/// The whole run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Most Ready pods seen at once.
    pub peak: u32,
    /// Burst pods' part of the time of all placed pods, 0 to 1.
    pub burst_share: f64,
    /// Median of the seconds from created to Ready, over pods created after the start; null where there is none.
    pub delay_p50_s: Option<f64>,
    /// Nearest-rank 95th percentile of the same.
    pub delay_p95_s: Option<f64>,
    /// The base in pods; a percentage is taken of the most replicas wanted.
    pub base: u32,
    /// Placements that put more than the base of one revision on real nodes; 0 is the promise.
    pub base_exceeded: u32,
    /// Instances still at the provider after the end; 0 is the promise.
    pub instances_left: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_and_a_summary_have_exactly_the_documented_shape() {
        let sample = Sample {
            t: 1.5,
            rps: 12.0,
            wanted: 5,
            ready: 3,
            pending: 1,
            gated: 1,
            real: 3,
            pools: BTreeMap::from([("b".parse().unwrap(), 0), ("a".parse().unwrap(), 1)]),
            cost: 0.25,
        };
        let summary = Summary {
            peak: 5,
            burst_share: 0.5,
            delay_p50_s: Some(2.5),
            delay_p95_s: None,
            base: 3,
            base_exceeded: 0,
            instances_left: 0,
        };
        let lines = [Record::Sample(sample), Record::Summary { summary }]
            .map(|record| serde_json::to_string(&record).unwrap())
            .join("\n");
        insta::assert_snapshot!(lines, @r#"
        {"t":1.5,"rps":12.0,"wanted":5,"ready":3,"pending":1,"gated":1,"real":3,"pools":{"a":1,"b":0},"cost":0.25}
        {"summary":{"peak":5,"burst_share":0.5,"delay_p50_s":2.5,"delay_p95_s":null,"base":3,"base_exceeded":0,"instances_left":0}}
        "#);
    }
}

//! What a run says about each moment and about the whole of it: the simulator and the demo say it in the same objects.
//!
//! Shape as JSON, one object a line; times are seconds from the traffic's start, money is in the scenario's currency:
//!
//! ```json
//! {"t":61.0,"rps":128.1,"wanted":20,"ready":14,"pending":6,"gated":0,"real":3,"pools":{"cloud":17},"ready_real":3,"ready_pools":{"cloud":11},"cost":0.0121,"nodes":3,"served":4021.5,"late":12.0,"unserved":0.0,"backlog":3.1,"delay_s":3.8}
//! {"summary":{"peak":20,"burst_share":0.61,"delay_p50_s":3.1,"delay_p95_s":4.2,"delay_p99_s":4.4,"base":3,"base_exceeded":0,"instances_left":0,"cost":0.019,"tiers":{"cloud":{"pod_s":900.0,"cost":0.019},"real":{"pod_s":615.0,"cost":0.0}}}}
//! ```
//!
//! Where a scenario has several workloads, each object names its own as `"workload":"namespace/name"`, and those of all
//! together follow as `"workload":"all"`. Fields that only a simulation can know (requests, nodes, evictions) are left out
//! by the demo.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::PoolName;

/// One line of output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Record {
    /// A moment.
    Sample(Sample),
    /// The last line of a workload.
    Summary {
        /// The whole run.
        summary: Summary,
    },
}

/// One moment of one workload. Pods that are terminating or finished count nowhere.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the traffic's start.
    pub t: f64,
    /// The workload, as `namespace/name`, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
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
    /// Those on real nodes that are Ready.
    pub ready_real: u32,
    /// Those in each pool that are Ready.
    pub ready_pools: BTreeMap<PoolName, u32>,
    /// Money accrued so far: by burst pods, and by real nodes where they have a price.
    pub cost: f64,
    /// Real nodes that are up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<u32>,
    /// What became of the requests so far.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// Longest time from created to Ready of the pods that became Ready since the sample before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_s: Option<f64>,
}

/// What became of the requests since the start.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Load {
    /// Requests served, the late ones too.
    pub served: f64,
    /// Those of them that waited longer than a request should.
    pub late: f64,
    /// Requests refused or given up: no pod could have served them in time.
    pub unserved: f64,
    /// Requests that wait now.
    pub backlog: f64,
}

/// The whole run of one workload.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// The workload, as `namespace/name`, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Most Ready pods seen at once.
    pub peak: u32,
    /// Burst pods' part of the time of all placed pods, 0 to 1.
    pub burst_share: f64,
    /// Median of the seconds from created to Ready, over pods created after the start; null where there is none.
    pub delay_p50_s: Option<f64>,
    /// Nearest-rank 95th percentile of the same.
    pub delay_p95_s: Option<f64>,
    /// Nearest-rank 99th percentile of the same.
    pub delay_p99_s: Option<f64>,
    /// The base in pods; a percentage is taken of the most replicas wanted.
    pub base: u32,
    /// Placements that put more than the base of one revision on real nodes; 0 is the promise.
    pub base_exceeded: u32,
    /// Instances still at the provider after the end; 0 is the promise.
    pub instances_left: u32,
    /// Money: by burst pods, and by real nodes where they have a price.
    pub cost: f64,
    /// Pod-time and money by where it was spent: `real`, and each pool by its name.
    pub tiers: BTreeMap<String, TierUse>,
    /// What would have been used of pools, in whole minutes, where the policy only observes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub observed: BTreeMap<String, TierUse>,
    /// What only a simulation can know.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub plant: Option<Plant>,
}

/// What one tier was used for.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct TierUse {
    /// Seconds of pods placed there, from bound until gone, summed over the pods.
    pub pod_s: f64,
    /// What that cost.
    pub cost: f64,
}

/// What only a simulation can know of a run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Plant {
    /// Requests that came.
    pub requests: f64,
    /// Requests served, but later than they should.
    pub late: f64,
    /// Requests refused or given up.
    pub unserved: f64,
    /// Pods created after the start.
    pub created: u32,
    /// Pod-seconds that the base lacked on real nodes, while that many pods were wanted.
    pub base_short_s: f64,
    /// Pods evicted: by burstlet to bring them home, or by the node autoscaler.
    pub evictions: u32,
    /// Pods that a pool took back.
    pub reclaims: u32,
    /// Calls to create an instance that a pool refused.
    pub refusals: u32,
    /// Seconds of real nodes that were up, summed over the nodes of the cluster.
    pub node_s: f64,
    /// Most real nodes that were up at once.
    pub nodes_peak: u32,
}

/// The life of one pod; times are seconds since the traffic's start, negative before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodStory {
    /// When it was created.
    pub created: f64,
    /// Where it was placed: `real`, or its pool; none where it never was.
    pub tier: Option<String>,
    /// When it was bound to its node.
    pub bound: Option<f64>,
    /// When it became Ready.
    pub ready: Option<f64>,
    /// When its deletion began.
    pub deleted: Option<f64>,
    /// When it was gone; none where it outlived the run.
    pub gone: Option<f64>,
}

/// All that a simulated run says of one workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Played {
    /// The workload, as `namespace/name`.
    pub workload: String,
    /// Its moments, evenly spaced.
    pub samples: Vec<Sample>,
    /// The whole run.
    pub summary: Summary,
    /// Its pods, in the order of their creation.
    pub pods: Vec<PodStory>,
}

/// All that a simulated run says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The seed of everything random in it.
    pub seed: u64,
    /// Its workloads, in the scenario's order.
    pub workloads: Vec<Played>,
    /// Events that the simulator went through.
    pub events: u64,
}

impl Outcome {
    /// The lines of JSON output: the samples of all workloads by time, then the summaries; of several, those of all
    /// together last. A lone workload is not named.
    pub fn records(&self) -> Vec<Record> {
        let is_alone = self.workloads.len() == 1;
        let total = self.total();
        let all = || self.workloads.iter().chain(&total);
        let named = |played: &Played| (!is_alone).then(|| played.workload.clone());
        let most = all().map(|played| played.samples.len()).max().unwrap_or_default();
        let mut records = Vec::new();
        for index in 0..most {
            for played in all() {
                let sample = played.samples.get(index).cloned();
                records.extend(sample.map(|sample| Record::Sample(Sample { workload: named(played), ..sample })));
            }
        }
        for played in all() {
            let summary = Summary { workload: named(played), ..played.summary.clone() };
            records.push(Record::Summary { summary });
        }
        records
    }

    /// The same moments as comma-separated values with a header, a column a pool.
    pub fn csv(&self) -> String {
        let pools: Vec<&PoolName> = match self.workloads.first().and_then(|played| played.samples.first()) {
            Some(sample) => sample.pools.keys().collect(),
            None => Vec::new(),
        };
        let mut text = "seconds,workload,requests_per_second,wanted,ready,pending,gated,real,ready_real".to_owned();
        for pool in &pools {
            text.extend([",", pool.as_str(), ",ready_", pool.as_str()]);
        }
        text += ",cost,nodes,served,late,unserved,backlog,delay_s\n";
        for record in self.records() {
            if let Record::Sample(sample) = record {
                let name = sample.workload.clone().or_else(|| Some(self.workloads.first()?.workload.clone()));
                text += &row(&sample, name.as_deref().unwrap_or_default(), &pools);
            }
        }
        text
    }
}

fn row(sample: &Sample, workload: &str, pools: &[&PoolName]) -> String {
    let Sample { t, rps, wanted, ready, pending, gated, real, ready_real, cost, .. } = sample;
    let mut row = format!("{t},{workload},{rps},{wanted},{ready},{pending},{gated},{real},{ready_real}");
    let count = |pods: &BTreeMap<PoolName, u32>, pool: &PoolName| pods.get(pool).copied().unwrap_or_default();
    for pool in pools {
        let [placed, ready] = [&sample.pools, &sample.ready_pools].map(|pods| count(pods, pool).to_string());
        row.extend([",", &placed, ",", &ready]);
    }
    let Load { served, late, unserved, backlog } = sample.load.unwrap_or_default();
    let delay = sample.delay_s.map(|delay| delay.to_string()).unwrap_or_default();
    row + &format!(",{cost},{},{served},{late},{unserved},{backlog},{delay}\n", sample.nodes.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(workload: &str) -> Played {
        let sample = Sample { t: 1.5, wanted: 2, pools: BTreeMap::from([("eci".into(), 1)]), ..Sample::default() };
        Played { workload: workload.to_owned(), samples: vec![sample], summary: Summary::default(), pods: vec![] }
    }

    #[test]
    fn a_lone_workload_is_not_named_and_several_are() {
        let names = |workloads: &[&str]| {
            let workloads = workloads.iter().map(|name| played(name)).collect();
            let records = Outcome { seed: 0, workloads, events: 0 }.records();
            let name = |record| match record {
                Record::Sample(sample) => sample.workload,
                Record::Summary { summary } => summary.workload,
            };
            records.into_iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(names(&["d/a"]), [None, None]);
        assert_eq!(
            names(&["d/a", "d/b"]),
            ["d/a", "d/b", "all", "d/a", "d/b", "all"].map(|name| Some(name.to_owned()))
        );
    }

    #[test]
    fn csv_has_a_column_a_pool_and_as_many_in_each_row() {
        let csv = Outcome { seed: 0, workloads: vec![played("d/a")], events: 0 }.csv();
        let columns: Vec<_> = csv.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(columns, [18, 18], "{csv}");
        assert!(csv.ends_with("1.5,d/a,0,2,0,0,0,0,0,1,0,0,0,0,0,0,0,\n"), "{csv}");
    }
}

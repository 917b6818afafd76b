//! A closed loop: the pods follow what the HPA writes, and share a demand for CPU.

use std::time::Duration;

use serde::Deserialize;

use super::{
    moment::Moment,
    quantity::MilliValue,
    sample::{PodSample, Reading},
    scenario::{Replicas, Span},
    spec::or_default,
};

/// The pods of a workload and what is asked of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ClosedLoop {
    initial_replicas: Replicas,
    initial_age_seconds: Option<Span>,
    ready_delay_seconds: Option<Span>,
    /// CPU asked of all pods at each sync, in thousandths of a core.
    #[serde(default, deserialize_with = "or_default")]
    demand_milli: Vec<u32>,
    cpu_request_milli: Option<i64>,
    /// The most that a pod uses; 0 where nothing bounds it.
    #[serde(default, deserialize_with = "or_default")]
    max_cpu_milli_per_pod: u32,
    #[serde(default, deserialize_with = "or_default")]
    unready_metric_missing: bool,
}

impl ClosedLoop {
    /// How many syncs the demand is given for.
    pub(super) fn syncs(&self) -> usize {
        self.demand_milli.len()
    }
}

/// The pods, oldest first.
#[derive(Debug, Clone)]
pub(super) struct Plant {
    closed: ClosedLoop,
    pods: Vec<Running>,
    created: u64,
}

#[derive(Debug, Clone)]
struct Running {
    name: String,
    since: Moment,
}

impl Plant {
    /// How old the first pods are where nothing says so.
    const INITIAL_AGE: Duration = Duration::from_mins(10);
    /// The most pods: memory has an end.
    const MOST: usize = 1_000_000;

    /// The plant before the first sync, at `begin`.
    pub(super) fn new(closed: ClosedLoop, begin: Moment) -> Self {
        let age = closed.initial_age_seconds.map_or(Self::INITIAL_AGE, |span| span.0);
        let mut plant = Self { closed, pods: Vec::new(), created: 0 };
        let replicas = usize::try_from(plant.closed.initial_replicas.0).unwrap_or_default().min(Self::MOST);
        plant.create(replicas, begin.before(age));
        plant
    }

    /// The replicas before the first sync.
    pub(super) fn initial_replicas(&self) -> i32 {
        self.closed.initial_replicas.0
    }

    /// The pods as the sync of that index sees them.
    pub(super) fn samples(&self, index: usize, now: Moment, window: Duration) -> Vec<PodSample<'_>> {
        let demand = self.closed.demand_milli.get(index).or(self.closed.demand_milli.last());
        let demand = i64::from(demand.copied().unwrap_or_default());
        let ready = i64::try_from(self.pods.iter().filter(|pod| self.is_ready(pod, now)).count()).unwrap_or(i64::MAX);
        let (share, mut over) = (demand.checked_div(ready).unwrap_or(0), demand.checked_rem(ready).unwrap_or(0));
        let most = match self.closed.max_cpu_milli_per_pod {
            0 => i64::MAX,
            most => i64::from(most),
        };
        let sample = |pod| self.sample(pod, now, window);
        let mut samples = self.pods.iter().map(sample).collect::<Vec<_>>();
        for sample in samples.iter_mut().filter(|sample| sample.ready == Some(true)) {
            let one_more = i64::from(over > 0);
            over -= one_more;
            sample.cpu.usage = Some(MilliValue((share + one_more).min(most)));
        }
        samples
    }

    fn sample<'a>(&self, pod: &'a Running, now: Moment, window: Duration) -> PodSample<'a> {
        let ready = self.is_ready(pod, now);
        let usage = if self.closed.unready_metric_missing { None } else { Some(MilliValue(0)) };
        let since = if ready { pod.since.after(self.delay()) } else { pod.since };
        PodSample {
            name: &pod.name,
            ready: Some(ready),
            ready_since: since.whole_second(),
            started: Some(pod.since.whole_second()),
            cpu: Reading { request: self.closed.cpu_request_milli.map(MilliValue), usage },
            sampled: now.whole_second(),
            window,
            ..PodSample::default()
        }
    }

    /// Makes or removes pods until there are so many: of those, the last that is not ready goes first, then the last.
    /// The error is how many there can be.
    pub(super) fn follow(&mut self, replicas: i32, now: Moment) -> Result<(), usize> {
        let replicas = usize::try_from(replicas).unwrap_or_default();
        if replicas > Self::MOST {
            return Err(Self::MOST);
        }
        while self.pods.len() > replicas {
            let unready = self.pods.iter().rposition(|pod| !self.is_ready(pod, now));
            self.pods.remove(unready.unwrap_or(self.pods.len() - 1));
        }
        self.create(replicas - self.pods.len(), now);
        Ok(())
    }

    fn create(&mut self, pods: usize, since: Moment) {
        for _ in 0..pods {
            self.pods.push(Running { name: format!("app-{}", self.created), since });
            self.created += 1;
        }
    }

    fn delay(&self) -> Duration {
        self.closed.ready_delay_seconds.map_or(Duration::ZERO, |span| span.0)
    }

    fn is_ready(&self, pod: &Running, now: Moment) -> bool {
        pod.since.is_past(self.delay(), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Moment {
        Moment::from_secs(seconds)
    }

    fn plant(delay: u64, most: u32, demand: &[u32]) -> Plant {
        let closed = ClosedLoop {
            initial_replicas: Replicas(3),
            initial_age_seconds: None,
            ready_delay_seconds: Some(Span(Duration::from_secs(delay))),
            demand_milli: demand.to_vec(),
            cpu_request_milli: Some(100),
            max_cpu_milli_per_pod: most,
            unready_metric_missing: false,
        };
        Plant::new(closed, at(0))
    }

    fn usages(plant: &Plant, index: usize, now: i64) -> Vec<i64> {
        let samples = plant.samples(index, at(now), Duration::ZERO);
        samples.iter().map(|sample| sample.cpu.usage.map_or(-1, |usage| usage.0)).collect()
    }

    #[test]
    fn demand_is_split_in_whole_thousandths_the_rest_to_the_oldest_and_then_capped() {
        assert_eq!(usages(&plant(0, 0, &[200]), 0, 0), [67, 67, 66]);
        assert_eq!(usages(&plant(0, 50, &[200]), 0, 0), [50, 50, 50]);
    }

    #[test]
    fn pods_that_are_not_ready_use_nothing_or_have_no_metric() {
        let mut plant = plant(30, 0, &[300]);
        plant.follow(4, at(0)).unwrap();
        assert_eq!(usages(&plant, 0, 15), [100, 100, 100, 0]);
        assert_eq!(usages(&plant, 0, 30), [75, 75, 75, 75]);
        plant.closed.unready_metric_missing = true;
        assert_eq!(usages(&plant, 0, 15), [100, 100, 100, -1]);
    }

    #[test]
    fn the_last_pod_that_is_not_ready_goes_first() {
        let mut plant = plant(30, 0, &[300]);
        plant.follow(5, at(0)).unwrap();
        plant.follow(4, at(15)).unwrap();
        assert_eq!(
            plant.pods.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>(),
            ["app-0", "app-1", "app-2", "app-3"]
        );
        plant.pods[1].since = at(10);
        plant.follow(2, at(35)).unwrap();
        assert_eq!(plant.pods.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), ["app-0", "app-2"]);
    }

    #[test]
    fn a_ready_pods_condition_changed_when_it_became_ready() {
        let plant = plant(30, 0, &[300]);
        let samples = plant.samples(0, at(0), Duration::ZERO);
        assert_eq!((samples[0].started, samples[0].ready_since), (Some(at(-600)), at(-570)));
    }

    #[test]
    fn a_million_pods_are_the_most() {
        assert_eq!(plant(0, 0, &[]).follow(1_000_001, at(0)), Err(1_000_000));
    }
}

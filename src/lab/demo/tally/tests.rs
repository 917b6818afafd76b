#![allow(clippy::float_cmp, reason = "figures are rounded when they are made")]

use super::*;
use crate::lab::demo::Scenario;
use burstlet_engine::model::{Bytes, MilliCpu, Resources};

const READY: PodState = PodState::Ready;
const PENDING: PodState = PodState::Pending;
const GATED: PodState = PodState::Gated;
const TERMINATING: PodState = PodState::Terminating;
const FINISHED: PodState = PodState::Finished;

fn cloud() -> Place {
    Place::Pool("cloud".parse().unwrap())
}

const REAL: Place = Place::Real;

/// A pod of one core and one GiB.
fn pod(uid: &str, place: impl Into<Option<Place>>, state: PodState) -> PodSight {
    PodSight {
        uid: uid.into(),
        revision: Revision("r1".to_owned()),
        place: place.into(),
        state,
        requests: Resources { cpu: MilliCpu(1000), memory: Bytes(1 << 30) },
    }
}

fn tally(base: &str) -> Tally {
    let mut pools = Scenario::open(Scenario::DEFAULT).unwrap().pools;
    pools[0].price = serde_saphyr::from_str("{cpuSecond: 0.5, gibSecond: 0.25, currency: CNY}").unwrap();
    Tally::new(base.parse().unwrap(), &pools)
}

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

#[test]
fn a_sample_counts_each_live_pod_by_state_and_by_place() {
    let mut tally = tally("2");
    let pods = [
        pod("a", REAL, READY),
        pod("b", REAL, PENDING),
        pod("c", cloud(), READY),
        pod("d", cloud(), PENDING),
        pod("e", None, PENDING),
        pod("f", None, GATED),
        pod("g", REAL, TERMINATING),
        pod("h", cloud(), FINISHED),
    ];
    tally.observe(at(0.0), 6, pods);
    let sample = tally.sample(at(2.0), Rate::new(12.5).unwrap());
    insta::assert_snapshot!(serde_json::to_string(&sample).unwrap(), @r#"{"t":2.0,"rps":12.5,"wanted":6,"ready":2,"pending":3,"gated":1,"real":2,"pools":{"cloud":2},"ready_real":1,"ready_pools":{"cloud":1},"cost":3.0}"#);
}

#[test]
fn a_pool_without_pods_is_still_named() {
    let sample = tally("2").sample(at(0.0), Rate::ZERO);
    assert_eq!(sample.pools, BTreeMap::from([("cloud".parse().unwrap(), 0)]));
}

#[test]
fn a_burst_pod_costs_from_its_binding_until_it_is_gone_or_finished() {
    let mut tally = tally("1");
    let mut cost_at = |now: f64, pods: &[PodSight]| {
        tally.observe(at(now), 1, pods.to_vec());
        tally.sample(at(now), Rate::ZERO).cost
    };
    let real = pod("a", REAL, READY);
    let burst = |state| pod("b", cloud(), state);
    assert_eq!(cost_at(0.0, &[real.clone(), pod("b", None, GATED)]), 0.0);
    assert_eq!(cost_at(10.0, &[real.clone(), burst(PENDING)]), 0.0, "not bound until now");
    assert_eq!(cost_at(12.0, &[real.clone(), burst(READY)]), 1.5, "starting costs as running does");
    assert_eq!(cost_at(14.0, &[real.clone(), burst(TERMINATING)]), 3.0);
    assert_eq!(cost_at(16.0, &[real.clone(), burst(FINISHED)]), 4.5, "terminating costs still");
    assert_eq!(cost_at(99.0, &[real]), 4.5);
}

#[test]
fn cost_grows_between_pictures_and_a_clock_that_runs_back_adds_nothing() {
    let mut tally = tally("1");
    tally.observe(at(0.0), 1, [pod("b", cloud(), READY)]);
    assert_eq!(tally.sample(at(4.0), Rate::ZERO).cost, 3.0);
    assert_eq!(tally.sample(at(3.0), Rate::ZERO).cost, 3.0);
    tally.observe(at(2.0), 1, [pod("b", cloud(), READY)]);
    assert_eq!(tally.sample(at(8.0), Rate::ZERO).cost, 6.0);
}

#[test]
fn the_delay_runs_from_created_to_ready_of_pods_created_after_the_start() {
    let mut tally = tally("1");
    tally.observe(at(0.0), 1, [pod("old", REAL, PENDING)]);
    tally.observe(at(5.0), 3, [pod("old", REAL, READY), pod("b", None, GATED), pod("c", None, GATED)]);
    tally.observe(at(7.0), 3, [pod("old", REAL, READY), pod("b", cloud(), READY), pod("c", cloud(), PENDING)]);
    let flapped = pod("b", cloud(), PENDING);
    tally.observe(at(8.0), 3, [pod("old", REAL, READY), flapped, pod("c", cloud(), READY)]);
    tally.observe(at(20.0), 3, [pod("b", cloud(), READY), pod("c", cloud(), READY)]);
    let summary = tally.summary(0);
    assert_eq!((summary.delay_p50_s, summary.delay_p95_s), (Some(2.0), Some(3.0)));
}

#[test]
fn a_pod_that_hangs_counts_with_its_delay_so_far_and_one_deleted_before_ready_does_not() {
    let mut tally = tally("1");
    tally.observe(at(0.0), 1, []);
    tally.observe(at(1.0), 1, [pod("hangs", None, GATED), pod("deleted", None, GATED)]);
    tally.observe(at(31.0), 1, [pod("hangs", cloud(), PENDING), pod("deleted", None, TERMINATING)]);
    assert_eq!(tally.summary(0).delay_p50_s, Some(30.0));
}

#[test]
fn a_run_without_scale_out_has_no_delay_and_no_burst_share() {
    let mut tally = tally("1");
    tally.observe(at(0.0), 0, []);
    let summary = tally.summary(0);
    assert_eq!((summary.delay_p50_s, summary.delay_p95_s, summary.burst_share), (None, None, 0.0));
}

#[test]
fn percentiles_are_nearest_rank() {
    let delays = (1..=20).map(Duration::from_secs).collect::<Vec<_>>();
    assert_eq!(percentile(&delays, 50), Some(Duration::from_secs(10)));
    assert_eq!(percentile(&delays, 95), Some(Duration::from_secs(19)));
    assert_eq!(percentile(&delays[..1], 50), Some(Duration::from_secs(1)));
    assert_eq!(percentile(&[], 95), None);
}

#[test]
fn the_burst_share_is_of_the_time_of_placed_pods() {
    let mut tally = tally("1");
    tally.observe(at(0.0), 3, [pod("a", REAL, READY), pod("b", cloud(), READY), pod("c", None, PENDING)]);
    tally.observe(at(3.0), 1, [pod("a", REAL, READY)]);
    tally.sample(at(6.0), Rate::ZERO);
    assert_eq!(tally.summary(0).burst_share, 0.3333);
}

#[test]
fn a_placement_beyond_the_base_is_counted_once() {
    let mut tally = tally("2");
    let (a, b) = (pod("a", REAL, READY), pod("b", REAL, READY));
    tally.observe(at(0.0), 3, [a.clone(), b.clone()]);
    assert_eq!(tally.summary(0).base_exceeded, 0);
    tally.observe(at(1.0), 3, [a.clone(), b.clone(), pod("c", REAL, PENDING)]);
    tally.observe(at(2.0), 3, [a, b, pod("c", REAL, READY)]);
    assert_eq!(tally.summary(0).base_exceeded, 1);
}

#[test]
fn a_terminating_or_finished_pod_leaves_room_in_the_base() {
    let mut tally = tally("1");
    tally.observe(at(0.0), 1, [pod("a", REAL, READY)]);
    tally.observe(at(1.0), 1, [pod("a", REAL, TERMINATING), pod("b", REAL, PENDING)]);
    tally.observe(at(2.0), 1, [pod("b", REAL, FINISHED), pod("c", REAL, PENDING)]);
    assert_eq!(tally.summary(0).base_exceeded, 0);
}

#[test]
fn each_revision_has_its_own_base() {
    let mut tally = tally("1");
    let mut next = pod("b", REAL, PENDING);
    next.revision = Revision("r2".to_owned());
    tally.observe(at(0.0), 1, [pod("a", REAL, READY), next]);
    assert_eq!(tally.summary(0).base_exceeded, 0);
}

#[test]
fn a_share_is_judged_by_the_highest_base_since_the_pod_was_created() {
    let mut tally = tally("50%");
    tally.observe(at(0.0), 4, [pod("a", REAL, READY), pod("b", None, GATED)]);
    tally.observe(at(1.0), 2, [pod("a", REAL, READY), pod("b", REAL, PENDING)]);
    assert_eq!(tally.summary(0).base_exceeded, 0, "decided when 4 were wanted");
    tally.observe(at(2.0), 2, [pod("a", REAL, READY), pod("b", REAL, READY), pod("c", REAL, PENDING)]);
    assert_eq!(tally.summary(0).base_exceeded, 1);
    assert_eq!(tally.summary(0).base, 2, "of the most wanted");
}

#[test]
fn the_peak_is_of_ready_pods_and_outlives_them() {
    let mut tally = tally("1");
    tally.observe(at(0.0), 2, [pod("a", REAL, READY), pod("b", cloud(), READY), pod("c", cloud(), PENDING)]);
    tally.observe(at(1.0), 1, [pod("a", REAL, READY)]);
    assert_eq!(tally.summary(7).peak, 2);
    assert_eq!(tally.summary(7).instances_left, 7);
}

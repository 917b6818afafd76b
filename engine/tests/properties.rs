//! What must always hold, over random clusters, policies, lags, faults and changes of leader.
//!
//! The model holds a truth (the API server's objects) and, for each kind, what its watch has still to tell: the engine
//! sees a prefix of each. Everything is counted again from the truth or from what was told.
//!
//! Checked of each decision, against what was told and decided so far:
//! - nothing is decided while a list is under way;
//! - base only while the base has room (or its bound is lifted), a tier only while it has none, and no tier while an
//!   earlier one could take the pod or is to be waited for; none beyond its cap, its pool's room, stock, quota and
//!   health, its policy's windows and budget; of two that share a pool, the higher priority first;
//! - a share only of what the revision wanted when it made the pod, or later, where a look at it was answered;
//! - release only what nobody governs; nothing else for a policy that only observes; eviction only of a pod away while
//!   the base has room, or of one of the base that strayed, and never of a Job's;
//! - no action is repeated for a pod while the first one is unanswered.
//!
//! Checked of each base placing that the API server takes, against the truth at that moment: the revision's live pods
//! on, or meant for, real nodes do not come to exceed the base. That base is the largest that any decision for the
//! revision could know from this one to its landing, as a share of the wanted or the live pods told, whichever are
//! more. Plain pods count if they had been told when this was decided: no decision can count what nobody told.
//!
//! Checked at the end: the same events give the same actions, also where events of different kinds change places
//! between two decisions; and when all is quiet nothing stays gated that has a place, and every hole in the base that
//! a real node could fill is filled within a minute.
//!
//! That these checks find bugs is shown by planting some.

#![expect(clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

mod model;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
};

use burstlet_engine::planted::{Bug, plant};
use model::{
    ops::{KINDS_OF_EVENT, KINDS_OF_STEP, begin, kind_of_step, ops},
    world::World,
};
use proptest::{
    prelude::*,
    test_runner::{Config, FailurePersistence, FileFailurePersistence, RngAlgorithm, TestRng, TestRunner},
};

/// How many steps there were of each kind, and in how many an event of each kind was told.
#[derive(Debug, Default)]
struct Tally {
    steps: BTreeMap<&'static str, usize>,
    events: BTreeMap<&'static str, usize>,
}

impl Tally {
    fn all(&self) -> usize {
        self.steps.values().sum()
    }

    /// Fails unless each kind has its part of the steps.
    fn check(&self) {
        let all = self.all();
        let steps = KINDS_OF_STEP.iter().map(|kind| (kind, self.steps.get(kind)));
        let events = KINDS_OF_EVENT.iter().map(|kind| (kind, self.events.get(kind)));
        for (kind, steps) in steps.chain(events) {
            let steps = steps.copied().unwrap_or_default();
            assert!(steps * 100 >= all, "only {steps} of {all} steps have to do with: {kind}");
        }
    }
}

/// Runs so many random histories, and answers the steps taken; of one that breaks what must hold, the shortest found
/// that still does is told. In the end each is left to calm down, or not.
fn run(cases: u32, shrinks: u32, calms_down: bool, rng: TestRng) -> (Tally, Result<(), String>) {
    let persistence = FileFailurePersistence::WithSource("regressions");
    let failure_persistence: Option<Box<dyn FailurePersistence>> =
        if shrinks > 0 { Some(Box::new(persistence)) } else { None };
    let config = Config {
        cases,
        failure_persistence,
        source_file: Some(file!()),
        max_shrink_iters: shrinks,
        ..Config::default()
    };
    let tally = RefCell::new(Tally::default());
    let outcome =
        TestRunner::new_with_rng(config, rng).run(&(any::<bool>(), begin(), ops()), |(is_standing, begin, ops)| {
            let mut world = World::new(begin);
            if is_standing {
                world.stand();
            }
            for op in &ops {
                *tally.borrow_mut().steps.entry(kind_of_step(op)).or_default() += 1;
                world.told.clear();
                world.step(*op);
                for kind in &world.told {
                    *tally.borrow_mut().events.entry(kind).or_default() += 1;
                }
            }
            if calms_down {
                world.calm_down();
            }
            Ok(())
        });
    (tally.into_inner(), outcome.map_err(|error| error.to_string()))
}

fn check(cases: u32) -> Tally {
    let mut seed = [0; 32];
    let chance = RandomState::new().hash_one(cases);
    seed[..8].copy_from_slice(&chance.to_le_bytes());
    let (tally, outcome) = run(cases, 20_000, true, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    if let Err(error) = outcome {
        panic!("{error}");
    }
    println!("{} steps in {cases} runs: {tally:?}", tally.all());
    tally
}

#[test]
fn what_must_always_hold_holds_over_lags_faults_and_changes_of_leader() {
    check(160);
}

#[test]
#[ignore = "soak: more than a million steps"]
fn soak_what_must_always_hold_holds_for_a_million_steps() {
    check(20_000).check();
}

/// Of chance that is the same each time: few steps of random ones would fall short now and then.
#[test]
fn every_kind_of_step_and_event_is_in_at_least_one_percent_of_the_steps() {
    let (tally, outcome) = run(400, 0, false, TestRng::from_seed(RngAlgorithm::ChaCha, &[1; 32]));
    assert_eq!(outcome, Ok(()));
    println!("{} steps: {tally:?}", tally.all());
    tally.check();
}

/// Steps within which a planted bug is to be found.
const PATIENCE: usize = 50_000;

#[test]
fn each_planted_bug_is_found() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        plant(Some(*bug));
        let seed = [*bug as u8 + 1; 32];
        let (tally, outcome) =
            run(u32::try_from(PATIENCE / 60).unwrap(), 0, true, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
        plant(None);
        let taken = tally.all();
        println!("{bug:?}: {} after {taken} steps", if outcome.is_err() { "found" } else { "missed" });
        if outcome.is_ok() || taken > PATIENCE {
            missed.push(*bug);
        }
    }
    drop(std::panic::take_hook());
    assert!(missed.is_empty(), "not found: {missed:?}");
}

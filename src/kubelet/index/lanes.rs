//! Calls to each side: how many at a time, whether any, and which pods wait for a place.

use std::{collections::VecDeque, time::Duration};

use super::{Uid, seed};
use crate::kubelet::{
    breaker::Breaker,
    sync::{Action, Moment, Outcome},
};

/// Most calls at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) provider: usize,
    pub(crate) api: usize,
}

/// Whom a call goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Provider,
    Api,
}

impl Side {
    pub(super) fn of(action: &Action) -> Self {
        match action {
            Action::Create | Action::DeleteInstance { .. } => Self::Provider,
            Action::WriteStatus(_) | Action::DeletePod | Action::VerifyPod => Self::Api,
        }
    }
}

/// Calls to one side, and the pods that wait for a place.
#[derive(Debug)]
struct Lane {
    most: usize,
    in_flight: usize,
    parked: VecDeque<Uid>,
    breaker: Breaker,
}

impl Lane {
    fn new(most: usize, breaker: Breaker) -> Self {
        Self { most, in_flight: 0, parked: VecDeque::new(), breaker }
    }

    fn has_room(&self, now: Moment) -> bool {
        self.in_flight < self.most && self.breaker.takes(now, self.in_flight)
    }

    /// When a place comes although nothing happens.
    fn opens_at(&self) -> Option<Moment> {
        self.breaker.tries_at().filter(|_| self.in_flight == 0 && !self.parked.is_empty())
    }
}

/// Both sides.
#[derive(Debug)]
pub(super) struct Lanes {
    provider: Lane,
    api: Lane,
}

impl Lanes {
    /// `name` moves the moments at which a side that has failed is tried.
    pub(super) fn new(limits: Limits, name: &str) -> Self {
        let seed = seed(name);
        // The API server is back within seconds as a rule, and nodes of others wait for nothing.
        let (provider, api) = (
            Breaker::new(Duration::from_secs(5), Duration::from_mins(1), seed),
            Breaker::new(Duration::from_secs(1), Duration::from_secs(10), seed.rotate_left(32)),
        );
        Self { provider: Lane::new(limits.provider, provider), api: Lane::new(limits.api, api) }
    }

    /// Takes a place for a call, or has the pod wait for one.
    pub(super) fn enter(&mut self, side: Side, uid: &Uid, now: Moment) -> bool {
        let lane = self.lane(side);
        let has_room = lane.has_room(now);
        if has_room {
            lane.in_flight += 1;
        } else {
            lane.parked.push_back(uid.clone());
        }
        has_room
    }

    /// Gives the place back, and takes in whether the other side answered.
    pub(super) fn leave(&mut self, side: Side, outcome: &Outcome, now: Moment) {
        let lane = self.lane(side);
        lane.in_flight = lane.in_flight.saturating_sub(1);
        match (side, outcome) {
            (_, Outcome::CreateFailed(error)) if error.is_shared() => lane.breaker.failed(now, error.retry_after()),
            (_, Outcome::Down { after }) => lane.breaker.failed(now, *after),
            // Nobody was asked, or what the answer means for others is not known.
            (_, Outcome::Unresolved(_) | Outcome::Failed { .. })
            | (Side::Provider, Outcome::PodFound(_) | Outcome::PodMissing) => {}
            _ => lane.breaker.answered(),
        }
    }

    /// A pod that has waited, and for which there is a place now.
    pub(super) fn unpark(&mut self, now: Moment) -> Option<Uid> {
        [&mut self.provider, &mut self.api]
            .into_iter()
            .filter(|lane| lane.has_room(now))
            .find_map(|lane| lane.parked.pop_front())
    }

    /// When to look again although nothing happens.
    pub(super) fn wake_at(&self) -> Option<Moment> {
        [&self.provider, &self.api].into_iter().filter_map(Lane::opens_at).min()
    }

    /// How many times calls have stopped, to the provider and to the API server.
    pub(super) fn trips(&self) -> [u64; 2] {
        [self.provider.breaker.trips(), self.api.breaker.trips()]
    }

    fn lane(&mut self, side: Side) -> &mut Lane {
        match side {
            Side::Provider => &mut self.provider,
            Side::Api => &mut self.api,
        }
    }
}

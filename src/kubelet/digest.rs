//! Container states in short, so that a provider's word and the API server's view of it can be compared.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use k8s_openapi::api::core::v1::{ContainerState as WrittenState, ContainerStatus, PodStatus};

use crate::provider::{ContainerReport, ContainerState};

/// Equal where all that a status tells of its containers is; [`Digest::NONE`] where there is nothing to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest(u64);

#[derive(Hash)]
struct Facts<'a> {
    name: &'a str,
    state: State<'a>,
    restarts: u32,
    is_ready: bool,
    has_started: bool,
}

#[derive(Hash)]
enum State<'a> {
    Waiting(&'a str),
    Running,
    Ended(i32, &'a str),
}

impl Digest {
    pub(crate) const NONE: Self = Self(0);

    /// Of what a provider reports.
    pub(crate) fn of_reports(reports: &[ContainerReport]) -> Self {
        Self::of(reports.iter().map(reported).collect())
    }

    /// Of what the API server shows.
    pub(crate) fn of_status(status: &PodStatus) -> Self {
        let init = status.init_container_statuses.iter().flatten();
        Self::of(init.chain(status.container_statuses.iter().flatten()).map(written).collect())
    }

    fn of(facts: Vec<Facts<'_>>) -> Self {
        if facts.is_empty() { Self::NONE } else { Self(BuildHasherDefault::<DefaultHasher>::default().hash_one(facts)) }
    }
}

fn reported(report: &ContainerReport) -> Facts<'_> {
    let state = match &report.state {
        ContainerState::Waiting { reason, .. } => State::Waiting(reason),
        ContainerState::Running { .. } => State::Running,
        ContainerState::Ended(end) => State::Ended(end.exit_code, &end.reason),
    };
    let ContainerReport { name, restarts, is_ready, has_started, .. } = report;
    Facts { name, state, restarts: *restarts, is_ready: *is_ready, has_started: *has_started }
}

fn written(status: &ContainerStatus) -> Facts<'_> {
    let state = match &status.state {
        Some(WrittenState { terminated: Some(end), .. }) => {
            State::Ended(end.exit_code, end.reason.as_deref().unwrap_or_default())
        }
        Some(WrittenState { running: Some(_), .. }) => State::Running,
        Some(WrittenState { waiting: Some(waiting), .. }) => {
            State::Waiting(waiting.reason.as_deref().unwrap_or_default())
        }
        _ => State::Waiting(""),
    };
    Facts {
        name: &status.name,
        state,
        restarts: u32::try_from(status.restart_count).unwrap_or(0),
        is_ready: status.ready,
        has_started: status.started == Some(true),
    }
}

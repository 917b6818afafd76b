//! A container group and its life, which is a function of time: nothing has to happen for it to go on.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use super::tree::Tree;
use crate::{
    lab::emulator::{Moment, program::Program},
    provider::clouds::Resources,
};

/// Pause between two starts of a container that ended.
const BACK_OFF: Duration = Duration::from_secs(10);
/// How long a restart or an update takes.
const CHANGE: Duration = Duration::from_secs(1);
/// How long containers take to stop, where their grace allows it.
const STOP: Duration = Duration::from_secs(1);

/// When containers are started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

impl RestartPolicy {
    pub(super) fn of(text: &str) -> Option<Self> {
        Some(match text {
            "Always" => Self::Always,
            "OnFailure" => Self::OnFailure,
            "Never" => Self::Never,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::OnFailure => "OnFailure",
            Self::Never => "Never",
        }
    }

    fn restarts(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// One container.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) program: Program,
    /// All that was asked for.
    pub(super) definition: Tree,
}

/// How a container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) began: Moment,
    pub(super) at: Moment,
    pub(super) code: i32,
    pub(super) reason: &'static str,
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Waiting { reason: &'static str },
    Running { since: Moment },
    Ended(Ended),
}

/// A container at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ContainerState {
    pub(super) doing: Doing,
    pub(super) previous: Option<Ended>,
    pub(super) restarts: u64,
}

/// How a group ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finish {
    pub(super) at: Moment,
    pub(super) status: &'static str,
    pub(super) reason: &'static str,
}

/// A container group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) zone: String,
    pub(super) vswitch: String,
    pub(super) secured_by: String,
    pub(super) address: Option<Ipv4Addr>,
    pub(super) public_address: Option<String>,
    pub(super) size: Resources,
    pub(super) instance_type: String,
    /// `NoSpot`, `SpotAsPriceGo` or `SpotWithPriceLimit`.
    pub(super) spot: String,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) containers: Vec<Container>,
    pub(super) init_containers: Vec<Container>,
    pub(super) restart_policy: RestartPolicy,
    pub(super) grace: Duration,
    pub(super) deadline: Option<Duration>,
    pub(super) created: Moment,
    pub(super) start_up: Duration,
    /// Accepted, and then no machine is found.
    pub(super) fails_late: bool,
    pub(super) restarted: Option<Moment>,
    pub(super) updated: Option<Moment>,
    /// When the notice came that it is taken back, and when it is.
    pub(super) reclaimed: Option<(Moment, Moment)>,
    pub(super) deleted: Option<Moment>,
    /// The bill knows that it has finished.
    pub(super) is_settled: bool,
    pub(super) definition: Tree,
}

impl Group {
    pub(super) fn is_spot(&self) -> bool {
        self.spot != "NoSpot"
    }

    /// When the containers start.
    pub(super) fn ready_at(&self) -> Moment {
        self.restarted.map_or(self.created + self.start_up, |at| at + CHANGE)
    }

    /// When the machine is found, or is known not to be.
    fn scheduled_at(&self) -> Moment {
        self.created + self.start_up / 4
    }

    /// When it ends after its deletion was asked for.
    pub(super) fn gone_at(&self) -> Option<Moment> {
        let at = self.deleted?;
        let runs = at >= self.ready_at() && self.finish().is_none_or(|finish| finish.at > at);
        Some(if runs { at + STOP.min(self.grace) } else { at })
    }

    /// How it ends, if nobody deletes it before.
    pub(super) fn finish(&self) -> Option<Finish> {
        let late = self.fails_late.then(|| Finish {
            at: self.scheduled_at(),
            status: "ScheduleFailed",
            reason: "ContainerGroup.NoStock",
        });
        let taken = self.reclaimed.map(|(_, at)| Finish { at, status: "Failed", reason: "BidFailed" });
        let deadline = self.deadline.map(|deadline| Finish {
            at: self.created + deadline,
            status: "Failed",
            reason: "DeadlineExceeded",
        });
        [late, taken, deadline, self.runs_out()].into_iter().flatten().min_by_key(|finish| finish.at)
    }

    /// All containers end and none is started again.
    fn runs_out(&self) -> Option<Finish> {
        let ends = self.containers.iter().map(|container| container.program.end);
        let ends = ends.collect::<Option<Vec<_>>>().filter(|ends| !ends.is_empty())?;
        if ends.iter().any(|(_, code)| self.restart_policy.restarts(*code)) {
            return None;
        }
        let after = ends.iter().map(|(after, _)| *after).max()?;
        let failed = ends.iter().any(|(_, code)| *code != 0);
        let (status, reason) = if failed { ("Failed", "Error") } else { ("Succeeded", "Completed") };
        Some(Finish { at: self.ready_at() + after, status, reason })
    }

    /// The group's status at `now`.
    pub(super) fn status(&self, now: Moment) -> &'static str {
        if self.deleted.is_some() {
            return "Terminating";
        }
        if let Some(finish) = self.finish().filter(|finish| finish.at <= now) {
            return finish.status;
        }
        let is_within = |at: Option<Moment>| at.is_some_and(|at| (at..at + CHANGE).contains(&now));
        if is_within(self.restarted) {
            "Restarting"
        } else if now < self.scheduled_at() {
            "Scheduling"
        } else if now < self.ready_at() {
            "Pending"
        } else if is_within(self.updated) {
            "Updating"
        } else {
            "Running"
        }
    }

    /// The reason that goes with the status, where there is one.
    pub(super) fn reason(&self, now: Moment) -> Option<&'static str> {
        self.finish().filter(|finish| finish.at <= now).map(|finish| finish.reason)
    }

    /// What a container does at `now`.
    pub(super) fn container(&self, container: &Container, now: Moment) -> ContainerState {
        let began = self.ready_at();
        let state = |doing| ContainerState { doing, previous: None, restarts: u64::from(self.restarted.is_some()) };
        let finish = self.finish().filter(|finish| finish.at <= now);
        if now < began {
            let reason = finish.map_or("ContainerCreating", |finish| finish.reason);
            return state(Doing::Waiting { reason });
        }
        let natural = self.course(container, began, now);
        match finish {
            Some(finish) if !matches!(natural.doing, Doing::Ended(_)) => {
                let ended = Ended { began, at: finish.at, code: 137, reason: finish.reason };
                ContainerState { doing: Doing::Ended(ended), ..natural }
            }
            _ => natural,
        }
    }

    /// What the container does, were it for its program alone.
    fn course(&self, container: &Container, began: Moment, now: Moment) -> ContainerState {
        let earlier = u64::from(self.restarted.is_some());
        let running = |since, restarts, previous| ContainerState {
            doing: Doing::Running { since },
            previous,
            restarts: earlier + restarts,
        };
        let Some((after, code)) = container.program.end else { return running(began, 0, None) };
        let reason = if code == 0 { "Completed" } else { "Error" };
        let elapsed = now.saturating_sub(began);
        let ended = |round: u64| {
            let start = began + (after + BACK_OFF) * u32::try_from(round).unwrap_or(u32::MAX);
            Ended { began: start, at: start + after, code, reason }
        };
        if !self.restart_policy.restarts(code) {
            let doing = if elapsed < after { Doing::Running { since: began } } else { Doing::Ended(ended(0)) };
            return ContainerState { doing, previous: None, restarts: earlier };
        }
        let cycle = (after + BACK_OFF).as_nanos();
        let round = u64::try_from(elapsed.as_nanos() / cycle).unwrap_or(u64::MAX);
        let previous = round.checked_sub(1).map(ended);
        if elapsed.as_nanos() % cycle < after.as_nanos() {
            running(ended(round).began, round, previous)
        } else {
            let doing = Doing::Waiting { reason: "CrashLoopBackOff" };
            ContainerState { doing, previous: Some(ended(round)), restarts: earlier + round }
        }
    }

    /// Init containers have run through once the others run.
    pub(super) fn init_container(&self, now: Moment) -> ContainerState {
        let at = self.ready_at();
        let doing = if now < at {
            Doing::Waiting { reason: "PodInitializing" }
        } else {
            Doing::Ended(Ended { began: self.scheduled_at(), at, code: 0, reason: "Completed" })
        };
        ContainerState { doing, previous: None, restarts: 0 }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn group(policy: RestartPolicy, commands: &[&[&str]]) -> Group {
        let container = |words: &&[&str]| Container {
            name: "app".to_owned(),
            image: "nginx".to_owned(),
            program: Program::of(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), &[]),
            definition: Tree::default(),
        };
        Group {
            id: "eci-1".to_owned(),
            name: "web".to_owned(),
            zone: "z".to_owned(),
            vswitch: "vsw-a".to_owned(),
            secured_by: "sg-1".to_owned(),
            address: None,
            public_address: None,
            size: crate::provider::clouds::alibaba_eci::size::DEFAULT,
            instance_type: String::new(),
            spot: "NoSpot".to_owned(),
            tags: BTreeMap::new(),
            containers: commands.iter().map(container).collect(),
            init_containers: Vec::new(),
            restart_policy: policy,
            grace: Duration::from_secs(30),
            deadline: None,
            created: Duration::ZERO,
            start_up: Duration::from_secs(4),
            fails_late: false,
            restarted: None,
            updated: None,
            reclaimed: None,
            deleted: None,
            is_settled: false,
            definition: Tree::default(),
        }
    }

    fn statuses(group: &Group, seconds: &[u64]) -> Vec<&'static str> {
        seconds.iter().map(|second| group.status(Duration::from_secs(*second))).collect()
    }

    #[test]
    fn a_service_is_scheduled_started_and_runs() {
        let group = group(RestartPolicy::Always, &[&["nginx"]]);
        assert_eq!(statuses(&group, &[0, 1, 3, 4, 9999]), ["Scheduling", "Pending", "Pending", "Running", "Running"]);
    }

    #[test]
    fn a_job_succeeds_or_fails_by_its_codes_and_a_service_is_started_again() {
        let done = group(RestartPolicy::Never, &[&["sleep", "2"], &["true"]]);
        assert_eq!(statuses(&done, &[5, 6]), ["Running", "Succeeded"]);
        let failed = group(RestartPolicy::Never, &[&["false"]]);
        assert_eq!(statuses(&failed, &[3, 4]), ["Pending", "Failed"]);
        let again = group(RestartPolicy::OnFailure, &[&["false"]]);
        let state = again.container(&again.containers[0], Duration::from_secs(25));
        assert_eq!((state.restarts, state.doing), (2, Doing::Waiting { reason: "CrashLoopBackOff" }));
        assert_eq!(again.finish(), None);
    }

    #[test]
    fn a_late_failure_comes_instead_of_a_start() {
        let group = Group { fails_late: true, ..group(RestartPolicy::Always, &[&["nginx"]]) };
        assert_eq!(statuses(&group, &[0, 1, 99]), ["Scheduling", "ScheduleFailed", "ScheduleFailed"]);
        assert_eq!(group.reason(Duration::from_secs(1)), Some("ContainerGroup.NoStock"));
    }

    #[test]
    fn a_reclaimed_group_runs_until_the_notice_is_over() {
        let taken = Some((Duration::from_secs(10), Duration::from_secs(190)));
        let group = Group { reclaimed: taken, ..group(RestartPolicy::Always, &[&["nginx"]]) };
        assert_eq!(statuses(&group, &[11, 189, 190]), ["Running", "Running", "Failed"]);
        let state = group.container(&group.containers[0], Duration::from_secs(200));
        assert!(matches!(state.doing, Doing::Ended(Ended { code: 137, reason: "BidFailed", .. })));
    }
}

//! How policies and pools stand, told on their objects: written where it has changed, and seldom.

use std::{collections::BTreeMap, time::Duration};

use burstlet_engine::{
    model::{Bytes, MilliCpu, ObjectName, PoolName},
    placement::{Event, Placement, PolicyReport, PoolReport, Spending, Trouble},
    policy::fields::FieldFault,
};
use http::{Request, header};
use kube::Client;
use serde::{Serialize, de::DeserializeOwned, de::IgnoredAny};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::{
    api::{
        names,
        policy::{PolicyStatus, TierStatus},
        pool::{PoolStatus, Spent},
        status::Condition,
    },
    placer::{ProviderNews, Stocks},
    watch::About,
};

/// How often it is looked at what has changed; one object is written no more often.
const EVERY: Duration = Duration::from_secs(5);
/// How often it is told what was spent, where nothing else has changed.
const SPENT_EVERY: Duration = Duration::from_mins(1);
/// The longest pause after writes that the watch never showed, as where this role may write no status.
const LONGEST_PAUSE: Duration = Duration::from_mins(30);
/// A write that takes longer is given up.
const WITHIN: Duration = Duration::from_secs(3);

/// Whose status it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Policy(ObjectName),
    Pool(PoolName),
}

/// What the watch showed of an object, and what was written to it since.
#[derive(Debug, Default)]
struct Seen {
    about: About,
    written: Option<Instant>,
    /// Writes in a row that the watch has not shown.
    lost: u32,
}

/// The statuses of all policies and pools.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    seen: BTreeMap<Subject, Seen>,
    looked: Option<Instant>,
}

impl Statuses {
    /// Takes in what the watch shows of an object.
    pub(super) fn see(&mut self, event: &Event, about: Option<About>) {
        let subject = match event {
            Event::Policy { name, .. } | Event::PolicyFaulty { name, .. } | Event::PolicyGone(name) => {
                Subject::Policy(name.clone())
            }
            Event::Pool(facts) => Subject::Pool(facts.name.clone()),
            Event::PoolFaulty { name, .. } | Event::PoolGone(name) => Subject::Pool(name.clone()),
            _ => return,
        };
        match about {
            Some(about) => self.seen.entry(subject).or_default().about = about,
            None => drop(self.seen.remove(&subject)),
        }
    }

    /// Whether it is time to look what has changed.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.looked.is_none_or(|looked| now - looked >= EVERY)
    }

    /// The UID of a pool's object, where it has one.
    pub(super) fn uid_of_pool(&self, name: &PoolName) -> Option<&str> {
        Some(self.seen.get(&Subject::Pool(name.clone()))?.about.uid.as_str())
    }

    /// What is to be written now.
    pub(super) fn due(
        &mut self,
        placement: &Placement,
        pools: &BTreeMap<PoolName, PoolReport>,
        stocks: &Stocks,
        now: Instant,
    ) -> Vec<StatusWrite> {
        self.looked = Some(now);
        let policies = placement.policy_reports();
        let nothing = ProviderNews::default();
        let mut due = Vec::new();
        for (subject, seen) in &mut self.seen {
            let status = match subject {
                Subject::Policy(name) => {
                    policies.get(name).and_then(|report| wanted(policy_status, report, &seen.about))
                }
                Subject::Pool(name) => pools.get(name).and_then(|report| {
                    let news = stocks.get(name).unwrap_or(&nothing);
                    wanted(|report, about, before| pool_status(report, news, about, before), report, &seen.about)
                }),
            };
            let Some(status) = status else { continue };
            if status == seen.about.status {
                seen.lost = 0;
                continue;
            }
            let least = if but_spent(&status) == but_spent(&seen.about.status) { SPENT_EVERY } else { EVERY };
            let pause = least.max(EVERY.saturating_mul(1 << seen.lost.min(16)).min(LONGEST_PAUSE));
            if seen.written.is_some_and(|written| now - written < pause) {
                continue;
            }
            seen.lost = if seen.written.is_some() { seen.lost + 1 } else { 0 };
            seen.written = Some(now);
            due.push(StatusWrite { subject: subject.clone(), uid: seen.about.uid.clone(), status });
        }
        due
    }
}

/// A status as it would stand on the object.
fn wanted<R, S: Serialize + DeserializeOwned + Conditioned>(
    make: impl FnOnce(&R, &About, &[Condition]) -> S,
    report: &R,
    about: &About,
) -> Option<Value> {
    let before: Option<S> = serde_json::from_value(about.status.clone()).ok();
    let conditions = before.map(Conditioned::conditions).unwrap_or_default();
    serde_json::to_value(make(report, about, &conditions)).ok()
}

trait Conditioned {
    fn conditions(self) -> Vec<Condition>;
}

impl Conditioned for PolicyStatus {
    fn conditions(self) -> Vec<Condition> {
        self.conditions
    }
}

impl Conditioned for PoolStatus {
    fn conditions(self) -> Vec<Condition> {
        self.conditions
    }
}

fn but_spent(status: &Value) -> Value {
    let mut status = status.clone();
    if let Value::Object(fields) = &mut status {
        fields.remove("spent");
    }
    status
}

fn told(faults: &[FieldFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn count(number: impl TryInto<u32>) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}

fn policy_status(report: &PolicyReport, about: &About, before: &[Condition]) -> PolicyStatus {
    let now = jiff::Timestamp::now();
    let condition = |kind, is_true, reason: &str, message: &str| {
        Condition::now(kind, is_true, reason, message, about.generation, before, now)
    };
    let faults = told(&report.faults);
    let (accepted, ready) = if report.faults.is_empty() {
        let ready = match &report.trouble {
            None => condition("Ready", true, "InForce", "it is followed as it is"),
            Some(Trouble::Conflict(told)) => condition("Ready", false, "Conflict", told),
            Some(Trouble::Extends(told)) => condition("Ready", false, "MissingParent", told),
            Some(Trouble::UnknownPool(told)) => condition("Ready", false, "UnknownPool", told),
        };
        (condition("Accepted", true, "Valid", "it makes sense"), ready)
    } else if report.is_known {
        let told = "the last version that made sense stays in force, while this leader lives";
        (
            condition("Accepted", false, "Invalid", &format!("{faults}; {told}")),
            condition("Ready", true, "LastGood", told),
        )
    } else {
        let told = format!("{faults}; workloads that name it are plain, and nothing of it is followed");
        (condition("Accepted", false, "Invalid", &told), condition("Ready", false, "Invalid", &told))
    };
    let tier = |(place, pods): &(String, usize)| TierStatus { place: place.clone(), pods: count(*pods) };
    PolicyStatus {
        observed_generation: about.generation,
        conditions: vec![accepted, ready],
        workloads: Some(count(report.workloads)),
        real: Some(count(report.real)),
        burst: Some(count(report.burst)),
        waiting: Some(count(report.waiting)),
        tiers: report.places.iter().map(tier).collect(),
    }
}

fn pool_status(report: &PoolReport, news: &ProviderNews, about: &About, before: &[Condition]) -> PoolStatus {
    let now = jiff::Timestamp::now();
    let condition = |kind, is_true, reason: &str, message: &str| {
        Condition::now(kind, is_true, reason, message, about.generation, before, now)
    };
    let accepted = if !report.faults.is_empty() {
        let told = format!("{}; the last version that made sense stays in force", told(&report.faults));
        condition("Accepted", false, "Invalid", &told)
    } else if let Some(unusable) = &news.unusable {
        let told = format!("{unusable}; what ran before goes on");
        condition("Accepted", false, "ProviderUnusable", &told)
    } else if let Some(fault) = &report.fallback_fault {
        condition("Accepted", false, "FallbackBroken", fault)
    } else {
        condition("Accepted", true, "Valid", "it makes sense")
    };
    let ready = match (&report.provider_fault, report.nodes) {
        (Some(fault), _) => condition("Ready", false, "ProviderFault", fault),
        (None, 0) => condition("Ready", false, "NoNode", "none of its virtual nodes is ready"),
        (None, _) => condition("Ready", true, "Ready", "its virtual nodes are ready, and its provider answers"),
    };
    let takes = match &report.obstacle {
        Some((word, told)) => condition("TakesPods", false, word, &format!("it {told}")),
        None => condition("TakesPods", true, "Room", "nothing keeps it from one more pod"),
    };
    let amount = |spending: &Spending| match &spending.cost {
        Some(cost) => cost.to_string(),
        None => format!("{} pod-minutes", spending.pod_minutes),
    };
    let (MilliCpu(cpu), Bytes(memory)) = (report.requests.cpu, report.requests.memory);
    PoolStatus {
        observed_generation: about.generation,
        conditions: vec![accepted, ready, takes],
        nodes: Some(count(report.nodes)),
        pods: Some(count(report.pods)),
        cpu: Some(format!("{cpu}m")),
        memory: Some(memory.to_string()),
        free: report.free,
        spent: Some(Spent { hour: amount(&report.hour), day: amount(&report.day) }),
    }
}

/// A status on its way.
#[derive(Debug, PartialEq)]
pub(super) struct StatusWrite {
    subject: Subject,
    uid: String,
    status: Value,
}

impl StatusWrite {
    /// Writes it, once: what gets lost is written again when the watch does not show it.
    pub(super) async fn send(self, client: &Client) {
        let Ok(request) = self.request() else { return };
        match timeout(WITHIN, client.request::<IgnoredAny>(request)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, subject = ?self.subject, "a status is not written"),
            Err(_) => tracing::debug!(subject = ?self.subject, "a status is not written in time"),
        }
    }

    fn request(&self) -> Result<Request<Vec<u8>>, http::Error> {
        let group = format!("/apis/{}/{}", names::GROUP, names::VERSION);
        let path = match &self.subject {
            Subject::Policy(name) => format!("{group}/namespaces/{}/burstpolicies/{}", name.namespace, name.name),
            Subject::Pool(name) => format!("{group}/virtualpools/{name}"),
        };
        // Another object of the same name is not meant.
        let changes = json!([
            {"op": "test", "path": "/metadata/uid", "value": self.uid},
            {"op": "add", "path": "/status", "value": self.status},
        ]);
        Request::patch(format!("{path}/status?timeout={}s&fieldManager={}", WITHIN.as_secs(), names::MANAGER))
            .header(header::CONTENT_TYPE, "application/json-patch+json")
            .body(changes.to_string().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use burstlet_engine::{
        placement::Kind,
        policy::{MoveBack, Settings},
    };

    use super::*;

    fn placement() -> Placement {
        let move_back = MoveBack { after: Duration::ZERO, at_once: 1, cool_down: Duration::ZERO };
        let settings = Settings { pools: Vec::new(), move_on_after: Duration::ZERO, move_back };
        let mut placement = Placement::new(settings);
        for kind in Kind::ALL {
            placement.apply(Event::Begin(kind), burstlet_engine::model::Timestamp::default());
            placement.apply(Event::Finish(kind), burstlet_engine::model::Timestamp::default());
        }
        placement
    }

    fn about(generation: i64) -> About {
        About { uid: "u".to_owned(), generation: Some(generation), status: Value::Null }
    }

    fn policy(spec: Value) -> Event {
        let spec = serde_json::from_value(spec).unwrap();
        Event::Policy { name: ObjectName::new("shop", "web"), spec: Box::new(spec) }
    }

    fn apply(placement: &mut Placement, statuses: &mut Statuses, event: Event, about: Option<About>) {
        statuses.see(&event, about);
        placement.apply(event, burstlet_engine::model::Timestamp::default());
    }

    fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
        let mut conditions = status["conditions"].as_array().unwrap().iter();
        conditions.find(|condition| condition["type"] == kind).unwrap()
    }

    #[test]
    fn a_status_is_written_once_for_each_change_and_seldom() {
        let (mut placement, mut statuses) = (placement(), Statuses::default());
        apply(&mut placement, &mut statuses, policy(json!({"base": 1, "tiers": [{"pool": "eci"}]})), Some(about(3)));
        let begin = Instant::now();
        let due = |placement: &Placement, statuses: &mut Statuses, seconds| {
            let now = begin + Duration::from_secs(seconds);
            if statuses.is_due(now) {
                statuses.due(placement, &placement.pool_reports(), &Stocks::new(), now)
            } else {
                Vec::new()
            }
        };
        let [write] = due(&placement, &mut statuses, 0).try_into().unwrap();
        assert_eq!(write.status["observedGeneration"], 3);
        assert_eq!(condition(&write.status, "Ready")["reason"], "UnknownPool");
        assert_eq!(condition(&write.status, "Ready")["message"], "there is no VirtualPool eci");
        assert_eq!(due(&placement, &mut statuses, 4), [], "too early");
        assert_eq!(due(&placement, &mut statuses, 10).len(), 1, "the watch has not shown it");
        assert_eq!(due(&placement, &mut statuses, 15), [], "ever more seldom, where no write arrives");
        let shown = About { status: write.status.clone(), ..about(3) };
        apply(&mut placement, &mut statuses, policy(json!({"base": 1, "tiers": [{"pool": "eci"}]})), Some(shown));
        assert_eq!(due(&placement, &mut statuses, 60), [], "it stands as it should");
        apply(&mut placement, &mut statuses, Event::PolicyGone(ObjectName::new("shop", "web")), None);
        assert_eq!(due(&placement, &mut statuses, 90), [], "gone");
    }

    #[test]
    fn a_policy_that_was_edited_into_nonsense_says_so_and_stays_in_force_across_a_list() {
        let (mut placement, mut statuses) = (placement(), Statuses::default());
        apply(&mut placement, &mut statuses, policy(json!({"base": 1})), Some(about(1)));
        let faults = vec![FieldFault::new("spec.base", "\"x\" is no number")];
        let told = Event::PolicyFaulty { name: ObjectName::new("shop", "web"), faults };
        for event in [told.clone(), Event::Begin(Kind::Policy), told.clone(), Event::Finish(Kind::Policy)] {
            let about = matches!(event, Event::PolicyFaulty { .. }).then(|| about(2));
            apply(&mut placement, &mut statuses, event, about);
        }
        let [write] =
            statuses.due(&placement, &placement.pool_reports(), &Stocks::new(), Instant::now()).try_into().unwrap();
        assert_eq!(condition(&write.status, "Accepted")["reason"], "Invalid");
        assert_eq!(condition(&write.status, "Ready")["reason"], "LastGood");
        // A leader that never saw a good version has nothing to follow.
        let (mut placement, mut statuses) = (self::placement(), Statuses::default());
        apply(&mut placement, &mut statuses, told, Some(about(2)));
        let [write] =
            statuses.due(&placement, &placement.pool_reports(), &Stocks::new(), Instant::now()).try_into().unwrap();
        assert_eq!(condition(&write.status, "Ready")["status"], "False");
        assert_eq!(condition(&write.status, "Ready")["reason"], "Invalid");
    }

    #[test]
    fn a_pool_tells_its_health_and_what_keeps_it_from_one_more_pod() {
        let (mut placement, mut statuses) = (placement(), Statuses::default());
        let spec: crate::api::pool::PoolSpec = serde_json::from_value(
            json!({"provider": {"simulated": {"endpoint": "http://x"}}, "quota": {"pods": 5}, "fallback": "gone"}),
        )
        .unwrap();
        apply(&mut placement, &mut statuses, Event::Pool(spec.facts("eci")), Some(about(1)));
        let [write] =
            statuses.due(&placement, &placement.pool_reports(), &Stocks::new(), Instant::now()).try_into().unwrap();
        assert_eq!(condition(&write.status, "Accepted")["reason"], "FallbackBroken");
        assert_eq!(condition(&write.status, "TakesPods")["reason"], "NoNode");
        assert_eq!(write.status["spent"]["day"], "0 pod-minutes");
        let unusable = ProviderNews { unusable: Some("no key".into()), ..ProviderNews::default() };
        let news = Stocks::from([("eci".into(), unusable)]);
        let [write] = statuses
            .due(&placement, &placement.pool_reports(), &news, Instant::now() + SPENT_EVERY)
            .try_into()
            .unwrap();
        assert_eq!(condition(&write.status, "Accepted")["message"], "no key; what ran before goes on");
    }
}

//! What people are told of pools, as Events on them: what keeps one from taking pods, and that it takes them again.
//!
//! Seldom: what lasts for a moment is not told, and no pool is told of twice within a minute. A trouble that stays is told
//! again where its cause is another one.

use std::{collections::BTreeMap, time::Duration};

use burstlet_engine::{model::PoolName, placement::PoolReport};
use tokio::time::Instant;

use crate::placer::{ProviderNews, Stocks};

/// How long something must last before it is told.
const LASTS: Duration = Duration::from_secs(10);
/// Least time between two events of one pool.
const PAUSE: Duration = Duration::from_mins(1);
/// The same between two of one trouble, whose cause is another one now.
const OTHER_CAUSE: Duration = Duration::from_mins(5);

/// How each pool stands, and what was told of it.
#[derive(Debug, Default)]
pub(super) struct PoolEvents(BTreeMap<PoolName, Seen>);

#[derive(Debug)]
struct Seen {
    /// What keeps it from taking pods, in a word.
    trouble: Option<&'static str>,
    since: Instant,
    /// What was told last: nothing, or that it takes pods, is the same.
    told: Option<(&'static str, String)>,
    told_at: Option<Instant>,
}

/// An event of a pool.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PoolEvent {
    pub(super) pool: PoolName,
    pub(super) is_trouble: bool,
    pub(super) reason: &'static str,
    pub(super) text: String,
}

impl PoolEvents {
    /// Takes in how all pools stand now; answers what is to be told.
    pub(super) fn look(
        &mut self,
        reports: &BTreeMap<PoolName, PoolReport>,
        stocks: &Stocks,
        now: Instant,
    ) -> Vec<PoolEvent> {
        self.0.retain(|pool, _| reports.contains_key(pool));
        let nothing = ProviderNews::default();
        let told = reports.iter().filter_map(|(pool, report)| {
            let trouble = trouble(report, stocks.get(pool).unwrap_or(&nothing));
            let word = trouble.as_ref().map(|(word, _)| *word);
            let fresh = || Seen { trouble: word, since: now, told: None, told_at: None };
            let seen = self.0.entry(pool.clone()).or_insert_with(fresh);
            if seen.trouble != word {
                (seen.trouble, seen.since) = (word, now);
            }
            let told_word = seen.told.as_ref().map(|(word, _)| *word);
            let pause = if told_word == word { OTHER_CAUSE } else { PAUSE };
            let is_early = seen.told_at.is_some_and(|at| now - at < pause);
            let cause = trouble.as_ref().map(|(word, text)| (*word, unnumbered(text).to_owned()));
            if seen.told == cause || is_early || now - seen.since < LASTS {
                return None;
            }
            (seen.told, seen.told_at) = (cause, Some(now));
            let (reason, text) = match trouble {
                Some((word, text)) => {
                    (word, format!("{text}; its pods wait, or go to the next place that their policy names"))
                }
                None => ("Recovered", format!("takes pods again, after {}", told_word.unwrap_or("trouble"))),
            };
            Some(PoolEvent { pool: pool.clone(), is_trouble: word.is_some(), reason, text })
        });
        told.collect()
    }
}

/// A cloud's words without the number of its answer, which is another one each time.
fn unnumbered(text: &str) -> &str {
    text.split_once(" (request ").map_or(text, |(words, _)| words)
}

/// What keeps the pool from taking pods: a word, and for people. Its provider's fault is the cause of others.
fn trouble(report: &PoolReport, news: &ProviderNews) -> Option<(&'static str, String)> {
    if let Some(unusable) = &news.unusable {
        return Some(("ProviderUnusable", format!("its provider cannot be used: {unusable}")));
    }
    if let Some(fault) = &report.provider_fault {
        return Some(("ProviderFault", format!("is at fault: {fault}")));
    }
    report.obstacle.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(obstacle: Option<(&'static str, &str)>) -> BTreeMap<PoolName, PoolReport> {
        let obstacle = obstacle.map(|(word, text)| (word, text.to_owned()));
        BTreeMap::from([("eci".into(), PoolReport { obstacle, ..PoolReport::default() })])
    }

    #[test]
    fn a_pool_is_told_of_when_it_closes_and_opens_and_not_for_a_moment() {
        let (mut events, begin) = (PoolEvents::default(), Instant::now());
        let mut look = |seconds, report: &BTreeMap<PoolName, PoolReport>| {
            let told = events.look(report, &Stocks::new(), begin + Duration::from_secs(seconds));
            told.into_iter().map(|event| event.reason).collect::<Vec<_>>()
        };
        let (open, out) = (report(None), report(Some(("OutOfStock", "is out of stock"))));
        assert_eq!(look(0, &open), [""; 0], "nothing is new");
        assert_eq!(look(60, &out), [""; 0]);
        assert_eq!(look(65, &open), [""; 0], "it lasted for a moment");
        assert_eq!(look(70, &out), [""; 0]);
        assert_eq!(look(80, &out), ["OutOfStock"]);
        assert_eq!(look(85, &out), [""; 0], "it was told");
        assert_eq!(look(90, &open), [""; 0]);
        assert_eq!(look(120, &open), [""; 0], "too soon after the one before");
        assert_eq!(look(140, &open), ["Recovered"]);
        let quota = report(Some(("QuotaUsedUp", "has no pod left of its quota")));
        assert_eq!(look(200, &quota), [""; 0]);
        assert_eq!(look(210, &quota), ["QuotaUsedUp"]);
        assert_eq!(look(280, &out), [""; 0], "another trouble");
        assert_eq!(look(290, &out), ["OutOfStock"]);
        assert_eq!(look(300, &BTreeMap::new()), [""; 0], "it is gone");
        assert_eq!(look(400, &open), [""; 0], "and another one of its name has come");
    }

    #[test]
    fn a_trouble_that_stays_is_told_again_where_its_cause_is_another_one() {
        let (mut events, begin) = (PoolEvents::default(), Instant::now());
        let mut look = |seconds, text| {
            let report = report(Some(("ProviderFault", text)));
            let told = events.look(&report, &Stocks::new(), begin + Duration::from_secs(seconds));
            told.into_iter().map(|event| event.text).next()
        };
        assert_eq!(look(0, "no answer"), None);
        assert!(look(10, "no answer").unwrap().starts_with("no answer; "));
        assert_eq!(look(200, "region: there is none of that name"), None, "not every minute");
        let told = look(310, "region: there is none of that name (request 1)").unwrap();
        assert!(told.starts_with("region: there is none of that name (request 1); "), "{told}");
        assert_eq!(look(900, "region: there is none of that name (request 2)"), None, "it was told");
    }

    #[test]
    fn a_providers_fault_is_told_before_what_comes_of_it() {
        let mut reports = report(Some(("NoNode", "has no virtual node that is ready")));
        let fault = Some("no answer".to_owned());
        reports.get_mut("eci").unwrap().provider_fault = fault;
        let (mut events, begin) = (PoolEvents::default(), Instant::now());
        let _ = events.look(&reports, &Stocks::new(), begin);
        let told = events.look(&reports, &Stocks::new(), begin + LASTS);
        assert_eq!((told[0].reason, told[0].is_trouble), ("ProviderFault", true));
        assert!(told[0].text.starts_with("is at fault: no answer"), "{}", told[0].text);
    }
}

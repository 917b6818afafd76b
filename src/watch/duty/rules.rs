//! Who holds which duty when: the decision alone, as one replica makes it.
//!
//! **Safety** is that of client-go's leader election. A holder renews well before its Lease ends and stops writing two
//! thirds into it ([`Book::until`]); a candidate trusts no clock but its own, and takes a Lease that it has seen unchanged
//! for as long as it lasts. Every write names the version that was read, so that of two who try, one is refused.
//!
//! **Spreading.** What is free is taken one duty a look, and whoever has more than the least loaded of the others waits
//! longer, up to [`MOST_TURNS`] renewals: then anyone takes it, so that all is held again within `Rules::takeover`.
//! A replica that has been there for a while ([`SETTLED`]) and has at least two fewer than another asks it for one, by an
//! annotation on the Lease. The holder ends its work, and only then writes the other's name into the Lease: nobody needs
//! to wait for its end. Each move makes the difference smaller, so that they end.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    time::Duration,
};

use super::{Duty, Moment};

/// Most renewals that a replica lets pass for those that have less to do.
const MOST_TURNS: u32 = 2;
/// How many times its Lease's duration a replica must have been there before it asks for a duty: one that dies again and
/// again moves nothing.
const SETTLED: u32 = 3;

/// A replica's name, and how patient it is.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) identity: String,
    /// How long a Lease lasts without renewal.
    pub(super) lasts: Duration,
    /// How often it is renewed, or looked at.
    pub(super) renew: Duration,
}

impl Rules {
    /// The longest that a duty is held by nobody after its holder has died, where another replica lives and reaches the API
    /// server at once: it may have seen the last renewal a look late, and waits for those who have less to do.
    #[cfg(test)]
    pub(super) fn takeover(&self) -> Duration {
        self.lasts + self.renew * (MOST_TURNS + 1)
    }
}

/// A Lease as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Record {
    /// Empty where it was given back.
    pub(super) holder: String,
    /// Another one after every renewal.
    pub(super) renewed: String,
    /// How long it lasts without one.
    pub(super) lasts: Duration,
    /// Who would like to have it.
    pub(super) asked_by: Option<String>,
}

/// What to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Our name into the Lease, for the first time or again.
    Hold(Duty),
    /// Our wish on another's.
    Ask(Duty),
    /// The name of the one who asked, for the work here has ended.
    HandOver(Duty, String),
}

/// A state of a Lease that is not ours, and since when it has stood so, by our clock.
#[derive(Debug)]
struct Sighting {
    holder: String,
    renewed: String,
    since: Moment,
    /// How long after that the Lease is anyone's.
    lasts: Duration,
}

/// A duty that is ours.
#[derive(Debug)]
struct Tenure {
    renewed: Moment,
    leaves_to: Option<String>,
    /// The other's name is, or may be, in the Lease.
    passes: bool,
}

/// What one replica knows.
#[derive(Debug)]
pub(super) struct Book {
    rules: Rules,
    began: Option<Moment>,
    sightings: BTreeMap<Duty, Sighting>,
    tenures: BTreeMap<Duty, Tenure>,
}

type Records = BTreeMap<Duty, Record>;

impl Book {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, began: None, sightings: BTreeMap::new(), tenures: BTreeMap::new() }
    }

    /// What to write now, where `duties` are to be done, `at_work` says whose work is under way here, and `records` are the
    /// Leases as they were read, entirely, just before.
    pub(super) fn look(
        &mut self,
        now: Moment,
        duties: &BTreeSet<Duty>,
        at_work: &BTreeSet<Duty>,
        records: &Records,
    ) -> Vec<Step> {
        self.began.get_or_insert(now);
        self.see(now, duties, records);
        let mut steps = Vec::new();
        for duty in duties {
            if records.get(duty).is_some_and(|record| record.holder == self.rules.identity) {
                steps.push(self.ours(now, duty, at_work, duties, records));
            }
        }
        let mut steps: Vec<Step> = steps.into_iter().flatten().collect();
        steps.extend(self.free(now, duties, records).or_else(|| self.ask(now, duties, records)));
        steps
    }

    /// The duty is ours by a write that began at `began`.
    pub(super) fn hold(&mut self, duty: &Duty, began: Moment) {
        self.sightings.remove(duty);
        let tenure =
            self.tenures.entry(duty.clone()).or_insert(Tenure { renewed: began, leaves_to: None, passes: false });
        tenure.renewed = began;
    }

    /// The duty has been another's, `to`, since now.
    pub(super) fn pass(&mut self, duty: &Duty, to: &str, now: Moment) {
        self.tenures.remove(duty);
        self.sight(duty, to, "", now, self.rules.lasts);
    }

    /// The end of the right to write: a third before anyone else may take the Lease, time for what is under way then. None
    /// is left as soon as the Lease passes on: that write may land though its answer is lost.
    pub(super) fn until(&self, duty: &Duty) -> Option<Moment> {
        let tenure = self.tenures.get(duty).filter(|tenure| !tenure.passes);
        tenure.map(|tenure| tenure.renewed + self.rules.lasts * 2 / 3)
    }

    /// Whether the duty's work must end here, so that another replica can have it.
    pub(super) fn leaves(&self, duty: &Duty) -> bool {
        self.tenures.get(duty).is_some_and(|tenure| tenure.leaves_to.is_some())
    }

    /// When to look again: to renew, or as soon as something can be taken.
    pub(super) fn next_look(&self, now: Moment) -> Moment {
        let due = self.sightings.values().map(|seen| seen.since + seen.lasts).filter(|due| *due > now);
        let hastens = self.tenures.values().any(|tenure| tenure.leaves_to.is_some());
        let usual = now + if hastens { self.rules.renew / 4 } else { self.rules.renew };
        due.min().map_or(usual, |due| due.min(usual))
    }

    fn see(&mut self, now: Moment, duties: &BTreeSet<Duty>, records: &Records) {
        for duty in duties {
            match records.get(duty) {
                Some(record) if record.holder == self.rules.identity => drop(self.sightings.remove(duty)),
                Some(record) => {
                    self.tenures.remove(duty);
                    let same = |seen: &Sighting| seen.holder == record.holder && seen.renewed == record.renewed;
                    if !self.sightings.get(duty).is_some_and(same) {
                        let lasts = if record.holder.is_empty() { Duration::ZERO } else { record.lasts };
                        self.sight(duty, &record.holder, &record.renewed, now, lasts);
                    }
                }
                None => self.miss(now, duty),
            }
        }
        self.sightings.retain(|duty, _| duties.contains(duty));
    }

    /// The duty has no Lease. Where somebody has deleted it, its holder's right lasts all the same.
    fn miss(&mut self, now: Moment, duty: &Duty) {
        if self.until(duty).is_some_and(|until| now < until) {
            return;
        }
        let was_ours = self.tenures.remove(duty).is_some();
        match self.sightings.get(duty) {
            Some(seen) if seen.holder.is_empty() => {}
            None if !was_ours => self.sight(duty, "", "", now, Duration::ZERO),
            _ => self.sight(duty, "", "", now, self.rules.lasts),
        }
    }

    fn sight(&mut self, duty: &Duty, holder: &str, renewed: &str, since: Moment, lasts: Duration) {
        let (holder, renewed) = (holder.to_owned(), renewed.to_owned());
        self.sightings.insert(duty.clone(), Sighting { holder, renewed, since, lasts });
    }

    /// What to do about a Lease that has our name: renew it, or let it go to who asks for it.
    fn ours(
        &mut self,
        now: Moment,
        duty: &Duty,
        at_work: &BTreeSet<Duty>,
        duties: &BTreeSet<Duty>,
        records: &Records,
    ) -> Option<Step> {
        let loads = self.loads(now, duties, records);
        let load = |replica: &str| loads.get(replica).copied().unwrap_or(0);
        let asked_by = records.get(duty).and_then(|record| record.asked_by.as_deref());
        let grants = asked_by.filter(|asker| duty.moves() && load(&self.rules.identity) >= load(asker) + 2);
        let Some(tenure) = self.tenures.get_mut(duty) else { return Some(Step::Hold(duty.clone())) };
        if let Some(to) = tenure.leaves_to.as_ref().filter(|_| !at_work.contains(duty)) {
            tenure.passes = true;
            return Some(Step::HandOver(duty.clone(), to.clone()));
        }
        // Work that begins this very moment is seen at the next look: until then, nothing is handed over.
        if tenure.leaves_to.is_none() {
            tenure.leaves_to = grants.map(str::to_owned);
        }
        let refuses = asked_by.is_some() && tenure.leaves_to.is_none();
        let is_due = now.saturating_sub(tenure.renewed) >= self.rules.renew / 2;
        (refuses || is_due).then(|| Step::Hold(duty.clone()))
    }

    /// A duty that nobody holds any more, if it is our turn to take one.
    fn free(&self, now: Moment, duties: &BTreeSet<Duty>, records: &Records) -> Option<Step> {
        let loads = self.loads(now, duties, records);
        let own = loads.get(self.rules.identity.as_str()).copied().unwrap_or(0);
        let others = loads.iter().filter(|(replica, _)| **replica != self.rules.identity).map(|(_, load)| *load);
        let over = others.min().map_or(0, |least| own.saturating_sub(least));
        let turns = u32::try_from(over).unwrap_or(MOST_TURNS).min(MOST_TURNS);
        let is_due = |duty: &&Duty| {
            // One whose Lease somebody deleted while it is ours is written anew.
            let seen = self.sightings.get(*duty);
            seen.map_or(!records.contains_key(*duty), |seen| now >= seen.since + seen.lasts + self.rules.renew * turns)
        };
        // Each has an order of its own, so that two seldom reach for the same.
        let hash = BuildHasherDefault::<DefaultHasher>::default();
        let order = |duty: &&Duty| hash.hash_one((&self.rules.identity, *duty));
        duties.iter().filter(is_due).min_by_key(order).map(|duty| Step::Hold(duty.clone()))
    }

    /// A wish for a duty of whoever has most, where we have at least two fewer.
    fn ask(&self, now: Moment, duties: &BTreeSet<Duty>, records: &Records) -> Option<Step> {
        let identity = self.rules.identity.as_str();
        let is_settled = self.began.is_some_and(|began| now >= began + self.rules.lasts * SETTLED);
        let asks = |duty: &Duty| records.get(duty).is_some_and(|record| record.asked_by.as_deref() == Some(identity));
        if !is_settled || duties.iter().any(asks) {
            return None;
        }
        let loads = self.loads(now, duties, records);
        let own = loads.get(identity).copied().unwrap_or(0);
        let (most, _) =
            loads.iter().filter(|(_, load)| **load >= own + 2).max_by_key(|(replica, load)| (**load, **replica))?;
        let is_theirs = |duty: &&Duty| {
            let record = records.get(*duty);
            duty.moves() && record.is_some_and(|record| record.holder == *most && record.asked_by.is_none())
        };
        duties.iter().rfind(is_theirs).map(|duty| Step::Ask(duty.clone()))
    }

    /// How many duties each living replica has, as it will be once what is under way has ended.
    fn loads<'a>(&'a self, now: Moment, duties: &BTreeSet<Duty>, records: &'a Records) -> BTreeMap<&'a str, usize> {
        let mut loads = BTreeMap::new();
        for duty in duties {
            let Some(record) = records.get(duty).filter(|record| !record.holder.is_empty()) else { continue };
            let lapsed = |seen: &Sighting| now >= seen.since + seen.lasts;
            if self.sightings.get(duty).is_some_and(lapsed) {
                continue;
            }
            let leaves_to = self.tenures.get(duty).and_then(|tenure| tenure.leaves_to.as_deref());
            *loads.entry(leaves_to.unwrap_or(&record.holder)).or_insert(0) += 1;
        }
        loads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTS: Duration = Duration::from_secs(8);
    const NOTHING: BTreeSet<Duty> = BTreeSet::new();

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn book(identity: &str) -> Book {
        Book::new(Rules { identity: identity.to_owned(), lasts: LASTS, renew: seconds(2) })
    }

    fn duty(name: &str) -> Duty {
        Duty::pool(&name.into())
    }

    fn duties(names: &[&str]) -> BTreeSet<Duty> {
        names.iter().map(|name| duty(name)).collect()
    }

    fn held(holder: &str, renewed: u64) -> Record {
        Record { holder: holder.to_owned(), renewed: renewed.to_string(), lasts: LASTS, asked_by: None }
    }

    fn records(all: &[(&str, &str, u64)]) -> Records {
        all.iter().map(|(name, holder, renewed)| (duty(name), held(holder, *renewed))).collect()
    }

    #[test]
    fn anothers_lease_is_taken_once_it_stood_unchanged_for_its_duration() {
        let mut b = book("b");
        let (all, mut leases) = (duties(&["p"]), records(&[("p", "a", 1)]));
        assert_eq!(b.look(seconds(0), &all, &NOTHING, &leases), []);
        assert_eq!(b.look(seconds(7), &all, &NOTHING, &leases), []);
        leases.insert(duty("p"), held("a", 2));
        assert_eq!(b.look(seconds(8), &all, &NOTHING, &leases), []);
        // A wish is no renewal.
        leases.insert(duty("p"), Record { asked_by: Some("c".to_owned()), ..held("a", 2) });
        assert_eq!(b.look(seconds(15), &all, &NOTHING, &leases), []);
        assert_eq!(b.next_look(seconds(15)), seconds(16));
        assert_eq!(b.look(seconds(16), &all, &NOTHING, &leases), [Step::Hold(duty("p"))]);
    }

    #[test]
    fn a_lease_that_was_given_back_is_taken_at_once_and_the_right_to_write_ends_a_third_early() {
        let mut b = book("b");
        assert_eq!(b.look(seconds(1), &duties(&["p"]), &NOTHING, &records(&[("p", "", 1)])), [Step::Hold(duty("p"))]);
        assert_eq!(b.until(&duty("p")), None);
        b.hold(&duty("p"), seconds(1));
        assert_eq!(b.until(&duty("p")), Some(seconds(1) + LASTS * 2 / 3));
    }

    #[test]
    fn a_lease_that_somebody_deletes_is_its_holders_for_as_long_as_it_lasted() {
        let (all, none) = (duties(&["p"]), Records::new());
        let mut other = book("b");
        other.look(seconds(0), &all, &NOTHING, &records(&[("p", "a", 1)]));
        assert_eq!(other.look(seconds(7), &all, &NOTHING, &none), []);
        assert_eq!(other.look(seconds(14), &all, &NOTHING, &none), []);
        assert_eq!(other.look(seconds(15), &all, &NOTHING, &none), [Step::Hold(duty("p"))]);
        let mut holder = book("a");
        holder.hold(&duty("p"), seconds(0));
        assert_eq!(holder.look(seconds(1), &all, &NOTHING, &none), [Step::Hold(duty("p"))], "its own, anew");
        assert_eq!(holder.look(seconds(6), &all, &NOTHING, &none), [], "its right has ended, and another may have one");
    }

    #[test]
    fn who_has_more_to_do_waits_for_those_who_have_less() {
        let all = duties(&["p", "q", "r", "s"]);
        let leases = |at| records(&[("p", "dead", 1), ("q", "a", at), ("r", "a", at), ("s", "b", at)]);
        let (mut a, mut b) = (book("a"), book("b"));
        for held in ["q", "r"] {
            a.hold(&duty(held), seconds(8));
        }
        b.hold(&duty("s"), seconds(8));
        for book in [&mut a, &mut b] {
            book.look(seconds(0), &all, &NOTHING, &leases(1));
        }
        let takes = |book: &mut Book, at| {
            let steps = book.look(seconds(at), &all, &NOTHING, &leases(at));
            steps.contains(&Step::Hold(duty("p")))
        };
        assert!(takes(&mut b, 8));
        assert!(!takes(&mut a, 8));
        assert!(takes(&mut a, 10), "one look later anyone takes it");
    }

    #[test]
    fn a_replica_that_has_settled_asks_and_gets_a_duty_once_its_work_has_ended() {
        let all = duties(&["p", "q"]);
        let mut leases = records(&[("p", "a", 1), ("q", "a", 1)]);
        let (mut a, mut b) = (book("a"), book("b"));
        for held in ["p", "q"] {
            a.hold(&duty(held), seconds(24));
        }
        assert_eq!(b.look(seconds(0), &all, &NOTHING, &leases), []);
        leases = records(&[("p", "a", 24), ("q", "a", 24)]);
        assert_eq!(b.look(seconds(23), &all, &NOTHING, &leases), []);
        assert_eq!(b.look(seconds(24), &all, &NOTHING, &leases), [Step::Ask(duty("q"))]);
        leases.get_mut(&duty("q")).unwrap().asked_by = Some("b".to_owned());
        assert_eq!(b.look(seconds(25), &all, &NOTHING, &leases), [], "one wish at a time");
        assert_eq!(a.look(seconds(24), &all, &duties(&["p", "q"]), &leases), []);
        assert!(a.leaves(&duty("q")) && !a.leaves(&duty("p")));
        let renewed = a.look(seconds(26), &all, &duties(&["p", "q"]), &leases);
        assert_eq!(renewed, [Step::Hold(duty("p")), Step::Hold(duty("q"))], "it is kept until the work has ended");
        let ended = a.look(seconds(27), &all, &duties(&["p"]), &leases);
        assert!(ended.contains(&Step::HandOver(duty("q"), "b".to_owned())), "{ended:?}");
        a.pass(&duty("q"), "b", seconds(27));
        let leases = records(&[("p", "a", 27), ("q", "b", 27)]);
        assert_eq!(b.look(seconds(27), &all, &NOTHING, &leases), [Step::Hold(duty("q"))]);
    }

    #[test]
    fn a_wish_that_would_only_swap_who_has_more_is_not_granted() {
        let all = duties(&["p", "q", "r"]);
        let mut leases = records(&[("p", "a", 1), ("q", "a", 1), ("r", "b", 1)]);
        leases.get_mut(&duty("q")).unwrap().asked_by = Some("b".to_owned());
        let mut a = book("a");
        for held in ["p", "q"] {
            a.hold(&duty(held), seconds(0));
        }
        assert_eq!(a.look(seconds(0), &all, &all, &leases), [Step::Hold(duty("q"))], "it is taken off");
        assert!(!a.leaves(&duty("q")));
    }

    #[test]
    fn placement_is_never_asked_for() {
        let all = BTreeSet::from([Duty::placement(), duty("p")]);
        let leases = |at| Records::from([(Duty::placement(), held("a", at)), (duty("p"), held("a", at))]);
        let mut b = book("b");
        b.look(seconds(0), &all, &NOTHING, &leases(0));
        assert_eq!(b.look(seconds(30), &all, &NOTHING, &leases(30)), [Step::Ask(duty("p"))]);
    }
}

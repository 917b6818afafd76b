//! What pods on virtual nodes have used, by policy and pool, in the running hour and day.
//!
//! An hour and a day are UTC's. Usage is an exact sum of whole units; money is worked out of it by the pool's present
//! price, so that a new price holds for the whole hour and day. After a restart the pods that are there count from
//! their decision (else their creation) on; lost is what pods cost that were gone before the restart.

use std::collections::BTreeMap;

use crate::{
    model::{ObjectName, PoolName, Resources, Timestamp},
    placement::{cap::Sum, pools::Pools},
    policy::{Budget, PolicyName, Spend, Usage},
};

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// Who pays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Account {
    /// All that follow a policy, together.
    Policy(Option<PolicyName>),
    /// All that stand in a pool: the charge says which.
    Pool,
    /// Nobody: what a workload would have cost.
    Observed(ObjectName),
}

/// A pod's cost, while it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Charge {
    pub(super) account: Account,
    pub(super) pool: PoolName,
    pub(super) requests: Resources,
}

#[derive(Debug, Default)]
pub(super) struct Accounts(BTreeMap<Account, BTreeMap<PoolName, Meter>>);

/// What one account uses of one pool.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Meter {
    running: Sum,
    since: Timestamp,
    hour: Period,
    day: Period,
    /// Since it was first used.
    pub(super) total: Usage,
    /// Pods that came to it so far.
    pub(super) pods: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Period {
    number: u64,
    used: Usage,
}

impl Period {
    /// What ran from `since` until `now` counts as far as it falls into the present period.
    fn run(&mut self, length: u64, running: Sum, since: Timestamp, now: Timestamp) {
        let number = now.as_millis() / length;
        if number != self.number {
            *self = Self { number, used: Usage::default() };
        }
        let begin = Timestamp::from_millis(number * length).max(since);
        self.used.add(running.pods, running.requests, millis(begin, now));
    }
}

impl Meter {
    fn run(&mut self, now: Timestamp) {
        self.hour.run(HOUR, self.running, self.since, now);
        self.day.run(DAY, self.running, self.since, now);
        self.total.add(self.running.pods, self.running.requests, millis(self.since, now));
        self.since = now;
    }

    /// What the pods that run would use in an hour.
    pub(super) fn an_hour(&self) -> Usage {
        let mut usage = Usage::default();
        usage.add(self.running.pods, self.running.requests, HOUR);
        usage
    }

    /// What it has used in its hour and its day.
    pub(super) fn periods(&self) -> (Usage, Usage) {
        (self.hour.used, self.day.used)
    }

    /// As it stands at this moment.
    pub(super) fn at(mut self, now: Timestamp) -> Self {
        self.run(now);
        self
    }
}

/// None where a clock was set back.
fn millis(from: Timestamp, until: Timestamp) -> u64 {
    until.as_millis().saturating_sub(from.as_millis())
}

/// Why a budget lets no more pods burst; for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spent(pub(super) Box<str>);

impl Accounts {
    /// The clock was set back to this moment: what runs counts from it on.
    pub(super) fn not_after(&mut self, now: Timestamp) {
        for meter in self.0.values_mut().flat_map(|meters| meters.values_mut()) {
            meter.since = meter.since.min(now);
        }
    }

    /// A pod begins to cost; it has since `began`, and is new to the account where that is not now.
    pub(super) fn enter(&mut self, charge: &Charge, began: Timestamp, now: Timestamp) {
        let meters = self.0.entry(charge.account.clone()).or_default();
        let meter = meters.entry(charge.pool.clone()).or_default();
        meter.run(now);
        let one = Sum::one(charge.requests);
        meter.hour.run(HOUR, one, began, now);
        meter.day.run(DAY, one, began, now);
        meter.total.add(1, charge.requests, millis(began, now));
        meter.running += one;
        meter.pods += 1;
    }

    /// A pod costs no more.
    pub(super) fn leave(&mut self, charge: &Charge, now: Timestamp) {
        if let Some(meter) = self.0.get_mut(&charge.account).and_then(|meters| meters.get_mut(&charge.pool)) {
            meter.run(now);
            meter.running -= Sum::one(charge.requests);
        }
    }

    /// Forgets an account.
    pub(super) fn close(&mut self, account: &Account) {
        self.0.remove(account);
    }

    /// What an account uses of a pool.
    pub(super) fn meter(&self, account: &Account, pool: &PoolName) -> Option<Meter> {
        self.0.get(account)?.get(pool).copied()
    }

    /// The accounts of workloads that are only observed.
    pub(super) fn observed(&self) -> impl Iterator<Item = (&ObjectName, &PoolName, &Meter)> {
        self.0.iter().flat_map(|(account, meters)| {
            let workload = if let Account::Observed(workload) = account { Some(workload) } else { None };
            workload
                .into_iter()
                .flat_map(move |workload| meters.iter().map(move |(pool, meter)| (workload, pool, meter)))
        })
    }

    /// What all pods of a pool use.
    pub(super) fn of_pool(&self, pool: &PoolName) -> Option<Meter> {
        self.0.get(&Account::Pool)?.get(pool).copied()
    }

    /// The accounts of policies that have a name.
    pub(super) fn of_policies(&self) -> impl Iterator<Item = (&PolicyName, &BTreeMap<PoolName, Meter>)> {
        self.0.iter().filter_map(|(account, meters)| match account {
            Account::Policy(Some(name)) => Some((name, meters)),
            _ => None,
        })
    }

    /// Which part of the budget is spent, if one is.
    pub(super) fn spent(&self, account: &Account, budget: &Budget, pools: &Pools, now: Timestamp) -> Option<Spent> {
        let meters = self.0.get(account);
        spent(budget, |span, limit| used(meters.into_iter().flatten(), span, limit, pools, now))
    }

    /// Which part of a pool's own budget is spent, if one is.
    pub(super) fn spent_of_pool(&self, pool: &PoolName, pools: &Pools, now: Timestamp) -> Option<Spent> {
        spent(pools.budget(pool)?, |span, limit| self.used_of_pool(pool, span, limit, pools, now))
    }

    /// How much of a limit a pool has used.
    pub(super) fn used_of_pool(
        &self,
        pool: &PoolName,
        span: Span,
        limit: &Spend,
        pools: &Pools,
        now: Timestamp,
    ) -> Used {
        used(self.0.get(&Account::Pool).and_then(|meters| meters.get_key_value(pool)), span, limit, pools, now)
    }
}

/// What a limit holds for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    Hour,
    Day,
}

impl Span {
    pub(super) const ALL: [Self; 2] = [Self::Hour, Self::Day];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    pub(super) const fn limit(self, budget: &Budget) -> Option<&Spend> {
        match self {
            Self::Hour => budget.per_hour.as_ref(),
            Self::Day => budget.per_day.as_ref(),
        }
    }

    const fn of(self, meter: &Meter) -> Usage {
        match self {
            Self::Hour => meter.hour.used,
            Self::Day => meter.day.used,
        }
    }
}

/// How much of a limit is used, both in the limit's smallest unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    used: i128,
    limit: i128,
}

impl Used {
    /// 1 where all of it is used; a limit of nothing is used up from the start.
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    pub(super) fn share(self) -> f64 {
        if self.limit == 0 { 1.0 } else { self.used as f64 / self.limit as f64 }
    }

    const fn is_all(self) -> bool {
        self.used >= self.limit
    }
}

/// How much of a limit is used in these pools together.
pub(super) fn used<'a>(
    meters: impl IntoIterator<Item = (&'a PoolName, &'a Meter)>,
    span: Span,
    limit: &Spend,
    pools: &Pools,
    now: Timestamp,
) -> Used {
    let used = meters.into_iter().map(|(pool, meter)| (pool, span.of(&meter.at(now))));
    match limit {
        Spend::PodMinutes(limit) => {
            let millis = used.map(|(_, used)| used.pod_millis).sum::<u128>();
            Used { used: i128::try_from(millis).unwrap_or(i128::MAX), limit: i128::from(*limit) * 60_000 }
        }
        Spend::Money(limit) => {
            let prices = used.filter_map(|(pool, used)| Some(pools.price(pool)?.of(used)));
            let same = prices.filter(|cost| cost.currency() == limit.currency());
            let used = same.map(|cost| cost.nanos()).fold(0, i128::saturating_add);
            Used { used, limit: limit.nanos() }
        }
    }
}

fn spent(budget: &Budget, used: impl Fn(Span, &Spend) -> Used) -> Option<Spent> {
    Span::ALL.into_iter().find_map(|span| {
        let limit = span.limit(budget)?;
        let says = |text: String| Spent(format!("the budget of this {} is spent ({text})", span.word()).into());
        used(span, limit).is_all().then(|| match limit {
            Spend::PodMinutes(minutes) => says(format!("{minutes} pod-minutes")),
            Spend::Money(money) => says(money.to_string()),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Bytes, MilliCpu},
        policy::Exhausted,
    };

    const EACH: Resources = Resources { cpu: MilliCpu(1_000), memory: Bytes(1 << 30) };

    fn charge() -> Charge {
        Charge { account: Account::Policy(None), pool: "eci".into(), requests: EACH }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn minutes(per_hour: u64) -> Budget {
        let exhausted = Exhausted::Wait;
        Budget { per_hour: Some(Spend::PodMinutes(per_hour)), per_day: None, exhausted }
    }

    fn is_spent(accounts: &Accounts, budget: &Budget, now: Timestamp) -> bool {
        accounts.spent(&charge().account, budget, &Pools::default(), now).is_some()
    }

    #[test]
    fn pod_minutes_add_up_while_pods_run_and_begin_anew_with_the_hour() {
        let mut accounts = Accounts::default();
        accounts.enter(&charge(), at(0), at(0));
        accounts.enter(&charge(), at(0), at(0));
        let budget = minutes(10);
        assert!(!is_spent(&accounts, &budget, at(299)));
        assert!(is_spent(&accounts, &budget, at(300)), "two pods, five minutes");
        accounts.leave(&charge(), at(300));
        accounts.leave(&charge(), at(300));
        assert!(is_spent(&accounts, &budget, at(3_599)));
        assert!(!is_spent(&accounts, &budget, at(3_600)));
    }

    #[test]
    fn a_pod_that_was_there_before_counts_from_its_decision_but_only_in_the_present_hour() {
        let mut accounts = Accounts::default();
        accounts.enter(&charge(), at(3_000), at(4_200));
        assert!(is_spent(&accounts, &minutes(10), at(4_200)));
        assert!(!is_spent(&accounts, &minutes(11), at(4_200)), "ten minutes of this hour, not twenty");
    }

    #[test]
    fn a_clock_that_was_set_back_charges_nothing_twice() {
        let mut accounts = Accounts::default();
        accounts.enter(&charge(), at(60), at(60));
        assert!(!is_spent(&accounts, &minutes(1), at(30)));
        accounts.leave(&charge(), at(30));
        assert!(!is_spent(&accounts, &minutes(1), at(3_000)));
    }
}

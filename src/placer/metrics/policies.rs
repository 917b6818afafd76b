//! Gauges of what the pods of each named policy spend.

use burstlet_engine::placement::PolicySight;
use prometheus::{
    GaugeVec, Opts,
    core::{Collector, GenericGaugeVec},
};

use super::pools::amount;
use crate::telemetry::listed;

/// What each policy spends, and how much of its budget that is.
#[derive(Clone)]
pub(super) struct PolicyGauges {
    cost_this_hour: GaugeVec,
    cost_today: GaugeVec,
    budget_used: GaugeVec,
}

impl PolicyGauges {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str, label: &str| GaugeVec::new(Opts::new(name, help), &["policy", label]);
        Ok(Self {
            cost_this_hour: gauge(
                "burstlet_policy_cost_this_hour",
                "What a policy's pods have cost in the running hour (UTC), by currency of the pools' prices.",
                "currency",
            )?,
            cost_today: gauge(
                "burstlet_policy_cost_today",
                "What a policy's pods have cost in the running day (UTC), by currency of the pools' prices.",
                "currency",
            )?,
            budget_used: gauge(
                "burstlet_policy_budget_used_ratio",
                "Share of a policy's budget of the running hour or day (UTC) that is used, 1 where all of it is.",
                "period",
            )?,
        })
    }

    /// All of them: what is listed is registered, and shown no more once its policy is gone.
    fn all(&self) -> [&GaugeVec; 3] {
        let Self { cost_this_hour, cost_today, budget_used } = self;
        [cost_this_hour, cost_today, budget_used]
    }

    pub(super) fn collectors(&self) -> impl Iterator<Item = Box<dyn Collector>> {
        self.all().map(listed).into_iter()
    }

    pub(super) fn show(&self, policies: &[PolicySight]) {
        self.all().into_iter().for_each(GenericGaugeVec::reset);
        for policy in policies {
            let name = policy.name.as_str();
            for (currency, (hour, today)) in &policy.spent {
                self.cost_this_hour.with_label_values(&[name, currency.as_str()]).set(amount(hour));
                self.cost_today.with_label_values(&[name, currency.as_str()]).set(amount(today));
            }
            for used in &policy.used {
                self.budget_used.with_label_values(&[name, used.period]).set(used.share);
            }
        }
    }
}

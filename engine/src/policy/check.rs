//! What is wrong with a policy among the cluster's others, and its pools: more than its fields tell alone.

use std::collections::BTreeMap;

use crate::{
    model::{ObjectName, PoolName},
    policy::{
        Base, Cap, Currency, Mode, Place, Policies, Spend,
        fields::{self, FieldFault, Fields, MoveOnFields, TierFields},
        graph,
        spec::Spec,
    },
};

/// What checks know of a pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownPool {
    /// Currency of its price, where it has one.
    pub currency: Option<Currency>,
    /// Pods that it takes at most.
    pub quota_pods: Option<u32>,
    /// Pool that it falls back to.
    pub fallback: Option<PoolName>,
}

/// All pools of the cluster.
pub type KnownPools = BTreeMap<PoolName, KnownPool>;

/// What keeps an object out, and what its author should know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it is refused.
    pub faults: Vec<FieldFault>,
    /// What will not do what they think.
    pub warnings: Vec<FieldFault>,
}

impl Verdict {
    fn fault(&mut self, path: impl Into<String>, says: impl Into<String>) {
        self.faults.push(FieldFault::new(path, says));
    }

    fn warn(&mut self, path: impl Into<String>, says: impl Into<String>) {
        self.warnings.push(FieldFault::new(path, says));
    }
}

/// Judges a policy that is about to be `name`. `pools`: those of the cluster; `None` where nobody knows them, as when a
/// file is checked without a cluster.
pub fn policy(name: &ObjectName, spec: &Spec, policies: &Policies, pools: Option<&KnownPools>) -> Verdict {
    let mut verdict = Verdict::default();
    let mut among = policies.clone();
    if let Err(faults) = among.set(name.clone(), spec) {
        verdict.faults = faults;
        return verdict;
    }
    let lineage = match among.lineage(name) {
        Ok(lineage) => lineage.into_iter().map(|(_, fields)| fields).collect::<Vec<_>>(),
        Err(error) => {
            verdict.fault("spec.extends", error.to_string());
            return verdict;
        }
    };
    let merged = Merged { lineage: &lineage };
    let tiers = merged.get(|fields| fields.tiers.as_ref()).map(Vec::as_slice).unwrap_or_default();
    let all =
        MoveOnFields { when: merged.get(|fields| fields.move_on.when.as_ref()).copied(), ..MoveOnFields::default() };
    if let Err(error) = graph::reachable(tiers, all) {
        verdict.fault("spec.tiers", error.to_string());
    }
    merged.check_budget(&mut verdict);
    if let Some(pools) = pools {
        merged.check_pools(tiers, pools, &mut verdict);
    }
    merged.warn_of_shares(tiers, &mut verdict);
    let mode = merged.get(|fields| fields.mode.as_ref());
    if matches!(mode, Some(Mode::AfterBase | Mode::Observe)) && merged.base().is_none() && !merged.has_base_resources()
    {
        verdict.warn(
            "spec.base",
            "is missing; only workloads with a base of their own (burstlet.dev/base) follow this policy",
        );
    }
    if let Some(twin) = among.twin(name) {
        verdict.warn("spec.selector", format!("is that of {twin}, too; pods that both match follow neither"));
    }
    verdict
}

/// A base beside what an autoscaler may ask for at most.
pub fn base_above(path: &str, base: Base, autoscaler: &str, max_replicas: u32) -> Option<FieldFault> {
    (!base.is_share() && base.of(max_replicas) >= max_replicas && base.of(max_replicas) > 0).then(|| {
        let verb = if base.of(max_replicas) > max_replicas { "is above" } else { "is all of" };
        FieldFault::new(path, format!("{base} {verb} maxReplicas {max_replicas} of HorizontalPodAutoscaler {autoscaler}: nothing will ever burst"))
    })
}

/// A pool's fallbacks among the others.
pub fn fallback(name: &PoolName, pool: &KnownPool, pools: &KnownPools) -> Verdict {
    let mut verdict = Verdict::default();
    let mut all: graph::Fallbacks = pools.iter().map(|(name, pool)| (name.clone(), pool.fallback.clone())).collect();
    all.insert(name.clone(), pool.fallback.clone());
    if let Err(error) = graph::fallbacks(&all, name) {
        verdict.fault("spec.fallback", error.to_string());
    }
    verdict
}

/// A policy's fields with those that it extends.
struct Merged<'a> {
    lineage: &'a [&'a Fields],
}

impl<'a> Merged<'a> {
    fn get<T>(&self, of: impl Fn(&'a Fields) -> Option<&'a T>) -> Option<&'a T> {
        self.lineage.iter().find_map(|fields| of(fields))
    }

    fn base(&self) -> Option<Base> {
        self.get(|fields| fields.base.as_ref()).copied()
    }

    fn has_base_resources(&self) -> bool {
        self.lineage.iter().any(|fields| fields.base_cpu.is_some() || fields.base_memory.is_some())
    }

    fn spends(&self) -> [(&'static str, Option<&'a Spend>); 2] {
        let hour = self.get(|fields| fields.per_hour.as_ref());
        let day = self.get(|fields| fields.per_day.as_ref());
        [("spec.budget.perHour", hour), ("spec.budget.perDay", day)]
    }

    fn check_budget(&self, verdict: &mut Verdict) {
        let [(_, hour), (_, day)] = self.spends();
        if let Some(fault) = fields::currencies(hour, day) {
            verdict.fault("spec.budget", format!("{fault} (with what it extends)"));
        }
    }

    fn check_pools(&self, tiers: &[TierFields], pools: &KnownPools, verdict: &mut Verdict) {
        let known = || pools.keys().map(PoolName::as_str).collect::<Vec<_>>().join(", ");
        for (index, tier) in tiers.iter().enumerate() {
            let Place::Pool(name) = &tier.place else { continue };
            let path = format!("spec.tiers[{index}]");
            let Some(pool) = pools.get(name) else {
                let known =
                    if pools.is_empty() { "there is none yet".to_owned() } else { format!("there are {}", known()) };
                verdict.fault(format!("{path}.pool"), format!("there is no VirtualPool {name}; {known}"));
                continue;
            };
            let cap = tier.cap.pods.filter(|cap| !cap.is_share()).map(|cap| cap.of(0));
            if let (Some(cap), Some(quota)) = (cap, pool.quota_pods)
                && cap > quota
            {
                verdict.warn(
                    format!("{path}.max"),
                    format!("{cap} is above the quota of VirtualPool {name}, {quota} pods"),
                );
            }
            for (budget, misfit) in self.misfits(name, pool) {
                verdict.fault(budget, misfit);
            }
        }
        // Without tiers every pool is meant, as far as it can be.
        for (name, pool) in pools.iter().filter(|_| tiers.is_empty()) {
            for (budget, misfit) in self.misfits(name, pool) {
                verdict.warn(budget, format!("{misfit}; no pod of this policy bursts there"));
            }
        }
    }

    /// Why a pool's price tells nothing of the budgets that are in money.
    fn misfits(&self, name: &PoolName, pool: &KnownPool) -> Vec<(&'static str, String)> {
        let misfit = |(budget, spend): (&'static str, Option<&Spend>)| {
            let Some(Spend::Money(money)) = spend else { return None };
            let says = match &pool.currency {
                Some(currency) if currency == money.currency() => return None,
                Some(currency) => format!(
                    "is in {}, but VirtualPool {name} has its price in {currency}; write both in one currency",
                    money.currency()
                ),
                None => {
                    format!("is in money, but VirtualPool {name} has no price; give it one, or write pod-minutes")
                }
            };
            Some((budget, says))
        };
        self.spends().into_iter().filter_map(misfit).collect()
    }

    /// Where base and tiers are all percentages below a whole, some pods have no place.
    fn warn_of_shares(&self, tiers: &[TierFields], verdict: &mut Verdict) {
        const WHOLE: u32 = 100;
        let share = |cap: &Cap| cap.pods.filter(|cap| cap.is_share()).map(|cap| cap.of(WHOLE));
        let Some(shares) = tiers.iter().map(|tier| share(&tier.cap)).collect::<Option<Vec<_>>>() else { return };
        let is_whole = self.get(|fields| fields.mode.as_ref()) == Some(&Mode::WhenFull);
        let base = self.base().filter(|base| base.is_share()).map(|base| base.of(WHOLE));
        let Some(base) = base.filter(|_| !tiers.is_empty() && !is_whole) else { return };
        let sum = base + shares.iter().sum::<u32>();
        if sum < WHOLE {
            verdict.warn(
                "spec.tiers",
                format!(
                    "base and tiers take {sum}% of the pods at most; the rest waits. A last tier without max takes it"
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(value: Value) -> Spec {
        serde_json::from_value(value).unwrap()
    }

    fn pools() -> KnownPools {
        let pool = |currency: Option<&str>, quota| KnownPool {
            currency: currency.map(|code| code.parse().unwrap()),
            quota_pods: quota,
            fallback: None,
        };
        [("eci", pool(Some("CNY"), Some(200))), ("fargate", pool(Some("USD"), None)), ("free", pool(None, None))]
            .map(|(name, pool)| (name.into(), pool))
            .into()
    }

    fn judge(value: Value) -> (Vec<String>, Vec<String>) {
        let mut policies = Policies::new("burstlet-system");
        let house = ObjectName::new("burstlet-system", "house");
        policies.set(house, &spec(json!({"budget": {"perDay": "10 CNY"}}))).unwrap();
        policies.set(ObjectName::new("shop", "twin"), &spec(json!({"selector": {"matchLabels": {"a": "b"}}}))).unwrap();
        let Verdict { faults, warnings } =
            policy(&ObjectName::new("shop", "web"), &spec(value), &policies, Some(&pools()));
        let told = |all: Vec<FieldFault>| all.iter().map(ToString::to_string).collect();
        (told(faults), told(warnings))
    }

    #[test]
    fn an_unknown_pool_is_refused_with_those_that_are_known() {
        let (faults, _) = judge(json!({"base": 1, "tiers": [{"pool": "eci"}, {"pool": "eic"}]}));
        assert_eq!(faults, ["spec.tiers[1].pool: there is no VirtualPool eic; there are eci, fargate, free"]);
    }

    #[test]
    fn a_budget_in_another_currency_than_the_pools_price_is_refused() {
        let budget = |pool: &str| judge(json!({"base": 1, "extends": "house", "tiers": [{"pool": pool}]})).0;
        assert_eq!(budget("eci"), Vec::<String>::new());
        assert_eq!(
            budget("fargate"),
            ["spec.budget.perDay: is in CNY, but VirtualPool fargate has its price in USD; write both in one currency"]
        );
        assert!(budget("free")[0].contains("VirtualPool free has no price"));
        let (faults, warnings) = judge(json!({"base": 1, "extends": "house"}));
        assert_eq!(faults, Vec::<String>::new(), "every pool is meant, as far as it can be");
        assert!(warnings[0].contains("fargate has its price in USD") && warnings[0].ends_with("bursts there"));
        assert!(warnings[1].contains("VirtualPool free has no price"), "{warnings:?}");
        let (faults, _) = judge(json!({"extends": "house", "base": 1, "budget": {"perHour": "1 USD"}}));
        assert!(faults[0].starts_with("spec.budget: mixes currencies, USD and CNY"), "{faults:?}");
    }

    #[test]
    fn a_missing_parent_and_an_unreachable_tier_are_refused() {
        assert!(
            judge(json!({"extends": "gone"})).0[0]
                .starts_with("spec.extends: shop/web → gone: there is no BurstPolicy gone")
        );
        let waits = json!({"moveOn": {"when": []}, "base": 1, "tiers": [{"pool": "eci"}, {"real": {}}]});
        assert!(judge(waits).0[0].starts_with("spec.tiers: no pod reaches eci → real"));
    }

    #[test]
    fn what_will_not_do_what_its_author_thinks_is_a_warning() {
        let (faults, warnings) = judge(json!({
            "mode": "AfterBase", "selector": {"matchLabels": {"a": "b"}}, "tiers": [{"pool": "eci", "max": 500}],
        }));
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(
            warnings,
            [
                "spec.tiers[0].max: 500 is above the quota of VirtualPool eci, 200 pods",
                "spec.base: is missing; only workloads with a base of their own (burstlet.dev/base) follow this policy",
                "spec.selector: is that of shop/twin, too; pods that both match follow neither",
            ]
        );
        let (_, warnings) = judge(json!({"base": "30%", "tiers": [{"pool": "eci", "max": "50%"}]}));
        assert!(warnings[0].contains("take 80% of the pods at most"), "{warnings:?}");
        let (_, warnings) = judge(json!({"base": "50%", "tiers": [{"pool": "eci", "max": "50%"}]}));
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn a_base_that_leaves_an_autoscaler_nothing_to_burst_is_a_warning() {
        let told =
            |base: u32| base_above("burstlet.dev/base", Base::count(base), "web", 10).map(|told| told.to_string());
        assert_eq!(told(9), None);
        assert_eq!(
            told(10).unwrap(),
            "burstlet.dev/base: 10 is all of maxReplicas 10 of HorizontalPodAutoscaler web: nothing will ever burst"
        );
        assert!(told(11).unwrap().contains("11 is above maxReplicas 10"));
        assert_eq!(base_above("x", "100%".parse().unwrap(), "web", 10), None, "percentages follow");
    }

    #[test]
    fn pools_in_a_circle_are_refused() {
        let mut pools = pools();
        pools.get_mut("eci").unwrap().fallback = Some("fargate".into());
        let pool = KnownPool { fallback: Some("eci".into()), ..KnownPool::default() };
        let verdict = fallback(&"fargate".into(), &pool, &pools);
        assert_eq!(
            verdict.faults[0].to_string(),
            "spec.fallback: fargate → eci → fargate is a circle; take one step out of it"
        );
    }
}

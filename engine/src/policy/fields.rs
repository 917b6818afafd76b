//! A policy's fields, read: what a spec or an annotation says, each of them or nothing.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    model::{Bytes, MilliCpu, PoolName},
    policy::{
        Base, Cap, Exhausted, Mode, Per, Place, Spend, Waiting, Window,
        spec::{self, Amount, Reason, ResourceAmounts, Spec},
    },
};

/// What one source says; a field that it leaves out is asked of the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// `mode`
    pub mode: Option<Mode>,
    /// `base`
    pub base: Option<Base>,
    /// `baseResources.cpu`
    pub base_cpu: Option<MilliCpu>,
    /// `baseResources.memory`
    pub base_memory: Option<Bytes>,
    /// `tiers`
    pub tiers: Option<Vec<TierFields>>,
    /// `moveOn`
    pub move_on: MoveOnFields,
    /// `count.per`
    pub per: Option<Per>,
    /// `count.ignoreTerminating`
    pub ignore_terminating: Option<bool>,
    /// `count.ignorePrevious`
    pub ignore_previous: Option<bool>,
    /// `moveBack.enabled`
    pub move_back: Option<bool>,
    /// `moveBack.after`
    pub move_back_after: Option<Duration>,
    /// `moveBack.atOnce`
    pub at_once: Option<u32>,
    /// `moveBack.coolDown`
    pub cool_down: Option<Duration>,
    /// `budget.perHour`
    pub per_hour: Option<Spend>,
    /// `budget.perDay`
    pub per_day: Option<Spend>,
    /// `budget.exhausted`
    pub exhausted: Option<Exhausted>,
    /// `windows`
    pub windows: Option<Vec<Window>>,
    /// `priority`
    pub priority: Option<i32>,
}

/// A tier, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierFields {
    /// Where its pods go.
    pub place: Place,
    /// How many.
    pub cap: Cap,
    /// What it says itself of passing it.
    pub move_on: MoveOnFields,
    /// Labels for its pods.
    pub labels: BTreeMap<String, String>,
    /// Annotations for its pods.
    pub annotations: BTreeMap<String, String>,
}

/// `moveOn`, read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MoveOnFields {
    /// `moveOn.when`: whether full places are passed, and short ones.
    pub when: Option<When>,
    /// `moveOn.after`
    pub after: Option<Duration>,
    /// `moveOn.waiting`
    pub waiting: Option<Waiting>,
}

/// What a place is passed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct When {
    /// For being full.
    pub full: bool,
    /// For being short.
    pub short: bool,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{path}: {says}")]
pub struct FieldFault {
    /// Where it stands, such as `spec.tiers[1].max`.
    pub path: String,
    /// What is wrong, and what is allowed.
    pub says: String,
}

impl FieldFault {
    /// A fault at this path.
    pub fn new(path: impl Into<String>, says: impl Into<String>) -> Self {
        Self { path: path.into(), says: says.into() }
    }
}

/// Longest duration that a policy may name: what is longer is a slip.
const LONGEST: Duration = Duration::from_hours(24 * 30);

/// Reads texts at paths, and gathers what is wrong with them.
#[derive(Debug, Default)]
pub struct Reader {
    faults: Vec<FieldFault>,
}

impl Reader {
    /// Notes a fault.
    pub fn fault(&mut self, path: &str, says: impl Into<String>) {
        self.faults.push(FieldFault::new(path, says));
    }

    /// What was wrong, in the order of reading.
    pub fn into_faults(self) -> Vec<FieldFault> {
        self.faults
    }

    /// Reads by a type's own grammar.
    pub fn read<T: std::str::FromStr<Err: std::fmt::Display>>(&mut self, path: &str, text: &str) -> Option<T> {
        text.parse().map_err(|error: T::Err| self.fault(path, error.to_string())).ok()
    }

    /// A duration, in humantime's form.
    pub fn duration(&mut self, path: &str, text: &str) -> Option<Duration> {
        match humantime::parse_duration(text) {
            Ok(duration) if duration > LONGEST => self.fault(path, format!("{text:?} is more than 30 days")),
            Ok(duration) => return Some(duration),
            Err(_) => self.fault(path, format!("{text:?} is no duration; write for example 90s, 10m or 1h 30m")),
        }
        None
    }

    /// A number of pods, or a percentage.
    pub fn amount(&mut self, path: &str, amount: &Amount) -> Option<Base> {
        self.read(path, &amount.to_string())
    }

    /// Money, or minutes of pods.
    pub fn spend(&mut self, path: &str, text: &str) -> Option<Spend> {
        let Some(minutes) = text.trim().strip_suffix("pod-minutes") else {
            return match text.parse() {
                Ok(money) => Some(Spend::Money(money)),
                Err(error) => {
                    self.fault(path, format!("{error}; or minutes of pods, for example 600 pod-minutes"));
                    None
                }
            };
        };
        match minutes.trim().parse() {
            Ok(minutes) => Some(Spend::PodMinutes(minutes)),
            Err(_) => {
                self.fault(path, format!("{text:?} is no number of pod-minutes; write for example 600 pod-minutes"));
                None
            }
        }
    }

    /// CPU and memory that must be above zero.
    pub fn resources(&mut self, path: &str, amounts: &ResourceAmounts) -> (Option<MilliCpu>, Option<Bytes>) {
        let cpu_path = format!("{path}.cpu");
        let cpu = amounts.cpu.as_ref().and_then(|text| self.read::<MilliCpu>(&cpu_path, text));
        let memory_path = format!("{path}.memory");
        let memory = amounts.memory.as_ref().and_then(|text| self.read::<Bytes>(&memory_path, text));
        if cpu == Some(MilliCpu(0)) {
            self.fault(&cpu_path, "0 takes no pod that requests CPU; leave it out for no bound");
        }
        if memory == Some(Bytes(0)) {
            self.fault(&memory_path, "0 takes no pod that requests memory; leave it out for no bound");
        }
        (cpu, memory)
    }

    /// All of a spec. `path` is what leads to it, such as `spec`.
    pub fn spec(&mut self, path: &str, spec: &Spec) -> Fields {
        let at = |field: &str| format!("{path}.{field}");
        let base_resources = spec.base_resources.clone().unwrap_or_default();
        let (base_cpu, base_memory) = self.resources(&at("baseResources"), &base_resources);
        let count = spec.count.clone().unwrap_or_default();
        let back = spec.move_back.clone().unwrap_or_default();
        let budget = spec.budget.clone().unwrap_or_default();
        if back.at_once == Some(0) {
            self.fault(&at("moveBack.atOnce"), "0 returns no pod; write moveBack: {enabled: false} for that");
        }
        let fields = Fields {
            mode: spec.mode,
            base: spec.base.as_ref().and_then(|base| self.amount(&at("base"), base)),
            base_cpu,
            base_memory,
            tiers: spec.tiers.as_ref().map(|tiers| self.tiers(&at("tiers"), tiers)),
            move_on: self.move_on(&at("moveOn"), spec.move_on.as_ref()),
            per: count.per,
            ignore_terminating: count.ignore_terminating,
            ignore_previous: count.ignore_previous,
            move_back: back.enabled,
            move_back_after: back.after.as_ref().and_then(|text| self.duration(&at("moveBack.after"), text)),
            at_once: back.at_once,
            cool_down: back.cool_down.as_ref().and_then(|text| self.duration(&at("moveBack.coolDown"), text)),
            per_hour: budget.per_hour.as_ref().and_then(|text| self.spend(&at("budget.perHour"), text)),
            per_day: budget.per_day.as_ref().and_then(|text| self.spend(&at("budget.perDay"), text)),
            exhausted: budget.exhausted,
            windows: spec.windows.as_ref().map(|windows| self.windows(&at("windows"), windows)),
            priority: spec.priority,
        };
        if spec.budget.is_some() {
            self.budget(&at("budget"), &budget, &fields);
        }
        if let Some(selector) = &spec.selector {
            self.selector(&at("selector"), selector);
        }
        fields
    }

    fn budget(&mut self, path: &str, written: &spec::Budget, fields: &Fields) {
        if written.per_hour.is_none() && written.per_day.is_none() && written.exhausted.is_none() {
            self.fault(path, "is empty; write perHour or perDay, for example perDay: \"120 CNY\"");
        }
        if let Some(fault) = currencies(fields.per_hour.as_ref(), fields.per_day.as_ref()) {
            self.fault(path, fault);
        }
    }

    fn selector(&mut self, path: &str, selector: &spec::Selector) {
        for (index, expression) in selector.match_expressions.iter().enumerate() {
            let wants_values = matches!(expression.operator, spec::Operator::In | spec::Operator::NotIn);
            if wants_values == expression.values.is_empty() {
                let says = "In and NotIn need values; Exists and DoesNotExist take none";
                self.fault(&format!("{path}.matchExpressions[{index}].values"), says);
            }
        }
    }

    fn windows(&mut self, path: &str, windows: &[String]) -> Vec<Window> {
        if windows.is_empty() {
            self.fault(path, "is empty; leave it out for bursts at any time");
        }
        let each = windows.iter().enumerate();
        each.filter_map(|(index, text)| self.read(&format!("{path}[{index}]"), text)).collect()
    }

    fn tiers(&mut self, path: &str, tiers: &[spec::Tier]) -> Vec<TierFields> {
        if tiers.is_empty() {
            self.fault(path, "is empty; leave it out for all pools, or write mode: Never for none");
        }
        let each = tiers.iter().enumerate();
        each.filter_map(|(index, tier)| self.tier(&format!("{path}[{index}]"), tier)).collect()
    }

    fn tier(&mut self, path: &str, tier: &spec::Tier) -> Option<TierFields> {
        let place = match (&tier.pool, &tier.real) {
            (Some(pool), None) => self.read::<PoolName>(&format!("{path}.pool"), pool).map(Place::Pool),
            (None, Some(real)) => Some(Place::Real { node_selector: real.node_selector.clone() }),
            _ => {
                self.fault(path, "a tier is one place: write either pool: NAME or real: {}");
                None
            }
        };
        let max_path = format!("{path}.max");
        let pods = tier.max.as_ref().and_then(|max| self.amount(&max_path, max));
        if pods.is_some_and(|pods| pods.of(u32::MAX) == 0) {
            self.fault(&max_path, "a cap of 0 is never met by a pod; leave the tier out");
        }
        let amounts = tier.max_resources.clone().unwrap_or_default();
        let (cpu, memory) = self.resources(&format!("{path}.maxResources"), &amounts);
        let move_on = self.move_on(&format!("{path}.moveOn"), tier.move_on.as_ref());
        Some(TierFields {
            place: place?,
            cap: Cap { pods, cpu, memory },
            move_on,
            labels: tier.labels.clone(),
            annotations: tier.annotations.clone(),
        })
    }

    fn move_on(&mut self, path: &str, move_on: Option<&spec::MoveOn>) -> MoveOnFields {
        let Some(move_on) = move_on else { return MoveOnFields::default() };
        let when = move_on
            .when
            .as_ref()
            .map(|reasons| When { full: reasons.contains(&Reason::Full), short: reasons.contains(&Reason::Short) });
        let after = move_on.after.as_ref().and_then(|text| self.duration(&format!("{path}.after"), text));
        MoveOnFields { when, after, waiting: move_on.waiting }
    }
}

/// What keeps two amounts from being one budget, or a budget and a price from being compared.
pub fn currencies(one: Option<&Spend>, other: Option<&Spend>) -> Option<String> {
    match (one?, other?) {
        (Spend::Money(one), Spend::Money(other)) if one.currency() != other.currency() => {
            Some(format!("mixes currencies, {} and {}; write both amounts in one", one.currency(), other.currency()))
        }
        (Spend::Money(_), Spend::PodMinutes(_)) | (Spend::PodMinutes(_), Spend::Money(_)) => {
            Some("mixes money and pod-minutes; write both amounts in one of them".to_owned())
        }
        _ => None,
    }
}

/// Reads a spec; all that is wrong with it, each by its path, where anything is.
pub fn read(spec: &Spec) -> Result<Fields, Vec<FieldFault>> {
    let mut reader = Reader::default();
    let fields = reader.spec("spec", spec);
    let faults = reader.into_faults();
    if faults.is_empty() { Ok(fields) } else { Err(faults) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(value: Value) -> Spec {
        serde_json::from_value(value).unwrap()
    }

    fn faults(value: Value) -> Vec<String> {
        read(&spec(value)).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_designs_sketch_reads() {
        let fields = read(&spec(json!({
            "selector": {"matchLabels": {"app": "web"}}, "extends": "house-rules", "mode": "AfterBase", "base": "30%",
            "tiers": [{"pool": "eci-spot", "max": "50%"}, {"pool": "eci", "max": 200, "maxResources": {"cpu": "400"}}, {"real": {}}],
            "moveOn": {"when": ["Full", "Short"], "after": "90s"}, "count": {"per": "Revision", "ignoreTerminating": true},
            "moveBack": {"after": "10m", "atOnce": 1}, "budget": {"perDay": "120 CNY"},
            "windows": ["Mon-Fri 08:00-20:00 Asia/Shanghai"],
        })))
        .unwrap();
        assert_eq!(fields.base.unwrap().to_string(), "30%");
        let tiers = fields.tiers.unwrap();
        assert_eq!(tiers[1].cap.cpu, Some(MilliCpu(400_000)));
        assert_eq!(tiers[2].place, Place::Real { node_selector: BTreeMap::new() });
        assert_eq!(fields.move_back_after, Some(Duration::from_mins(10)));
        assert_eq!(fields.per_day.map(|spend| matches!(spend, Spend::Money(_))), Some(true));
    }

    #[test]
    fn each_bad_field_is_named_by_its_path_and_all_of_them_at_once() {
        let found = faults(json!({
            "base": -1, "baseResources": {"cpu": "many"},
            "tiers": [{"pool": "Eci"}, {"pool": "a", "real": {}}, {"pool": "b", "max": "150%"}, {"pool": "c", "max": 0},
                      {"pool": "d", "max": 99_999_999_999_i64}, {"pool": "e", "maxResources": {"memory": "0"}}],
            "moveOn": {"after": "soon"}, "moveBack": {"after": "1000000h", "atOnce": 0},
            "budget": {"perHour": "10 CNY", "perDay": "20 USD"},
            "windows": ["Mon-Fri 8-20 Asia/Shanghai", "Mon-Fri 08:00-20:00 Mars/Base"],
        }));
        let wanted = [
            "spec.baseResources.cpu: \"many\" is no Kubernetes quantity",
            "spec.moveBack.atOnce: 0 returns no pod",
            "spec.base: \"-1\" is negative",
            "spec.tiers[0].pool: \"Eci\" is no pool name",
            "spec.tiers[1]: a tier is one place",
            "spec.tiers[2].max: \"150%\" is over 100%",
            "spec.tiers[3].max: a cap of 0",
            "spec.tiers[4].max: \"99999999999\" is more than",
            "spec.tiers[5].maxResources.memory: 0 takes no pod",
            "spec.moveOn.after: \"soon\" is no duration",
            "spec.moveBack.after: \"1000000h\" is more than 30 days",
            "spec.windows[0]: \"8-20\" is no span of hours",
            "spec.windows[1]: \"Mars/Base\" is no time zone",
            "spec.budget: mixes currencies, CNY and USD",
        ];
        assert_eq!(found.len(), wanted.len(), "{found:#?}");
        for (found, wanted) in found.iter().zip(wanted) {
            assert!(found.starts_with(wanted), "{found} is not {wanted}");
        }
    }

    #[test]
    fn a_budget_is_money_or_pod_minutes_never_both() {
        let of = |hour: &str, day: &str| faults(json!({"budget": {"perHour": hour, "perDay": day}})).remove(0);
        assert!(of("60 pod-minutes", "20 USD").contains("mixes money and pod-minutes"));
        assert!(of("-60 pod-minutes", "20 USD").contains("no number of pod-minutes"));
        assert!(of("sixty", "20 USD").contains("for example 600 pod-minutes"));
        assert!(faults(json!({"budget": {}})).remove(0).contains("is empty"));
    }
}

//! What is wrong with a VirtualPool, each fault by its field's path.

use burstlet_engine::{
    model::PoolName,
    placement::{PoolFacts, Quota},
    policy::{
        self, Exhausted, Money, Price, Spend,
        check::{self, KnownPool, KnownPools, Verdict},
        fields::{self, FieldFault, Reader},
    },
};

use super::{PoolSpec, Provider, alibaba_eci::NORMAL_SECURITY_GROUP};

impl Provider {
    /// What its cloud would refuse of the pool itself.
    fn faults(&self) -> Vec<FieldFault> {
        let (name, faults) = match self {
            Self::AlibabaEci(settings) => ("alibabaEci", settings.faults()),
            Self::KingsoftKci(settings) => ("kingsoftKci", settings.faults()),
            Self::AwsFargate(settings) => ("awsFargate", settings.faults()),
            Self::AzureAci(settings) => ("azureAci", settings.faults()),
            Self::Kubernetes(settings) => ("kubernetes", settings.faults()),
            Self::Simulated(_) => return Vec::new(),
            #[cfg(feature = "lab")]
            Self::Process(_) => return Vec::new(),
        };
        let within = |fault: FieldFault| FieldFault::new(format!("{name}.{}", fault.path), fault.says);
        faults.into_iter().map(within).collect()
    }

    /// That its pods will not know the cluster's names, where a field could change that.
    fn unresolving(&self) -> Option<FieldFault> {
        let (field, has_servers) = match self {
            Self::AlibabaEci(settings) => ("alibabaEci.clusterDNS", !settings.cluster_dns.is_empty()),
            Self::KingsoftKci(settings) => ("kingsoftKci.clusterDns", !settings.cluster_dns.is_empty()),
            Self::AzureAci(settings) => ("azureAci.clusterDNS", !settings.cluster_dns.is_empty()),
            _ => return None,
        };
        let says = "is not set: pods will not find Services by name; name the cluster's DNS servers, at addresses that \
                    instances reach";
        (!has_servers).then(|| FieldFault::new(format!("spec.provider.{field}"), says.to_owned()))
    }
}

impl PoolSpec {
    /// What policies' checks know of it. Amounts that make no sense count as left out.
    pub fn known(&self) -> KnownPool {
        let price = self.price.as_ref().and_then(|price| price.cpu_second.parse::<Money>().ok());
        KnownPool {
            currency: price.map(|price| price.currency().clone()),
            quota_pods: self.quota.as_ref().and_then(|quota| quota.pods),
            fallback: self.fallback.as_deref().map(PoolName::from),
        }
    }

    /// What placement needs of it. Amounts that make no sense count as left out.
    pub fn facts(&self, name: &str) -> PoolFacts {
        let quota = self.quota.clone().unwrap_or_default();
        let price = self.price.as_ref().and_then(|price| {
            Some(Price { cpu_second: price.cpu_second.parse().ok()?, gib_second: price.gib_second.parse().ok()? })
        });
        PoolFacts {
            name: name.into(),
            price,
            quota: Quota {
                pods: quota.pods.map(u64::from),
                cpu: quota.cpu.and_then(|text| text.parse().ok()),
                memory: quota.memory.and_then(|text| text.parse().ok()),
            },
            budget: self.budget.as_ref().map(|budget| {
                let mut reader = Reader::default();
                let mut read = |text: &Option<String>| text.as_ref().and_then(|text| reader.spend("spec.budget", text));
                let (per_hour, per_day) = (read(&budget.per_hour), read(&budget.per_day));
                policy::Budget { per_hour, per_day, exhausted: Exhausted::Wait }
            }),
            fallback: self.fallback.as_deref().map(PoolName::from),
        }
    }

    /// Judges it, about to be `name`, among the cluster's `others`.
    pub fn check(&self, name: &str, others: &KnownPools) -> Verdict {
        let mut verdict = check::fallback(&PoolName::from(name), &self.known(), others);
        verdict.faults.splice(0..0, self.faults(name));
        let nodes = self.nodes.clone().unwrap_or_default();
        let room = u64::from(nodes.max.unwrap_or(1)) * u64::from(nodes.pods_per_node.unwrap_or(3000));
        if let Some(pods) = self.quota.as_ref().and_then(|quota| quota.pods).filter(|pods| u64::from(*pods) > room) {
            let says =
                format!("{pods} is more than its virtual nodes take, {room}; raise nodes.max or nodes.podsPerNode");
            verdict.warnings.push(FieldFault::new("spec.quota.pods", says));
        }
        verdict.warnings.extend(self.provider.unresolving());
        verdict.warnings.extend(self.overcrowding());
        verdict
    }

    /// That a normal security group takes fewer pods than the pool may have.
    fn overcrowding(&self) -> Option<FieldFault> {
        let Provider::AlibabaEci(settings) = &self.provider else { return None };
        let pods = self.quota.as_ref()?.pods.filter(|pods| *pods > NORMAL_SECURITY_GROUP)?;
        let says = format!(
            "{pods} is more than a normal security group takes, {NORMAL_SECURITY_GROUP}: {} must be an enterprise one",
            settings.security_group_id
        );
        Some(FieldFault::new("spec.quota.pods", says))
    }

    /// What is wrong with it by itself.
    pub fn faults(&self, name: &str) -> Vec<FieldFault> {
        let mut reader = Reader::default();
        if let Err(error) = name.parse::<PoolName>() {
            reader.fault("metadata.name", error.to_string());
        }
        if self.quota.is_none() && self.budget.is_none() {
            reader.fault("spec", "a pool needs a quota or a budget: no unlimited spending by accident; write for example quota: {pods: 200}");
        }
        let nodes = self.nodes.clone().unwrap_or_default();
        let shown = burstlet_engine::policy::spec::ResourceAmounts { cpu: nodes.cpu, memory: nodes.memory };
        reader.resources("spec.nodes", &shown);
        if nodes.max == Some(0) {
            reader.fault("spec.nodes.max", "0 virtual nodes take no pod; the least is 1");
        }
        if let Some(quota) = &self.quota {
            reader.resources("spec.quota", &quota.resources());
            if (quota.pods, &quota.cpu, &quota.memory) == (None, &None, &None) {
                reader.fault("spec.quota", "is empty; write pods, cpu or memory");
            }
        }
        self.check_money(&mut reader);
        for fault in self.provider.faults() {
            reader.fault(&format!("spec.provider.{}", fault.path), fault.says);
        }
        reader.into_faults()
    }

    fn check_money(&self, reader: &mut Reader) {
        let price = self.price.as_ref().map(|price| {
            let cpu = reader.read::<Money>("spec.price.cpuSecond", &price.cpu_second);
            let gib = reader.read::<Money>("spec.price.gibSecond", &price.gib_second);
            if let (Some(cpu), Some(gib)) = (&cpu, &gib)
                && let Some(fault) =
                    fields::currencies(Some(&Spend::Money(cpu.clone())), Some(&Spend::Money(gib.clone())))
            {
                reader.fault("spec.price", fault);
            }
            cpu
        });
        let Some(budget) = &self.budget else { return };
        let mut read = |field: &str, text: &Option<String>| {
            text.as_ref().and_then(|text| reader.spend(&format!("spec.budget.{field}"), text))
        };
        let (hour, day) = (read("perHour", &budget.per_hour), read("perDay", &budget.per_day));
        if budget.per_hour.is_none() && budget.per_day.is_none() {
            reader.fault("spec.budget", "is empty; write perHour or perDay, for example perDay: \"120 CNY\"");
        }
        if let Some(fault) = fields::currencies(hour.as_ref(), day.as_ref()) {
            reader.fault("spec.budget", fault);
        }
        let Some(Spend::Money(money)) = hour.or(day) else { return };
        match price {
            None => {
                reader
                    .fault("spec.budget", "is in money, but the pool has no price; give it one, or write pod-minutes");
            }
            Some(Some(price)) if price.currency() != money.currency() => reader.fault(
                "spec.budget",
                format!(
                    "is in {}, but the price is in {}; write both in one currency",
                    money.currency(),
                    price.currency()
                ),
            ),
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "`json!` makes a value at each call")]

    use serde_json::{Value, json};

    use super::*;

    fn check(extra: Value) -> Verdict {
        let mut spec = json!({"provider": {"simulated": {"endpoint": "http://x"}}});
        json_patch::merge(&mut spec, &extra);
        serde_json::from_value::<PoolSpec>(spec).unwrap().check("eci", &KnownPools::new())
    }

    fn fault(extra: Value) -> String {
        let faults = check(extra).faults;
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults[0].to_string()
    }

    #[test]
    fn a_pool_needs_a_quota_or_a_budget() {
        assert!(fault(json!({})).starts_with("spec: a pool needs a quota or a budget"));
        assert_eq!(check(json!({"quota": {"pods": 5}})), Verdict::default());
        assert_eq!(check(json!({"budget": {"perDay": "600 pod-minutes"}})), Verdict::default());
        assert!(fault(json!({"quota": {}})).starts_with("spec.quota: is empty"));
    }

    #[test]
    fn money_is_in_one_currency_and_needs_a_price() {
        let price = json!({"cpuSecond": "0.000049 CNY", "gibSecond": "0.00000613 CNY"});
        assert_eq!(check(json!({"price": price, "budget": {"perDay": "5 CNY"}})), Verdict::default());
        assert!(fault(json!({"budget": {"perDay": "5 CNY"}})).contains("the pool has no price"));
        assert!(
            fault(json!({"price": price, "budget": {"perDay": "5 USD"}}))
                .contains("is in USD, but the price is in CNY")
        );
        let mixed = json!({"cpuSecond": "1 CNY", "gibSecond": "1 USD"});
        assert!(fault(json!({"price": mixed, "quota": {"pods": 1}})).starts_with("spec.price: mixes currencies"));
        let negative = json!({"cpuSecond": "-1 CNY", "gibSecond": "1 CNY"});
        assert!(
            fault(json!({"price": negative, "quota": {"pods": 1}}))
                .starts_with("spec.price.cpuSecond: \"-1 CNY\" is negative")
        );
    }

    #[test]
    fn a_clouds_limits_are_named_with_the_field_before_anything_is_asked_of_it() {
        let eci = |zones: usize| {
            let zones = (0..zones).map(|number| json!({"vSwitchId": format!("vsw-{number}")})).collect::<Vec<_>>();
            let eci = json!({"region": "Hangzhou!", "zones": zones, "securityGroupId": "sg 1",
                "credentials": {"environment": {}}});
            let spec = json!({"provider": {"alibabaEci": eci}, "quota": {"pods": 1}});
            let faults = serde_json::from_value::<PoolSpec>(spec).unwrap().check("eci", &KnownPools::new()).faults;
            faults.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let faults = eci(11);
        assert!(faults[0].starts_with("spec.provider.alibabaEci.region: \"Hangzhou!\" is no region"), "{faults:?}");
        assert!(faults[1].starts_with("spec.provider.alibabaEci.zones: 11 are named; name 1 to 10"), "{faults:?}");
        assert!(faults[2].starts_with("spec.provider.alibabaEci.securityGroupId"), "{faults:?}");
        assert_eq!((faults.len(), eci(10).len()), (3, 2));
        let kci = json!({"kingsoftKci": {"region": "cn-beijing-6", "securityGroupIds": ["a", "b", "c", "d"]}});
        let spec = json!({"provider": kci, "quota": {"pods": 1}});
        let faults = serde_json::from_value::<PoolSpec>(spec).unwrap().check("kci", &KnownPools::new()).faults;
        let expected = "spec.provider.kingsoftKci.securityGroupIds: 4 are too many; at most 3";
        assert_eq!(faults[0].to_string(), expected);
        let fargate = json!({"awsFargate": {"region": "eu-central-1", "cluster": "burst", "subnetIds": []}});
        let aci = json!({"azureAci": {"location": "West Europe", "subscriptionId": "s", "resourceGroup": "g"}});
        for (provider, expected) in [
            (fargate, "spec.provider.awsFargate.subnetIds: 0 are named; 1 to 16 are allowed"),
            (aci, "spec.provider.azureAci.location: \"West Europe\" is no location; write for example westeurope"),
        ] {
            let spec = json!({"provider": provider, "quota": {"pods": 1}});
            let faults = serde_json::from_value::<PoolSpec>(spec).unwrap().check("p", &KnownPools::new()).faults;
            assert_eq!(faults.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
        }
    }

    #[test]
    fn a_pool_whose_pods_would_not_find_services_by_name_is_a_warning() {
        let warnings = |kci: Value| {
            let spec = json!({"provider": {"kingsoftKci": kci}, "quota": {"pods": 1}});
            serde_json::from_value::<PoolSpec>(spec).unwrap().check("kci", &KnownPools::new()).warnings
        };
        let told = warnings(json!({"region": "cn-beijing-6"}))[0].to_string();
        assert!(told.starts_with("spec.provider.kingsoftKci.clusterDns: is not set: pods will not find"), "{told}");
        assert!(warnings(json!({"region": "cn-beijing-6", "clusterDns": ["10.0.0.10"]})).is_empty());
    }

    #[test]
    fn a_quota_beyond_a_normal_security_group_is_a_warning() {
        let warnings = |pods: u32| {
            let eci = json!({"region": "cn-hangzhou", "zones": [{"vSwitchId": "vsw-a"}], "securityGroupId": "sg-1",
                "credentials": {"environment": {}}, "clusterDNS": ["10.0.0.10"]});
            let spec = json!({"provider": {"alibabaEci": eci}, "quota": {"pods": pods}, "nodes": {"max": 4}});
            serde_json::from_value::<PoolSpec>(spec).unwrap().check("eci", &KnownPools::new()).warnings
        };
        assert_eq!(warnings(2_000), []);
        let expected =
            "spec.quota.pods: 2001 is more than a normal security group takes, 2000: sg-1 must be an enterprise one";
        assert_eq!(warnings(2_001)[0].to_string(), expected);
    }

    #[test]
    fn a_quota_beyond_its_virtual_nodes_is_a_warning() {
        let verdict = check(json!({"quota": {"pods": 500}, "nodes": {"max": 2, "podsPerNode": 100}}));
        assert_eq!(
            verdict.warnings[0].to_string(),
            "spec.quota.pods: 500 is more than its virtual nodes take, 200; raise nodes.max or nodes.podsPerNode"
        );
    }
}

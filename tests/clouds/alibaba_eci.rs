//! The provider `alibaba_eci` on the emulator, with what goes wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use burstlet::{
    api::pool::alibaba_eci::{AlibabaEci, ScheduleStrategy, Signature},
    lab::emulator::{
        Cloud, Emulator, FaultRates, Ground, Range, Settings, ThrottleRate, ZoneStock, alibaba_eci::Eci as Emulated,
    },
    provider::{InstanceState, LogOptions, Provider, ProviderError, clouds::alibaba_eci::Eci},
};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::{
    alibaba_eci_sdk::emulator,
    conformance::{Subject, owner, service},
    keys::Fixed,
    trial::{exec, log},
};

const UID: &str = "burstlet.dev/uid";

/// An emulated cloud and a provider on it.
struct Trial {
    ground: Arc<Ground>,
    cloud: Arc<Emulated>,
    emulator: Emulator,
    eci: Arc<Eci>,
}

fn pool(address: &str) -> AlibabaEci {
    serde_json::from_value(json!({
        "region": "cn-hangzhou", "zones": [{"vSwitchId": "vsw-a"}, {"vSwitchId": "vsw-b"}], "securityGroupId": "sg-1",
        "credentials": {"secretRef": {"name": "alibaba-addon-secret"}}, "endpoint": address, "pollEvery": "200ms",
        "rememberShortage": "3s",
    }))
    .unwrap()
}

fn keys() -> Fixed {
    Fixed::new(&[("access-key-id", "testid"), ("access-key-secret", "testsecret")])
}

fn provider(pool: AlibabaEci) -> Arc<Eci> {
    Arc::new(Eci::with_keys(pool, Arc::new(keys())).unwrap())
}

fn quick() -> Settings {
    let start_up = Range { min: Duration::from_millis(200), max: Duration::from_millis(400) };
    Settings { start_up, ..Settings::default() }
}

impl Trial {
    async fn start(settings: Settings) -> Self {
        let (ground, cloud, emulator) = emulator(settings).await;
        let eci = provider(pool(&emulator.address()));
        Self { ground, cloud, emulator, eci }
    }

    /// How many instances each pod has had, and how many of them stand.
    fn audit(&self) -> BTreeMap<String, (u64, u64)> {
        let mut audit = BTreeMap::<String, (u64, u64)>::new();
        for instance in self.cloud.instances().as_array().unwrap() {
            let entry = audit.entry(instance["tags"][UID].as_str().unwrap().to_owned()).or_default();
            // What found no machine never was one.
            if instance["finished"] != "ScheduleFailed" {
                entry.0 += 1;
                entry.1 += u64::from(!["Gone", "Terminating"].contains(&instance["status"].as_str().unwrap()));
            }
        }
        audit
    }

    fn zones(&self) -> BTreeMap<String, u64> {
        let mut zones = BTreeMap::new();
        for instance in self.cloud.instances().as_array().unwrap() {
            if ["Scheduling", "Pending", "Running"].contains(&instance["status"].as_str().unwrap()) {
                *zones.entry(instance["zone"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
        zones
    }

    /// Creates `count` pods as the kubelet does: again and again, 32 at a time, until each has its instance.
    /// Answers the kinds of errors on the way.
    async fn burst(&self, count: usize) -> BTreeSet<&'static str> {
        let creations = (0..count).map(|number| {
            let eci = self.eci.clone();
            async move {
                let owner = owner("here", &format!("u-{number}"));
                let mut kinds = BTreeSet::new();
                let mut pause = Duration::from_millis(100);
                loop {
                    match eci.create(&owner, &service()).await {
                        Ok(_) => return kinds,
                        Err(error) if error.is_retryable() => drop(kinds.insert(error.kind())),
                        Err(error) => panic!("{error}"),
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
        });
        stream::iter(creations).buffer_unordered(32).collect::<Vec<_>>().await.into_iter().flatten().collect()
    }

    async fn until_all_run(&self, count: usize) {
        for _ in 0..300 {
            let instances = self.eci.list("here").await.unwrap();
            if instances.iter().filter(|instance| instance.state == InstanceState::Running).count() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("not all of {count} pods run: {:?}", self.audit());
    }

    async fn spreads(self) {
        self.burst(40).await;
        let zones = self.zones();
        assert!(zones.len() == 2 && zones.values().all(|count| *count >= 10), "{zones:?}");
    }

    async fn delete(&self, count: usize) {
        let deletions = (0..count).map(|number| {
            let eci = self.eci.clone();
            async move {
                while eci.delete(&owner("here", &format!("u-{number}")), Duration::ZERO).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        });
        stream::iter(deletions).buffer_unordered(32).collect::<Vec<()>>().await;
    }

    /// Everything is as it must be after `count` pods: one instance each, none left, the money counted.
    async fn settle(self, count: usize) {
        self.until_all_run(count).await;
        let audit = self.audit();
        assert_eq!(audit.len(), count);
        assert!(audit.values().all(|instances| *instances == (1, 1)), "{audit:?}");
        // Long enough that the moments between a call and its effect do not count.
        tokio::time::sleep(Duration::from_secs(15)).await;
        self.delete(count).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let left = self.audit().into_iter().filter(|(_, (_, standing))| *standing > 0).collect::<Vec<_>>();
        assert!(left.is_empty(), "orphans: {left:?}");
        assert_eq!(self.eci.list("here").await.unwrap(), []);
        let billed = self.ground.bill.totals(self.ground.clock.now())["CNY"];
        let counted = self.eci.consumed().unwrap().cost(0.000_049, 0.000_006_13);
        assert!((counted - billed).abs() <= 0.01 * billed, "counted {counted} CNY, billed {billed} CNY");
    }
}

fn faults(action: &str, rates: FaultRates) -> BTreeMap<String, FaultRates> {
    [(action.to_owned(), rates)].into()
}

fn ends_with(code: i32) -> Pod {
    serde_json::from_value(json!({"spec": {"restartPolicy": "Never", "containers": [
        {"name": "app", "image": "busybox", "command": ["sh", "-c", format!("sleep 0.2; exit {code}")]},
    ]}}))
    .unwrap()
}

async fn subject() -> Subject {
    let trial = Trial::start(quick()).await;
    let restarted = provider(pool(&trial.emulator.address()));
    let cloud = trial.cloud.clone();
    let created = move || {
        let mut counts = BTreeMap::new();
        for instance in cloud.instances().as_array().unwrap() {
            *counts.entry(instance["tags"][UID].as_str().unwrap().to_owned()).or_default() += 1;
        }
        counts
    };
    let provider = trial.eci.clone();
    Subject { provider, restarted, created: Box::new(created), ends_with, _cloud: Box::new(trial) }
}

crate::conformance::conforms!(super::subject());

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_burst_gets_one_instance_each() {
    let rate = ThrottleRate { burst: 20, per_second: 20.0 };
    let settings = Settings { throttle_rates: [("CreateContainerGroup".to_owned(), rate)].into(), ..quick() };
    let trial = Trial::start(settings).await;
    let began = Instant::now();
    trial.burst(150).await;
    assert!(began.elapsed() >= Duration::from_secs(6), "150 creations at 20 a second in {:?}", began.elapsed());
    assert!(trial.ground.calls()["CreateContainerGroup"].refused > 0);
    trial.settle(150).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creations_whose_answer_is_lost_are_not_doubled() {
    let rates = FaultRates { lost_per_mille: 200, ..FaultRates::default() };
    let trial = Trial::start(Settings { faults: faults("CreateContainerGroup", rates), ..quick() }).await;
    trial.burst(200).await;
    assert!(trial.ground.calls()["CreateContainerGroup"].lost > 20);
    trial.settle(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creations_that_arrive_twice_are_not_doubled() {
    let rates = FaultRates { twice_per_mille: 200, lost_per_mille: 50, failed_per_mille: 50 };
    let trial = Trial::start(Settings { faults: faults("*", rates), ..quick() }).await;
    trial.burst(200).await;
    assert!(trial.ground.calls()["CreateContainerGroup"].twice > 20);
    trial.ground.change(|settings| settings.faults.clear());
    trial.settle(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_runs_out_is_left_for_the_next_and_comes_back() {
    let zones = [("cn-hangzhou-h".to_owned(), ZoneStock { instances: Some(30), addresses: None })].into();
    let trial = Trial::start(Settings { zones, ..quick() }).await;
    trial.burst(100).await;
    assert_eq!(trial.zones(), BTreeMap::from([("cn-hangzhou-h".to_owned(), 30), ("cn-hangzhou-i".to_owned(), 70)]));
    // Remembered: of 70 creations but those that were under way asked the empty zone.
    let refused = trial.ground.calls()["CreateContainerGroup"].refused;
    assert!(refused <= 64, "{refused} creations asked in a zone that was known to be empty");
    trial.ground.change(|settings| settings.zones.clear());
    tokio::time::sleep(Duration::from_secs(3)).await;
    trial.eci.create(&owner("here", "late"), &service()).await.unwrap();
    assert_eq!(trial.zones()["cn-hangzhou-h"], 31);
    trial.eci.delete(&owner("here", "late"), Duration::ZERO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_spread_over_the_zones_where_the_pool_says_so() {
    let trial = Trial::start(quick()).await;
    let strategy = ScheduleStrategy::VSwitchRandom;
    let eci = provider(AlibabaEci { schedule_strategy: strategy, ..pool(&trial.emulator.address()) });
    Trial { eci, ..trial }.spreads().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vswitch_without_addresses_is_left_for_the_next() {
    let zones = [("cn-hangzhou-h".to_owned(), ZoneStock { instances: None, addresses: Some(5) })].into();
    let trial = Trial::start(Settings { zones, ..quick() }).await;
    trial.burst(20).await;
    assert_eq!(trial.zones(), BTreeMap::from([("cn-hangzhou-h".to_owned(), 5), ("cn-hangzhou-i".to_owned(), 15)]));
    trial.settle(20).await;
}

/// Of a normal security group, or of the account: no zone takes the next pod, and the pool has nothing left.
#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_used_up_is_told_as_the_pools_stock_until_there_is_room_again() {
    let trial = Trial::start(Settings { quota_instances: Some(3), ..quick() }).await;
    trial.burst(3).await;
    assert!(trial.eci.stock().await.unwrap().instances > Some(0));
    let refused = trial.eci.create(&owner("here", "u-3"), &service()).await.unwrap_err();
    assert!(matches!(refused, ProviderError::QuotaExceeded(_)), "{refused}");
    assert_eq!(trial.eci.stock().await.unwrap().instances, Some(0));
    // The next pod is not even asked for.
    let asked = trial.ground.calls()["CreateContainerGroup"].arrived;
    assert!(trial.eci.create(&owner("here", "u-4"), &service()).await.is_err());
    assert_eq!(trial.ground.calls()["CreateContainerGroup"].arrived, asked);
    trial.eci.delete(&owner("here", "u-0"), Duration::ZERO).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(trial.eci.stock().await.unwrap().instances > Some(0));
    trial.eci.create(&owner("here", "u-3"), &service()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_every_zone_is_out_the_stock_is_none_and_pods_wait() {
    let none = || ZoneStock { instances: Some(0), addresses: None };
    let zones = [("cn-hangzhou-h".to_owned(), none()), ("cn-hangzhou-i".to_owned(), none())].into();
    let trial = Trial::start(Settings { zones, ..quick() }).await;
    assert!(trial.eci.stock().await.unwrap().instances > Some(0));
    let error = trial.eci.create(&owner("here", "u-0"), &service()).await.unwrap_err();
    assert!(matches!(error, ProviderError::NoStock(_)), "{error}");
    assert_eq!(trial.eci.stock().await.unwrap().instances, Some(0));
    // Stock is back: the pod that waits gets its instance, although its first tokens met the shortage.
    trial.ground.change(|settings| settings.zones.clear());
    trial.burst(10).await;
    trial.settle(10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_that_is_out_is_left_alone_and_used_again() {
    let trial = Trial::start(Settings { outage: true, ..quick() }).await;
    let ground = trial.ground.clone();
    let back = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(8)).await;
        let asked = ground.calls()["CreateContainerGroup"].arrived;
        ground.change(|settings| settings.outage = false);
        asked
    });
    let kinds = trial.burst(100).await;
    assert!(kinds.contains("Unavailable"), "{kinds:?}");
    let asked = back.await.unwrap();
    assert!(asked < 60, "{asked} creations were sent to a cloud that was out");
    trial.settle(100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_that_fails_late_is_made_up_for_in_the_next_zone() {
    let settings = Settings { late_failures_per_mille: 300, ..quick() };
    let trial = Trial::start(settings).await;
    trial.burst(60).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    trial.ground.change(|settings| settings.late_failures_per_mille = 0);
    trial.settle(60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_tags_logs_exec_and_price_are_told() {
    let trial = Trial::start(quick()).await;
    let pod = serde_json::from_value(json!({"spec": {"containers": [
        {"name": "app", "image": "nginx", "command": ["sh", "-c", "echo hello; nginx"],
            "resources": {"requests": {"cpu": "3", "memory": "5Gi"}}},
    ]}}))
    .unwrap();
    let owner = owner("here", "u-0");
    trial.eci.create(&owner, &pod).await.unwrap();
    let notes = trial.eci.annotations(&owner).await;
    assert_eq!(notes["k8s.aliyun.com/eci-instance-spec"], "4-8.0Gi");
    trial.until_all_run(1).await;
    // What only the group tells is there when the instance is seen to run.
    let notes = trial.eci.annotations(&owner).await;
    assert!(
        notes["k8s.aliyun.com/eni-instance-id"].starts_with("eni-")
            && notes["k8s.aliyun.com/eci-vpc"].starts_with("vpc-")
    );
    assert_eq!(log(&*trial.eci, &owner, LogOptions::default()).await, "app started\nhello\n");
    let refused = trial.eci.logs(&owner, "app", &LogOptions { previous: true, ..LogOptions::default() }).await;
    assert!(refused.err().unwrap().to_string().contains("has not been restarted"));
    let script = ["sh", "-c", "echo out; echo bad >&2; exit 7"];
    assert_eq!(exec(&*trial.eci, &owner, &script, "", false).await, (Ok(7), "out\n".to_owned(), "bad\n".to_owned()));
    assert_eq!(exec(&*trial.eci, &owner, &["cat"], "typed", true).await, (Ok(0), "typed".to_owned(), String::new()));
    let size = burstlet::provider::clouds::alibaba_eci::size::DEFAULT;
    let price = trial.eci.price(size, false).await.unwrap();
    assert!((price.amount - (2.0 * 0.000_049 + 4.0 * 0.000_006_13)).abs() < 1e-12 && price.currency == "CNY");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spot_instance_gives_notice_and_then_fails_as_reclaimed() {
    let settings = Settings { reclaim_notice: Duration::from_secs(2), ..quick() };
    let trial = Trial::start(settings).await;
    let mut pod = service();
    let spot = ("k8s.aliyun.com/eci-spot-strategy".to_owned(), "SpotAsPriceGo".to_owned());
    pod.metadata.annotations = Some([spot].into());
    let instance = trial.eci.create(&owner("here", "u-0"), &pod).await.unwrap();
    trial.until_all_run(1).await;
    assert!(trial.cloud.reclaim(&instance.id.0));
    let notices = trial.eci.reclaim_notices("here").await.unwrap();
    assert_eq!(notices[0].owner.uid, "u-0");
    // Another process finds it out, too.
    let second = provider(pool(&trial.emulator.address()));
    second.list("here").await.unwrap();
    assert_eq!(second.reclaim_notices("here").await.unwrap().len(), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let instances = trial.eci.list("here").await.unwrap();
    assert!(matches!(&instances[0].state, InstanceState::Failed { reason, .. } if reason == "SpotReclaimed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_keys_are_taken_up_and_wrong_ones_are_named_without_their_secret() {
    let trial = Trial::start(quick()).await;
    let keys = keys();
    let eci = Eci::with_keys(pool(&trial.emulator.address()), Arc::new(keys.clone())).unwrap();
    keys.set("access-key-secret", "hush-hush");
    let error = eci.list("here").await.unwrap_err();
    assert!(matches!(error, ProviderError::Unauthorized(_)), "{error}");
    assert!(!format!("{error:?} {eci:?}").contains("hush-hush"));
    keys.set("access-key-secret", "testsecret");
    eci.list("here").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_called_for_a_pod_that_eci_cannot_run() {
    let trial = Trial::start(quick()).await;
    let eleven = (0..11).map(|number| format!("vsw-{number}")).collect::<Vec<_>>().join(",");
    let bad = [
        ("k8s.aliyun.com/eci-vswitch", eleven.as_str(), "at most 10"),
        ("k8s.aliyun.com/eci-security-group", "a,b,c,d,e,f", "at most 5"),
        ("k8s.aliyun.com/eci-use-specs", "large", "such as 2-4Gi"),
        ("k8s.aliyun.com/eci-use-specs", "200-9000Gi", "the largest size"),
        ("k8s.aliyun.com/eci-max-pending-minute", "5", "10 to 1440"),
        ("kubernetes.io/ingress-bandwidth", "fast", "such as 100M"),
    ];
    for (key, value, limit) in bad {
        let mut pod = service();
        pod.metadata.annotations = Some([(key.to_owned(), value.to_owned())].into());
        let error = trial.eci.create(&owner("here", "u-0"), &pod).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, ProviderError::Invalid(_)) && text.contains(limit), "{key}: {text}");
        assert!(text.contains(key) || text.contains("eci-use-specs"), "{key}: {text}");
    }
    assert!(trial.ground.calls().is_empty(), "{:?}", trial.ground.calls());
}

#[tokio::test(flavor = "multi_thread")]
async fn either_signature_serves_and_a_large_pod_travels_in_a_form() {
    for signature in [Signature::V3, Signature::V1] {
        let (_, cloud, emulator) = emulator(quick()).await;
        let eci = provider(AlibabaEci { signature, ..pool(&emulator.address()) });
        let pod = serde_json::from_value(json!({"spec": {"containers": [
            {"name": "app", "image": "nginx", "env": [{"name": "LARGE", "value": "é +&".repeat(50_000)}]},
        ]}}))
        .unwrap();
        eci.create(&owner("here", "u-0"), &pod).await.unwrap();
        assert_eq!(cloud.instances().as_array().map(Vec::len), Some(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_are_polled_200_a_call() {
    let settings = Settings { throttle: false, ..quick() };
    let trial = Trial::start(settings).await;
    // The provider keeps to the documented 20 creations a second; the instances come from the emulator's own API.
    let made = 450;
    trial.burst_without_pace(made).await;
    // Once they run, nothing more is read of them singly.
    trial.until_all_run(made).await;
    let before = trial.ground.calls();
    trial.eci.list("here").await.unwrap();
    let after = trial.ground.calls();
    let asked = |action: &str| after[action].arrived - before.get(action).map_or(0, |calls| calls.arrived);
    assert_eq!((asked("DescribeContainerGroupStatus"), asked("DescribeContainerGroups")), (3, 0));
}

impl Trial {
    /// Instances that other processes have made: each keeps to its own burst of 100.
    async fn burst_without_pace(&self, count: usize) {
        for first in (0..count).step_by(90) {
            let eci = provider(pool(&self.emulator.address()));
            let creations = (first..count.min(first + 90)).map(|number| {
                let eci = eci.clone();
                async move { eci.create(&owner("here", &format!("u-{number}")), &service()).await.unwrap() }
            });
            stream::iter(creations).buffer_unordered(16).collect::<Vec<_>>().await;
        }
    }
}

#[test]
fn the_least_policy_that_the_cloud_must_grant_is_what_is_called() {
    for (policy, folder) in [("alibaba-eci-policy", ""), ("alibaba-manage-policy", "/manage")] {
        let root = env!("CARGO_MANIFEST_DIR");
        let text = std::fs::read_to_string(format!("{root}/docs/install/{policy}.json")).unwrap();
        let policy: Value = serde_json::from_str(&text).unwrap();
        let granted = policy["Statement"].as_array().unwrap().iter().flat_map(|one| one["Action"].as_array().unwrap());
        let granted = granted
            .map(|action| action.as_str().unwrap().split_once(':').unwrap().1.to_owned())
            .collect::<BTreeSet<_>>();
        let mut called = BTreeSet::new();
        let files = std::fs::read_dir(format!("{root}/src/provider/clouds/alibaba_eci{folder}")).unwrap();
        for file in files.filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok()) {
            for after in file.split(".call").skip(1) {
                let Some((_, rest)) = after.split_once('(') else { continue };
                let name = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"'));
                called.extend(name.map(|(name, _)| name.to_owned()));
            }
        }
        assert!(called.len() >= 7, "{called:?}");
        assert_eq!(called, granted);
    }
}

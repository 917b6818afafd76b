//! A burst of pods, amid which one zone runs out, the whole cloud is out for a while, throttles creations to 20 a second,
//! loses the answers to one creation in five, and hears one in five twice.

use std::{collections::BTreeSet, time::Duration};

use burstlet::lab::emulator::{FaultRates, ThrottleRate};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{Api, ResourceExt};

use super::{Bench, stock, until, within};

/// How long all instances stand at least, so that the moments between a call and its effect do not count.
const STANDS: Duration = Duration::from_secs(40);

pub(super) struct Shape {
    pub(super) pods: usize,
    pub(super) outage: Duration,
}

pub(super) async fn story(bench: &Bench, shape: &Shape) {
    let Shape { pods, outage } = *shape;
    let patience = outage + Duration::from_mins(6);
    let money = async || {
        let (cpu, memory) =
            ("burstlet_pool_consumed_cpu_seconds{pool=\"eci\"}", "burstlet_pool_consumed_gib_seconds{pool=\"eci\"}");
        let counted = bench.metric(cpu).await * 0.000_049 + bench.metric(memory).await * 0.000_006_13;
        let now = bench.ground.clock.now();
        (counted, bench.ground.bill.totals(now).get("CNY").copied().unwrap_or_default())
    };
    // What is told is two seconds old at most; nothing stands now.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = (money().await, bench.audit().len());
    let made = || bench.audit().len() - before.1;
    let reach = async |share: usize, what: &str| {
        let wanted = pods * share / 100;
        within(patience, what, &mut async || {
            if made() >= wanted { Ok(()) } else { Err(format!("{} of {wanted} instances", made())) }
        })
        .await;
        bench.say(format!("{share} %: {what}"));
    };

    let first = pods as u64 * 35 / 100;
    bench.ground.change(|settings| settings.zones = [("cn-hangzhou-h".to_owned(), stock(first))].into());
    bench.deploy("web", pods, serde_json::json!({}));
    reach(45, "the first zone is out").await;
    bench.ground.change(|settings| settings.outage = true);
    tokio::time::sleep(outage).await;
    bench.ground.change(|settings| {
        settings.outage = false;
        let rate = ThrottleRate { burst: 20, per_second: 20.0 };
        settings.throttle_rates = [("CreateContainerGroup".to_owned(), rate)].into();
    });
    bench.say(format!("the cloud is back after {outage:?}, and throttles creations to 20 a second"));
    reach(60, "throttled").await;
    let faults = |rates: FaultRates| {
        bench.ground.change(|settings| settings.faults = [("CreateContainerGroup".to_owned(), rates)].into());
    };
    faults(FaultRates { lost_per_mille: 200, ..FaultRates::default() });
    reach(80, "one answer in five was lost").await;
    faults(FaultRates { twice_per_mille: 200, ..FaultRates::default() });
    reach(100, "one request in five came twice").await;

    let deployments = Api::<Deployment>::default_namespaced(bench.client.clone());
    within(patience, "every pod runs", &mut async || {
        let ready = deployments.get("web").await.unwrap().status.and_then(|status| status.ready_replicas).unwrap_or(0);
        if ready == i32::try_from(pods).unwrap() { Ok(()) } else { Err(format!("{ready} of {pods}")) }
    })
    .await;
    bench.say(format!("all {pods} pods run"));
    let calls = bench.ground.calls()["CreateContainerGroup"];
    assert!(calls.refused > 0 && calls.lost > 0 && calls.twice > 0, "{calls:?}");
    let running = bench.labelled("web").await.iter().map(|pod| pod.uid().unwrap()).collect::<BTreeSet<_>>();
    let zones = |zone: &str| {
        let stands = |one: &&serde_json::Value| one["zone"] == zone && one["status"] == "Running";
        bench.cloud_instances().iter().filter(stands).count()
    };
    assert_eq!((zones("cn-hangzhou-h"), zones("cn-hangzhou-i")), (pods * 35 / 100, pods - pods * 35 / 100));
    exactly_one_each(bench, &running);
    tokio::time::sleep(STANDS).await;

    bench.scale("web", 0);
    bench.until_none("web").await;
    until("no instance is left", async || {
        let standing = bench.audit().values().filter(|(_, standing)| *standing > 0).count();
        if standing == 0 { Ok(()) } else { Err(format!("{standing} stand")) }
    })
    .await;
    // Those of these pods, and no others: none was replaced on the way.
    let all = bench.audit();
    assert!(running.iter().all(|uid| all[uid] == (1, 0)));
    assert_eq!(all.len() - before.1, pods);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = money().await;
    let (counted, billed) = (after.0 - before.0.0, after.1 - before.0.1);
    let off = (counted / billed - 1.0) * 100.0;
    bench.say(format!("{counted:.6} CNY counted, {billed:.6} CNY billed: {off:+.3} %; creations {calls:?}"));
    assert!(off.abs() < 1.0, "counted {counted} CNY, billed {billed} CNY");
    bench.ground.change(|settings| {
        settings.faults.clear();
        settings.zones.clear();
        settings.throttle_rates.clear();
    });
}

fn exactly_one_each(bench: &Bench, pods: &BTreeSet<String>) {
    let audit = bench.audit();
    let wrong = pods.iter().filter(|uid| audit.get(*uid) != Some(&(1, 1))).collect::<Vec<_>>();
    assert!(wrong.is_empty(), "{} pods have not exactly one instance, ever and now: {wrong:?}", wrong.len());
    let orphans = audit.iter().filter(|(uid, (_, standing))| *standing > 0 && !pods.contains(*uid)).count();
    assert_eq!(orphans, 0, "instances without a pod");
}

//! KCI: Kingsoft's SDK on the emulator, and burstlet's provider on it.

use std::{sync::Arc, time::Duration};

use burstlet::{
    api::pool::kingsoft_kci::KingsoftKci,
    lab::emulator::{Ground, Settings, StockStep, ZoneStock, kingsoft_kci},
    provider::{
        Instance, InstanceState, LogOptions, Provider, ProviderError,
        clouds::{fleet::Pace, kingsoft_kci::Kci},
    },
};
use serde_json::{Value, json};

use crate::{
    conformance::Subject,
    keys::Fixed,
    trial::{
        Answering, Cost, Watched, come_and_go, exec, leaves_a_place_and_comes_back, log, owner, pod, prompt, spreads,
        subject as subject_of,
    },
    venv,
};

pub(crate) async fn answering(settings: Settings) -> Answering {
    let ground = Arc::new(Ground::new(settings));
    let keys = vec!["testid:testsecret".parse().unwrap()];
    let cloud = Arc::new(kingsoft_kci::Kci::new(ground.clone(), keys));
    Answering::start(ground, cloud).await
}

pub(crate) fn provider(at: &Answering, keys: Fixed, extra: Value) -> Result<Kci, ProviderError> {
    let mut settings = json!({"region": "cn-beijing-6", "subnetIds": ["sub-1", "sub-2"], "securityGroupIds": ["sg-1"],
        "endpoint": at.emulator.address(), "callsPerSecond": 1000});
    json_patch::merge(&mut settings, &extra);
    let settings: KingsoftKci = serde_json::from_value(settings).unwrap();
    let pace = Pace { busy: Duration::from_millis(200), rest: Duration::from_secs(1) };
    Kci::with_keys(settings, Arc::new(keys), pace)
}

fn keys() -> Fixed {
    Fixed::new(&[("KCI_ACCESS_KEY", "testid"), ("KCI_SECRET_KEY", "testsecret")])
}

async fn check(name: &'static str) {
    let at = answering(Settings::default()).await;
    let address = at.emulator.address();
    tokio::task::spawn_blocking(move || venv::check("kingsoft_kci", &address, name)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kci_sdk_sees_a_group_through_its_life() {
    check("life").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kci_sdk_turns_pages() {
    check("pages").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kci_sdk_hears_of_wrong_keys_regions_and_clocks() {
    check("keys").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kci_sdk_hears_of_limits_and_shortages() {
    check("limits").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kci_sdk_sees_spot_groups_taken_back() {
    check("spot").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kci_pods_come_and_go_under_faults_without_copies_or_orphans() {
    let at = answering(prompt()).await;
    let provider = provider(&at, keys(), json!({})).unwrap();
    let cost = Cost { currency: "CNY", per_second: 0.000_049 + 2.0 * 0.000_006_13 };
    come_and_go(&provider, &at, "CreateContainerGroup", 120, cost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kci_moves_to_the_next_subnet_while_one_is_sold_out_and_says_so_when_all_are() {
    let at = answering(prompt()).await;
    let short = |instances| ZoneStock { instances: Some(instances), addresses: None };
    at.ground
        .change(|settings| settings.zones = [("sub-1".to_owned(), short(2)), ("sub-2".to_owned(), short(1))].into());
    let provider = provider(&at, keys(), json!({})).unwrap();
    for uid in ["a", "b", "c"] {
        provider.create(&owner(uid), &pod()).await.unwrap();
    }
    let refused = provider.create(&owner("d"), &pod()).await.unwrap_err();
    assert!(matches!(refused, ProviderError::NoStock(_)), "{refused}");
    assert_eq!(provider.stock().await.unwrap().instances, Some(0));
    let zones = at.live().iter().map(|one| one["zone"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(zones, ["sub-1", "sub-1", "sub-2"]);
    // The subnets are remembered as short: no further call is made.
    let before = at.ground.calls()["CreateContainerGroup"].arrived;
    assert!(provider.create(&owner("e"), &pod()).await.is_err());
    assert_eq!(at.ground.calls()["CreateContainerGroup"].arrived, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn kci_tells_a_quota_that_is_used_up_as_the_pools_stock() {
    let at = answering(Settings { quota_instances: Some(1), ..prompt() }).await;
    let provider = provider(&at, keys(), json!({})).unwrap();
    provider.create(&owner("a"), &pod()).await.unwrap();
    let refused = provider.create(&owner("b"), &pod()).await.unwrap_err();
    assert!(matches!(refused, ProviderError::QuotaExceeded(_)), "{refused}");
    assert_eq!(provider.stock().await.unwrap().instances, Some(0));
}

#[tokio::test]
async fn kci_comes_back_to_a_subnet_and_spreads_where_it_is_told_to() {
    let at = answering(prompt()).await;
    let none = ZoneStock { instances: Some(0), addresses: None };
    let ordered = provider(&at, keys(), json!({})).unwrap();
    leaves_a_place_and_comes_back(&ordered, &at, "CreateContainerGroup", ("sub-1", "sub-2"), none).await;
    let at = answering(prompt()).await;
    spreads(&provider(&at, keys(), json!({"subnetOrder": "spread"})).unwrap(), &at).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_provider_adopts_what_the_first_has_created() {
    let at = answering(prompt()).await;
    let first = provider(&at, keys(), json!({})).unwrap();
    let Instance { id, .. } = first.create(&owner("a"), &pod()).await.unwrap();
    let second = provider(&at, keys(), json!({})).unwrap();
    assert_eq!(second.create(&owner("a"), &pod()).await.unwrap().id, id);
    assert_eq!(second.list("lab").await.unwrap()[0].id, id);
    assert!(second.list("another").await.unwrap().is_empty());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let tail = LogOptions { tail_lines: Some(1), ..LogOptions::default() };
    assert!(log(&second, &owner("a"), tail).await.starts_with("app: line "));
    let script = ["sh", "-c", "echo out; exit 3"];
    assert_eq!(exec(&second, &owner("a"), &script, "", false).await, (Ok(3), "out\n".to_owned(), String::new()));
    let missing = exec(&second, &owner("nobody"), &["ls"], "", false).await.0;
    assert!(matches!(missing, Err(ProviderError::NotFound(_))), "{missing:?}");
    let told = first.annotations(&owner("a")).await;
    assert_eq!(told["burstlet.dev/instance-id"], id.0);
    assert_eq!(told["burstlet.dev/instance-size"], "1 vCPU, 2 GiB");
    second.delete(&owner("a"), Duration::ZERO).await.unwrap();
    second.delete(&owner("never-made"), Duration::ZERO).await.unwrap();
    assert!(at.live().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn kci_reclaims_and_late_failures_are_told() {
    let at = answering(prompt()).await;
    let provider = provider(&at, keys(), json!({"chargeType": "Spot"})).unwrap();
    let mut watched = Watched::start(&provider);
    let spot = provider.create(&owner("a"), &pod()).await.unwrap();
    watched.until("it runs", |watched| watched.running() == 1).await;
    assert!(at.cloud.reclaim(&spot.id.0));
    at.ground.clock.advance(Duration::from_mins(3));
    at.ground.change(|settings| settings.late_failures_per_mille = 1000);
    provider.create(&owner("b"), &pod()).await.unwrap();
    let failed = |watched: &Watched, uid: &str, wanted: &str| matches!(watched.seen.get(uid).map(|one| &one.state), Some(InstanceState::Failed { reason, .. }) if reason == wanted);
    watched
        .until("both fail", |watched| failed(watched, "a", "SpotReclaimed") && failed(watched, "b", "NoStock"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kci_keys_are_rotated_without_a_restart_and_wrong_ones_are_told() {
    let at = answering(prompt()).await;
    let keys = keys();
    let provider = provider(&at, keys.clone(), json!({})).unwrap();
    provider.list("lab").await.unwrap();
    keys.set("KCI_SECRET_KEY", "wrong");
    let refused = provider.list("lab").await.unwrap_err();
    assert!(matches!(refused, ProviderError::Unauthorized(_)) && !refused.to_string().contains("wrong"), "{refused}");
    keys.set("KCI_SECRET_KEY", "testsecret");
    provider.list("lab").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn kci_throttles_are_honoured_and_outages_do_not_hide_instances() {
    let at = answering(prompt()).await;
    let provider = provider(&at, keys(), json!({})).unwrap();
    provider.create(&owner("a"), &pod()).await.unwrap();
    let mut watched = Watched::start(&provider);
    watched.until("it runs", |watched| watched.running() == 1).await;
    at.ground.change(|settings| settings.outage = true);
    assert!(matches!(provider.list("lab").await, Err(ProviderError::Unavailable(_))));
    tokio::time::sleep(Duration::from_secs(1)).await;
    at.ground.change(|settings| settings.outage = false);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(watched.gone.is_empty() && at.live().len() == 1);
    at.ground.change(|settings| {
        settings.throttle = true;
        let rate = burstlet::lab::emulator::ThrottleRate { burst: 1, per_second: 1.0 };
        settings.throttle_rates.insert("CreateContainerGroup".to_owned(), rate);
    });
    provider.create(&owner("b"), &pod()).await.unwrap();
    let refused = provider.create(&owner("c"), &pod()).await.unwrap_err();
    let waits =
        matches!(refused, ProviderError::Throttled { retry_after: Some(pause), .. } if pause == Duration::from_secs(1));
    assert!(waits, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_called_for_a_pod_that_cannot_run() {
    let at = answering(prompt()).await;
    let provider = provider(&at, keys(), json!({})).unwrap();
    let mut large = pod();
    large.spec.as_mut().unwrap().containers[0].resources =
        serde_json::from_value(json!({"limits": {"cpu": "300"}})).unwrap();
    let refused = provider.create(&owner("a"), &large).await.unwrap_err();
    assert!(refused.to_string().contains("128000m CPU and 524288 MiB is the largest"), "{refused}");
    assert!(at.ground.calls().is_empty());
    let schedule = StockStep { after: Duration::ZERO, zone: "sub-1".to_owned(), instances: Some(0) };
    at.ground.change(|settings| settings.stock_schedule = vec![schedule]);
    let too_many = self::provider(&at, keys(), json!({"securityGroupIds": ["a", "b", "c", "d"]})).unwrap_err();
    assert!(too_many.to_string().contains("securityGroupIds"), "{too_many}");
}

/// KCI has no token that would make two processes create one instance; one process leads at a time, and looks up first.
async fn subject() -> Subject {
    let at = answering(prompt()).await;
    let one = provider(&at, keys(), json!({})).unwrap();
    subject_of(at, one.clone(), one)
}

crate::trial::conforms_but_for_usage!(super::subject());

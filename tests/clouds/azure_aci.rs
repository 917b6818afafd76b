//! ACI: Azure's SDK on the emulator, and burstlet's provider on it.

use std::{sync::Arc, time::Duration};

use burstlet::{
    api::pool::azure_aci::AzureAci,
    lab::emulator::{Ground, Settings, ZoneStock, azure_aci},
    provider::{
        InstanceState, LogOptions, Provider, ProviderError,
        clouds::{azure_aci::Aci, fleet::Pace},
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

async fn answering(settings: Settings) -> Answering {
    let ground = Arc::new(Ground::new(settings));
    let cloud = Arc::new(azure_aci::Aci::new(ground.clone(), vec!["tenant:client:secret".parse().unwrap()]));
    Answering::start(ground, cloud).await
}

fn keys() -> Fixed {
    let pairs = [("AZURE_TENANT_ID", "tenant"), ("AZURE_CLIENT_ID", "client"), ("AZURE_CLIENT_SECRET", "secret")];
    Fixed::new(&pairs)
}

fn provider(at: &Answering, keys: Fixed, extra: Value) -> Aci {
    let address = at.emulator.address();
    let mut settings = json!({"location": "westeurope", "subscriptionId": "sub-1", "resourceGroup": "rg",
        "subnetIds": ["/x/subnets/a", "/x/subnets/b"], "endpoint": address, "loginEndpoint": address});
    json_patch::merge(&mut settings, &extra);
    let settings: AzureAci = serde_json::from_value(settings).unwrap();
    let pace = Pace { busy: Duration::from_millis(500), rest: Duration::from_secs(1) };
    Aci::with_keys(settings, Arc::new(keys), pace).unwrap()
}

async fn check(name: &'static str) {
    let at = answering(Settings::default()).await;
    let address = at.emulator.address();
    tokio::task::spawn_blocking(move || venv::check("azure_aci", &address, name)).await.unwrap();
}

macro_rules! checks {
    ($($test:ident: $check:literal;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                check($check).await;
            }
        )*
    };
}

checks! {
    the_aci_sdk_sees_a_group_through_its_life: "life";
    the_aci_sdk_turns_pages: "pages";
    wrong_clients_and_old_tokens_are_refused: "keys";
    the_aci_sdk_hears_of_limits_and_shortages: "limits";
    the_aci_sdk_sees_spot_groups_taken_back: "spot";
}

#[tokio::test(flavor = "multi_thread")]
async fn aci_pods_come_and_go_under_faults_without_copies_or_orphans() {
    let at = answering(prompt()).await;
    let provider = provider(&at, keys(), json!({}));
    let cost = Cost { currency: "USD", per_second: (0.0405 + 2.0 * 0.00445) / 3600.0 };
    // 100 creations may be made at once, and one in four has to be made again.
    come_and_go(&provider, &at, "CreateOrUpdate", 50, cost).await;
    // Two hours have passed: the token was renewed in between.
    assert!(at.ground.calls()["Token"].arrived >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn aci_moves_to_the_next_subnet_tells_jobs_and_what_is_left() {
    let at = answering(prompt()).await;
    let full = ZoneStock { instances: None, addresses: Some(0) };
    at.ground.change(|settings| settings.zones = [("a".to_owned(), full)].into());
    let provider = provider(&at, keys(), json!({}));
    let mut job = pod();
    let spec = job.spec.as_mut().unwrap();
    spec.restart_policy = Some("Never".to_owned());
    spec.containers[0].command = Some(vec!["sleep".to_owned(), "1".to_owned()]);
    let mut watched = Watched::start(&provider);
    let id = provider.create(&owner("a"), &job).await.unwrap().id;
    assert_eq!(provider.create(&owner("a"), &job).await.unwrap().id, id);
    assert_eq!(at.cloud.instances().as_object().unwrap().values().next().unwrap()["zone"], "b");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let stamped = LogOptions { timestamps: true, tail_lines: Some(1), ..LogOptions::default() };
    assert!(log(&provider, &owner("a"), stamped).await.contains("Z app: line "));
    assert_eq!(exec(&provider, &owner("a"), &["cat"], "typed", true).await, (Ok(0), "typed".to_owned(), String::new()));
    let refused = exec(&provider, &owner("a"), &["ls", "-l"], "", true).await.0.unwrap_err();
    assert!(matches!(refused, ProviderError::Unsupported(_)), "{refused}");
    watched
        .until("it succeeds", |watched| watched.seen.get("a").is_some_and(|one| one.state == InstanceState::Succeeded))
        .await;
    assert_eq!(provider.stock().await.unwrap().instances, Some(99));
    provider.delete(&owner("a"), Duration::ZERO).await.unwrap();
    provider.delete(&owner("a"), Duration::ZERO).await.unwrap();
    watched.until("it is gone", |watched| watched.gone.len() == 1).await;
}

#[tokio::test]
async fn aci_comes_back_to_a_subnet_and_spreads_where_it_is_told_to() {
    let at = answering(prompt()).await;
    let none = ZoneStock { instances: None, addresses: Some(0) };
    let ordered = provider(&at, keys(), json!({}));
    leaves_a_place_and_comes_back(&ordered, &at, "CreateOrUpdate", ("a", "b"), none).await;
    let at = answering(prompt()).await;
    spreads(&provider(&at, keys(), json!({"subnetOrder": "spread"})), &at).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aci_secrets_are_rotated_and_the_clusters_own_token_serves_too() {
    let at = answering(prompt()).await;
    let keys = keys();
    let by_secret = provider(&at, keys.clone(), json!({}));
    by_secret.list("lab").await.unwrap();
    keys.set("AZURE_CLIENT_SECRET", "wrong");
    let refused = by_secret.list("lab").await.unwrap_err();
    assert!(matches!(refused, ProviderError::Unauthorized(_)), "{refused}");
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "secret\n").unwrap();
    keys.set("AZURE_CLIENT_SECRET", "");
    keys.set("AZURE_FEDERATED_TOKEN_FILE", token.path().to_str().unwrap());
    by_secret.list("lab").await.unwrap();
}

async fn subject() -> Subject {
    let at = answering(prompt()).await;
    let (one, other) = (provider(&at, keys(), json!({})), provider(&at, keys(), json!({})));
    subject_of(at, one, other)
}

crate::trial::conforms_but_for_usage!(super::subject());

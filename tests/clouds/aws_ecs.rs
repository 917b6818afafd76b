//! ECS: boto3 on the emulator, and burstlet's provider on it and on moto.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use burstlet::{
    api::pool::aws_fargate::AwsFargate,
    lab::emulator::{Ground, Settings, ZoneStock, aws_ecs},
    provider::{
        InstanceState, LogOptions, Provider, ProviderError,
        clouds::{aws_fargate::Fargate, fleet::Pace},
    },
};
use futures::StreamExt;
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
    let keys = vec!["testid:testsecret".parse().unwrap()];
    let cloud = Arc::new(aws_ecs::Ecs::new(ground.clone(), keys));
    Answering::start(ground, cloud).await
}

fn keys() -> Fixed {
    Fixed::new(&[("AWS_ACCESS_KEY_ID", "testid"), ("AWS_SECRET_ACCESS_KEY", "testsecret")])
}

fn provider(address: &str, keys: Fixed, extra: Value) -> Fargate {
    let mut settings = json!({"region": "us-east-1", "cluster": "default", "subnetIds": ["subnet-1", "subnet-2"],
        "endpoint": address, "logsEndpoint": address, "stsEndpoint": address});
    json_patch::merge(&mut settings, &extra);
    let settings: AwsFargate = serde_json::from_value(settings).unwrap();
    let pace = Pace { busy: Duration::from_millis(500), rest: Duration::from_secs(1) };
    Fargate::with_keys(settings, Arc::new(keys), pace).unwrap()
}

async fn check(name: &'static str) {
    check_at(&answering(Settings::default()).await, name).await;
}

async fn check_at(at: &Answering, name: &'static str) {
    let address = at.emulator.address();
    tokio::task::spawn_blocking(move || venv::check("aws_ecs", &address, name)).await.unwrap();
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
    boto3_sees_a_task_through_its_life: "life";
    boto3_turns_pages: "pages";
    boto3_gets_one_task_for_one_token: "idempotency";
    boto3_hears_of_wrong_keys_and_clocks_and_exchanges_identities: "keys";
    boto3_hears_of_limits_and_shortages: "limits";
    boto3_sees_spot_tasks_taken_back: "spot";
    boto3_reads_what_containers_print: "logs";
}

#[tokio::test(flavor = "multi_thread")]
async fn fargate_pods_come_and_go_under_faults_without_copies_or_orphans() {
    let at = answering(prompt()).await;
    let provider = provider(&at.emulator.address(), keys(), json!({}));
    let cost = Cost { currency: "USD", per_second: 1.1244e-5 + 2.0 * 1.2347e-6 };
    come_and_go(&provider, &at, "RunTask", 60, cost).await;
    // Pods of one template share a definition.
    assert!(at.ground.calls()["RegisterTaskDefinition"].arrived < 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn fargate_moves_to_the_next_subnet_and_tells_reclaims_and_jobs() {
    let at = answering(prompt()).await;
    let short = |instances| ZoneStock { instances: Some(instances), addresses: None };
    at.ground.change(|settings| settings.zones = [("subnet-1".to_owned(), short(1))].into());
    let provider = provider(&at.emulator.address(), keys(), json!({"capacity": "spot"}));
    let mut watched = Watched::start(&provider);
    let mut job = pod();
    let spec = job.spec.as_mut().unwrap();
    spec.restart_policy = Some("Never".to_owned());
    spec.containers[0].command = Some(vec!["sleep".to_owned(), "30".to_owned()]);
    provider.create(&owner("a"), &job).await.unwrap();
    let spot = provider.create(&owner("b"), &pod()).await.unwrap();
    let zones = at.live().iter().map(|one| one["zone"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(zones, ["subnet-1", "subnet-2"]);
    watched.until("both run", |watched| watched.running() == 2).await;
    provider.list("lab").await.unwrap();
    assert!(provider.reclaim_notices("lab").await.unwrap().is_empty());
    assert!(at.cloud.reclaim(&spot.id.0));
    provider.list("lab").await.unwrap();
    let taken = provider.reclaim_notices("lab").await.unwrap();
    assert_eq!(taken.iter().map(|notice| notice.owner.uid.as_str()).collect::<Vec<_>>(), ["b"]);
    at.ground.clock.advance(Duration::from_mins(3));
    let is_over = |watched: &Watched| {
        let state = |uid: &str| watched.seen.get(uid).map(|one| one.state.clone());
        let reclaimed =
            matches!(state("b"), Some(InstanceState::Failed { reason, .. }) if reason == "SpotInterruption");
        reclaimed && state("a") == Some(InstanceState::Succeeded)
    };
    watched.until("one succeeds, one is taken back", is_over).await;
    // Tasks stay listed for an hour after their end; those of deleted pods are left out.
    for uid in ["a", "b"] {
        provider.delete(&owner(uid), Duration::ZERO).await.unwrap();
    }
    watched.until("both are gone", |watched| watched.gone.len() == 2).await;
    assert!(provider.list("lab").await.unwrap().is_empty());
}

#[tokio::test]
async fn fargate_comes_back_to_a_subnet_and_spreads_where_it_is_told_to() {
    let at = answering(prompt()).await;
    let none = ZoneStock { instances: Some(0), addresses: None };
    let ordered = provider(&at.emulator.address(), keys(), json!({}));
    leaves_a_place_and_comes_back(&ordered, &at, "RunTask", ("subnet-1", "subnet-2"), none).await;
    let at = answering(prompt()).await;
    spreads(&provider(&at.emulator.address(), keys(), json!({"subnetOrder": "spread"})), &at).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fargate_exchanges_a_web_identity_for_keys_and_adopts_after_a_restart() {
    let at = answering(prompt()).await;
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "token").unwrap();
    let role = "arn:aws:iam::123456789012:role/burstlet";
    let keys = Fixed::new(&[("AWS_ROLE_ARN", role), ("AWS_WEB_IDENTITY_TOKEN_FILE", token.path().to_str().unwrap())]);
    let first = provider(&at.emulator.address(), keys.clone(), json!({"enableExecuteCommand": true}));
    let id = first.create(&owner("a"), &pod()).await.unwrap().id;
    assert_eq!(first.create(&owner("a"), &pod()).await.unwrap().id, id);
    let second = provider(&at.emulator.address(), keys, json!({}));
    assert_eq!(second.create(&owner("a"), &pod()).await.unwrap().id, id);
    // What ECS does by other services' protocols is said plainly.
    let refused = exec(&second, &owner("a"), &["ls"], "", false).await.0.unwrap_err().to_string();
    assert!(refused.contains("aws ecs execute-command") && refused.contains(&id.0), "{refused}");
    let refused = second.logs(&owner("a"), "app", &LogOptions::default()).await.err().unwrap().to_string();
    assert!(refused.contains("in its field logGroup"), "{refused}");
    assert_eq!(at.ground.calls()["AssumeRoleWithWebIdentity"].arrived, 2);
    std::fs::write(token.path(), "").unwrap();
    let late = Fixed::new(&[("AWS_ROLE_ARN", role), ("AWS_WEB_IDENTITY_TOKEN_FILE", token.path().to_str().unwrap())]);
    let refused = provider(&at.emulator.address(), late, json!({})).list("lab").await.unwrap_err();
    assert!(matches!(refused, ProviderError::Unauthorized(_)), "{refused}");
}

fn logged() -> Value {
    json!({"logGroup": "web", "executionRoleArn": "arn:aws:iam::123456789012:role/burstlet"})
}

#[tokio::test(flavor = "multi_thread")]
async fn fargate_tells_what_containers_print_where_the_pool_names_a_group() {
    let at = answering(prompt()).await;
    let mut printing = pod();
    printing.spec.as_mut().unwrap().containers[0].command =
        Some(vec!["sh".to_owned(), "-c".to_owned(), "echo one; sleep 1; echo two; sleep 600".to_owned()]);
    let provider = provider(&at.emulator.address(), keys(), logged());
    provider.create(&owner("a"), &printing).await.unwrap();
    Watched::start(&provider).until("it runs", |watched| watched.running() == 1).await;
    let options = LogOptions::default();
    let refused = provider.logs(&owner("a"), "app", &options).await.err().unwrap().to_string();
    assert!(refused.contains("The specified log group does not exist"), "{refused}");
    check_at(&at, "group").await;
    let unwritten = provider.logs(&owner("a"), "another", &options).await.unwrap().collect::<Vec<_>>().await;
    assert!(unwritten.is_empty(), "a container that has written nothing: {unwritten:?}");
    at.ground.clock.advance(Duration::from_secs(2));
    assert_eq!(log(&provider, &owner("a"), options).await, "app started\none\ntwo\n");
    assert_eq!(log(&provider, &owner("a"), LogOptions { tail_lines: Some(1), ..options }).await, "two\n");
    let stamped = log(&provider, &owner("a"), LogOptions { timestamps: true, tail_lines: Some(1), ..options }).await;
    assert!(stamped.ends_with("Z two\n"), "{stamped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_runs_pods_on_moto_too_where_signatures_are_checked() {
    let interpreter = tokio::task::spawn_blocking(|| venv::python("aws_ecs")).await.unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clouds/python/aws_ecs.py");
    let mut command = Command::new(interpreter);
    command.args([script, "-", "moto"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    let text = |name: &str| said[name].as_str().unwrap();
    let keys = Fixed::new(&[("AWS_ACCESS_KEY_ID", text("id")), ("AWS_SECRET_ACCESS_KEY", text("secret"))]);
    let mut extra = logged();
    json_patch::merge(&mut extra, &json!({"cluster": "c", "subnetIds": [text("subnet")]}));
    let provider = provider(text("address"), keys.clone(), extra);

    let id = provider.create(&owner("a"), &pod()).await.unwrap().id;
    // moto ignores client tokens: what was tried is looked up.
    assert_eq!(provider.create(&owner("a"), &pod()).await.unwrap().id, id);
    let mut watched = Watched::start(&provider);
    watched.until("it runs", |watched| watched.running() == 1).await;
    assert_eq!(watched.seen["a"].owner, owner("a"));

    let mut input = child.stdin.take().unwrap();
    writeln!(input, "burstlet/app/{}", id.0.rsplit('/').next().unwrap()).unwrap();
    output.read_line(&mut line).unwrap();
    let told = log(&provider, &owner("a"), LogOptions::default()).await;
    let wanted = (500..2500).map(|number| format!("line {number}"));
    assert!(told.lines().eq(wanted), "the last 2,000 lines: {told}");

    provider.delete(&owner("a"), Duration::ZERO).await.unwrap();
    watched.until("it is gone", |watched| watched.gone.len() == 1).await;
    keys.set("AWS_SECRET_ACCESS_KEY", "wrong");
    let refused = provider.list("lab").await.unwrap_err();
    assert!(matches!(refused, ProviderError::Unauthorized(_)), "{refused}");
    drop(input);
    child.wait().unwrap();
}

async fn subject() -> Subject {
    let at = answering(prompt()).await;
    let address = at.emulator.address();
    subject_of(at, provider(&address, keys(), json!({})), provider(&address, keys(), json!({})))
}

crate::trial::conforms_but_for_usage!(super::subject());

//! What every provider must do, whoever runs the instances. A provider joins by a [`Subject`] and the macro
//! [`conforms`]; the rules are those of the trait's documentation.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use burstlet::provider::{Instance, InstanceChange, InstanceState, Owner, Provider, ProviderError};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio::{sync::mpsc, time::timeout};

/// Longest wait for something that a provider must come to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// A provider under test, on a cloud of its own.
pub(crate) struct Subject {
    pub(crate) provider: Arc<dyn Provider>,
    /// Another process's client of the same cloud: it knows nothing of what the first one did.
    pub(crate) restarted: Arc<dyn Provider>,
    /// How many instances each pod's UID has ever had, as the cloud itself counts.
    pub(crate) created: Box<dyn Fn() -> BTreeMap<String, u64> + Send + Sync>,
    /// A pod whose containers end by themselves with this exit code.
    pub(crate) ends_with: fn(i32) -> Pod,
    /// Kept alive while the test runs.
    pub(crate) _cloud: Box<dyn std::any::Any + Send + Sync>,
}

pub(crate) fn owner(cluster: &str, uid: &str) -> Owner {
    Owner {
        cluster: cluster.to_owned(),
        node: "node-0".to_owned(),
        namespace: "default".to_owned(),
        name: format!("web-{uid}"),
        uid: uid.to_owned(),
    }
}

/// A pod of one service.
pub(crate) fn service() -> Pod {
    serde_json::from_value(json!({
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "app", "image": "nginx"}]},
    }))
    .unwrap()
}

async fn find(provider: &dyn Provider, uid: &str) -> Option<Instance> {
    provider.list("here").await.unwrap().into_iter().find(|instance| instance.owner.uid == uid)
}

async fn until(provider: &dyn Provider, uid: &str, is_done: impl Fn(Option<&Instance>) -> bool) -> Option<Instance> {
    let wait = async {
        loop {
            let found = find(provider, uid).await;
            if is_done(found.as_ref()) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the instance did not come to it")
}

pub(crate) async fn a_pod_gets_one_instance_that_runs_and_goes(subject: Subject) {
    let provider = &*subject.provider;
    let owner = owner("here", "u-1");
    let created = provider.create(&owner, &service()).await.unwrap();
    assert_eq!(created.owner, owner);
    let running =
        until(provider, "u-1", |found| found.is_some_and(|i| i.state == InstanceState::Running)).await.unwrap();
    assert_eq!((&running.id, &running.owner), (&created.id, &owner));
    assert!(running.ip.is_some());
    provider.delete(&owner, Duration::ZERO).await.unwrap();
    until(provider, "u-1", |found| found.is_none()).await;
    assert_eq!((subject.created)(), BTreeMap::from([("u-1".to_owned(), 1)]));
}

pub(crate) async fn creating_again_answers_the_same_instance(subject: Subject) {
    let calls = (0..8).map(|n| {
        let provider = if n % 2 == 0 { subject.provider.clone() } else { subject.restarted.clone() };
        async move { provider.create(&owner("here", "u-1"), &service()).await }
    });
    let answers = futures::future::join_all(calls).await;
    let ids = answers.into_iter().map(|answer| answer.unwrap().id).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(ids.len(), 1);
    assert_eq!((subject.created)()["u-1"], 1);
}

pub(crate) async fn another_process_adopts_and_deletes(subject: Subject) {
    let owner = owner("here", "u-1");
    let created = subject.provider.create(&owner, &service()).await.unwrap();
    let adopted = find(&*subject.restarted, "u-1").await.unwrap();
    assert_eq!((adopted.id, adopted.owner), (created.id, owner.clone()));
    subject.restarted.delete(&owner, Duration::ZERO).await.unwrap();
    until(&*subject.restarted, "u-1", |found| found.is_none()).await;
}

pub(crate) async fn instances_of_other_clusters_are_not_seen(subject: Subject) {
    subject.provider.create(&owner("there", "u-1"), &service()).await.unwrap();
    assert_eq!(subject.provider.list("here").await.unwrap(), []);
    assert_eq!(subject.provider.list("there").await.unwrap().len(), 1);
}

pub(crate) async fn deleting_what_does_not_exist_is_success(subject: Subject) {
    subject.provider.delete(&owner("here", "never"), Duration::ZERO).await.unwrap();
    assert!((subject.created)().is_empty());
}

pub(crate) async fn an_end_has_its_exit_code(subject: Subject) {
    let provider = &*subject.provider;
    provider.create(&owner("here", "good"), &(subject.ends_with)(0)).await.unwrap();
    provider.create(&owner("here", "bad"), &(subject.ends_with)(3)).await.unwrap();
    let is_finished = |found: Option<&Instance>| found.is_some_and(|instance| instance.state.is_finished());
    let good = until(provider, "good", is_finished).await.unwrap();
    assert_eq!(good.state, InstanceState::Succeeded);
    let bad = until(provider, "bad", is_finished).await.unwrap();
    assert!(matches!(bad.state, InstanceState::Failed { exit_code: 3, .. }), "{:?}", bad.state);
}

pub(crate) async fn a_watch_tells_what_happens_from_its_first_word_on(subject: Subject) {
    let (sender, mut changes) = mpsc::channel(64);
    let provider = subject.provider.clone();
    let watch = tokio::spawn(async move { provider.watch("here", sender).await });
    let next =
        async |changes: &mut mpsc::Receiver<InstanceChange>| timeout(PATIENCE, changes.recv()).await.unwrap().unwrap();
    assert_eq!(next(&mut changes).await, InstanceChange::Watching);
    let owner = owner("here", "u-1");
    subject.provider.create(&owner, &service()).await.unwrap();
    loop {
        match next(&mut changes).await {
            InstanceChange::Changed(instance) if instance.state == InstanceState::Running => break,
            InstanceChange::Changed(instance) => assert_eq!(instance.state, InstanceState::Pending),
            other => panic!("{other:?} before the instance ran"),
        }
    }
    subject.provider.delete(&owner, Duration::ZERO).await.unwrap();
    while next(&mut changes).await != InstanceChange::Gone(owner.clone()) {}
    drop(changes);
    timeout(PATIENCE, watch).await.expect("the watch goes on without a receiver").unwrap().unwrap();
}

pub(crate) async fn running_instances_tell_their_usage(subject: Subject) {
    let provider = &*subject.provider;
    provider.create(&owner("here", "u-1"), &service()).await.unwrap();
    until(provider, "u-1", |found| found.is_some_and(|instance| instance.state == InstanceState::Running)).await;
    let first = provider.usage("here").await.unwrap();
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].uid, "u-1");
    assert!(first[0].cpu > Duration::ZERO, "a counter of zero is dropped by metrics-server");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let second = provider.usage("here").await.unwrap();
    assert!(second[0].cpu >= first[0].cpu);
}

pub(crate) async fn a_pod_that_cannot_be_is_invalid(subject: Subject) {
    let pod: Pod = serde_json::from_value(json!({"metadata": {"annotations": {
        "simulated.burstlet.dev/run-for": "soon", "k8s.aliyun.com/eci-use-specs": "much",
    }}, "spec": {"containers": [{"name": "app", "image": "x"}]}}))
    .unwrap();
    let error = subject.provider.create(&owner("here", "u-1"), &pod).await.unwrap_err();
    assert!(matches!(error, ProviderError::Invalid(_)), "{error}");
    assert!((subject.created)().is_empty());
}

/// Every rule as a test, each with a subject of its own.
macro_rules! conforms {
    ($subject:expr) => {
        $crate::conformance::conforms! { @each $subject;
            a_pod_gets_one_instance_that_runs_and_goes
            creating_again_answers_the_same_instance
            another_process_adopts_and_deletes
            instances_of_other_clusters_are_not_seen
            deleting_what_does_not_exist_is_success
            an_end_has_its_exit_code
            a_watch_tells_what_happens_from_its_first_word_on
            running_instances_tell_their_usage
            a_pod_that_cannot_be_is_invalid
        }
    };
    (@each $subject:expr; $($rule:ident)*) => {
        mod conformance {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $rule() {
                    let subject: $crate::conformance::Subject = $subject.await;
                    $crate::conformance::$rule(subject).await;
                }
            )*
        }
    };
}

pub(crate) use conforms;

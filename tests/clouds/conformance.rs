//! What every provider must do, whoever runs the instances. A provider joins by a [`Subject`] and the macro
//! [`conforms`]; the rules are those of the trait's documentation.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use burstlet::{
    api::preflight,
    provider::{Content, File, Instance, InstanceChange, InstanceState, Owner, Provider, ProviderError, Tokens},
};
use burstlet_engine::model::Need;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};

/// Longest wait for something that a provider must come to do.
const PATIENCE: Duration = Duration::from_secs(20);
/// The same for figures of usage: metrics-server has a pod's after it read its node twice.
const MEASURED_WITHIN: Duration = Duration::from_secs(90);

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
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [
            {"name": "app", "image": "nginx", "command": ["tail", "-f", "/dev/null"]},
        ]},
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
    let measured = async {
        loop {
            let usage = provider.usage("here").await.unwrap();
            if !usage.is_empty() {
                return usage;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let first = timeout(MEASURED_WITHIN, measured).await.expect("no usage is told");
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

/// A pod that asks for nothing but this.
fn asking(need: Need) -> Pod {
    let mut spec = json!({"containers": [{"name": "app", "image": "nginx", "command": ["tail", "-f", "/dev/null"]}]});
    let mut annotations = json!({});
    let mut of_container = |extra: Value| json_patch::merge(&mut spec["containers"][0], &extra);
    let probe = json!({"tcpSocket": {"port": 80}});
    let init =
        |policy: Value| json!([{"name": "first", "image": "nginx", "command": ["true"], "restartPolicy": policy}]);
    let mut of_pod = json!({});
    match need {
        Need::InitContainers => of_pod = json!({"initContainers": init(json!(null))}),
        Need::Sidecars => of_pod = json!({"initContainers": init(json!("Always"))}),
        Need::StartupProbes => of_container(json!({"startupProbe": probe})),
        Need::LivenessProbes => of_container(json!({"livenessProbe": probe})),
        Need::ReadinessProbes => of_container(json!({"readinessProbe": probe})),
        Need::GrpcProbes => of_container(json!({"readinessProbe": {"grpc": {"port": 80}}})),
        Need::LifecycleHooks => of_container(json!({"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}})),
        Need::Files => of_pod = json!({"volumes": [{"name": "files", "configMap": {"name": "settings"}}]}),
        Need::Tokens => {
            let token = json!([{"serviceAccountToken": {"path": "token"}}]);
            of_pod = json!({"volumes": [{"name": "files", "projected": {"sources": token}}]});
        }
        Need::MemoryVolumes => of_pod = json!({"volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}]}),
        Need::NfsVolumes => of_pod = json!({"volumes": [{"name": "v", "nfs": {"server": "nas", "path": "/"}}]}),
        Need::FlexVolumes => {
            of_pod = json!({"volumes": [{"name": "v", "flexVolume": {"driver": "alicloud/disk"}}]});
        }
        Need::SubPaths => {
            of_pod = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
            of_container(json!({"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "a"}]}));
        }
        Need::WorkingDirs => of_container(json!({"workingDir": "/tmp"})),
        Need::ImageCommands => of_container(json!({"command": null})),
        Need::ArgumentsAlone => of_container(json!({"command": null, "args": ["x"]})),
        Need::HostAliases => of_pod = json!({"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["db"]}]}),
        Need::DnsConfig => of_pod = json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.2"]}}),
        Need::SharedProcesses => of_pod = json!({"shareProcessNamespace": true}),
        Need::AddedCapabilities => {
            of_container(json!({"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}));
        }
        Need::ClusterDns => annotations = json!({"burstlet.dev/needs": "cluster-dns"}),
        Need::Services => annotations = json!({"burstlet.dev/needs": "services"}),
        Need::ServicesUntilEnd => {
            annotations = json!({"burstlet.dev/needs": "services"});
            of_pod = json!({"restartPolicy": "Never"});
        }
    }
    json_patch::merge(&mut spec, &of_pod);
    serde_json::from_value(json!({"metadata": {"annotations": annotations}, "spec": spec})).unwrap()
}

/// What placement believes of a provider is true of it: it creates each pod that its capabilities allow, and refuses each
/// other one before any call.
pub(crate) async fn a_provider_takes_what_it_says_it_has_and_nothing_else(subject: Subject) {
    let provider = &*subject.provider;
    let capabilities = provider.capabilities();
    // In memory nothing runs, so nothing misses its token.
    if provider.name() != "simulated" {
        let passes_tokens = provider.takes().tokens != Tokens::None;
        assert_eq!(capabilities.kinds.has(Need::Tokens), passes_tokens, "pods with tokens are let pass and get none");
        assert!(provider.takes().renewals || !passes_tokens, "tokens expire");
    }
    let file = File { data: b"x".to_vec(), mode: 0o644 };
    let files = BTreeMap::from([("file".to_owned(), file)]);
    for (number, need) in Need::ALL.into_iter().enumerate() {
        let pod = asking(need);
        let needs = preflight::needs_of(&pod);
        assert!(needs.kinds.has(need), "{need:?} is not seen in its own pod");
        let content = Content {
            volumes: needs.kinds.has(Need::Files).then(|| ("files".to_owned(), files.clone())).into_iter().collect(),
            registries: Vec::new(),
        };
        let uid = format!("need-{number}");
        let answer = provider.create_with(&owner("here", &uid), &pod, &content).await;
        match capabilities.lack(&needs) {
            None => drop(answer.unwrap_or_else(|error| panic!("{need:?} is promised: {error}"))),
            Some(lack) => {
                let error = answer.expect_err(&format!("{need:?} is said to be lacking"));
                assert_eq!(error, ProviderError::Invalid(lack.to_string()));
                assert!(find(provider, &uid).await.is_none(), "{need:?}");
            }
        }
    }
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
            a_provider_takes_what_it_says_it_has_and_nothing_else
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

/// The rules at once, each with a subject of its own in a namespace of its own: for what takes long to start.
macro_rules! conforms_together {
    ($there:ident; $($rule:ident)*) => {
        async {
            tokio::join!($(
                async {
                    let namespace = stringify!($rule).replace('_', "-").chars().take(60).collect::<String>();
                    let subject = $there.subject(&namespace).await;
                    $crate::conformance::$rule(subject).await;
                }
            ),*)
        }
    };
}

pub(crate) use {conforms, conforms_together};

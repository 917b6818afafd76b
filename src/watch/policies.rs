//! BurstPolicies and VirtualPools as they come and change.

use std::{
    collections::BTreeSet,
    sync::{Arc, RwLock},
    time::Duration,
};

use burstlet_engine::policy::{Policies, Spec, fields::FieldFault};
use kube::{Api, Client, ResourceExt, api::ListParams, core::DynamicObject};
use tokio::{sync::watch, time::sleep};

use crate::{
    api::{
        document::{Document, DocumentError},
        pod::object_name,
        policy, pool,
        pool::PoolSpec,
    },
    watch::follow::{Listening, Seen, follow},
};

/// How often the API server is asked whether it knows a kind by now.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// The cluster's policies, as they were last seen: while they cannot be read, the last ones stay in force.
pub type SharedPolicies = Arc<RwLock<Policies>>;

/// Waits until the API server knows the kind; `missing` is done once, if it does not at first.
pub(super) async fn once_known(api: &Api<DynamicObject>, missing: impl Future<Output = ()>) {
    let is_unknown = async || {
        let first = api.list(&ListParams::default().limit(1)).await;
        matches!(first, Err(kube::Error::Api(status)) if status.code == 404)
    };
    if !is_unknown().await {
        return;
    }
    missing.await;
    while is_unknown().await {
        sleep(ASK_AGAIN).await;
    }
}

/// The policy that an object holds, or what is wrong with it: the last good one of its name then stays.
pub(super) fn read(object: &DynamicObject) -> Result<Spec, Vec<FieldFault>> {
    match document(object)? {
        Document::Policy(_, _, spec) => Ok(*spec),
        Document::Pool(..) => Err(vec![FieldFault::new("kind", "is no BurstPolicy")]),
    }
}

/// The pool that an object holds, or what is wrong with it: what was known of it then stays.
pub(super) fn read_pool(object: &DynamicObject) -> Result<PoolSpec, Vec<FieldFault>> {
    let Document::Pool(name, spec) = document(object)? else {
        return Err(vec![FieldFault::new("kind", "is no VirtualPool")]);
    };
    let faults = spec.faults(&name);
    if faults.is_empty() { Ok(*spec) } else { Err(faults) }
}

fn document(object: &DynamicObject) -> Result<Document, Vec<FieldFault>> {
    let read = serde_json::to_value(object).map(|document| Document::read(&document));
    let fault = match read {
        Ok(Ok(document)) => return Ok(document),
        Ok(Err(DocumentError::Field(fault))) => fault,
        Ok(Err(error)) => FieldFault::new("kind", error.to_string()),
        Err(error) => FieldFault::new("spec", error.to_string()),
    };
    let name = object_name(&object.metadata);
    tracing::warn!(%name, %fault, "an object makes no sense; the last version of it that did stays in force");
    Err(vec![fault])
}

/// Keeps `policies` as the cluster has them, for ever. `listed` becomes true once they are known.
pub async fn follow_policies(client: Client, policies: SharedPolicies, listed: watch::Sender<bool>) {
    let api = Api::<DynamicObject>::all_with(client, &policy::resource());
    let is_empty = async {
        // Without a receiver there is nobody to tell.
        let _ = listed.send(true);
    };
    once_known(&api, is_empty).await;
    let mut seen_in_list = BTreeSet::new();
    follow(api, move |seen| {
        let mut policies = policies.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        match seen {
            Seen::Begin => seen_in_list.clear(),
            Seen::Set(object) => {
                let name = object_name(&object.metadata);
                seen_in_list.insert(name.clone());
                match read(&object) {
                    Err(faults) => policies.note_faulty(name, &faults),
                    Ok(spec) => {
                        if let Err(faults) = policies.set(name.clone(), &spec) {
                            let faults = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
                            tracing::warn!(%name, faults, "a policy makes no sense; the last good one stays in force");
                        }
                    }
                }
            }
            Seen::Gone(object) => policies.remove(&object_name(&object.metadata)),
            Seen::Finish => {
                let names = policies.names().chain(policies.faulty());
                let unlisted: Vec<_> = names.filter(|name| !seen_in_list.contains(*name)).cloned().collect();
                for name in &unlisted {
                    policies.remove(name);
                }
                let _ = listed.send(true);
            }
        }
        std::future::ready(Listening::Yes)
    })
    .await;
}

/// What happened to a pool.
#[derive(Debug, Clone, PartialEq)]
pub enum PoolSeen {
    /// New or changed.
    Set(String, Box<PoolSpec>),
    /// Deleted.
    Gone(String),
}

/// Hands on each VirtualPool that comes, changes or goes, until nobody listens.
pub async fn follow_pools(client: Client, pools: tokio::sync::mpsc::Sender<PoolSeen>) {
    let api = Api::<DynamicObject>::all_with(client, &pool::resource());
    once_known(&api, async {}).await;
    let (mut known, mut listed) = (BTreeSet::new(), BTreeSet::new());
    follow(api, move |seen| {
        let mut news = Vec::new();
        match seen {
            Seen::Begin => listed.clear(),
            Seen::Set(object) => {
                listed.insert(object.name_any());
                known.insert(object.name_any());
                news.extend(read_pool(&object).map(|spec| PoolSeen::Set(object.name_any(), Box::new(spec))));
            }
            Seen::Gone(object) => {
                known.remove(&object.name_any());
                news.push(PoolSeen::Gone(object.name_any()));
            }
            Seen::Finish => {
                news.extend(known.difference(&listed).cloned().map(PoolSeen::Gone));
                known.clone_from(&listed);
            }
        }
        let pools = pools.clone();
        async move {
            for one in news {
                if pools.send(one).await.is_err() {
                    return Listening::No;
                }
            }
            Listening::Yes
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        io,
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use burstlet_engine::model::ObjectName;
    use serde_json::json;
    use tracing::subscriber::DefaultGuard;

    use super::*;

    /// An API server that lists one policy, and then answers nothing but errors.
    fn api_that_fails_after_its_list(asked: &Arc<AtomicUsize>) -> Client {
        let version = "burstlet.dev/v1alpha1";
        let policy = json!({"apiVersion": version, "kind": "BurstPolicy", "spec": {"base": 3},
                            "metadata": {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "1"}});
        let list = json!({"apiVersion": version, "kind": "BurstPolicyList", "metadata": {"resourceVersion": "1"}, "items": []});
        let end = json!({"apiVersion": version, "kind": "BurstPolicy", "metadata": {
            "name": "", "resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}});
        let watched = [json!({"type": "ADDED", "object": policy}), json!({"type": "BOOKMARK", "object": end})];
        let watched = watched.map(|event| format!("{event}\n")).concat();
        let fails = json!({"kind": "Status", "status": "Failure", "code": 503, "reason": "ServiceUnavailable", "message": "down"});
        let asked = asked.clone();
        let service = tower::service_fn(move |_: http::Request<kube::client::Body>| {
            let (code, body) = match asked.fetch_add(1, Ordering::Relaxed) {
                0 => (200, list.to_string()),
                1 => (200, watched.clone()),
                _ => (503, fails.to_string()),
            };
            let answer = http::Response::builder().status(code).body(axum::body::Body::from(body));
            async move { Ok::<_, Infallible>(answer.unwrap()) }
        });
        Client::new(service, "default")
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn listens(&self) -> DefaultGuard {
            let log = self.clone();
            let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish();
            tracing::subscriber::set_default(subscriber)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreachable_policy_source_keeps_the_last_good_one_and_says_so() {
        let (log, asked) = (Log::default(), Arc::default());
        let _listens = log.listens();
        let policies: SharedPolicies = Arc::new(RwLock::new(Policies::new("burstlet-system")));
        let (listed, mut is_listed) = watch::channel(false);
        let follows = follow_policies(api_that_fails_after_its_list(&asked), policies.clone(), listed);
        tokio::select! {
            () = follows => unreachable!("it follows for ever"),
            () = async {
                is_listed.wait_for(|listed| *listed).await.unwrap();
                while asked.load(Ordering::Relaxed) < 5 {
                    sleep(Duration::from_secs(1)).await;
                }
            } => {}
        }
        let web = ObjectName::new("shop", "web");
        assert_eq!(policies.read().unwrap().names().collect::<Vec<_>>(), [&web], "after three failures");
        let told = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let says = "the watch broke off and is taken up again; what was known meanwhile stays in force";
        assert!(told.contains(says) && told.contains("/apis/burstlet.dev/v1alpha1/burstpolicies"), "{told}");
    }
}

//! Looks at a revision: how many replicas it shall have, read from the API server itself.

use std::{fmt::Debug, time::Duration};

use burstlet_engine::{
    model::{ObjectName, RevisionId},
    placement::{Controller, Looked, Revision},
};
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, StatefulSet},
    batch::v1::Job,
};
use kube::{
    Api, Client, Resource,
    core::{ApiResource, DynamicObject, DynamicResourceScope},
};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use crate::api::{
    kinds::{ForeignKinds, Owns},
    owner::{self, SlimJob, SlimReplicaSet, SlimStatefulSet},
};

/// Longest wait for one answer.
const LONGEST: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(200);
/// After these, the engine goes on with what it knows.
const TRIES: u32 = 3;

/// What the revision is now; `None` where it is gone, or where nobody could tell.
pub(super) async fn look(
    client: &Client,
    id: &RevisionId,
    name: &ObjectName,
    controller: Controller,
    foreign: &ForeignKinds,
) -> Option<Looked> {
    for _ in 0..TRIES {
        match timeout(LONGEST, read(client, id, name, controller, foreign)).await {
            Ok(Ok(found)) => return found.filter(|found| found.id == *id).map(|found| owner::looked(&found)),
            Ok(Err(error)) => tracing::debug!(%error, %name, "unable to look at what controls pods"),
            Err(_) => tracing::debug!(%name, "no answer to a look at what controls pods"),
        }
        sleep(PAUSE).await;
    }
    None
}

async fn read(
    client: &Client,
    id: &RevisionId,
    name: &ObjectName,
    controller: Controller,
    foreign: &ForeignKinds,
) -> Result<Option<Revision>, kube::Error> {
    Ok(match controller {
        Controller::ReplicaSet => {
            let set: Option<SlimReplicaSet> = get::<ReplicaSet, _>(client, name).await?;
            set.and_then(|set| owner::replica_set(&set, foreign))
        }
        Controller::StatefulSet { .. } => {
            let set: Option<SlimStatefulSet> = get::<StatefulSet, _>(client, name).await?;
            set.and_then(|set| owner::stateful_set(&set))
        }
        Controller::Job => {
            let job: Option<SlimJob> = get::<Job, _>(client, name).await?;
            job.and_then(|job| owner::job(&job))
        }
        Controller::Other => {
            for kind in foreign.iter().filter(|kind| kind.owns == Owns::Pods) {
                let objects: Api<DynamicObject> =
                    Api::namespaced_with(client.clone(), &name.namespace, &kind.api_resource());
                let found = objects.get_opt(&name.name).await?.and_then(|object| owner::foreign(&object));
                // Two kinds may have an object of the same name.
                if found.as_ref().is_some_and(|found| found.id == *id) {
                    return Ok(found);
                }
            }
            None
        }
    })
}

async fn get<K, S>(client: &Client, name: &ObjectName) -> Result<Option<S>, kube::Error>
where
    K: Resource<DynamicType = ()>,
    S: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope> + Clone + Debug + DeserializeOwned,
{
    let resource = ApiResource::erase::<K>(&());
    Api::<S>::namespaced_with(client.clone(), &name.namespace, &resource).get_opt(&name.name).await
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{api::kinds::ForeignKind, watch::fake_api::FakeApi};

    fn kind(group: &str, resource: &str, owns: &str) -> ForeignKind {
        let api_version = format!("{group}/v1");
        serde_json::from_value(json!({"apiVersion": api_version, "kind": "Fleet", "resource": resource, "owns": owns}))
            .unwrap()
    }

    async fn looked_at(objects: &[(&'static str, Value)]) -> (Option<Looked>, Vec<String>) {
        let api = FakeApi::new(objects);
        let foreign = ForeignKinds::new(&[
            kind("a.example.com", "fleets", "Pods"),
            kind("sets.example.com", "fleets", "ReplicaSets"),
            kind("b.example.com", "fleets", "Pods"),
        ]);
        let name = ObjectName::new("shop", "one");
        (look(&api.client(), &"b".into(), &name, Controller::Other, &foreign).await, api.asked())
    }

    #[tokio::test]
    async fn an_object_of_another_group_is_read_afresh_and_told_apart_by_its_uid() {
        const A: &str = "/apis/a.example.com/v1/namespaces/shop/fleets/one";
        const B: &str = "/apis/b.example.com/v1/namespaces/shop/fleets/one";
        let fleet = |uid: &str, replicas: u32| {
            json!({"apiVersion": "x/v1", "kind": "Fleet", "spec": {"replicas": replicas},
                   "metadata": {"name": "one", "namespace": "shop", "uid": uid, "generation": 3}})
        };
        let (found, asked) = looked_at(&[(A, fleet("a", 5)), (B, fleet("b", 7))]).await;
        assert_eq!(found, Some(Looked { wanted: 7, generation: 3 }));
        assert_eq!(asked, [A, B], "what owns ReplicaSets is not asked");
        assert_eq!(looked_at(&[(A, fleet("a", 5))]).await.0, None, "gone");
    }
}

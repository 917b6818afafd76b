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
    core::{ApiResource, DynamicResourceScope},
};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use crate::api::{
    kinds::ForeignKinds,
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
) -> Option<Looked> {
    for _ in 0..TRIES {
        match timeout(LONGEST, read(client, name, controller)).await {
            Ok(Ok(found)) => return found.filter(|found| found.id == *id).map(|found| owner::looked(&found)),
            Ok(Err(error)) => tracing::debug!(%error, %name, "unable to look at what controls pods"),
            Err(_) => tracing::debug!(%name, "no answer to a look at what controls pods"),
        }
        sleep(PAUSE).await;
    }
    None
}

async fn read(client: &Client, name: &ObjectName, controller: Controller) -> Result<Option<Revision>, kube::Error> {
    // Which of them a Deployment's is makes no difference to what it wants.
    let foreign = ForeignKinds::default();
    Ok(match controller {
        Controller::ReplicaSet => {
            let set: Option<SlimReplicaSet> = get::<ReplicaSet, _>(client, name).await?;
            set.and_then(|set| owner::replica_set(&set, &foreign))
        }
        Controller::StatefulSet { .. } => {
            let set: Option<SlimStatefulSet> = get::<StatefulSet, _>(client, name).await?;
            set.and_then(|set| owner::stateful_set(&set))
        }
        Controller::Job => {
            let job: Option<SlimJob> = get::<Job, _>(client, name).await?;
            job.and_then(|job| owner::job(&job))
        }
        // Its kind is the configuration's; its watch has to do.
        Controller::Other => None,
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

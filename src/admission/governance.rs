//! Who governs a pod: the base on its workload, or else on its namespace.

use std::{
    convert::Infallible,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use burstlet_engine::policy::{Asked, Cap, Marks, Mode, MoveBack, Resolution, Settings};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, ReplicaSet, StatefulSet},
        batch::v1::{CronJob, Job},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Api, Client, Resource, core::DynamicObject};
use tokio::time::timeout;
use tracing::warn;

use super::{memory::Memory, namespaces::Namespaces};
use crate::{
    api::{
        kinds::{ForeignKind, ForeignKinds, PodController, cron_job_of, scaler_of_set},
        owner::marks,
    },
    watch::SharedPolicies,
};

/// Longest look-up: below the webhook's own timeout, so that the answer still reaches the API server.
const LOOK_UP: Duration = Duration::from_secs(2);

/// Whether a pod is governed is told without the configuration: it says when, never whether.
const UNSETTLED: Settings = Settings {
    pools: Vec::new(),
    move_on_after: Duration::ZERO,
    move_back: MoveBack { after: Duration::ZERO, at_once: 1, cool_down: Duration::ZERO },
};

/// Whether a pod is governed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Governed {
    /// By a policy with this base.
    By(Cap),
    /// By none.
    No,
    /// Nobody knows, for the API server did not say; the pod is left alone.
    Unknown,
}

/// Looks up who governs, from the API server itself: a fresh ReplicaSet may be missing from any cache.
pub(super) struct Governance {
    client: Client,
    namespaces: Arc<Namespaces>,
    policies: SharedPolicies,
    foreign: ForeignKinds,
    /// By the UID of the pods' controller. A failure is kept like an answer: an API server in trouble is not stormed.
    memory: Memory<Found>,
    failures: AtomicU64,
}

/// What those say that may govern a controller's pods.
struct Said {
    workload: Marks,
    namespace: Marks,
}

/// What was found for a controller's pods.
#[derive(Clone)]
enum Found {
    Said(Arc<Said>),
    /// The controller is gone, or another of its name: its pods are on their way out.
    Gone,
    /// The API server did not say.
    Unknown,
}

impl Governance {
    pub(super) fn new(
        client: Client,
        namespaces: Arc<Namespaces>,
        policies: SharedPolicies,
        foreign: ForeignKinds,
    ) -> Self {
        let (memory, failures) = (Memory::default(), AtomicU64::new(0));
        Self { client, namespaces, policies, foreign, memory, failures }
    }

    /// What may control pods that are gated.
    pub(super) fn foreign(&self) -> &ForeignKinds {
        &self.foreign
    }

    /// Whether a pod of a controller, marked as `pod` is, is governed now, or was within the last second; what its
    /// namespace says may be a second older.
    pub(super) async fn of(
        &self,
        namespace: &str,
        (owner, kind): (&OwnerReference, PodController<'_>),
        pod: &Marks,
    ) -> Governed {
        let look_up = async || {
            Ok::<_, Infallible>(match timeout(LOOK_UP, self.look_up(namespace, owner, kind)).await {
                Ok(Ok(found)) => found,
                Ok(Err(fault)) => self.unknown(namespace, owner, &fault.to_string()),
                Err(_) => self.unknown(namespace, owner, &format!("no answer within {LOOK_UP:?}")),
            })
        };
        let Ok(found) = self.memory.get(&owner.uid, look_up).await;
        match found {
            Found::Said(said) => self.judge(namespace, pod, &said),
            Found::Gone => Governed::No,
            Found::Unknown => Governed::Unknown,
        }
    }

    /// Fails open: a pod that nobody gates is a plain pod on real nodes. Logged at powers of two, for an API server
    /// that is down would fill the log.
    fn unknown(&self, namespace: &str, owner: &OwnerReference, fault: &str) -> Found {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures.is_power_of_two() {
            let (kind, name) = (&owner.kind, &owner.name);
            warn!(namespace, kind, name, fault, failures, "unable to tell who governs a pod; it is let through");
        }
        Found::Unknown
    }

    async fn look_up(
        &self,
        namespace: &str,
        owner: &OwnerReference,
        kind: PodController<'_>,
    ) -> Result<Found, kube::Error> {
        let found = match kind {
            PodController::ReplicaSet => self.metadata::<ReplicaSet>(namespace, &owner.name).await?,
            PodController::StatefulSet => self.metadata::<StatefulSet>(namespace, &owner.name).await?,
            PodController::Job => self.metadata::<Job>(namespace, &owner.name).await?,
            PodController::Foreign(kind) => self.foreign_metadata(kind, namespace, &owner.name).await?,
        };
        let Some(found) = found.filter(|found| found.uid.as_deref() == Some(&owner.uid)) else {
            return Ok(Found::Gone);
        };
        let workload = self.workload(namespace, kind, found).await?;
        let of_namespace = self.namespaces.marks(namespace).await?;
        Ok(Found::Said(Arc::new(Said { workload, namespace: of_namespace })))
    }

    /// The marks of what scales the pods' controller, or the controller's own where nothing known does.
    async fn workload(
        &self,
        namespace: &str,
        kind: PodController<'_>,
        owner: ObjectMeta,
    ) -> Result<Marks, kube::Error> {
        match kind {
            PodController::ReplicaSet => {
                let scaler = match scaler_of_set(&owner, &self.foreign) {
                    None => return Ok(marks(&owner)),
                    Some((deployment, None)) => self.metadata::<Deployment>(namespace, &deployment.name).await?,
                    Some((scaler, Some(kind))) => self.foreign_metadata(kind, namespace, &scaler.name).await?,
                };
                Ok(marks(&scaler.unwrap_or_default()))
            }
            // A Job's own are those of its CronJob's template, which fill in.
            PodController::Job => {
                let Some(cron_job) = cron_job_of(&owner) else { return Ok(marks(&owner)) };
                let cron_job = self.metadata::<CronJob>(namespace, &cron_job.name).await?.unwrap_or_default();
                Ok(marks(&cron_job).or(&marks(&owner)))
            }
            PodController::StatefulSet | PodController::Foreign(_) => Ok(marks(&owner)),
        }
    }

    async fn foreign_metadata(
        &self,
        kind: &ForeignKind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ObjectMeta>, kube::Error> {
        let objects: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind.api_resource());
        Ok(objects.get_metadata_opt(name).await?.map(|found| found.metadata))
    }

    /// A pod that stays where kube-scheduler puts it needs no gate: nothing is changed for Observe, and Never holds
    /// without one.
    fn judge(&self, namespace: &str, pod: &Marks, said: &Said) -> Governed {
        let policies = self.policies.read().unwrap_or_else(PoisonError::into_inner);
        let asked = Asked { namespace, pod, workload: &said.workload, namespace_marks: &said.namespace };
        let Resolution { governed, .. } = policies.resolve(&asked, &UNSETTLED);
        match governed.map(|governed| governed.policy) {
            Some(policy) if !matches!(policy.mode, Mode::Observe | Mode::Never) => Governed::By(policy.base),
            _ => Governed::No,
        }
    }

    async fn metadata<K>(&self, namespace: &str, name: &str) -> Result<Option<ObjectMeta>, kube::Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let objects: Api<K> = Api::namespaced(self.client.clone(), namespace);
        Ok(objects.get_metadata_opt(name).await?.map(|found| found.metadata))
    }
}

#[cfg(test)]
mod tests {
    use burstlet_engine::policy::{Base, Policies};
    use serde_json::{Value, json};

    use super::*;
    use crate::watch::fake_api::FakeApi;

    const REPLICA_SET: &str = "/apis/apps/v1/namespaces/shop/replicasets/web-1";
    const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/shop/deployments/web";
    const NAMESPACE: &str = "/api/v1/namespaces/shop";

    fn object(uid: &str, base: Option<&str>, controller: Option<&str>) -> Value {
        let owners: Vec<_> = controller
            .map(|kind| json!({"apiVersion": "apps/v1", "kind": kind, "name": "web", "uid": "d", "controller": true}))
            .into_iter()
            .collect();
        let annotations = base.map(|base| json!({"burstlet.dev/base": base})).unwrap_or_default();
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
               "metadata": {"name": "web", "uid": uid, "annotations": annotations, "ownerReferences": owners}})
    }

    fn owner() -> OwnerReference {
        OwnerReference {
            api_version: "apps/v1".into(),
            kind: "ReplicaSet".into(),
            name: "web-1".into(),
            uid: "rs".into(),
            controller: Some(true),
            ..OwnerReference::default()
        }
    }

    async fn governed(objects: &[(&'static str, Value)]) -> Governed {
        with(&FakeApi::new(objects)).of("shop", (&owner(), PodController::ReplicaSet), &Marks::default()).await
    }

    fn with(api: &FakeApi) -> Governance {
        let mut policies = Policies::new("burstlet-system");
        let spec = json!({"selector": {"matchLabels": {"app": "web"}}, "base": 8});
        let name = burstlet_engine::model::ObjectName::new("shop", "web");
        policies.set(name, &serde_json::from_value(spec).unwrap()).unwrap();
        let namespaces = Namespaces::new(api.client());
        Governance::new(api.client(), namespaces, Arc::new(policies.into()), rollouts())
    }

    fn by(base: u32) -> Governed {
        Governed::By(Cap::pods(Base::count(base)))
    }

    #[tokio::test]
    async fn a_policy_whose_selector_matches_the_pod_governs_it() {
        let api = FakeApi::new(&[(REPLICA_SET, object("rs", None, None)), (NAMESPACE, object("n", None, None))]);
        let mut pod = Marks::default();
        pod.labels.insert("app".to_owned(), "web".to_owned());
        assert_eq!(with(&api).of("shop", (&owner(), PodController::ReplicaSet), &pod).await, by(8));
        pod.annotations.insert("burstlet.dev/mode".to_owned(), "Observe".to_owned());
        assert_eq!(
            with(&api).of("shop", (&owner(), PodController::ReplicaSet), &pod).await,
            Governed::No,
            "Observe changes nothing"
        );
    }

    #[tokio::test]
    async fn a_mark_of_another_product_on_the_namespace_governs() {
        let mut namespace = object("n", None, None);
        namespace["metadata"]["labels"] = json!({"virtual-node-affinity-injection": "enabled"});
        assert_eq!(governed(&[(REPLICA_SET, object("rs", None, None)), (NAMESPACE, namespace)]).await, by(0));
    }

    #[tokio::test]
    async fn a_fault_on_the_workload_does_not_fall_back_to_the_namespace() {
        let namespace = (NAMESPACE, object("n", Some("3"), None));
        assert_eq!(governed(&[(REPLICA_SET, object("rs", Some("three"), None)), namespace]).await, Governed::No);
    }

    #[tokio::test]
    async fn a_deployments_annotation_governs_not_the_copy_on_its_replica_set() {
        let replica_set = object("rs", Some("9"), Some("Deployment"));
        let found = governed(&[(REPLICA_SET, replica_set.clone()), (DEPLOYMENT, object("d", Some("3"), None))]).await;
        assert_eq!(found, by(3));
        let plain =
            [(REPLICA_SET, replica_set), (DEPLOYMENT, object("d", None, None)), (NAMESPACE, object("n", None, None))];
        assert_eq!(governed(&plain).await, Governed::No);
    }

    #[tokio::test]
    async fn a_bare_replica_set_or_else_the_namespace_governs() {
        let namespace = (NAMESPACE, object("n", Some("2"), None));
        let found = governed(&[(REPLICA_SET, object("rs", Some("5"), None)), namespace.clone()]).await;
        assert_eq!(found, by(5));
        let found = governed(&[(REPLICA_SET, object("rs", None, None)), namespace.clone()]).await;
        assert_eq!(found, by(2));
        let found = governed(&[
            (REPLICA_SET, object("rs", None, Some("Deployment"))),
            (DEPLOYMENT, object("d", None, None)),
            namespace,
        ])
        .await;
        assert_eq!(found, by(2));
    }

    #[tokio::test]
    async fn a_replica_set_of_another_uid_governs_nothing() {
        let namespace = (NAMESPACE, object("n", Some("2"), None));
        assert_eq!(governed(&[(REPLICA_SET, object("other", Some("5"), None)), namespace.clone()]).await, Governed::No);
        assert_eq!(governed(&[namespace]).await, Governed::No);
    }

    fn rollouts() -> ForeignKinds {
        let kind =
            json!({"apiVersion": "example.com/v1", "kind": "Rollout", "resource": "rollouts", "owns": "ReplicaSets"});
        ForeignKinds::new(&[serde_json::from_value(kind).unwrap()])
    }

    #[tokio::test]
    async fn what_scales_a_replica_set_governs_where_its_kind_is_known_else_the_replica_set() {
        const ROLLOUT: &str = "/apis/example.com/v1/namespaces/shop/rollouts/web";
        let mut of_rollout = object("rs", Some("5"), Some("Rollout"));
        assert_eq!(governed(&[(REPLICA_SET, of_rollout.clone())]).await, by(5), "apps/v1 Rollout is not that kind");
        of_rollout["metadata"]["ownerReferences"][0]["apiVersion"] = json!("example.com/v1beta1");
        let rollout = (ROLLOUT, object("d", Some("4"), None));
        assert_eq!(governed(&[(REPLICA_SET, of_rollout), rollout]).await, by(4));
    }

    #[tokio::test]
    async fn a_stateful_set_governs_its_pods_and_a_cron_job_before_its_jobs_template() {
        const SET: &str = "/apis/apps/v1/namespaces/shop/statefulsets/web-1";
        const JOB: &str = "/apis/batch/v1/namespaces/shop/jobs/web-1";
        const CRON_JOB: &str = "/apis/batch/v1/namespaces/shop/cronjobs/web";
        let of = async |kind, objects: &[(&'static str, Value)]| {
            with(&FakeApi::new(objects)).of("shop", (&owner(), kind), &Marks::default()).await
        };
        assert_eq!(of(PodController::StatefulSet, &[(SET, object("rs", Some("2"), None))]).await, by(2));
        assert_eq!(of(PodController::Job, &[(JOB, object("rs", Some("2"), None))]).await, by(2));
        let mut job = object("rs", Some("6"), Some("CronJob"));
        job["metadata"]["ownerReferences"][0]["apiVersion"] = json!("batch/v1");
        let cron_job = |base| (CRON_JOB, object("d", base, None));
        assert_eq!(of(PodController::Job, &[(JOB, job.clone()), cron_job(Some("4"))]).await, by(4));
        assert_eq!(of(PodController::Job, &[(JOB, job), cron_job(None)]).await, by(6));
    }

    #[tokio::test]
    async fn a_hundred_pods_at_once_cost_one_look_up_and_a_stale_answer_another() {
        let api = FakeApi::new(&[(REPLICA_SET, object("rs", Some("5"), None))]);
        let mut governance = with(&api);
        let (owner, pod) = (owner(), Marks::default());
        let all = futures::future::join_all(
            (0..100).map(|_| governance.of("shop", (&owner, PodController::ReplicaSet), &pod)),
        )
        .await;
        assert!(all.iter().all(|found| *found == by(5)));
        assert_eq!(api.asked().len(), 2, "the ReplicaSet and its namespace");
        governance.memory = Memory::of_nothing();
        governance.of("shop", (&owner, PodController::ReplicaSet), &pod).await;
        assert_eq!(api.asked().len(), 3, "the ReplicaSet anew; the namespace was read within the second");
    }

    #[tokio::test]
    async fn an_api_server_that_fails_leaves_the_pod_alone_and_is_not_stormed() {
        let api = FakeApi::failing();
        let governance = with(&api);
        for _ in 0..10 {
            assert_eq!(
                governance.of("shop", (&owner(), PodController::ReplicaSet), &Marks::default()).await,
                Governed::Unknown
            );
        }
        assert_eq!(api.asked().len(), 1);
    }

    #[tokio::test]
    async fn pods_of_one_controller_are_judged_by_the_marks_of_each() {
        let api = FakeApi::new(&[(REPLICA_SET, object("rs", None, None)), (NAMESPACE, object("n", None, None))]);
        let governance = with(&api);
        let of = |pod| {
            let governance = &governance;
            async move { governance.of("shop", (&owner(), PodController::ReplicaSet), &pod).await }
        };
        let mut worker = Marks::default();
        worker.labels.insert("app".to_owned(), "web".to_owned());
        assert_eq!((of(Marks::default()).await, of(worker).await), (Governed::No, by(8)));
    }
}

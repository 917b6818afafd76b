//! AWS Fargate, through ECS.
//!
//! - **Creation** is idempotent by `clientToken`, made of the pod's UID and of what is asked for; `startedBy` is the UID,
//!   by which an attempt whose answer was lost is looked up. After a refusal the token is another one.
//! - **Whose it is** stands in tags. Tasks that have stopped stay listed for an hour and are not billed: those that were
//!   asked to end are left out.
//! - **Definitions** are shared by pods of one template (registering is limited to one a second).
//! - ECS tells neither stock nor usage. Logs are in `CloudWatch`, where the pool names a group for them.

mod client;
mod error;
mod identity;
mod logs;
mod request;
mod service;
mod sizes;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use burstlet_engine::model::Capabilities;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use self::client::{Client, PAGE, Task};
pub use self::{
    request::Request,
    sizes::{Chosen, is_size, round_up},
};
use super::{
    credentials::KeyStore,
    fleet::{Api, Fleet, Found, Pace, places},
    log::{Reads, Window},
};
use crate::{
    api::pool::aws_fargate::AwsFargate,
    provider::{Exec, ExitStatus, Instance, InstanceId, InstanceState, Owner, ProviderError},
};

/// Reason of tasks that are stopped on request.
const REASON: &str = "burstlet: the pod is deleted";

/// The capacity provider of tasks that may be taken back.
const SPOT: &str = "FARGATE_SPOT";

/// The provider.
pub type Fargate = Fleet<FargateApi>;

/// ECS, one call at a time.
#[derive(Debug)]
pub struct FargateApi {
    settings: AwsFargate,
    client: Client,
    /// Families that are registered. Held while one is, so that each is registered once.
    definitions: tokio::sync::Mutex<BTreeSet<String>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Refusals by UID: each makes the next token another one.
    attempts: BTreeMap<String, u32>,
    /// UIDs of attempts without an answer.
    uncertain: BTreeSet<String>,
    /// UIDs that were tried, or listed, and not deleted since.
    tried: BTreeSet<String>,
    /// Whether all tasks were listed since the start: only then a pod that was never tried has none.
    listed: bool,
    /// Tasks whose end was asked for.
    ended: BTreeSet<String>,
    /// Stopped tasks, which change no more; `None` for those of others.
    stopped: BTreeMap<String, Option<Found>>,
}

impl Fargate {
    /// The provider of a pool, listing at `pace`. Fails where a field is beyond its limit.
    pub fn with_keys(settings: AwsFargate, keys: Arc<dyn KeyStore>, pace: Pace) -> Result<Self, ProviderError> {
        ProviderError::refuse_faulty(settings.faults())?;
        let places = places(settings.subnet_ids.len(), settings.subnet_order);
        let client = Client::new(&settings, keys)?;
        let api = FargateApi { settings, client, definitions: tokio::sync::Mutex::default(), state: Mutex::default() };
        Ok(Self::new(api, places, pace))
    }
}

impl FargateApi {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pod's tasks that were not asked to end, those that run first.
    async fn tasks_of(&self, owner: &Owner) -> Result<Vec<Found>, ProviderError> {
        let mut found = Vec::new();
        for status in ["RUNNING", "STOPPED"] {
            let arns = self.client.arns(status, Some(&owner.uid)).await?;
            for arns in arns.chunks(PAGE) {
                found.extend(self.client.describe(arns).await?.iter().filter_map(|task| self.found(task)));
            }
        }
        found.retain(|found| found.instance.owner.uid == owner.uid && found.instance.owner.cluster == owner.cluster);
        found.sort_by(|a, b| {
            let key =
                |found: &Found| (found.instance.state.is_finished(), found.created.clone(), found.instance.id.clone());
            key(a).cmp(&key(b))
        });
        Ok(found)
    }

    fn log_group(&self) -> Result<&str, ProviderError> {
        let text = "the pool keeps no logs: name a group of CloudWatch in its field logGroup, for pods to come";
        self.settings.log_group.as_deref().ok_or_else(|| ProviderError::Unsupported(text.to_owned()))
    }

    async fn lookup(&self, owner: &Owner) -> Result<Option<Found>, ProviderError> {
        Ok(self.tasks_of(owner).await?.into_iter().next())
    }

    async fn define(&self, request: &Request) -> Result<(), ProviderError> {
        let mut definitions = self.definitions.lock().await;
        if !definitions.contains(&request.family) {
            self.client.define(&request.family, &request.definition).await?;
            definitions.insert(request.family.clone());
        }
        Ok(())
    }

    /// The instance of a task that is burstlet's and still of interest.
    fn found(&self, task: &Task) -> Option<Found> {
        let has_stopped = task.last_status == "STOPPED";
        let was_asked = task.stopped_reason == REASON || self.state().ended.contains(&task.arn);
        if has_stopped && was_asked {
            return None;
        }
        let tag = |key: &str| task.tags.iter().find(|tag| tag.key == key).map(|tag| tag.value.clone());
        let owner = Owner {
            cluster: tag(request::TAG_CLUSTER)?,
            node: tag(request::TAG_NODE)?,
            namespace: tag(request::TAG_NAMESPACE)?,
            name: tag(request::TAG_NAME)?,
            uid: tag(request::TAG_UID)?,
        };
        let details = task.attachments.iter().flat_map(|attachment| &attachment.details);
        let attached = details.filter(|detail| detail.name == "privateIPv4Address").map(|detail| &detail.value);
        let interfaces = task.containers.iter().flat_map(|container| &container.network_interfaces);
        let mut addresses = attached.chain(interfaces.map(|interface| &interface.private_ipv4_address));
        let instance = Instance {
            id: InstanceId(task.arn.clone()),
            owner,
            state: state(task),
            ip: addresses.find_map(|address| address.parse().ok()),
            containers: Vec::new(),
        };
        // Some two minutes before a spot task ends, ECS wants it stopped although nobody here asked for it.
        let is_to_stop = task.desired_status == "STOPPED" && !has_stopped && !was_asked;
        let is_taken = is_to_stop && task.capacity_provider_name == SPOT;
        let notice = is_taken.then(|| "ECS stops the task, whose capacity is taken back".to_owned());
        Some(Found { instance, created: format!("{:020.3}", task.created_at), notice })
    }
}

#[async_trait]
impl Api for FargateApi {
    type Request = Request;

    fn name(&self) -> &'static str {
        "aws-fargate"
    }

    fn capabilities(&self) -> Capabilities {
        self.settings.capabilities()
    }

    fn translate(&self, owner: &Owner, pod: &Pod) -> Result<Request, ProviderError> {
        request::translate(&self.settings, owner, pod)
    }

    fn size(&self, request: &Request) -> String {
        request.size.to_string()
    }

    fn log_reads(&self) -> Result<Reads, ProviderError> {
        self.log_group().map(|_| logs::READS)
    }

    async fn log(
        &self,
        _: &Owner,
        instance: &InstanceId,
        container: &str,
        window: Window,
    ) -> Result<String, ProviderError> {
        logs::window(&self.client, self.log_group()?, instance, container, window).await
    }

    /// ECS answers with a session of Session Manager, whose protocol is not spoken here.
    async fn exec(&self, _: &Owner, instance: &InstanceId, exec: Exec) -> Result<ExitStatus, ProviderError> {
        Err(ProviderError::Unsupported(format!(
            "ECS runs commands over Session Manager's own protocol; use aws ecs execute-command --interactive --cluster {} \
             --task {instance} --container {} --command COMMAND",
            self.settings.cluster, exec.container
        )))
    }

    async fn find(&self, owner: &Owner) -> Result<Option<Found>, ProviderError> {
        let is_certain = {
            let state = self.state();
            state.listed && !state.tried.contains(&owner.uid)
        };
        if is_certain { Ok(None) } else { self.lookup(owner).await }
    }

    async fn create(&self, owner: &Owner, request: &Request, place: Option<usize>) -> Result<Instance, ProviderError> {
        self.define(request).await?;
        let subnet = place.and_then(|place| self.settings.subnet_ids.get(place)).map_or("", String::as_str);
        let mut task = request::run_task(&self.settings, owner, request, subnet);
        let attempt = self.state().attempts.get(&owner.uid).copied().unwrap_or(0);
        task["clientToken"] = json!(request::hash(&format!("{attempt} {task}")));
        {
            let mut state = self.state();
            state.uncertain.insert(owner.uid.clone());
            state.tried.insert(owner.uid.clone());
        }
        let outcome = self.client.run(&task).await;
        let mut state = self.state();
        match &outcome {
            Ok(_) => {
                state.uncertain.remove(&owner.uid);
                state.attempts.remove(&owner.uid);
            }
            Err(ProviderError::Unavailable(_)) => {}
            Err(error) => {
                if !matches!(error, ProviderError::Throttled { .. }) {
                    *state.attempts.entry(owner.uid.clone()).or_default() += 1;
                }
                state.uncertain.remove(&owner.uid);
            }
        }
        drop(state);
        let task = outcome?;
        tracing::debug!(pod = %owner.name, namespace = %owner.namespace, arn = %task.arn, size = %request.size, "task started");
        let id = InstanceId(task.arn.clone());
        Ok(Instance { id, owner: owner.clone(), state: InstanceState::Pending, ip: None, containers: Vec::new() })
    }

    /// Fargate gives containers `stopTimeout` of their definition, 30 s where it has none.
    async fn delete(&self, owner: &Owner, known: Option<&Instance>, _grace: Duration) -> Result<(), ProviderError> {
        let is_uncertain = self.state().uncertain.contains(&owner.uid);
        let ids = match known.filter(|_| !is_uncertain) {
            Some(known) => vec![known.id.clone()],
            None => self.tasks_of(owner).await?.into_iter().map(|found| found.instance.id).collect(),
        };
        for id in ids {
            self.client.stop(&id.0, REASON).await?;
            self.state().ended.insert(id.0);
        }
        let mut state = self.state();
        state.uncertain.remove(&owner.uid);
        state.tried.remove(&owner.uid);
        state.attempts.remove(&owner.uid);
        Ok(())
    }

    async fn delete_copy(&self, copy: &Instance) -> Result<(), ProviderError> {
        self.client.stop(&copy.id.0, REASON).await?;
        self.state().ended.insert(copy.id.0.clone());
        Ok(())
    }

    async fn list(&self, cluster: &str) -> Result<Vec<Found>, ProviderError> {
        let mut arns = self.client.arns("RUNNING", None).await?;
        arns.extend(self.client.arns("STOPPED", None).await?);
        let arns = arns.into_iter().collect::<BTreeSet<_>>();
        let (mut all, unknown) = {
            let mut state = self.state();
            state.stopped.retain(|arn, _| arns.contains(arn));
            state.ended.retain(|arn| arns.contains(arn));
            let all = arns.iter().filter_map(|arn| state.stopped.get(arn)).flatten();
            let all = all.filter(|found| !state.ended.contains(&found.instance.id.0)).cloned().collect::<Vec<_>>();
            let unknown = arns.iter().filter(|arn| !state.stopped.contains_key(*arn)).cloned().collect::<Vec<_>>();
            (all, unknown)
        };
        for arns in unknown.chunks(PAGE) {
            for task in self.client.describe(arns).await? {
                let found = self.found(&task);
                if task.last_status == "STOPPED" {
                    self.state().stopped.insert(task.arn, found.clone());
                }
                all.extend(found);
            }
        }
        let mut state = self.state();
        state.listed = true;
        state.tried.extend(all.iter().map(|found| found.instance.owner.uid.clone()));
        drop(state);
        all.retain(|found| found.instance.owner.cluster == cluster);
        Ok(all)
    }
}

fn state(task: &Task) -> InstanceState {
    match task.last_status.as_str() {
        "RUNNING" | "DEACTIVATING" | "STOPPING" | "DEPROVISIONING" => InstanceState::Running,
        "STOPPED" => {
            let failed = task.containers.iter().find(|container| container.exit_code != Some(0));
            let (true, None) = (task.stop_code == "EssentialContainerExited", failed) else {
                let reason = if error::is_shortage(&task.stopped_reason) { "NoStock" } else { task.stop_code.as_str() };
                let detail = failed.map_or("", |container| container.reason.as_str());
                return InstanceState::Failed {
                    reason: if reason.is_empty() { "Error" } else { reason }.to_owned(),
                    message: format!("{} {detail}", task.stopped_reason).trim().to_owned(),
                    exit_code: failed.and_then(|container| container.exit_code).unwrap_or(1),
                };
            };
            InstanceState::Succeeded
        }
        _ => InstanceState::Pending,
    }
}

//! Kingsoft Cloud's Container Instances (KCI), version 2020-07-02.
//!
//! - **Creation** has no token that makes it idempotent: the instance's name ends with the pod's UID and is looked up
//!   first, under a lock for that pod. Should a request arrive twice all the same, the next listing takes the second
//!   instance away.
//! - **Whose it is** stands in labels: Kingsoft's `cluster-id`, `namespace` and `pod-name`, and burstlet's own.
//! - **Changes** are found by listing, 100 instances a call. The API tells neither prices, nor stock, nor usage.
//! - **Service addresses** are not reached: see [`KingsoftKci::kube_proxy`].
//! - **Bandwidth** annotations have no parameter of their own in the API; they are checked and travel as labels.

mod client;
mod error;
mod request;
mod sizes;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use burstlet_engine::model::Capabilities;
use k8s_openapi::api::core::v1::Pod;

use self::client::{Client, Group};
pub use self::{
    request::{CPU, KUBE_PROXY, MEMORY, Request, SECURITY_GROUPS, SUBNET, name_of},
    sizes::{Chosen, Sizes},
};
use super::{
    credentials::KeyStore,
    exec,
    fleet::{Api, Choice, Fleet, Found, Pace, places},
    log::{Reads, Window},
};
use crate::{
    api::pool::kingsoft_kci::KingsoftKci,
    provider::{Exec, ExitStatus, Instance, InstanceId, InstanceState, Owner, ProviderError},
};

/// Most lines of a log that are told at once.
const MOST_LOG_LINES: usize = 2000;

/// The provider.
pub type Kci = Fleet<KciApi>;

/// KCI, one call at a time.
#[derive(Debug)]
pub struct KciApi {
    settings: KingsoftKci,
    sizes: Sizes,
    client: Client,
}

impl Kci {
    /// The provider of a pool, listing at `pace`. Fails where a field is beyond its limit.
    pub fn with_keys(settings: KingsoftKci, keys: Arc<dyn KeyStore>, pace: Pace) -> Result<Self, ProviderError> {
        ProviderError::refuse_faulty(settings.faults())?;
        let places = places(settings.subnet_ids.len(), settings.subnet_order);
        let client = Client::new(&settings, keys)?;
        let sizes = Sizes::new(&settings.sizes);
        Ok(Self::new(KciApi { settings, sizes, client }, places, pace))
    }

    /// The size that `pod` is rounded up to.
    pub fn size_of(&self, owner: &Owner, pod: &Pod) -> Result<Chosen, ProviderError> {
        Ok(self.api().translate(owner, pod)?.size)
    }
}

impl KciApi {
    async fn all_of(&self, owner: &Owner) -> Result<Vec<Found>, ProviderError> {
        let groups = self.client.describe(Some(&name_of(owner))).await?;
        let mut found = groups.iter().filter_map(found).collect::<Vec<_>>();
        found.retain(|found| found.instance.owner.uid == owner.uid && found.instance.owner.cluster == owner.cluster);
        found.sort_by(|a, b| (&a.created, &a.instance.id).cmp(&(&b.created, &b.instance.id)));
        Ok(found)
    }
}

#[async_trait]
impl Api for KciApi {
    type Request = Request;

    fn name(&self) -> &'static str {
        "kingsoftcloud"
    }

    fn capabilities(&self) -> Capabilities {
        self.settings.capabilities()
    }

    fn translate(&self, owner: &Owner, pod: &Pod) -> Result<Request, ProviderError> {
        request::translate(&self.settings, &self.sizes, owner, pod)
    }

    fn size(&self, request: &Request) -> String {
        request.size.to_string()
    }

    /// The API tells no times of lines.
    fn log_reads(&self) -> Result<Reads, ProviderError> {
        Ok(Reads { most: MOST_LOG_LINES, has_times: false, has_previous: false })
    }

    async fn log(
        &self,
        _owner: &Owner,
        instance: &InstanceId,
        container: &str,
        window: Window,
    ) -> Result<String, ProviderError> {
        self.client.log(&instance.0, container, window.lines).await
    }

    async fn exec(&self, _owner: &Owner, instance: &InstanceId, exec: Exec) -> Result<ExitStatus, ProviderError> {
        let Exec { container, command, streams } = exec;
        let address = self.client.exec(&instance.0, &container, &command, streams.tty).await?;
        exec::run(self.client.http(), &address, exec::Dialect::Channels, streams).await
    }

    fn choice(&self, request: &Request) -> Choice {
        let Some(subnet) = &request.subnet else { return Choice::Any };
        match self.settings.subnet_ids.iter().position(|known| known == subnet) {
            Some(place) => Choice::Among(vec![place]),
            None => Choice::Own,
        }
    }

    async fn find(&self, owner: &Owner) -> Result<Option<Found>, ProviderError> {
        let mut found = self.all_of(owner).await?;
        let running = found.iter().position(|found| !found.instance.state.is_finished()).unwrap_or(0);
        Ok((!found.is_empty()).then(|| found.swap_remove(running)))
    }

    async fn create(&self, owner: &Owner, request: &Request, place: Option<usize>) -> Result<Instance, ProviderError> {
        let subnet = match place {
            Some(place) => self.settings.subnet_ids.get(place),
            None => request.subnet.as_ref(),
        };
        let id = self.client.create(&request.params, subnet.map(String::as_str).unwrap_or_default()).await?;
        tracing::debug!(pod = %owner.name, namespace = %owner.namespace, %id, size = %request.size, "instance created");
        Ok(Instance {
            id: InstanceId(id),
            owner: owner.clone(),
            state: InstanceState::Pending,
            ip: None,
            containers: Vec::new(),
        })
    }

    /// KCI stops containers in its own time: the API has no grace period.
    async fn delete(&self, owner: &Owner, _known: Option<&Instance>, _grace: Duration) -> Result<(), ProviderError> {
        for found in self.all_of(owner).await? {
            self.client.delete(&found.instance.id.0).await?;
        }
        Ok(())
    }

    async fn delete_copy(&self, copy: &Instance) -> Result<(), ProviderError> {
        self.client.delete(&copy.id.0).await
    }

    async fn list(&self, cluster: &str) -> Result<Vec<Found>, ProviderError> {
        let groups = self.client.describe(None).await?;
        Ok(groups.iter().filter_map(found).filter(|found| found.instance.owner.cluster == cluster).collect())
    }
}

/// The instance of a group that is burstlet's.
fn found(group: &Group) -> Option<Found> {
    let label = |key: &str| group.labels.iter().find(|label| label.key == key).map(|label| label.value.clone());
    let owner = Owner {
        cluster: label(request::LABEL_CLUSTER)?,
        node: label(request::LABEL_NODE)?,
        namespace: label(request::LABEL_NAMESPACE)?,
        name: label(request::LABEL_NAME)?,
        uid: label(request::LABEL_UID)?,
    };
    if group.container_group_name != name_of(&owner) {
        return None;
    }
    let mut addresses = group.network_interface_attributes.iter().filter_map(|one| one.private_ip_address.as_deref());
    let instance = Instance {
        id: InstanceId(group.container_group_id.clone()),
        owner,
        state: state(group),
        ip: addresses.find_map(|text| text.parse().ok()),
        containers: Vec::new(),
    };
    Some(Found { instance, created: group.create_time.clone(), notice: None })
}

fn state(group: &Group) -> InstanceState {
    match group.status.as_str() {
        "Running" => InstanceState::Running,
        "Succeeded" => InstanceState::Succeeded,
        "Failed" => {
            let states = group.containers.iter().map(|container| &container.current_state);
            let failed = states.filter(|state| state.exit_code != Some(0)).max_by_key(|state| !state.reason.is_empty());
            let text = |of: fn(&client::State) -> &String, default: &str| {
                failed.map(of).filter(|text| !text.is_empty()).map_or_else(|| default.to_owned(), Clone::clone)
            };
            InstanceState::Failed {
                reason: text(|state| &state.reason, "Error"),
                message: text(|state| &state.message, "the instance has failed"),
                exit_code: failed.and_then(|state| state.exit_code).unwrap_or(1),
            }
        }
        _ => InstanceState::Pending,
    }
}

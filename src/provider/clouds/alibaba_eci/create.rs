//! Creation: one pod, one instance, whatever is lost on the way.
//!
//! A request whose answer is not known is sent again as it was, with its token, until it is. Only a shortage, which
//! proves that nothing was made, leads on to the next place or alternative, with a token of its own. A token that was
//! used with other parameters (the pod's labels changed meanwhile) says that an instance may stand: it is looked up by
//! the pod's UID.

use std::sync::Arc;

use super::{
    client::Eci,
    error::CallError,
    ledger::{Attempt, Seen, Slot, token},
    signing::Parameters,
    size,
    translate::{Asked, Resolved, invalid, translate},
    wire::{Created, Done},
};
use crate::{
    api::names,
    provider::{Instance, InstanceId, InstanceState, Owner, ProviderError, capabilities::hold},
};
use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;

impl Eci {
    /// [`Provider::create`](crate::provider::Provider::create) with the content of the pod's ConfigMaps and Secrets.
    pub async fn create_resolved(
        &self,
        owner: &Owner,
        pod: &Pod,
        resolved: &Resolved,
    ) -> Result<Instance, ProviderError> {
        let slot = self.ledger.slot(&owner.uid);
        let mut slot = slot.lock().await;
        if let Some(id) = &slot.group {
            return Ok(self.ledger.seen(id).map_or_else(|| fresh(owner, id), |seen| seen.instance));
        }
        hold(pod, &self.settings.capabilities())?;
        let asked = translate(owner, pod, &self.settings, self.kubeconfig.as_deref(), resolved)?;
        let asked = Arc::new(asked);
        slot.asked = Some(asked.clone());
        let created = self.obtain(owner, &asked, &mut slot).await;
        created.map_err(|error| match error {
            ProviderError::NoStock(text) | ProviderError::QuotaExceeded(text) if asked.fails_fast => {
                ProviderError::Invalid(format!("{text}; the pod asks to fail fast"))
            }
            other => other,
        })
    }

    /// Asks in one place after the other until an instance stands.
    pub(super) async fn obtain(
        &self,
        owner: &Owner,
        asked: &Asked,
        slot: &mut Slot,
    ) -> Result<Instance, ProviderError> {
        let mut refused = None;
        let mut ways = self.ways(owner, asked).into_iter();
        loop {
            let attempt = match slot.pending.clone() {
                Some(attempt) => attempt,
                None => match ways.next() {
                    Some((place, alternative)) => {
                        let token = token(owner, place, alternative, slot.spent);
                        Attempt { place, alternative, token, since: None }
                    }
                    None => return Err(refused.unwrap_or_else(no_place)),
                },
            };
            if slot.pending.is_none()
                && refused.is_some()
                && attempt.place.is_some_and(|place| !self.places.is_open(place))
            {
                // Another pod met the shortage meanwhile.
                continue;
            }
            let mut attempt = attempt;
            slot.pending = Some(attempt.clone());
            let answer = self.ask(asked, &mut attempt).await;
            slot.pending = Some(attempt.clone());
            match answer {
                Ok(created) => return Ok(self.stands(owner, asked, &attempt, &created, slot)),
                Err(CallError::Short(text)) => {
                    slot.pending = None;
                    slot.spent += 1;
                    if let Some(place) = attempt.place
                        && attempt.alternative + 1 == asked.alternatives.len()
                    {
                        self.places.is_short(place);
                    }
                    refused = Some(ProviderError::NoStock(text));
                }
                Err(CallError::TokenUsed(text)) => {
                    if let Some(id) = self.find(owner).await?.into_iter().next() {
                        slot.pending = None;
                        slot.group = Some(id.clone());
                        return Ok(fresh(owner, &id));
                    }
                    // Nothing stands: the token is of an instance that has ended.
                    slot.pending = None;
                    slot.spent += 1;
                    tracing::debug!(pod = %owner.name, %text, "a token is spent");
                    let token = token(owner, attempt.place, attempt.alternative, slot.spent);
                    slot.pending = Some(Attempt { token, since: None, ..attempt });
                }
                Err(CallError::Other(error)) => {
                    // Silence may hide an instance; every other refusal says that there is none.
                    if !matches!(error, ProviderError::Unavailable(_)) {
                        slot.pending = None;
                    }
                    // A quota is the account's or the security group's: no zone takes the next pod.
                    if matches!(error, ProviderError::QuotaExceeded(_)) {
                        self.places.are_all_short();
                    }
                    return Err(error);
                }
                Err(other) => {
                    slot.pending = None;
                    return Err(other.into_provider());
                }
            }
        }
    }

    /// Places and alternatives in the order in which they are tried: every place for the best alternative first.
    fn ways(&self, owner: &Owner, asked: &Asked) -> Vec<(Option<usize>, usize)> {
        let alternatives = 0..asked.alternatives.len();
        if asked.own_place.is_some() {
            return alternatives.map(|alternative| (None, alternative)).collect();
        }
        let places = self.places.candidates_for(&owner.uid);
        alternatives.flat_map(|alternative| places.iter().map(move |place| (Some(*place), alternative))).collect()
    }

    async fn ask(&self, asked: &Asked, attempt: &mut Attempt) -> Result<Created, CallError> {
        let mut parameters = asked.parameters.clone();
        let alternative = asked.alternatives.get(attempt.alternative).or_else(|| asked.alternatives.first());
        parameters.extend(alternative.into_iter().flat_map(|alternative| alternative.parameters.clone()));
        if let Some(zone) = attempt.place.and_then(|place| self.settings.zones.get(place)) {
            parameters.insert("VSwitchId".to_owned(), zone.v_switch_id.clone());
            if let Some(id) = &zone.zone_id {
                parameters.insert("ZoneId".to_owned(), id.clone());
            }
        }
        parameters.extend(asked.own_place.clone().unwrap_or_default());
        parameters.insert("ClientToken".to_owned(), attempt.token.clone());
        self.api.call_timed("CreateContainerGroup", &parameters, &mut attempt.since).await
    }

    fn stands(&self, owner: &Owner, asked: &Asked, attempt: &Attempt, created: &Created, slot: &mut Slot) -> Instance {
        if let Some(place) = attempt.place {
            self.places.has_room(place);
        }
        slot.pending = None;
        slot.group = Some(created.container_group_id.clone());
        let alternative = asked.alternatives.get(attempt.alternative);
        let size = alternative.map(|alternative| alternative.size).unwrap_or_default();
        let needed = alternative.map(|alternative| alternative.needed).unwrap_or_default();
        let is_spot = alternative.is_some_and(|alternative| alternative.is_spot);
        slot.notes = [
            ("k8s.aliyun.com/eci-instance-id", created.container_group_id.clone()),
            ("k8s.aliyun.com/eci-instance-spec", size::shown(size)),
            ("k8s.aliyun.com/eci-request-id", created.request_id.clone()),
            (names::INSTANCE_ID, created.container_group_id.clone()),
            (names::INSTANCE_SIZE, size::told(needed, size)),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        let instance = fresh(owner, &created.container_group_id);
        self.meter.begin(&created.container_group_id, size, attempt.since.unwrap_or_else(Instant::now));
        let pending_until = asked.longest_pending.map(|longest| Instant::now() + longest);
        let seen = Seen { instance: instance.clone(), pending_until, is_spot, is_replaced: false, was_listed: false };
        self.ledger.see(seen);
        instance
    }

    /// A group that found no machine after all is replaced by another one, in another place, as long as the pod is
    /// known. `false` where it is not: then the pod fails.
    pub(super) async fn replace(&self, owner: &Owner, id: &str) -> bool {
        let slot = self.ledger.slot(&owner.uid);
        let Ok(mut slot) = slot.try_lock() else { return true };
        if slot.group.as_deref() != Some(id) {
            return slot.group.is_some() || slot.pending.is_some();
        }
        let Some(asked) = slot.asked.clone().filter(|asked| !asked.fails_fast) else { return false };
        if let Some(place) = self.place_of(id).await {
            self.places.is_short(place);
        }
        if self.remove(id).await.is_err() {
            return true;
        }
        slot.group = None;
        slot.spent += 1;
        let (pod, from) = (&owner.name, id);
        match self.obtain(owner, &asked, &mut slot).await {
            Ok(instance) => {
                tracing::info!(%pod, %from, to = %instance.id, "no stock came late; asked again");
            }
            Err(error) => {
                tracing::warn!(%pod, %from, %error, "no stock came late, and nowhere else is any");
            }
        }
        slot.group.is_some() || slot.pending.is_some()
    }

    /// The pool's place that a group stands in.
    async fn place_of(&self, id: &str) -> Option<usize> {
        let group = self.describe(&[id.to_owned()]).await.ok()?.into_iter().next()?;
        let vswitch = group.v_switch_id?;
        self.settings.zones.iter().position(|zone| zone.v_switch_id == vswitch)
    }

    /// Deletes a group; one that does not exist is deleted.
    pub(super) async fn remove(&self, id: &str) -> Result<(), ProviderError> {
        let parameters = Parameters::from([("ContainerGroupId".to_owned(), id.to_owned())]);
        let mut sent = None;
        match self.api.call_timed::<Done>("DeleteContainerGroup", &parameters, &mut sent).await {
            Ok(_) | Err(CallError::NotFound(_)) => {
                self.meter.end(id, sent.unwrap_or_else(Instant::now));
                Ok(())
            }
            Err(error) => Err(error.into_provider()),
        }
    }
}

fn no_place() -> ProviderError {
    ProviderError::NoStock(
        "alibaba-eci: every zone of the pool was short of machines, addresses or quota lately".to_owned(),
    )
}

/// An instance that has just been accepted.
pub(super) fn fresh(owner: &Owner, id: &str) -> Instance {
    Instance {
        id: InstanceId(id.to_owned()),
        owner: owner.clone(),
        state: InstanceState::Pending,
        ip: None,
        containers: Vec::new(),
    }
}

/// Takes tags apart into the owner that they name.
pub(super) fn owner_of(tags: &[super::wire::Tag]) -> Result<Owner, ProviderError> {
    use super::translate::tag;
    let find = |key: &str| tags.iter().find(|tag| tag.key == key).map(|tag| tag.value.clone());
    let needed = |key: &str| find(key).ok_or_else(|| invalid(format!("an instance has no tag {key}")));
    Ok(Owner {
        cluster: needed(tag::CLUSTER)?,
        node: needed(tag::NODE)?,
        namespace: needed(tag::NAMESPACE)?,
        name: needed(tag::POD)? + &find(tag::POD_REST).unwrap_or_default(),
        uid: needed(tag::UID)?,
    })
}

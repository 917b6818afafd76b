//! What stands: lists in batches, changes by comparing them, metrics, logs, prices.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use tokio::{sync::mpsc, time::Instant};

use super::{
    client::Eci,
    create::owner_of,
    error::CallError,
    ledger::Seen,
    logs::ContainerLog,
    signing::Parameters,
    size::{self, resources},
    status,
    translate::tag,
    wire::{Executed, Group, GroupStatus, Groups, Metrics, Monitored, Prices, Statuses, VSwitchAttributes},
};
use crate::provider::{
    Exec, ExitStatus, Instance, InstanceChange, InstanceId, InstanceState, Owner, ProviderError, ReclaimNotice, Usage,
    clouds::{Resources, exec},
};

/// Ids that one call takes.
const BATCH: usize = 20;
/// Statuses on a page.
const PAGE: u32 = 200;
/// Calls that are under way at a time.
const AT_ONCE: usize = 4;
/// How long a count of addresses is believed.
const ADDRESSES_FRESH: Duration = Duration::from_secs(30);

/// What an instance of a size costs.
#[derive(Debug, Clone, PartialEq)]
pub struct SecondPrice {
    /// Such as `CNY`.
    pub currency: String,
    /// For a second.
    pub amount: f64,
}

fn parameters(pairs: &[(&str, &str)]) -> Parameters {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn ids_text(ids: &[String]) -> String {
    serde_json::json!(ids).to_string()
}

impl Eci {
    /// All groups with this tag, page by page.
    async fn statuses(&self, key: &str, value: &str) -> Result<Vec<GroupStatus>, ProviderError> {
        let mut all = Vec::new();
        let mut asked = parameters(&[("Tag.1.Key", key), ("Tag.1.Value", value), ("Limit", &PAGE.to_string())]);
        loop {
            let page: Statuses =
                self.api.call("DescribeContainerGroupStatus", &asked).await.map_err(CallError::into_provider)?;
            all.extend(page.data);
            match page.next_token.filter(|token| !token.is_empty()) {
                Some(token) => drop(asked.insert("NextToken".to_owned(), token)),
                None => return Ok(all),
            }
        }
    }

    /// Ids of the groups that stand for a pod: one, or none.
    pub(super) async fn find(&self, owner: &Owner) -> Result<Vec<String>, ProviderError> {
        let groups = self.statuses(tag::UID, &owner.uid).await?;
        let standing = groups.into_iter().filter(|group| group.status != "Terminating");
        Ok(standing.map(|group| group.container_group_id).collect())
    }

    /// Groups in full.
    pub(super) async fn describe(&self, ids: &[String]) -> Result<Vec<Group>, ProviderError> {
        let batches = ids
            .chunks(BATCH)
            .map(|batch| parameters(&[("ContainerGroupIds", &ids_text(batch)), ("Limit", &BATCH.to_string())]));
        let batches = batches.collect::<Vec<_>>();
        let calls = stream::iter(batches)
            .map(|asked| async move { self.api.call::<Groups>("DescribeContainerGroups", &asked).await });
        let answers = calls.buffered(AT_ONCE).collect::<Vec<_>>().await;
        let groups = answers.into_iter().map(|answer| Ok(answer.map_err(CallError::into_provider)?.container_groups));
        Ok(groups.collect::<Result<Vec<_>, ProviderError>>()?.concat())
    }

    /// All instances of `cluster`. Statuses come in pages of 200; only those not known yet are read in full.
    pub(super) async fn look(&self, cluster: &str) -> Result<Vec<Instance>, ProviderError> {
        let looked = self.look_at_all(cluster).await;
        let fault = looked.as_ref().err().cloned().map(ProviderError::lasting);
        *self.list_fault.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = fault;
        looked
    }

    async fn look_at_all(&self, cluster: &str) -> Result<Vec<Instance>, ProviderError> {
        let statuses = self.statuses(tag::CLUSTER, cluster).await?;
        self.learn(&statuses).await?;
        let has_started = |group: &GroupStatus| {
            let seen = self.ledger.seen(&group.container_group_id)?;
            let starts =
                seen.instance.state == InstanceState::Pending && status::state(group) == InstanceState::Running;
            starts.then_some(seen)
        };
        let started = statuses.iter().filter_map(has_started).collect::<Vec<_>>();
        // Before anybody hears that they run: the annotations go into the same write as the status.
        self.note(&started).await;
        let mut instances = Vec::new();
        for group in &statuses {
            let Some(mut seen) = self.ledger.seen(&group.container_group_id) else { continue };
            seen.instance.state = status::state(group);
            seen.instance.ip = status::address(group).or(seen.instance.ip);
            if group.status == "ScheduleFailed" {
                self.meter.cancel(&group.container_group_id);
            } else if seen.instance.state.is_finished() {
                self.meter.end(&group.container_group_id, Instant::now());
            }
            if group.status == "ScheduleFailed" && !seen.is_replaced {
                if self.replace(&seen.instance.owner, &group.container_group_id).await {
                    // Its successor is the pod's instance from now on.
                    seen.is_replaced = true;
                } else {
                    self.ledger.see(seen.clone());
                }
            }
            if seen.instance.state == InstanceState::Pending
                && seen.pending_until.is_some_and(|until| until <= Instant::now())
            {
                seen.instance.state = self.give_up(&group.container_group_id).await;
            }
            if seen.is_replaced {
                self.ledger.see(seen);
                continue;
            }
            self.ledger.see(seen.clone());
            instances.push(seen.instance);
        }
        let listed = statuses.iter().map(|group| group.container_group_id.as_str()).collect::<BTreeSet<_>>();
        for id in self.ledger.retain(cluster, |id| listed.contains(id)) {
            self.meter.end(&id, Instant::now());
        }
        Ok(instances)
    }

    /// Ends a group that has been pending for longer than its pod allows.
    async fn give_up(&self, id: &str) -> InstanceState {
        if let Err(error) = self.remove(id).await {
            tracing::warn!(group = %id, %error, "pending for too long, and not deleted yet");
            return InstanceState::Pending;
        }
        InstanceState::Failed {
            reason: "PendingTooLong".to_owned(),
            message: "alibaba-eci: pending for longer than k8s.aliyun.com/eci-max-pending-minute".to_owned(),
            exit_code: 1,
        }
    }

    /// Reads the groups that are new to this process, such as after its start.
    async fn learn(&self, statuses: &[GroupStatus]) -> Result<(), ProviderError> {
        let is_new = |id: &String| self.ledger.seen(id).is_none();
        let new = statuses.iter().map(|group| group.container_group_id.clone()).filter(is_new).collect::<Vec<_>>();
        for group in self.describe(&new).await? {
            let owner = match owner_of(&group.tags) {
                Ok(owner) => owner,
                Err(error) => {
                    tracing::warn!(group = %group.container_group_id, %error, "left alone");
                    continue;
                }
            };
            let slot = self.ledger.slot(&owner.uid);
            if let Ok(mut slot) = slot.try_lock() {
                slot.group.get_or_insert_with(|| group.container_group_id.clone());
                slot.notes.extend(notes(&group));
            }
            self.meter.begin(&group.container_group_id, size_of(&group), since(group.creation_time.as_deref()));
            let id = InstanceId(group.container_group_id);
            let instance = Instance { id, owner, state: InstanceState::Pending, ip: None, containers: Vec::new() };
            let is_spot = group.spot_strategy.is_some_and(|strategy| strategy != "NoSpot");
            self.ledger.see(Seen { instance, pending_until: None, is_spot, is_replaced: false, was_listed: false });
        }
        Ok(())
    }

    /// Sends what changes, by looking again and again.
    pub(super) async fn follow(
        &self,
        cluster: &str,
        changes: &mpsc::Sender<InstanceChange>,
    ) -> Result<(), ProviderError> {
        if changes.send(InstanceChange::Watching).await.is_err() {
            return Ok(());
        }
        let mut known: BTreeMap<String, Instance> = BTreeMap::new();
        loop {
            let wait = tokio::time::sleep(self.settings.poll_every);
            tokio::select! {
                () = changes.closed() => return Ok(()),
                () = wait => {}
            }
            let now = self.look(cluster).await?.into_iter().map(|instance| (instance.owner.uid.clone(), instance));
            let now = now.collect::<BTreeMap<_, _>>();
            let gone = known.iter().filter(|(uid, _)| !now.contains_key(*uid)).map(|(_, instance)| {
                self.ledger.forget(&instance.owner.uid);
                InstanceChange::Gone(instance.owner.clone())
            });
            let news = now.iter().filter(|(uid, instance)| known.get(*uid) != Some(instance));
            let news = news.map(|(_, instance)| InstanceChange::Changed(instance.clone()));
            for change in gone.chain(news).collect::<Vec<_>>() {
                if changes.send(change).await.is_err() {
                    return Ok(());
                }
            }
            known = now;
        }
    }

    /// Metrics of running instances, 20 a call.
    pub(super) async fn measure(&self, cluster: &str) -> Result<Vec<Usage>, ProviderError> {
        let running = self.ledger.of(cluster).into_iter().filter(|seen| seen.instance.state == InstanceState::Running);
        let by_id = running.map(|seen| (seen.instance.id.0, seen.instance.owner.uid)).collect::<BTreeMap<_, _>>();
        let ids = by_id.keys().cloned().collect::<Vec<_>>();
        let batches = ids.chunks(BATCH).map(|batch| parameters(&[("ContainerGroupIds", &ids_text(batch))]));
        let batches = batches.collect::<Vec<_>>();
        let calls = stream::iter(batches)
            .map(|asked| async move { self.api.call::<Metrics>("DescribeMultiContainerGroupMetric", &asked).await });
        let answers = calls.buffered(AT_ONCE).collect::<Vec<_>>().await;
        let mut usages = Vec::new();
        for answer in answers {
            let monitored = answer.map_err(CallError::into_provider)?.monitor_datas;
            usages.extend(monitored.iter().filter_map(|one| usage(by_id.get(&one.container_group_id)?, one)));
        }
        Ok(usages)
    }

    /// Addresses that the pool's vSwitches have left in all; `None` where they do not tell.
    pub(super) async fn addresses_left(&self) -> Option<u64> {
        let known = |eci: &Self| {
            let addresses = eci.addresses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            addresses.as_ref().filter(|(at, _)| at.elapsed() < ADDRESSES_FRESH).map(|(_, left)| left.values().sum())
        };
        if let Some(left) = known(self) {
            return Some(left);
        }
        let mut left = BTreeMap::new();
        for zone in &self.settings.zones {
            let asked = parameters(&[("VSwitchId", &zone.v_switch_id)]);
            let answer = self.vpc.call::<VSwitchAttributes>("DescribeVSwitchAttributes", &asked).await;
            match answer {
                Ok(attributes) => drop(left.insert(zone.v_switch_id.clone(), attributes.available_ip_address_count)),
                Err(error) => {
                    tracing::debug!(error = %error.into_provider(), vswitch = %zone.v_switch_id, "addresses are not told");
                    return None;
                }
            }
        }
        *self.addresses.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((Instant::now(), left));
        known(self)
    }

    /// Spot instances of `cluster` that the cloud says it will take back, some minutes before it does.
    pub(super) async fn announced(&self, cluster: &str) -> Result<Vec<ReclaimNotice>, ProviderError> {
        let runs = |seen: &Seen| seen.is_spot && !seen.is_replaced && !seen.instance.state.is_finished();
        let ids = self.ledger.of(cluster).into_iter().filter(runs).map(|seen| seen.instance.id.0).collect::<Vec<_>>();
        let groups = self.describe(&ids).await?;
        let notice = |group: Group| {
            let event = group.events.iter().find(|event| event.reason == "SpotToBeReleased")?;
            Some(ReclaimNotice { owner: owner_of(&group.tags).ok()?, message: event.message.clone() })
        };
        Ok(groups.into_iter().filter_map(notice).collect())
    }

    /// What the cloud says of the pod's instance, as the annotations that ECI's own virtual nodes write on pods: its id,
    /// the size that it was rounded up to (`k8s.aliyun.com/eci-instance-spec`), its network interface.
    pub(super) async fn notes_of(&self, uid: &str) -> BTreeMap<String, String> {
        self.ledger.slot(uid).lock().await.notes.clone()
    }

    /// Reads what only the group itself tells, once it has a machine: its VPC and network interface.
    async fn note(&self, started: &[Seen]) {
        let ids = started.iter().map(|seen| seen.instance.id.0.clone()).collect::<Vec<_>>();
        let groups = match self.describe(&ids).await {
            Ok(groups) => groups,
            // The pods run without these annotations.
            Err(error) => return tracing::debug!(%error, "the groups that have started are not described"),
        };
        for group in groups {
            let uid = started.iter().find(|seen| seen.instance.id.0 == group.container_group_id);
            let Some(uid) = uid.map(|seen| seen.instance.owner.uid.as_str()) else { continue };
            if let Ok(mut slot) = self.ledger.slot(uid).try_lock() {
                slot.notes.extend(notes(&group));
            }
        }
    }

    async fn group_of(&self, owner: &Owner) -> Result<String, ProviderError> {
        let known = self.ledger.slot(&owner.uid).lock().await.group.clone();
        match known {
            Some(id) => Ok(id),
            None => self
                .find(owner)
                .await?
                .into_iter()
                .next()
                .ok_or_else(|| ProviderError::NotFound(format!("alibaba-eci: pod {} has no instance", owner.name))),
        }
    }

    /// A container's log.
    pub(super) async fn log_of(&self, owner: &Owner, container: &str) -> Result<ContainerLog, ProviderError> {
        let group = self.group_of(owner).await?;
        let (api, ledger) = (Arc::clone(&self.api), Arc::clone(&self.ledger));
        Ok(ContainerLog { api, ledger, group, container: container.to_owned() })
    }

    /// Runs a command to its end.
    pub(super) async fn execute(&self, owner: &Owner, exec: Exec) -> Result<ExitStatus, ProviderError> {
        let Exec { container, command, streams } = exec;
        let word = |truth: bool| if truth { "true" } else { "false" };
        let (id, command) = (self.group_of(owner).await?, ids_text(&command));
        let asked = parameters(&[
            ("ContainerGroupId", &id),
            ("ContainerName", &container),
            ("Command", &command),
            ("Stdin", word(streams.stdin.is_some())),
            ("TTY", word(streams.tty)),
        ]);
        let answer: Executed = self.api.call("ExecContainerCommand", &asked).await.map_err(CallError::into_provider)?;
        let none = || ProviderError::Unavailable("alibaba-eci: no WebSocket was offered".to_owned());
        let address = answer.web_socket_uri.ok_or_else(none)?;
        exec::run(self.api.client(), &address, exec::Dialect::Channels, streams).await
    }

    /// What a second of an instance of `size` costs now.
    pub async fn price(&self, size: Resources, is_spot: bool) -> Result<SecondPrice, ProviderError> {
        let (cpu, memory) = (size::vcpu(size).to_string(), size::gib(size).to_string());
        let strategy = if is_spot { "SpotAsPriceGo" } else { "NoSpot" };
        let asked = parameters(&[("Cpu", &cpu), ("Memory", &memory), ("SpotStrategy", strategy)]);
        let prices: Prices =
            self.api.call("DescribeContainerGroupPrice", &asked).await.map_err(CallError::into_provider)?;
        let price = prices.price_info.price;
        Ok(SecondPrice { currency: price.currency, amount: price.trade_price })
    }
}

/// A stamp of the cloud as a moment of this process; now where there is none.
fn since(stamp: Option<&str>) -> Instant {
    let now = Instant::now();
    let age = stamp
        .and_then(|stamp| stamp.parse::<jiff::Timestamp>().ok())
        .map(|at| jiff::Timestamp::now().duration_since(at));
    let age = age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default();
    now.checked_sub(age).unwrap_or(now)
}

fn size_of(group: &Group) -> Resources {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes of the table; others saturate")]
    let whole = |number: f64, scale: f64| (number * scale).round() as u64;
    resources(whole(group.cpu, 1000.0), whole(group.memory, 1024.0) << 20)
}

fn notes(group: &Group) -> BTreeMap<String, String> {
    let notes = [
        ("k8s.aliyun.com/eci-instance-id", Some(group.container_group_id.clone())),
        ("k8s.aliyun.com/eci-instance-spec", Some(size::shown(size_of(group)))),
        ("k8s.aliyun.com/eci-vpc", group.vpc_id.clone()),
        ("k8s.aliyun.com/eni-instance-id", group.eni_instance_id.clone()),
    ];
    notes.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

fn usage(uid: &str, monitored: &Monitored) -> Option<Usage> {
    let record = monitored.records.last()?;
    let cpu = record.cpu.as_ref()?;
    Some(Usage {
        uid: uid.to_owned(),
        cpu: Duration::from_nanos(cpu.usage_core_nano_seconds),
        cpu_nano_cores: cpu.usage_nano_cores,
        memory_bytes: record.memory.as_ref().map_or(0, |memory| memory.working_set),
    })
}

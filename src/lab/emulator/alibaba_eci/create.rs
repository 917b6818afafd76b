//! `CreateContainerGroup`.

use std::{collections::BTreeSet, net::Ipv4Addr, time::Duration};

use serde_json::{Value, json};

use super::{
    catalog,
    error::ApiError,
    group::{Container, Group, RestartPolicy},
    state::{Context, State},
    tree::Tree,
};
use crate::{
    lab::emulator::{Moment, program::Program},
    provider::clouds::Resources,
};

const MOST_TAGS: usize = 20;
const MOST_VSWITCHES: usize = 10;
const MOST_SECURITY_GROUPS: usize = 5;
/// Instances that a normal security group takes.
const NORMAL_SECURITY_GROUP: u64 = 2000;
/// What a group gets to stop in where it says nothing.
const DEFAULT_GRACE: u64 = 30;

pub(super) fn create(state: &mut State, context: &Context<'_>) -> Result<Value, ApiError> {
    let wanted = Wanted::read(context)?;
    let vswitch = place(state, context, &wanted)?;
    if context.tree.truth("DryRun")? {
        return Err(ApiError::invalid("DryRunOperation", "Request validation has been passed with DryRun flag set."));
    }
    let zone = state.network.vswitch(&vswitch).map(|vswitch| vswitch.zone.clone()).unwrap_or_default();
    let address = state.network.take(&vswitch, wanted.address);
    if address.is_none() && wanted.address.is_some() {
        return Err(ApiError::invalid("PrivateIpAddress.Already.InUse", "The specified private IP address is in use."));
    }
    let id = state.id("eci");
    let tree = &context.tree;
    let group = Group {
        name: tree.text("ContainerGroupName").unwrap_or(&id).to_owned(),
        id: id.clone(),
        zone,
        vswitch,
        secured_by: wanted.security_groups.join(","),
        address,
        public_address: wanted.has_eip.then(|| format!("47.96.{}.{}", context.now.as_secs() % 256, id.len())),
        size: wanted.size,
        instance_type: wanted.instance_type,
        spot: wanted.spot,
        tags: wanted.tags,
        containers: wanted.containers,
        init_containers: wanted.init_containers,
        restart_policy: wanted.restart_policy,
        grace: wanted.grace,
        deadline: wanted.deadline,
        created: context.now,
        start_up: context.ground.start_up(),
        fails_late: context.ground.chance(context.settings.late_failures_per_mille),
        restarted: None,
        updated: None,
        reclaimed: None,
        deleted: None,
        is_settled: false,
        definition: tree.clone(),
    };
    let price = catalog::price(group.is_spot());
    context.ground.bill.open(&id, group.size.cpu.0, group.size.memory.0 >> 20, &price, context.now);
    state.groups.insert(id.clone(), group);
    Ok(json!({"ContainerGroupId": id}))
}

/// What a request asks for, checked in itself.
struct Wanted {
    vswitches: Vec<String>,
    security_groups: Vec<String>,
    size: Resources,
    instance_type: String,
    spot: String,
    tags: std::collections::BTreeMap<String, String>,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    restart_policy: RestartPolicy,
    grace: Duration,
    deadline: Option<Duration>,
    address: Option<Ipv4Addr>,
    has_eip: bool,
}

impl Wanted {
    fn read(context: &Context<'_>) -> Result<Self, ApiError> {
        let tree = &context.tree;
        check_name(tree)?;
        let tags = tree.tags()?;
        if tags.len() > MOST_TAGS {
            return Err(ApiError::parameter("Tag", &format!("at most {MOST_TAGS} tags are taken.")));
        }
        let (containers, init_containers) = (containers(tree, "Container")?, containers(tree, "InitContainer")?);
        check_names(tree, &containers, &init_containers)?;
        let spot = tree.text("SpotStrategy").unwrap_or("NoSpot");
        if !["NoSpot", "SpotAsPriceGo", "SpotWithPriceLimit"].contains(&spot) {
            return Err(ApiError::parameter("SpotStrategy", &format!("{spot} is no strategy.")));
        }
        let (size, instance_type) = catalog::size(tree, &containers, spot != "NoSpot")?;
        let policy = tree.text("RestartPolicy").unwrap_or("Always");
        let address = tree.text("PrivateIpAddress").map(str::parse);
        let seconds = |name| Ok::<_, ApiError>(tree.number::<u64>(name)?.map(Duration::from_secs));
        Ok(Self {
            vswitches: split(tree.text("VSwitchId")),
            security_groups: split(tree.text("SecurityGroupId")),
            size,
            instance_type,
            spot: spot.to_owned(),
            tags,
            containers,
            init_containers,
            restart_policy: RestartPolicy::of(policy)
                .ok_or_else(|| ApiError::parameter("RestartPolicy", &format!("{policy} is no policy.")))?,
            grace: seconds("TerminationGracePeriodSeconds")?.unwrap_or(Duration::from_secs(DEFAULT_GRACE)),
            deadline: seconds("ActiveDeadlineSeconds")?,
            address: address
                .transpose()
                .map_err(|_| ApiError::parameter("PrivateIpAddress", "it is no IPv4 address."))?,
            has_eip: tree.truth("AutoCreateEip")? || tree.text("EipInstanceId").is_some(),
        })
    }
}

fn split(text: Option<&str>) -> Vec<String> {
    let parts = text.unwrap_or_default().split(',').map(str::trim);
    parts.filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn check_name(tree: &Tree) -> Result<(), ApiError> {
    let name = tree.needed("ContainerGroupName")?;
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_edge = |c: Option<char>| c.is_some_and(|c| c != '-');
    if (2..=128).contains(&name.len())
        && name.chars().all(is_allowed)
        && is_edge(name.chars().next())
        && is_edge(name.chars().last())
    {
        return Ok(());
    }
    Err(ApiError::parameter("ContainerGroupName", "2 to 128 of a-z, 0-9 and - are taken, no - at either end."))
}

fn containers(tree: &Tree, list: &str) -> Result<Vec<Container>, ApiError> {
    let read = |member: &Tree| {
        Ok(Container {
            name: member.needed("Name")?.to_owned(),
            image: member.needed("Image")?.to_owned(),
            program: Program::of(&member.texts("Command"), &member.texts("Arg")),
            definition: member.clone(),
        })
    };
    tree.list(list).into_iter().map(read).collect()
}

/// Names are unique, and a mount names a volume.
fn check_names(tree: &Tree, containers: &[Container], init: &[Container]) -> Result<(), ApiError> {
    if containers.is_empty() {
        return Err(ApiError::missing("Container"));
    }
    let mut names = BTreeSet::new();
    if let Some(twice) = containers.iter().chain(init).find(|container| !names.insert(&container.name)) {
        let why = format!("The container name {} is used twice.", twice.name);
        return Err(ApiError::invalid("InvalidParameter.DuplicatedName", why));
    }
    let mut volumes = BTreeSet::new();
    for volume in tree.list("Volume") {
        let name = volume.needed("Name")?;
        volume.needed("Type")?;
        if !volumes.insert(name) {
            let why = format!("The volume name {name} is used twice.");
            return Err(ApiError::invalid("InvalidParameter.DuplicatedVolumeName", why));
        }
    }
    for container in containers.iter().chain(init) {
        for mount in container.definition.list("VolumeMount") {
            mount.needed("MountPath")?;
            let name = mount.needed("Name")?;
            if !volumes.contains(name) {
                return Err(ApiError::parameter("VolumeMount.Name", &format!("there is no volume {name}.")));
            }
        }
    }
    Ok(())
}

/// The vSwitch that takes the group: the first, or any, that has both an address and a machine.
fn place(state: &mut State, context: &Context<'_>, wanted: &Wanted) -> Result<String, ApiError> {
    check_account(state, context, wanted)?;
    let mut refusal = None;
    let mut vswitches = wanted.vswitches.clone();
    if context.tree.text("ScheduleStrategy") == Some("VSwitchRandom") && !vswitches.is_empty() {
        let turn = context.now.subsec_nanos() as usize % vswitches.len();
        vswitches.rotate_left(turn);
    }
    for id in vswitches {
        match room(state, context, &id)? {
            Ok(()) => return Ok(id),
            // Of several refusals the first one is told.
            Err(error) => drop(refusal.get_or_insert(error)),
        }
    }
    Err(refusal.unwrap_or_else(|| ApiError::missing("VSwitchId")))
}

/// Whether one vSwitch has room; the outer error ends the search.
fn room(state: &State, context: &Context<'_>, id: &str) -> Result<Result<(), ApiError>, ApiError> {
    let vswitch = state.network.vswitch(id).ok_or_else(|| {
        ApiError::not_found("InvalidVSwitchId.NotFound", format!("The specified vSwitch {id} does not exist."))
    })?;
    if context.tree.text("ZoneId").is_some_and(|zone| zone != vswitch.zone) {
        return Err(ApiError::denied(
            "OperationDenied.VswZoneMisMatch",
            "The specified zone and the vSwitch's zone do not match.",
        ));
    }
    let settings = &context.settings;
    let addresses = settings.zones.get(&vswitch.zone).and_then(|zone| zone.addresses);
    if state.network.free(id, addresses) == 0 {
        let why = format!("The specified vSwitch {id} has not enough IP addresses.");
        return Ok(Err(ApiError::denied("InvalidVSwitchId.IpNotEnough", why)));
    }
    let stock = settings.stock_of(&vswitch.zone, context.now);
    let taken = state.standing(context.now).filter(|group| group.zone == vswitch.zone).count() as u64;
    if stock.is_some_and(|stock| taken >= stock) {
        let why = "The resource is out of stock in the specified zone, please try other types or choose other regions and zones.";
        return Ok(Err(ApiError::denied("OperationDenied.NoStock", why)));
    }
    Ok(Ok(()))
}

fn check_account(state: &State, context: &Context<'_>, wanted: &Wanted) -> Result<(), ApiError> {
    if wanted.vswitches.len() > MOST_VSWITCHES {
        return Err(ApiError::parameter("VSwitchId", &format!("at most {MOST_VSWITCHES} vSwitches are taken.")));
    }
    if wanted.security_groups.is_empty() {
        return Err(ApiError::missing("SecurityGroupId"));
    }
    if wanted.security_groups.len() > MOST_SECURITY_GROUPS {
        let why = format!("at most {MOST_SECURITY_GROUPS} security groups are taken.");
        return Err(ApiError::parameter("SecurityGroupId", &why));
    }
    let exceeded = |what: &str| Err(ApiError::denied("QuotaExceeded", format!("{what} is exceeded.")));
    for security_group in &wanted.security_groups {
        let limit = state.security_groups.get(security_group).copied().unwrap_or(NORMAL_SECURITY_GROUP);
        let members = state.groups.values().filter(|group| group.secured_by.split(',').any(|id| id == security_group));
        if members.count() as u64 >= limit {
            return exceeded(&format!("the limit of {limit} instances of the security group {security_group}"));
        }
    }
    let (count, cpu) = used(state, context.now);
    let settings = &context.settings;
    if settings.quota_instances.is_some_and(|quota| count >= quota) {
        return exceeded("the quota of container groups");
    }
    if settings.quota_cpu.is_some_and(|quota| cpu + wanted.size.cpu.0 > quota * 1000) {
        return exceeded("the quota of vCPU");
    }
    Ok(())
}

/// Groups that stand, and their CPU.
pub(super) fn used(state: &State, now: Moment) -> (u64, u64) {
    state.standing(now).fold((0, 0), |(count, cpu), group| (count + 1, cpu + group.size.cpu.0))
}

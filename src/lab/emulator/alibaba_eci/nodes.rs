//! Virtual nodes that the cloud manages itself.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    error::ApiError,
    state::{Context, State},
    tree::Tree,
};
use crate::lab::emulator::Moment;

const MOST_VSWITCHES: usize = 10;
const MOST_NODES: usize = 20;

/// A virtual node.
#[derive(Debug, Clone)]
pub(super) struct VirtualNode {
    id: String,
    name: String,
    security_group: String,
    vswitches: String,
    tags: BTreeMap<String, String>,
    created: Moment,
    ready_at: Moment,
    definition: Tree,
}

impl VirtualNode {
    /// The parameters that it was asked for with.
    pub(super) fn definition(&self) -> &Tree {
        &self.definition
    }

    fn status(&self, now: Moment) -> &'static str {
        if now < self.ready_at { "Pending" } else { "Ready" }
    }
}

fn missing(id: &str) -> ApiError {
    ApiError::not_found("InvalidParameter.VirtualNodeId.NotFound", format!("The virtual node {id} does not exist."))
}

/// `CreateVirtualNode`
pub(super) fn create(state: &mut State, context: &Context<'_>) -> Result<Value, ApiError> {
    let tree = &context.tree;
    tree.needed("KubeConfig")?;
    let vswitches = tree.needed("VSwitchId")?.to_owned();
    let ids = vswitches.split(',').map(str::trim).collect::<Vec<_>>();
    if ids.len() > MOST_VSWITCHES {
        return Err(ApiError::parameter("VSwitchId", &format!("at most {MOST_VSWITCHES} vSwitches are taken.")));
    }
    if let Some(unknown) = ids.iter().find(|id| state.network.vswitch(id).is_none()) {
        let why = format!("The specified vSwitch {unknown} does not exist.");
        return Err(ApiError::not_found("InvalidVSwitchId.NotFound", why));
    }
    for taint in tree.list("Taint") {
        taint.needed("Key")?;
        let effect = taint.needed("Effect")?;
        if !["NoSchedule", "NoExecute", "PreferNoSchedule"].contains(&effect) {
            return Err(ApiError::parameter("Taint.Effect", &format!("{effect} is no effect.")));
        }
    }
    let security_group = tree.needed("SecurityGroupId")?.to_owned();
    let tags = tree.tags()?;
    let id = state.id("vnd");
    let name = tree.text("VirtualNodeName").unwrap_or(&id).to_owned();
    let ready_at = context.now + context.ground.start_up();
    let definition = tree.clone();
    let node = VirtualNode {
        id: id.clone(),
        name,
        security_group,
        vswitches,
        tags,
        created: context.now,
        ready_at,
        definition,
    };
    state.nodes.insert(id.clone(), node);
    Ok(json!({"VirtualNodeId": id}))
}

/// `DescribeVirtualNodes`
pub(super) fn describe(state: &State, context: &Context<'_>) -> Result<Value, ApiError> {
    let tree = &context.tree;
    let ids = tree.json_list("VirtualNodeIds", MOST_NODES)?;
    let limit = tree.number::<usize>("Limit")?.unwrap_or(MOST_NODES);
    if !(1..=MOST_NODES).contains(&limit) {
        return Err(ApiError::parameter("Limit", &format!("1 to {MOST_NODES} are taken.")));
    }
    let tags = tree.tags()?;
    let is_wanted = |node: &VirtualNode| {
        ids.as_ref().is_none_or(|ids| ids.contains(&node.id))
            && tree.text("VirtualNodeName").is_none_or(|name| name == node.name)
            && tree.text("Status").is_none_or(|status| status == node.status(context.now))
            && tags.iter().all(|(key, value)| node.tags.get(key) == Some(value))
    };
    let wanted = || state.nodes.iter().filter(|(_, node)| is_wanted(node));
    let (page, next) = State::page(wanted(), tree.text("NextToken"), limit);
    let node = |node: &VirtualNode| {
        json!({
            "VirtualNodeId": node.id, "VirtualNodeName": node.name, "Status": node.status(context.now),
            "RegionId": state.region, "VpcId": state.network.vpc, "VirtualNodeVSwitchId": node.vswitches,
            "VirtualNodeSecurityGroupId": node.security_group, "CreationTime": context.time(node.created), "Events": [],
            "Tags": node.tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect::<Vec<_>>(),
        })
    };
    let nodes = page.into_iter().map(node).collect::<Vec<_>>();
    let mut answer = json!({"VirtualNodes": nodes, "TotalCount": wanted().count()});
    if let Some(next) = next {
        answer["NextToken"] = next.into();
    }
    Ok(answer)
}

/// `UpdateVirtualNode`
pub(super) fn update(state: &mut State, context: &Context<'_>) -> Result<Value, ApiError> {
    let tree = &context.tree;
    let id = tree.needed("VirtualNodeId")?;
    let tags = tree.tags()?;
    let node = state.nodes.get_mut(id).ok_or_else(|| missing(id))?;
    if let Some(name) = tree.text("VirtualNodeName") {
        name.clone_into(&mut node.name);
    }
    if !tags.is_empty() {
        node.tags = tags;
    }
    Ok(json!({}))
}

/// `DeleteVirtualNode`
pub(super) fn delete(state: &mut State, context: &Context<'_>) -> Result<Value, ApiError> {
    let id = context.tree.needed("VirtualNodeId")?;
    state.nodes.remove(id).map(|_| json!({})).ok_or_else(|| missing(id))
}

//! The VPC's actions (2016-04-28).

use serde_json::{Value, json};

use super::{
    error::ApiError,
    network::RouteEntry,
    state::{Context, State},
};

const MOST_ENTRIES: usize = 100;
/// Custom entries that a route table takes.
const MOST_CUSTOM: usize = 200;
const HOP_TYPES: [&str; 6] = ["Instance", "HaVip", "NetworkInterface", "RouterInterface", "VpnGateway", "NatGateway"];

/// `DescribeVSwitchAttributes`
pub(super) fn vswitch_attributes(state: &State, context: &Context<'_>) -> Result<Value, ApiError> {
    let id = context.tree.needed("VSwitchId")?;
    let vswitch = state.network.vswitch(id).ok_or_else(|| {
        ApiError::not_found("InvalidVSwitchId.NotFound", format!("The specified vSwitch {id} does not exist."))
    })?;
    let limit = context.settings.zones.get(&vswitch.zone).and_then(|zone| zone.addresses);
    Ok(json!({
        "VSwitchId": id, "VpcId": state.network.vpc, "ZoneId": vswitch.zone, "CidrBlock": vswitch.cidr(),
        "Status": "Available", "AvailableIpAddressCount": state.network.free(id, limit), "IsDefault": false,
        "RouteTable": {"RouteTableId": state.network.route_table, "RouteTableType": "System"},
        "VSwitchName": id, "Description": "",
    }))
}

fn check_table(state: &State, context: &Context<'_>) -> Result<(), ApiError> {
    let table = context.tree.needed("RouteTableId")?;
    if table == state.network.route_table {
        return Ok(());
    }
    Err(ApiError::not_found("InvalidRouteTableId.NotFound", format!("The route table {table} does not exist.")))
}

/// A network, `10.1.0.0/24`, with nothing after its prefix.
fn is_network(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else { return false };
    let (Ok(address), Ok(prefix)) = (address.parse::<std::net::Ipv4Addr>(), prefix.parse::<u32>()) else {
        return false;
    };
    prefix <= 32 && address.to_bits().checked_shl(prefix).unwrap_or(0) == 0
}

/// `CreateRouteEntry`
pub(super) fn create_entry(state: &mut State, context: &Context<'_>) -> Result<Value, ApiError> {
    let tree = &context.tree;
    check_table(state, context)?;
    let destination = tree.needed("DestinationCidrBlock")?;
    if !is_network(destination) {
        return Err(ApiError::invalid("InvalidDestCidrBlock.Malformed", format!("{destination} is no network.")));
    }
    let hop = tree.needed("NextHopId")?;
    let hop_type = tree.text("NextHopType").unwrap_or("Instance");
    if !HOP_TYPES.contains(&hop_type) {
        return Err(ApiError::invalid("InvalidNextHopType.Malformed", format!("{hop_type} is no type of next hop.")));
    }
    let routes = &state.network.routes;
    if routes.values().any(|entry| entry.destination == destination) {
        let why = format!("The route table has an entry for {destination} already.");
        return Err(ApiError::invalid("RouterEntryConflict.Duplicated", why));
    }
    if routes.values().filter(|entry| !entry.is_system).count() >= MOST_CUSTOM {
        return Err(ApiError::invalid("QuotaExceeded.RouteEntry", "The quota of route entries is exceeded."));
    }
    let entry = RouteEntry {
        destination: destination.to_owned(),
        hop_type: hop_type.to_owned(),
        hop: hop.to_owned(),
        name: tree.text("RouteEntryName").unwrap_or_default().to_owned(),
        is_system: false,
    };
    let id = state.id("rte");
    state.network.routes.insert(id.clone(), entry);
    Ok(json!({"RouteEntryId": id}))
}

/// `DescribeRouteEntryList`
pub(super) fn list_entries(state: &State, context: &Context<'_>) -> Result<Value, ApiError> {
    let tree = &context.tree;
    check_table(state, context)?;
    let limit = tree.number::<usize>("MaxResult")?.unwrap_or(50);
    if !(1..=MOST_ENTRIES).contains(&limit) {
        return Err(ApiError::parameter("MaxResult", &format!("1 to {MOST_ENTRIES} are taken.")));
    }
    let is = |parameter: &str, value: &str| tree.text(parameter).is_none_or(|wanted| wanted == value);
    let is_wanted = |entry: &RouteEntry| {
        is("DestinationCidrBlock", &entry.destination)
            && is("RouteEntryName", &entry.name)
            && is("NextHopId", &entry.hop)
            && is("RouteEntryType", if entry.is_system { "System" } else { "Custom" })
    };
    let entries = state.network.routes.iter().filter(|(_, entry)| is_wanted(entry));
    let (page, next) = State::page(entries.map(|(id, entry)| (id, (id, entry))), tree.text("NextToken"), limit);
    let entry = |(id, entry): (&String, &RouteEntry)| {
        json!({
            "RouteEntryId": id, "RouteTableId": state.network.route_table, "RouteEntryName": entry.name,
            "DestinationCidrBlock": entry.destination, "Status": "Available", "IpVersion": "IPv4",
            "Type": if entry.is_system { "System" } else { "Custom" },
            "NextHops": {"NextHop": [{"NextHopId": entry.hop, "NextHopType": entry.hop_type, "Enabled": 1, "Weight": 0}]},
        })
    };
    let mut answer = json!({"RouteEntrys": {"RouteEntry": page.into_iter().map(entry).collect::<Vec<_>>()}});
    if let Some(next) = next {
        answer["NextToken"] = next.into();
    }
    Ok(answer)
}

/// `DeleteRouteEntry`
pub(super) fn delete_entry(state: &mut State, context: &Context<'_>) -> Result<Value, ApiError> {
    let tree = &context.tree;
    let id = match tree.text("RouteEntryId") {
        Some(id) => Some(id.to_owned()),
        None => {
            check_table(state, context)?;
            let (destination, hop) = (tree.needed("DestinationCidrBlock")?, tree.text("NextHopId"));
            let is_wanted =
                |entry: &RouteEntry| entry.destination == destination && hop.is_none_or(|hop| hop == entry.hop);
            state.network.routes.iter().find(|(_, entry)| is_wanted(entry)).map(|(id, _)| id.clone())
        }
    };
    let entry = id.and_then(|id| state.network.routes.get(&id).map(|entry| (id, entry.is_system)));
    match entry {
        None => Err(ApiError::not_found("InvalidRouteEntry.NotFound", "The route entry does not exist.")),
        Some((_, true)) => {
            Err(ApiError::denied("OperationDenied.SystemRouteEntry", "System entries cannot be deleted."))
        }
        Some((id, false)) => {
            state.network.routes.remove(&id);
            Ok(json!({}))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_nothing_after_its_prefix() {
        assert!(is_network("10.1.0.0/24") && is_network("0.0.0.0/0") && is_network("10.0.0.1/32"));
        assert!(!is_network("10.1.0.1/24") && !is_network("10.1.0.0") && !is_network("10.1.0.0/33"));
    }
}

//! The VPC's route table.

use serde::Deserialize;

use super::{Account, gone};
use crate::provider::{
    ProviderError,
    clouds::alibaba_eci::{error::CallError, signing::Parameters, wire::Done},
};

/// Entries of a page.
const PAGE: u32 = 100;

/// A route table of a VPC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTable {
    /// Its id, `vtb-…`.
    pub id: String,
    /// Its entries, those of the system included.
    pub routes: Vec<Route>,
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its id, `rte-…`.
    pub id: String,
    /// Its name; empty where nobody gave it one.
    pub name: String,
    /// Where to: a network such as `10.88.1.0/24`.
    pub destination: String,
    /// What the next hop is, such as `Instance` or `local`.
    pub hop_type: String,
    /// The next hop, such as `i-…`.
    pub hop: String,
    /// Whether it is the cloud's own, which nobody changes.
    pub is_system: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct VSwitch {
    route_table: TableId,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TableId {
    route_table_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    route_entrys: Entries,
    next_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entries {
    #[serde(default)]
    route_entry: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    route_entry_id: String,
    #[serde(default)]
    route_entry_name: String,
    destination_cidr_block: String,
    #[serde(default, rename = "Type")]
    kind: String,
    next_hops: Option<Hops>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Hops {
    #[serde(default)]
    next_hop: Vec<Hop>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Hop {
    #[serde(default)]
    next_hop_id: String,
    #[serde(default)]
    next_hop_type: String,
}

impl Entry {
    fn route(self) -> Route {
        let hop = self.next_hops.and_then(|hops| hops.next_hop.into_iter().next());
        let (hop, hop_type) = hop.map(|hop| (hop.next_hop_id, hop.next_hop_type)).unwrap_or_default();
        Route {
            id: self.route_entry_id,
            name: self.route_entry_name,
            destination: self.destination_cidr_block,
            hop_type,
            hop,
            is_system: self.kind == "System",
        }
    }
}

impl Account {
    /// The route table that instances in a vSwitch go by.
    pub async fn route_table(&self, vswitch: &str) -> Result<RouteTable, ProviderError> {
        let parameters = Parameters::from([("VSwitchId".to_owned(), vswitch.to_owned())]);
        let vswitch = self.vpc.call::<VSwitch>("DescribeVSwitchAttributes", &parameters).await;
        let id = vswitch.map_err(CallError::into_provider)?.route_table.route_table_id;
        let mut routes = Vec::new();
        let mut next = None;
        loop {
            let pairs = [("RouteTableId", id.clone()), ("MaxResult", PAGE.to_string())];
            let mut parameters =
                pairs.map(|(name, value)| (name.to_owned(), value)).into_iter().collect::<Parameters>();
            parameters.extend(next.take().map(|token| ("NextToken".to_owned(), token)));
            let page = self.vpc.call::<Page>("DescribeRouteEntryList", &parameters).await;
            let page = page.map_err(CallError::into_provider)?;
            routes.extend(page.route_entrys.route_entry.into_iter().map(Entry::route));
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(RouteTable { id, routes });
            }
        }
    }

    /// Adds an entry that leads to an instance.
    pub async fn add_route(
        &self,
        table: &str,
        name: &str,
        destination: &str,
        instance: &str,
    ) -> Result<(), ProviderError> {
        let token = self.token();
        let pairs = [
            ("RouteTableId", table),
            ("RouteEntryName", name),
            ("DestinationCidrBlock", destination),
            ("NextHopType", "Instance"),
            ("NextHopId", instance),
            ("ClientToken", &token),
        ];
        let parameters = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
        self.vpc.call::<Done>("CreateRouteEntry", &parameters).await.map(drop).map_err(CallError::into_provider)
    }

    /// Removes an entry.
    pub async fn remove_route(&self, id: &str) -> Result<(), ProviderError> {
        let parameters = Parameters::from([("RouteEntryId".to_owned(), id.to_owned())]);
        gone(self.vpc.call::<Done>("DeleteRouteEntry", &parameters).await, "InvalidRouteEntry.NotFound")
    }
}

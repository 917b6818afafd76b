//! The VPC: vSwitches with their addresses, and route tables.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    str::FromStr,
};

/// Addresses of each vSwitch that the cloud keeps to itself: the first one, and the last three.
const RESERVED: u64 = 4;

/// A vSwitch, as `ID=ZONE` or `ID=ZONE=CIDR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VSwitch {
    /// Such as `vsw-a`.
    pub id: String,
    /// Such as `cn-hangzhou-h`.
    pub zone: String,
    /// Its first address.
    pub network: Ipv4Addr,
    /// Length of its prefix.
    pub prefix: u8,
}

impl VSwitch {
    /// `192.168.0.0/24`
    pub(super) fn cidr(&self) -> String {
        format!("{}/{}", self.network, self.prefix)
    }

    fn size(&self) -> u64 {
        (1_u64 << (32 - self.prefix)).saturating_sub(RESERVED)
    }
}

impl FromStr for VSwitch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is no vSwitch; write ID=ZONE or ID=ZONE=CIDR, such as vsw-a=cn-hangzhou-h=10.1.0.0/16")
        };
        let mut parts = text.split('=');
        let (Some(id), Some(zone), cidr, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(wrong());
        };
        // Zones sort by their last letter; each has a network of its own.
        let last = zone.bytes().last().unwrap_or(b'a');
        let default = format!("10.{last}.0.0/16");
        let (network, prefix) = cidr.unwrap_or(&default).split_once('/').ok_or_else(wrong)?;
        let prefix = prefix.parse().ok().filter(|prefix| (8..=29).contains(prefix)).ok_or_else(wrong)?;
        if id.is_empty() || zone.is_empty() {
            return Err(wrong());
        }
        Ok(Self { id: id.to_owned(), zone: zone.to_owned(), network: network.parse().map_err(|_| wrong())?, prefix })
    }
}

/// A route entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RouteEntry {
    pub(super) destination: String,
    pub(super) hop_type: String,
    pub(super) hop: String,
    pub(super) name: String,
    pub(super) is_system: bool,
}

#[derive(Debug)]
struct Subnet {
    vswitch: VSwitch,
    taken: BTreeSet<u32>,
    next: u32,
}

/// The VPC.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) vpc: String,
    pub(super) route_table: String,
    subnets: BTreeMap<String, Subnet>,
    /// Entries by id.
    pub(super) routes: BTreeMap<String, RouteEntry>,
}

impl Network {
    pub(super) fn new(vswitches: impl IntoIterator<Item = VSwitch>) -> Self {
        let subnet = |vswitch: VSwitch| (vswitch.id.clone(), Subnet { next: 1, taken: BTreeSet::new(), vswitch });
        let subnets = vswitches.into_iter().map(subnet).collect::<BTreeMap<_, _>>();
        let local = |(number, subnet): (usize, &Subnet)| {
            let entry = RouteEntry {
                destination: subnet.vswitch.cidr(),
                hop_type: "local".to_owned(),
                hop: String::new(),
                name: String::new(),
                is_system: true,
            };
            (format!("rte-system{number}"), entry)
        };
        let routes = subnets.values().enumerate().map(local).collect();
        Self { vpc: "vpc-emulated".to_owned(), route_table: "vtb-emulated".to_owned(), subnets, routes }
    }

    pub(super) fn vswitch(&self, id: &str) -> Option<&VSwitch> {
        self.subnets.get(id).map(|subnet| &subnet.vswitch)
    }

    pub(super) fn zones(&self) -> BTreeSet<&str> {
        self.subnets.values().map(|subnet| subnet.vswitch.zone.as_str()).collect()
    }

    /// Addresses that are free in a vSwitch, where `limit` is less than it has by its size.
    pub(super) fn free(&self, id: &str, limit: Option<u64>) -> u64 {
        let Some(subnet) = self.subnets.get(id) else { return 0 };
        let size = limit.map_or(subnet.vswitch.size(), |limit| limit.min(subnet.vswitch.size()));
        size.saturating_sub(subnet.taken.len() as u64)
    }

    /// Takes the next free address, or `wanted`.
    pub(super) fn take(&mut self, id: &str, wanted: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let subnet = self.subnets.get_mut(id)?;
        let first = subnet.vswitch.network.to_bits();
        let size = u32::try_from(subnet.vswitch.size()).ok()?;
        if let Some(wanted) = wanted {
            let offset = wanted.to_bits().checked_sub(first).filter(|offset| (1..=size).contains(offset))?;
            return subnet.taken.insert(offset).then_some(wanted);
        }
        for _ in 0..size {
            let offset = subnet.next;
            subnet.next = if subnet.next >= size { 1 } else { subnet.next + 1 };
            if subnet.taken.insert(offset) {
                return Some(Ipv4Addr::from_bits(first + offset));
            }
        }
        None
    }

    pub(super) fn give_back(&mut self, id: &str, address: Ipv4Addr) {
        if let Some(subnet) = self.subnets.get_mut(id) {
            subnet.taken.remove(&address.to_bits().wrapping_sub(subnet.vswitch.network.to_bits()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_run_out_and_come_back() {
        let mut network = Network::new(["vsw-a=z-a=10.0.0.0/29".parse().unwrap()]);
        assert_eq!(network.free("vsw-a", None), 4);
        let taken = (0..4).map(|_| network.take("vsw-a", None).unwrap()).collect::<Vec<_>>();
        assert_eq!(taken[0].to_string(), "10.0.0.1");
        assert_eq!((network.take("vsw-a", None), network.free("vsw-a", None)), (None, 0));
        network.give_back("vsw-a", taken[2]);
        assert_eq!(network.take("vsw-a", Some(taken[2])), Some(taken[2]));
        assert_eq!(network.take("vsw-a", Some(taken[2])), None);
    }

    #[test]
    fn a_vswitch_is_read_as_documented() {
        let read = "vsw-a=cn-hangzhou-h".parse::<VSwitch>().unwrap();
        assert_eq!((read.zone.as_str(), read.cidr().as_str()), ("cn-hangzhou-h", "10.104.0.0/16"));
        for wrong in ["vsw-a", "vsw-a=", "=z", "a=z=10.0.0.0", "a=z=10.0.0.0/40", "a=z=x/16", "a=b=10.0.0.0/16=d"] {
            assert!(wrong.parse::<VSwitch>().is_err(), "{wrong}");
        }
    }
}

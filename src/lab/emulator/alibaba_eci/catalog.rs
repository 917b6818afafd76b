//! What is sold: sizes, instance types, prices, stock, quotas, regions.

use serde_json::{Value, json};

use super::{
    create::used,
    error::ApiError,
    group::Container,
    state::{Context, State},
    tree::Tree,
};
use crate::{
    lab::emulator::Price,
    provider::clouds::{
        Bytes, MilliCpu, Resources,
        alibaba_eci::size::{self, SPOT_LEAST, resources},
    },
};

const CPU_SECOND: u64 = 49_000_000;
const GIB_SECOND: u64 = 6_130_000;
/// Spot instances cost this share of the price, in hundredths.
const SPOT_SHARE: u64 = 30;

/// Prices by second.
pub(super) fn price(is_spot: bool) -> Price {
    let share = |price: u64| if is_spot { price * SPOT_SHARE / 100 } else { price };
    Price { currency: "CNY".to_owned(), cpu_second_pico: share(CPU_SECOND), gib_second_pico: share(GIB_SECOND) }
}

/// What `ecs.c6.xlarge` has; general purpose families have 4 GiB a vCPU, compute ones 2, memory ones 8.
fn instance_type(name: &str) -> Option<Resources> {
    let mut parts = name.strip_prefix("ecs.")?.split('.');
    let (family, scale) = (parts.next()?, parts.next()?);
    let gib = match family.chars().next()? {
        'c' => 2,
        'g' => 4,
        'r' => 8,
        _ => return None,
    };
    let vcpu = match scale {
        "large" => 2,
        "xlarge" => 4,
        _ => 4 * scale.strip_suffix("xlarge")?.parse::<u64>().ok().filter(|times| (2..=32).contains(times))?,
    };
    Some(resources(vcpu * 1000, (vcpu * gib) << 30))
}

/// A size given by `Cpu` and `Memory`.
fn asked(tree: &Tree) -> Result<Resources, ApiError> {
    let amount = |name: &str, scale: f64| {
        let number = tree.number::<f64>(name)?.unwrap_or(0.0);
        if !(0.0..=100_000.0).contains(&number) {
            return Err(ApiError::invalid("InvalidParameter.CPU.Memory", "The specified cpu or memory is invalid."));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range, see above")]
        let whole = (number * scale).ceil() as u64;
        Ok(whole)
    };
    Ok(Resources { cpu: MilliCpu(amount("Cpu", 1000.0)?), memory: Bytes(amount("Memory", 1024.0)? << 20) })
}

/// The size of a group: its instance type, else its own `Cpu` and `Memory`, else its containers' together.
pub(super) fn size(tree: &Tree, containers: &[Container], is_spot: bool) -> Result<(Resources, String), ApiError> {
    if let Some(types) = tree.text("InstanceType") {
        let known = types.split(',').map(str::trim).find_map(|name| Some((instance_type(name)?, name.to_owned())));
        let why = format!("None of the instance types {types} is sold for container groups.");
        return known.ok_or_else(|| ApiError::invalid("InvalidInstanceTypeForEciBuy", why));
    }
    let mut wanted = asked(tree)?;
    if wanted == Resources::default() {
        for container in containers {
            wanted += asked(&container.definition)?;
        }
    }
    if is_spot && wanted.cpu < SPOT_LEAST.cpu && wanted != Resources::default() {
        return Err(ApiError::invalid("InvalidSpotCpuMemorySpec", "Spot container groups have 2 vCPU at least."));
    }
    let size = size::round_up(wanted).ok_or_else(|| {
        ApiError::invalid("InvalidParameter.CPU.Memory", "The specified cpu and memory are not supported.")
    })?;
    Ok((size, String::new()))
}

/// `DescribeContainerGroupPrice`
pub(super) fn describe_price(context: &Context<'_>) -> Result<Value, ApiError> {
    let tree = &context.tree;
    let is_spot = tree.text("SpotStrategy").is_some_and(|strategy| strategy != "NoSpot");
    let (size, name) = size(tree, &[], is_spot)?;
    let cost = |price: &Price| {
        let exact = |number: u64| u32::try_from(number).map_or(f64::MAX, f64::from);
        (size::vcpu(size) * exact(price.cpu_second_pico) + size::gib(size) * exact(price.gib_second_pico)) / 1e12
    };
    let (original, trade) = (cost(&price(false)), cost(&price(is_spot)));
    let detail = json!({"Resource": "eci", "OriginalPrice": original, "TradePrice": trade, "DiscountPrice": original - trade, "Rules": {"Rule": []}});
    let spot = json!({"InstanceType": name, "OriginPrice": original * 3600.0, "SpotPrice": trade * 3600.0, "ZoneId": tree.text("ZoneId")});
    Ok(json!({"PriceInfo": {
        "Price": {
            "Currency": "CNY", "OriginalPrice": original, "TradePrice": trade, "DiscountPrice": original - trade,
            "DetailInfos": {"DetailInfo": [detail]},
        },
        "Rules": {"Rule": []},
        "SpotPrices": {"SpotPrice": if is_spot { vec![spot] } else { Vec::new() }},
    }}))
}

/// `DescribeAvailableResource`
pub(super) fn describe_available(state: &State, context: &Context<'_>) -> Result<Value, ApiError> {
    let tree = &context.tree;
    let category = tree.needed("DestinationResource.Category")?;
    if !["InstanceType", "InstanceTypeFamily"].contains(&category) {
        return Err(ApiError::parameter("DestinationResource.Category", &format!("{category} is no category.")));
    }
    let value = tree.text("DestinationResource.Value").unwrap_or("ecs.c6.large");
    let zones = state.network.zones();
    let wanted = zones.into_iter().filter(|zone| tree.text("ZoneId").is_none_or(|wanted| wanted == *zone));
    let zone = |zone: &str| {
        let taken = state.standing(context.now).filter(|group| group.zone == zone).count() as u64;
        let has_stock = context.settings.stock_of(zone, context.now).is_none_or(|stock| taken < stock);
        let status = if has_stock { "WithStock" } else { "WithoutStock" };
        let supported = json!({"SupportedResource": [{"StatusCategory": status, "Value": value}]});
        let resource = json!({"Type": category, "SupportedResources": supported});
        json!({"RegionId": state.region, "ZoneId": zone, "AvailableResources": {"AvailableResource": [resource]}})
    };
    Ok(json!({"AvailableZones": {"AvailableZone": wanted.map(zone).collect::<Vec<_>>()}}))
}

/// `ListUsage`
pub(super) fn list_usage(state: &State, context: &Context<'_>) -> Value {
    let (count, cpu) = used(state, context.now);
    json!({"Attributes": {
        "UsedCpu": cpu.div_ceil(1000), "MaxCpu": context.settings.quota_cpu.unwrap_or(100_000),
        "UsedEci": count, "MaxEci": context.settings.quota_instances.unwrap_or(100_000),
    }})
}

/// `DescribeRegions`
pub(super) fn describe_regions(state: &State) -> Value {
    let zones = state.network.zones();
    let endpoint = format!("eci.{}.aliyuncs.com", state.region);
    json!({"Regions": [{"RegionId": state.region, "RegionEndpoint": endpoint, "Zones": zones, "RecommendZones": zones}]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_type_has_the_memory_of_its_family() {
        let gib = |name| instance_type(name).map(|size| (size.cpu.0 / 1000, size.memory.0 >> 30));
        assert_eq!(gib("ecs.c6.xlarge"), Some((4, 8)));
        assert_eq!(gib("ecs.g7.2xlarge"), Some((8, 32)));
        assert_eq!(gib("ecs.r6.large"), Some((2, 16)));
        assert_eq!((gib("ecs.x9.huge"), gib("c6.large")), (None, None));
    }
}

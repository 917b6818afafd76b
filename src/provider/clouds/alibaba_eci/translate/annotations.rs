//! Pod annotations of ECI (`k8s.aliyun.com/…`), read at creation only.
//!
//! `eci-eviction-enable` and `eci-sls-enable` are taken and change nothing: the API has no field for them.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;

use super::{invalid, set, set_list};
use crate::provider::{
    ProviderError,
    clouds::{
        Bytes, Resources,
        alibaba_eci::{signing::Parameters, size},
        bandwidth::{EGRESS, INGRESS, bandwidth},
    },
};

const PREFIX: &str = "k8s.aliyun.com/";
const MOST_VSWITCHES: usize = 10;
const MOST_SECURITY_GROUPS: usize = 5;
const PENDING_MINUTES: std::ops::RangeInclusive<u64> = 10..=1440;

/// A size that a pod names itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spec {
    /// `2-4Gi`, or what the containers ask for.
    Amounts(Resources),
    /// `ecs.c6.xlarge`
    InstanceType(String),
}

/// How a spot instance is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spot {
    pub(super) strategy: String,
    pub(super) price_limit: Option<f64>,
    pub(super) duration: Option<u8>,
    pub(super) falls_back: bool,
}

/// `eci-custom-dnsconfig`, as a pod's `dnsConfig` is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Dns {
    pub(super) nameservers: Vec<String>,
    pub(super) searches: Vec<String>,
    pub(super) options: Vec<DnsOption>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DnsOption {
    pub(super) name: String,
    #[serde(default)]
    pub(super) value: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Host {
    host: String,
    ip: String,
}

/// What a pod's annotations say.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    /// Parameters that an annotation sets one to one.
    pub(super) plain: Parameters,
    pub(super) place: Option<Parameters>,
    pub(super) security_groups: Option<String>,
    pub(super) specs: Vec<Spec>,
    pub(super) families: Vec<String>,
    pub(super) spot: Option<Spot>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) hosts: Vec<(String, Vec<String>)>,
    pub(super) dns: Option<Dns>,
    pub(super) fails_fast: bool,
    pub(super) longest_pending: Option<Duration>,
}

/// Annotations of one pod, by name.
struct Found<'a>(Option<&'a BTreeMap<String, String>>);

impl<'a> Found<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        let name = format!("{PREFIX}{name}");
        self.0?.get(&name).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ProviderError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| wrong(name, text, "a number"))
    }

    fn truth(&self, name: &str) -> Result<bool, ProviderError> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(text) => Err(wrong(name, text, "true or false")),
        }
    }

    fn list(&self, name: &str, most: usize) -> Result<Vec<&'a str>, ProviderError> {
        let text = self.text(name).unwrap_or_default();
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect::<Vec<_>>();
        if parts.len() > most { Err(wrong(name, text, &format!("at most {most} ids"))) } else { Ok(parts) }
    }

    fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, ProviderError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|error| wrong(name, text, &format!("JSON of this kind ({error})")))
    }
}

fn wrong(name: &str, text: &str, wanted: &str) -> ProviderError {
    invalid(format!("annotation {PREFIX}{name}: {text:?} is not {wanted}"))
}

impl Annotations {
    pub(super) fn read(pod: &Pod) -> Result<Self, ProviderError> {
        let found = Found(pod.metadata.annotations.as_ref());
        let mut read = Self {
            place: place(&found)?,
            specs: specs(&found)?,
            families: found.list("eci-instance-family", 5)?.into_iter().map(str::to_owned).collect(),
            spot: spot(&found)?,
            tags: tags(&found)?,
            dns: found.json("eci-custom-dnsconfig")?,
            fails_fast: fails_fast(&found)?,
            longest_pending: longest_pending(&found)?,
            ..Self::default()
        };
        let hosts: Vec<Host> = found.json("eci-custom-hosts")?.unwrap_or_default();
        read.hosts = hosts.into_iter().map(|host| (host.ip, vec![host.host])).collect();
        let groups = found.list("eci-security-group", MOST_SECURITY_GROUPS)?;
        read.security_groups = (!groups.is_empty()).then(|| groups.join(","));
        read.set_plain(&found)?;
        read.set_bandwidth(pod)?;
        Ok(read)
    }

    fn set_plain(&mut self, found: &Found<'_>) -> Result<(), ProviderError> {
        let plain = &mut self.plain;
        for (name, parameter) in [
            ("eci-ram-role-name", "RamRoleName"),
            ("eci-image-snapshot-id", "ImageSnapshotId"),
            ("eci-imc-id", "ImageSnapshotId"),
            ("eci-eip-instanceid", "EipInstanceId"),
            ("eip-isp", "EipISP"),
            ("eci-private-ip-address", "PrivateIpAddress"),
            ("eci-fixed-ip", "FixedIp"),
            ("eci-core-pattern", "CorePattern"),
        ] {
            if let Some(text) = found.text(name) {
                set(plain, parameter, text);
            }
        }
        for (name, parameter) in [("eip-bandwidth", "EipBandwidth"), ("eci-fixed-ip-retain-hour", "FixedIpRetainHour")]
        {
            if let Some(number) = found.number::<u32>(name)? {
                set(plain, parameter, number);
            }
        }
        for (name, parameter) in [
            ("eci-with-eip", "AutoCreateEip"),
            ("eci-image-cache", "AutoMatchImageCache"),
            ("eci-auto-imc", "AutoMatchImageCache"),
        ] {
            if found.truth(name)? {
                set(plain, parameter, true);
            }
        }
        for name in ["eci-eviction-enable", "eci-sls-enable"] {
            found.truth(name)?;
        }
        if let Some(text) = found.text("eci-extra-ephemeral-storage") {
            let bytes: Bytes =
                text.parse().map_err(|_| wrong("eci-extra-ephemeral-storage", text, "a quantity such as 50Gi"))?;
            set(plain, "EphemeralStorage", bytes.0.div_ceil(1 << 30));
        }
        set_list(plain, "ComputeCategory", found.list("eci-compute-category", 10)?);
        set_list(plain, "NtpServer", found.list("eci-ntp-server", 10)?);
        for (number, id) in (1..).zip(found.list("acr-instance-ids", 10)?) {
            // An instance of another region is written REGION:ID.
            let (region, id) = id.split_once(':').map_or((None, id), |(region, id)| (Some(region), id));
            set(plain, format!("AcrRegistryInfo.{number}.InstanceId"), id);
            if let Some(region) = region {
                set(plain, format!("AcrRegistryInfo.{number}.RegionId"), region);
            }
        }
        Ok(())
    }

    fn set_bandwidth(&mut self, pod: &Pod) -> Result<(), ProviderError> {
        for (key, parameter) in [(INGRESS, "IngressBandwidth"), (EGRESS, "EgressBandwidth")] {
            if let Some(bits) = bandwidth(pod, key)? {
                set(&mut self.plain, parameter, bits);
            }
        }
        Ok(())
    }
}

fn place(found: &Found<'_>) -> Result<Option<Parameters>, ProviderError> {
    let vswitches = found.list("eci-vswitch", MOST_VSWITCHES)?;
    let strategy = found.text("eci-schedule-strategy");
    if let Some(text) = strategy.filter(|text| !["VSwitchOrdered", "VSwitchRandom"].contains(text)) {
        return Err(wrong("eci-schedule-strategy", text, "VSwitchOrdered or VSwitchRandom"));
    }
    if vswitches.is_empty() {
        return Ok(None);
    }
    let mut place = Parameters::new();
    set(&mut place, "VSwitchId", vswitches.join(","));
    if let Some(strategy) = strategy {
        set(&mut place, "ScheduleStrategy", strategy);
    }
    Ok(Some(place))
}

/// `2-4Gi,ecs.c6.xlarge`: sizes and instance types in the order in which they are wanted.
fn specs(found: &Found<'_>) -> Result<Vec<Spec>, ProviderError> {
    let name = "eci-use-specs";
    let spec = |text: &str| {
        if text.starts_with("ecs.") {
            return Ok(Spec::InstanceType(text.to_owned()));
        }
        let amounts = text
            .split_once('-')
            .and_then(|(cpu, memory)| Some(Resources { cpu: cpu.parse().ok()?, memory: memory.parse().ok()? }));
        amounts
            .map(Spec::Amounts)
            .ok_or_else(|| wrong(name, text, "a size such as 2-4Gi or an instance type such as ecs.c6.xlarge"))
    };
    found.list(name, 5)?.into_iter().map(spec).collect()
}

fn spot(found: &Found<'_>) -> Result<Option<Spot>, ProviderError> {
    let price_limit = found.number::<f64>("eci-spot-price-limit")?;
    let duration = found.number::<u8>("eci-spot-duration")?;
    let falls_back = found.truth("eci-spot-fallback")?;
    let Some(strategy) = found.text("eci-spot-strategy") else { return Ok(None) };
    if !["NoSpot", "SpotAsPriceGo", "SpotWithPriceLimit"].contains(&strategy) {
        return Err(wrong("eci-spot-strategy", strategy, "NoSpot, SpotAsPriceGo or SpotWithPriceLimit"));
    }
    if strategy == "SpotWithPriceLimit" && price_limit.is_none() {
        return Err(invalid(
            "annotation k8s.aliyun.com/eci-spot-strategy: SpotWithPriceLimit needs eci-spot-price-limit",
        ));
    }
    Ok(Some(Spot { strategy: strategy.to_owned(), price_limit, duration, falls_back }))
}

/// `env:test,name:alice`
fn tags(found: &Found<'_>) -> Result<BTreeMap<String, String>, ProviderError> {
    let name = "eci-custom-tags";
    let tag = |text: &str| {
        let (key, value) = text.split_once(':').ok_or_else(|| wrong(name, text, "a tag such as env:test"))?;
        Ok((key.trim().to_owned(), value.trim().to_owned()))
    };
    found.list(name, 20)?.into_iter().map(tag).collect()
}

/// `fail-fast` fails a pod that cannot be created; with `fail-back` and `fail-over` it goes on waiting here, and another
/// pool may be chosen by burstlet's own policy.
fn fails_fast(found: &Found<'_>) -> Result<bool, ProviderError> {
    let on_error = found.truth("pod-fail-on-create-err")?;
    match found.text("eci-fail-strategy") {
        None | Some("fail-back" | "fail-over") => Ok(on_error),
        Some("fail-fast") => Ok(true),
        Some(text) => Err(wrong("eci-fail-strategy", text, "fail-back, fail-over or fail-fast")),
    }
}

fn longest_pending(found: &Found<'_>) -> Result<Option<Duration>, ProviderError> {
    let name = "eci-max-pending-minute";
    match found.number::<u64>(name)? {
        None => Ok(None),
        Some(minutes) if PENDING_MINUTES.contains(&minutes) => Ok(Some(Duration::from_mins(minutes))),
        Some(minutes) => Err(wrong(name, &minutes.to_string(), "10 to 1440 minutes")),
    }
}

/// Instance types of `families` that have the size's vCPU: `ecs.c6` and 4 vCPU are `ecs.c6.xlarge`.
pub(super) fn types_of(families: &[String], size: Resources) -> String {
    let vcpu = size::vcpu(size);
    let scale = if vcpu <= 2.0 {
        "large".to_owned()
    } else if vcpu <= 4.0 {
        "xlarge".to_owned()
    } else {
        format!("{}xlarge", (vcpu / 4.0).ceil())
    };
    families.iter().map(|family| format!("{family}.{scale}")).collect::<Vec<_>>().join(",")
}

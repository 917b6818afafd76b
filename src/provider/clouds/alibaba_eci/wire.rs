//! Answers of the API, as far as they are read.

use std::net::IpAddr;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Created {
    pub(super) container_group_id: String,
    pub(super) request_id: String,
}

/// An answer of which nothing is read.
#[derive(Debug, Deserialize)]
pub(super) struct Done {}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Statuses {
    #[serde(default)]
    pub(super) data: Vec<GroupStatus>,
    pub(super) next_token: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GroupStatus {
    pub(super) container_group_id: String,
    pub(super) status: String,
    pub(super) pod_status: Option<PodStatus>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PodStatus {
    pub(super) pod_ip: Option<IpAddr>,
    #[serde(default)]
    pub(super) container_statuses: Vec<ContainerStatus>,
    #[serde(default)]
    pub(super) conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Condition {
    pub(super) reason: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ContainerStatus {
    #[serde(default)]
    pub(super) name: String,
    pub(super) state: Option<ContainerState>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ContainerState {
    pub(super) terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Terminated {
    #[serde(default)]
    pub(super) exit_code: i32,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Groups {
    #[serde(default)]
    pub(super) container_groups: Vec<Group>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Group {
    pub(super) container_group_id: String,
    #[serde(default)]
    pub(super) cpu: f64,
    #[serde(default)]
    pub(super) memory: f64,
    pub(super) vpc_id: Option<String>,
    pub(super) v_switch_id: Option<String>,
    pub(super) eni_instance_id: Option<String>,
    pub(super) creation_time: Option<String>,
    pub(super) spot_strategy: Option<String>,
    #[serde(default)]
    pub(super) tags: Vec<Tag>,
    #[serde(default)]
    pub(super) events: Vec<Event>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    pub(super) key: String,
    #[serde(default)]
    pub(super) value: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Event {
    #[serde(default)]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Metrics {
    #[serde(default)]
    pub(super) monitor_datas: Vec<Monitored>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Monitored {
    pub(super) container_group_id: String,
    #[serde(default)]
    pub(super) records: Vec<Record>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Record {
    #[serde(rename = "CPU")]
    pub(super) cpu: Option<CpuRecord>,
    pub(super) memory: Option<MemoryRecord>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CpuRecord {
    #[serde(default)]
    pub(super) usage_nano_cores: u64,
    #[serde(default)]
    pub(super) usage_core_nano_seconds: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MemoryRecord {
    #[serde(default)]
    pub(super) working_set: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Log {
    #[serde(default)]
    pub(super) content: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Executed {
    pub(super) web_socket_uri: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Prices {
    pub(super) price_info: PriceInfo,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PriceInfo {
    pub(super) price: PriceOf,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PriceOf {
    pub(super) currency: String,
    pub(super) trade_price: f64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct VSwitchAttributes {
    #[serde(default)]
    pub(super) available_ip_address_count: u64,
}

//! The configuration file of `burstlet run`.

mod kubelet;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use burstlet_engine::{
    model::{Bytes, MilliCpu, PoolName},
    policy::{MoveBack, Settings},
};
use serde::Deserialize;

pub use kubelet::{KubeletListener, KubeletTls};

use crate::{
    api::{
        kinds::{ForeignKind, ForeignKinds},
        pool::{PoolSpec, Provider},
    },
    serve::ServerTls,
};

/// What runs in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Component {
    /// The webhook that puts gates on governed pods.
    Admission,
    /// The scheduler extender.
    Extender,
    /// What decides for gated pods; on one replica at a time.
    Placer,
    /// The virtual nodes; each pool's on one replica at a time.
    Kubelet,
}

/// All of them.
pub const ALL_COMPONENTS: [Component; 4] =
    [Component::Admission, Component::Extender, Component::Placer, Component::Kubelet];

/// The file, in YAML. Durations are in humantime's form (`90s`, `10m`); unknown fields are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Name of this cluster at the providers: instances carry it, and those of other clusters are never touched.
    pub cluster_id: String,
    /// Namespace that burstlet lives in; its Leases stand there.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// A kube-scheduler that asks the extender and takes only governed pods. Without it, the cluster's own takes them.
    pub scheduler_name: Option<String>,
    /// Election among the replicas.
    #[serde(default)]
    pub election: Election,
    /// When to decide otherwise than at once.
    #[serde(default)]
    pub placement: Placement,
    /// Kinds of other API groups that scale pods, beside Kubernetes' own.
    #[serde(default)]
    pub workloads: Vec<ForeignKind>,
    /// Where health and metrics are shown, over plain HTTP.
    pub telemetry: Option<Listen>,
    /// The webhook's listener.
    pub admission: Option<Listener>,
    /// The extender's listener.
    pub extender: Option<Listener>,
    /// The kubelets' listener.
    pub kubelet: Option<KubeletListener>,
    /// The live page's listener; the leader shows the page.
    pub page: Option<Listener>,
    /// Whether pods may run as processes of this host: the command line's word, never the file's.
    #[serde(skip)]
    pub allows_host_processes: bool,
    /// Places to burst to, in the order in which they are tried.
    #[serde(default)]
    pub pools: Vec<Pool>,
}

/// An address.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listen {
    /// Address and port to listen on.
    pub listen: SocketAddr,
}

/// An HTTPS listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Its certificate, and whose client certificates it takes.
    pub tls: ServerTls,
}

/// Election among the replicas.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Election {
    /// How long a lease lasts without renewal.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
    /// How often it is renewed.
    #[serde(with = "humantime_serde")]
    pub renew: Duration,
}

impl Default for Election {
    fn default() -> Self {
        Self { lease: Duration::from_secs(8), renew: Duration::from_secs(2) }
    }
}

/// When to decide otherwise than at once.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Placement {
    /// Base pods that fit nowhere.
    pub move_on: MoveOn,
    /// Pods that return from virtual nodes.
    pub move_back: Return,
}

/// Base pods that fit nowhere.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MoveOn {
    /// How long real nodes, and a node autoscaler, get before the pool may take the pod.
    #[serde(with = "humantime_serde")]
    pub after: Duration,
}

impl Default for MoveOn {
    fn default() -> Self {
        Self { after: Duration::from_secs(90) }
    }
}

/// Pods that return from virtual nodes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Return {
    /// How long the base must have had room on real nodes.
    #[serde(with = "humantime_serde")]
    pub after: Duration,
    /// Least time between two returns of one revision.
    #[serde(with = "humantime_serde")]
    pub cool_down: Duration,
}

impl Default for Return {
    fn default() -> Self {
        Self { after: Duration::from_secs(20), cool_down: Duration::from_secs(20) }
    }
}

/// A place to burst to.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// How many virtual nodes stand for it.
    #[serde(default = "one")]
    pub nodes: u32,
    /// How many pods each of them takes.
    #[serde(default = "default_pods_per_node")]
    pub pods_per_node: u32,
    /// CPU that each of them shows, as a Kubernetes quantity.
    #[serde(default = "default_cpu")]
    pub cpu: String,
    /// Memory that each of them shows, as a Kubernetes quantity.
    #[serde(default = "default_memory")]
    pub memory: String,
    /// Who runs its instances.
    pub provider: Provider,
    /// Set where its nodes come and go with the load, up to `nodes`: those of VirtualPools do.
    #[serde(skip)]
    pub(super) scaled: Option<Scaled>,
}

/// What bounds a pool's virtual nodes beside their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scaled {
    /// Pods that the pool takes at most.
    pub(super) quota_pods: Option<u32>,
}

impl Pool {
    /// The pool that a VirtualPool describes.
    pub(super) fn of(name: &str, spec: &PoolSpec) -> Self {
        let nodes = spec.nodes.clone().unwrap_or_default();
        let quota = spec.quota.clone().unwrap_or_default();
        Self {
            name: name.into(),
            nodes: nodes.max.unwrap_or_else(one),
            pods_per_node: nodes.pods_per_node.unwrap_or_else(default_pods_per_node),
            cpu: least::<MilliCpu>(nodes.cpu.unwrap_or_else(default_cpu), quota.cpu),
            memory: least::<Bytes>(nodes.memory.unwrap_or_else(default_memory), quota.memory),
            provider: spec.provider.clone(),
            scaled: Some(Scaled { quota_pods: quota.pods }),
        }
    }
}

/// What a node shows, no more than the pool's quota.
fn least<T: FromStr + PartialOrd>(shown: String, quota: Option<String>) -> String {
    let amount = |text: &str| text.parse::<T>().ok();
    match quota {
        Some(quota) if amount(&quota).zip(amount(&shown)).is_some_and(|(quota, shown)| quota < shown) => quota,
        _ => shown,
    }
}

fn default_namespace() -> String {
    "burstlet-system".to_owned()
}

fn one() -> u32 {
    1
}

fn default_pods_per_node() -> u32 {
    3000
}

fn default_cpu() -> String {
    "12000".to_owned()
}

fn default_memory() -> String {
    "48Ti".to_owned()
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("unable to read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is no configuration; the reason has line and column.
    #[error("the configuration {path} is not understood: {reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// Two pools have one name.
    #[error("pools: {0} is named twice; a pool's name is its own")]
    PoolTwice(PoolName),
    /// Nothing says where the cluster reaches the kubelet's listener.
    #[error("kubelet.address is not set, and the environment variable POD_IP {0}; set one of them")]
    NoAddress(&'static str),
    /// The kubelet's listener has no certificate, or two.
    #[error("kubelet.tls: {0}; give certificate and key, or requested: true alone")]
    KubeletTls(&'static str),
    /// A component has no listener.
    #[error(
        "{component} runs here, but the configuration has no section {component}; add it, or leave the component out with --components"
    )]
    NoSection {
        /// The component's section.
        component: &'static str,
    },
}

impl Config {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config: Self = serde_saphyr::from_str(&text)
            .map_err(|error| ConfigError::Parse { path: path.to_owned(), reason: one_line(&error) })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let mut seen = BTreeSet::new();
        for pool in &self.pools {
            if !seen.insert(&pool.name) {
                return Err(ConfigError::PoolTwice(pool.name.clone()));
            }
        }
        self.kubelet.as_ref().map_or(Ok(()), |kubelet| kubelet.tls.check())
    }

    /// Kinds of other API groups that scale pods.
    pub fn foreign_kinds(&self) -> ForeignKinds {
        ForeignKinds::new(&self.workloads)
    }

    /// What the engine takes from a configuration that says nothing.
    pub fn default_settings() -> Settings {
        settings(&Placement::default(), Vec::new())
    }

    /// What the engine takes from it.
    pub fn settings(&self) -> Settings {
        settings(&self.placement, self.pools.iter().map(|pool| pool.name.clone()).collect())
    }
}

fn settings(placement: &Placement, pools: Vec<PoolName>) -> Settings {
    let Return { after, cool_down } = placement.move_back;
    Settings { pools, move_on_after: placement.move_on.after, move_back: MoveBack { after, at_once: 1, cool_down } }
}

/// The reason with line and column, without the excerpt of the file below it.
fn one_line(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    text.strip_prefix("error: ").unwrap_or(&text).lines().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let config: Config = serde_saphyr::from_str(text).map_err(|error| one_line(&error))?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn the_least_configuration_gets_the_documented_defaults() {
        let config = parse("clusterId: lab").unwrap();
        assert_eq!(config.settings().move_on_after, Duration::from_secs(90));
        assert_eq!(config.namespace, "burstlet-system");
        assert!(config.pools.is_empty());
    }

    #[test]
    fn durations_are_in_humantimes_form() {
        let config = parse("clusterId: lab\nplacement: {moveOn: {after: 2m 30s}}").unwrap();
        assert_eq!(config.settings().move_on_after, Duration::from_secs(150));
    }

    #[test]
    fn an_unknown_field_is_refused_with_line_and_column() {
        let fault = parse("clusterId: lab\nplacement:\n  moveOn: {afterwards: 90s}\n").unwrap_err();
        assert!(fault.contains("afterwards") && fault.contains("line 3, column 12"), "{fault}");
        assert_eq!(fault.lines().count(), 1, "{fault}");
    }

    #[test]
    fn a_pool_on_alibaba_eci_is_read() {
        let pool = |field: &str| {
            let eci =
                "region: cn-hangzhou, securityGroupId: sg-1, credentials: {secretRef: {name: alibaba-addon-secret}}";
            parse(&format!("clusterId: lab\npools:\n- {{name: eci, provider: {{alibabaEci: {{{eci}, {field}}}}}}}\n"))
        };
        let config = pool("zones: [{vSwitchId: vsw-a}, {zoneId: cn-hangzhou-i, vSwitchId: vsw-b}]").unwrap();
        let Provider::AlibabaEci(eci) = &config.pools[0].provider else { panic!() };
        assert_eq!(eci.zones[1].zone_id.as_deref(), Some("cn-hangzhou-i"));
        assert!(pool("vswitch: vsw-a").unwrap_err().contains("vswitch"));
    }

    #[test]
    fn the_nodes_of_a_virtual_pool_show_no_more_than_its_quota() {
        let spec = "{provider: {simulated: {endpoint: 'http://x:1'}}, nodes: {cpu: '100'}, quota: {cpu: 9500m, memory: 64Ti, pods: 7}}";
        let pool = Pool::of("p", &serde_saphyr::from_str(spec).unwrap());
        assert_eq!((pool.cpu.as_str(), pool.memory.as_str()), ("9500m", "48Ti"));
        assert_eq!(pool.scaled, Some(Scaled { quota_pods: Some(7) }));
    }

    #[test]
    fn a_pool_named_twice_or_badly_is_refused() {
        let pools = |names: [&str; 2]| {
            let pool = |name: &str| format!("- {{name: {name}, provider: {{simulated: {{endpoint: 'http://x'}}}}}}\n");
            parse(&format!("clusterId: lab\npools:\n{}{}", pool(names[0]), pool(names[1])))
        };
        assert!(pools(["a", "b"]).is_ok());
        assert!(pools(["a", "a"]).unwrap_err().contains("named twice"));
        assert!(pools(["a", "-b"]).unwrap_err().contains("no pool name"));
    }
}

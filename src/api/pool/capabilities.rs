//! What each provider has of what pods ask for: one table, which placement, providers and documentation all read.
//!
//! `docs/providers.md` shows it, held to it by a test; each provider's tests hold the provider to it.

use burstlet_engine::model::{Bytes, Capabilities, MilliCpu, Need, NeedSet, Resources};

use super::{
    Provider, alibaba_eci::AlibabaEci, aws_fargate::AwsFargate, azure_aci::AzureAci, kingsoft_kci::KingsoftKci,
    kubernetes::Kubernetes,
};

/// What pods reach of the cluster's network where a pool's fields say nothing of it.
const NETWORK: [Need; 3] = [Need::ClusterDns, Need::Services, Need::ServicesUntilEnd];

const ALIBABA_ECI: Capabilities = Capabilities {
    provider: "Alibaba ECI",
    kinds: NeedSet::ALL.without(&[Need::GrpcProbes, Need::Tokens]).without(&NETWORK),
    containers: None,
    largest: Some(size(64_000, 512)),
};

const KINGSOFT_KCI: Capabilities = Capabilities {
    provider: "Kingsoft KCI",
    kinds: NeedSet::of(&[
        Need::InitContainers,
        Need::MemoryVolumes,
        Need::WorkingDirs,
        Need::ImageCommands,
        Need::ArgumentsAlone,
        Need::HostAliases,
        Need::DnsConfig,
    ]),
    containers: Some(5),
    largest: Some(size(128_000, 512)),
};

const AWS_FARGATE: Capabilities = Capabilities {
    provider: "AWS Fargate",
    kinds: NeedSet::of(&[Need::InitContainers, Need::WorkingDirs, Need::ImageCommands, Need::ArgumentsAlone]),
    containers: Some(10),
    largest: Some(size(16_000, 120)),
};

const AZURE_ACI: Capabilities = Capabilities {
    provider: "Azure ACI",
    kinds: NeedSet::of(&[Need::InitContainers, Need::Files, Need::ImageCommands, Need::DnsConfig]),
    containers: Some(60),
    largest: Some(size(4000, 16)),
};

const KUBERNETES: Capabilities = Capabilities {
    provider: "another cluster",
    kinds: NeedSet::ALL.without(&[Need::FlexVolumes]).without(&NETWORK),
    containers: None,
    largest: None,
};

/// Processes of this host.
#[cfg(feature = "lab")]
pub const PROCESS: Capabilities = Capabilities {
    provider: "the process provider",
    kinds: NeedSet::ALL
        .without(&[
            Need::GrpcProbes,
            Need::NfsVolumes,
            Need::FlexVolumes,
            Need::ImageCommands,
            Need::ArgumentsAlone,
            Need::HostAliases,
            Need::DnsConfig,
            Need::AddedCapabilities,
        ])
        .without(&NETWORK),
    containers: None,
    largest: None,
};

/// Clouds in memory run nothing, so nothing is missing.
const SIMULATED: Capabilities = Capabilities::all("the simulated cloud");

const fn size(cpu: u64, gib: u64) -> Resources {
    Resources { cpu: MilliCpu(cpu), memory: Bytes(gib << 30) }
}

impl Provider {
    /// What it has.
    pub fn capabilities(&self) -> Capabilities {
        match self {
            Self::Simulated(_) => SIMULATED,
            Self::AlibabaEci(settings) => settings.capabilities(),
            Self::KingsoftKci(settings) => settings.capabilities(),
            Self::AwsFargate(settings) => settings.capabilities(),
            Self::AzureAci(settings) => settings.capabilities(),
            Self::Kubernetes(settings) => settings.capabilities(),
            #[cfg(feature = "lab")]
            Self::Process(_) => PROCESS,
        }
    }
}

/// With cluster DNS where the pool names its servers.
fn resolving(capabilities: Capabilities, names_servers: bool) -> Capabilities {
    let kinds = capabilities.kinds;
    Capabilities { kinds: if names_servers { kinds.with(Need::ClusterDns) } else { kinds }, ..capabilities }
}

impl AlibabaEci {
    /// What it has: Services by a kube-proxy beside the pod, which would keep a pod that ends from ending.
    pub fn capabilities(&self) -> Capabilities {
        let own = resolving(ALIBABA_ECI, !self.cluster_dns.is_empty());
        let kinds = if self.kube_proxy.is_some() { own.kinds.with(Need::Services) } else { own.kinds };
        Capabilities { kinds, ..own }
    }
}

impl KingsoftKci {
    /// What it has, with the pool's own sizes.
    pub fn capabilities(&self) -> Capabilities {
        let own = resolving(KINGSOFT_KCI, !self.cluster_dns.is_empty());
        let cpu = self.sizes.iter().map(|size| size.cpu_millis).max();
        let gib = self.sizes.iter().flat_map(|size| size.memory_gib.iter().copied()).max();
        Capabilities { largest: cpu.zip(gib).map(|(cpu, gib)| size(cpu, gib)).or(own.largest), ..own }
    }
}

impl AwsFargate {
    /// What it has.
    pub fn capabilities(&self) -> Capabilities {
        AWS_FARGATE
    }
}

impl AzureAci {
    /// What it has.
    pub fn capabilities(&self) -> Capabilities {
        resolving(AZURE_ACI, !self.cluster_dns.is_empty())
    }
}

impl Kubernetes {
    /// What it has.
    pub fn capabilities(&self) -> Capabilities {
        resolving(KUBERNETES, !self.cluster_dns.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn pool(provider: &str) -> Provider {
        serde_saphyr::from_str(provider).unwrap()
    }

    /// Each with the fields set that give pods cluster DNS and Services.
    fn all() -> Vec<(&'static str, Capabilities)> {
        let eci = "{alibabaEci: {region: r, zones: [], securityGroupId: s, credentials: {environment: {}}, \
                   clusterDNS: [10.0.0.10], kubeProxy: {image: i, kubeconfig: /k}}}";
        let kci = "{kingsoftKci: {region: r, clusterDns: [10.0.0.10]}}";
        let fargate = "{awsFargate: {region: r, cluster: c, subnetIds: []}}";
        let aci = "{azureAci: {location: l, subscriptionId: s, resourceGroup: g, clusterDNS: [10.0.0.10]}}";
        let other = "{kubernetes: {kubeconfig: {secretRef: {name: s}}, namespace: n, clusterDNS: [10.0.0.10]}}";
        let names = ["Alibaba ECI", "Kingsoft KCI", "AWS Fargate", "Azure ACI", "other cluster"];
        names.into_iter().zip([eci, kci, fargate, aci, other].map(|text| pool(text).capabilities())).collect()
    }

    fn table() -> String {
        let all = all();
        let mut text = "| what a pod asks for |".to_owned();
        let mut rule = "|---|".to_owned();
        for (name, _) in &all {
            write!(text, " {name} |").unwrap();
            rule.push_str("---|");
        }
        writeln!(text, "\n{rule}").unwrap();
        for need in Need::ALL {
            write!(text, "| `{}` |", need.field()).unwrap();
            for (_, capabilities) in &all {
                write!(text, " {} |", if capabilities.kinds.has(need) { "yes" } else { "no" }).unwrap();
            }
            text.push('\n');
        }
        text.push_str("| containers |");
        for (_, capabilities) in &all {
            let most = capabilities.containers.map_or_else(|| "any".to_owned(), |most| most.to_string());
            write!(text, " {most} |").unwrap();
        }
        text.push_str("\n| largest size |");
        for (_, capabilities) in &all {
            let shown = |largest: Resources| format!("{} CPU, {} GiB", largest.cpu.0 / 1000, largest.memory.0 >> 30);
            write!(text, " {} |", capabilities.largest.map_or_else(|| "any".to_owned(), shown)).unwrap();
        }
        text + "\n"
    }

    #[test]
    fn the_documentation_shows_the_table_as_it_is() {
        let page = include_str!("../../../docs/providers.md");
        assert!(page.contains(&table()), "docs/providers.md has another table than this:\n{}", table());
    }

    #[test]
    fn the_clusters_network_is_promised_only_where_a_field_gives_it() {
        let has = |text: &str, need: Need| pool(text).capabilities().kinds.has(need);
        let bare = "{alibabaEci: {region: r, zones: [], securityGroupId: s, credentials: {environment: {}}}}";
        assert!(!has(bare, Need::ClusterDns) && !has(bare, Need::Services));
        for (_, capabilities) in all() {
            assert!(!capabilities.kinds.has(Need::ServicesUntilEnd), "{}", capabilities.provider);
        }
        assert!(!has("{kingsoftKci: {region: r}}", Need::ClusterDns));
        assert!(has("{simulated: {endpoint: 'http://x:1'}}", Need::Services), "nothing runs there");
    }

    #[test]
    fn a_pools_own_sizes_set_the_largest() {
        let own = "{kingsoftKci: {region: r, sizes: [{cpuMillis: 1000, memoryGib: [2, 4]}, {cpuMillis: 2000, memoryGib: [1]}]}}";
        assert_eq!(pool(own).capabilities().largest, Some(size(2000, 4)));
    }
}

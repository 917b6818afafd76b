//! What a pod asks of whoever runs it, and what a provider has of that. Told before the pod is placed, so that nothing is
//! paid for a pod that could not run.

use std::fmt;

use crate::model::Resources;

/// Something that a pod may ask for and that not every provider has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// Containers that run and end before the others.
    InitContainers,
    /// Init containers that go on running.
    Sidecars,
    /// Probes that hold the others back until a container has started.
    StartupProbes,
    /// Probes that restart a container.
    LivenessProbes,
    /// Probes that keep traffic away.
    ReadinessProbes,
    /// Any of them over gRPC.
    GrpcProbes,
    /// Something done after a container's start or before its end.
    LifecycleHooks,
    /// Files of ConfigMaps, Secrets and the pod's own fields.
    Files,
    /// Tokens of the service account, beside the one that every pod gets whether or not it uses it.
    Tokens,
    /// Folders in memory.
    MemoryVolumes,
    /// Folders of an NFS server.
    NfsVolumes,
    /// Volumes of a driver of the cloud's.
    FlexVolumes,
    /// A part of a volume, mounted.
    SubPaths,
    /// A folder that the command begins in.
    WorkingDirs,
    /// The image's own command.
    ImageCommands,
    /// Arguments of the image's own command.
    ArgumentsAlone,
    /// Lines of `/etc/hosts`.
    HostAliases,
    /// Name servers, search domains and options of the pod's own.
    DnsConfig,
    /// Containers that see each other's processes.
    SharedProcesses,
    /// Linux capabilities beyond the usual.
    AddedCapabilities,
    /// Names of the cluster's Services, as the pod declares.
    ClusterDns,
    /// Addresses of the cluster's Services, as the pod declares.
    Services,
    /// The same, of a pod that ends: what reaches Services beside it must not keep it from ending.
    ServicesUntilEnd,
}

impl Need {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 23] = [
        Self::InitContainers,
        Self::Sidecars,
        Self::StartupProbes,
        Self::LivenessProbes,
        Self::ReadinessProbes,
        Self::GrpcProbes,
        Self::LifecycleHooks,
        Self::Files,
        Self::Tokens,
        Self::MemoryVolumes,
        Self::NfsVolumes,
        Self::FlexVolumes,
        Self::SubPaths,
        Self::WorkingDirs,
        Self::ImageCommands,
        Self::ArgumentsAlone,
        Self::HostAliases,
        Self::DnsConfig,
        Self::SharedProcesses,
        Self::AddedCapabilities,
        Self::ClusterDns,
        Self::Services,
        Self::ServicesUntilEnd,
    ];

    /// The field that asks for it.
    pub fn field(self) -> &'static str {
        match self {
            Self::InitContainers => "initContainers",
            Self::Sidecars => "initContainers[].restartPolicy",
            Self::StartupProbes => "containers[].startupProbe",
            Self::LivenessProbes => "containers[].livenessProbe",
            Self::ReadinessProbes => "containers[].readinessProbe",
            Self::GrpcProbes => "a probe's grpc",
            Self::LifecycleHooks => "containers[].lifecycle",
            Self::Files => "volumes of configMap, secret, downwardAPI or projected",
            Self::Tokens => "volumes[].projected.sources[].serviceAccountToken",
            Self::MemoryVolumes => "volumes[].emptyDir.medium Memory",
            Self::NfsVolumes => "volumes[].nfs",
            Self::FlexVolumes => "volumes[].flexVolume",
            Self::SubPaths => "volumeMounts[].subPath",
            Self::WorkingDirs => "containers[].workingDir",
            Self::ImageCommands => "a container without a command",
            Self::ArgumentsAlone => "containers[].args without a command",
            Self::HostAliases => "hostAliases",
            Self::DnsConfig => "dnsConfig",
            Self::SharedProcesses => "shareProcessNamespace",
            Self::AddedCapabilities => "securityContext.capabilities.add",
            Self::ClusterDns => "annotation burstlet.dev/needs: cluster-dns",
            Self::Services => "annotation burstlet.dev/needs: services",
            Self::ServicesUntilEnd => "annotation burstlet.dev/needs: services with a restartPolicy other than Always",
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// Several needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NeedSet(u32);

impl NeedSet {
    /// All that there are.
    pub const ALL: Self = Self(u32::MAX);

    /// Those.
    pub const fn of(needs: &[Need]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < needs.len() {
            bits |= needs[at].bit();
            at += 1;
        }
        Self(bits)
    }

    /// These and that one.
    #[must_use]
    pub const fn with(self, need: Need) -> Self {
        Self(self.0 | need.bit())
    }

    /// These but those.
    #[must_use]
    pub const fn without(self, needs: &[Need]) -> Self {
        Self(self.0 & !Self::of(needs).0)
    }

    /// Whether it is among them.
    pub const fn has(self, need: Need) -> bool {
        self.0 & need.bit() != 0
    }
}

/// What a pod asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// What kinds of thing.
    pub kinds: NeedSet,
    /// How many containers, init containers apart.
    pub containers: u16,
    /// CPU and memory by which a cloud sizes its instance: limits, else requests. Nothing where the pod names the
    /// instance's size itself.
    pub size: Resources,
}

/// What a provider has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// The provider's name, for people.
    pub provider: &'static str,
    /// What kinds of thing.
    pub kinds: NeedSet,
    /// Most containers of a pod, init containers apart, where there is a limit.
    pub containers: Option<u16>,
    /// The largest instance, where there is one.
    pub largest: Option<Resources>,
}

impl Capabilities {
    /// Everything.
    pub const fn all(provider: &'static str) -> Self {
        Self { provider, kinds: NeedSet::ALL, containers: None, largest: None }
    }

    /// The first of a pod's needs that the provider lacks.
    pub fn lack(&self, needs: &Needs) -> Option<Lack> {
        let missing = Need::ALL.into_iter().find(|need| needs.kinds.has(*need) && !self.kinds.has(*need));
        let what = if let Some(need) = missing {
            What::Kind(need)
        } else if let Some(most) = self.containers.filter(|most| needs.containers > *most) {
            What::Containers { asked: needs.containers, most }
        } else {
            let largest = self.largest.filter(|most| needs.size.cpu > most.cpu || needs.size.memory > most.memory)?;
            What::Size { asked: needs.size, largest }
        };
        Some(Lack { provider: self.provider, what })
    }
}

/// What a pod asks for that a provider lacks. Prints as a sentence that names both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lack {
    provider: &'static str,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Kind(Need),
    Containers { asked: u16, most: u16 },
    Size { asked: Resources, largest: Resources },
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { provider, what } = self;
        let size = |of: Resources| format!("{}m CPU and {} MiB", of.cpu.0, of.memory.0 >> 20);
        match what {
            What::Kind(need) => write!(f, "{provider} does not do {}", need.field()),
            What::Containers { asked, most } => {
                write!(f, "{provider} does not do {asked} containers: {most} are the most")
            }
            What::Size { asked, largest } => write!(
                f,
                "{provider} does not do containers[].resources of {} together: {} is the largest",
                size(*asked),
                size(*largest)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Bytes, MilliCpu};

    const SMALL: Capabilities = Capabilities {
        provider: "Small",
        kinds: NeedSet::of(&[Need::InitContainers]),
        containers: Some(2),
        largest: Some(Resources { cpu: MilliCpu(4000), memory: Bytes(16 << 30) }),
    };

    fn lack(needs: Needs) -> Option<String> {
        SMALL.lack(&needs).map(|lack| lack.to_string())
    }

    #[test]
    fn what_is_lacking_is_told_by_field_and_provider() {
        let kinds = NeedSet::of(&[Need::InitContainers]);
        assert_eq!(lack(Needs { kinds, containers: 2, ..Needs::default() }), None);
        let kinds = kinds.with(Need::Files).with(Need::ReadinessProbes);
        let told = lack(Needs { kinds, ..Needs::default() });
        assert_eq!(told.as_deref(), Some("Small does not do containers[].readinessProbe"));
        let told = lack(Needs { containers: 3, ..Needs::default() });
        assert_eq!(told.as_deref(), Some("Small does not do 3 containers: 2 are the most"));
        let size =
            |cpu, memory| Needs { size: Resources { cpu: MilliCpu(cpu), memory: Bytes(memory) }, ..Needs::default() };
        assert_eq!(lack(size(4000, 16 << 30)), None);
        for beyond in [size(4001, 0), size(0, (16 << 30) + 1)] {
            assert!(lack(beyond).unwrap().contains("4000m CPU and 16384 MiB is the largest"));
        }
    }

    #[test]
    fn who_has_everything_lacks_nothing() {
        let needs = Needs { kinds: NeedSet::of(&Need::ALL), containers: 99, ..Needs::default() };
        assert_eq!(Capabilities::all("All").lack(&needs), None);
        for need in Need::ALL {
            let kinds = NeedSet::ALL.without(&[need]);
            assert!(!kinds.has(need) && Need::ALL.into_iter().all(|other| other == need || kinds.has(other)));
        }
    }
}

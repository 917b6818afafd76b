//! What a pod asks of a machine of its own, which no virtual node has. Seen before it is placed: it stays on real nodes where
//! its policy allows that, and else waits and says why, before anything is paid for.
//!
//! What one provider has and another lacks (probes, init containers, sizes) the provider itself refuses, by the field's
//! name and before any call.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

/// Kinds of volumes that some provider has. A claim is not among them: one that binds at its first consumer would keep the
/// pod pending at a virtual node for ever, and one that is bound belongs to a real node's zone.
const VOLUMES: [&str; 7] = ["emptyDir", "configMap", "secret", "downwardAPI", "projected", "nfs", "flexVolume"];

/// A volume, by its name and by the kind that no provider has, if it is of such a one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Volume {
    name: String,
    foreign: Option<String>,
}

impl<'de> Deserialize<'de> for Volume {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfVolume)
    }
}

/// Reads a volume without keeping what is in it.
struct OfVolume;

impl<'de> Visitor<'de> for OfVolume {
    type Value = Volume;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a volume")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Volume, A::Error> {
        let mut volume = Volume::default();
        while let Some(key) = map.next_key::<String>()? {
            if key == "name" {
                volume.name = map.next_value()?;
            } else if map.next_value::<Option<IgnoredAny>>()?.is_some() && !VOLUMES.contains(&key.as_str()) {
                volume.foreign = Some(key);
            }
        }
        Ok(volume)
    }
}

/// Of a container's security context.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Security {
    pub(super) privileged: bool,
}

/// What a pod shares with its machine.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Shares {
    pub(super) network: bool,
    pub(super) processes: bool,
    pub(super) memory: bool,
}

/// The first thing that needs a machine of one's own, by its field.
pub(super) fn obstacle(shares: Shares, is_privileged: bool, volumes: &[Volume]) -> Option<String> {
    let fields = [
        (shares.network, "hostNetwork"),
        (shares.processes, "hostPID"),
        (shares.memory, "hostIPC"),
        (is_privileged, "a privileged container"),
    ];
    if let Some((_, field)) = fields.into_iter().find(|(is_asked, _)| *is_asked) {
        return Some(format!("{field} needs a real node: no virtual node has it"));
    }
    let (name, kind) = volumes.iter().find_map(|volume| Some((&volume.name, volume.foreign.as_ref()?)))?;
    Some(format!("volume {name} ({kind}) needs a real node: no virtual node has it"))
}

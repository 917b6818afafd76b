//! Typed names. Shared strings, because one name stands in many places at 30,000 pods.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

macro_rules! names {
    ($($(#[$doc:meta])+ $name:ident;)+) => {$(
        $(#[$doc])+
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self(name.into())
            }
        }

        impl From<String> for $name {
            fn from(name: String) -> Self {
                Self(name.into())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )+};
}

names! {
    /// UID of a pod: never used twice, unlike its name.
    PodUid;
    /// UID of a ReplicaSet: one revision of a workload.
    RevisionId;
    /// UID of what scales a revision, such as a Deployment.
    WorkloadId;
    /// Name of a node, real or virtual.
    NodeName;
    /// Name of a pool: a place to burst to.
    PoolName;
}

/// A text that cannot name a pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no pool name; allowed are up to 40 of a-z, 0-9 and -, with a letter first and no - at the end")]
pub struct PoolNameError(String);

impl FromStr for PoolName {
    type Err = PoolNameError;

    /// Takes a name that people wrote: virtual nodes are named after it, so it is a DNS label with room for more.
    fn from_str(text: &str) -> Result<Self, PoolNameError> {
        let is_label = text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !text.ends_with('-')
            && text.len() <= 40;
        if is_label { Ok(Self::from(text)) } else { Err(PoolNameError(text.chars().take(60).collect())) }
    }
}

impl<'de> Deserialize<'de> for PoolName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for PoolName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Namespace and name of an object; prints as `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name within it.
    pub name: Arc<str>,
}

impl ObjectName {
    /// The object `name` in `namespace`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_name_is_a_label_with_room_for_more() {
        for name in ["a", "eci-spot", "zone1"] {
            assert_eq!(name.parse::<PoolName>().unwrap().as_str(), name);
        }
        for name in ["", "-a", "a-", "1a", "A", "a.b", "a b", &"a".repeat(41)] {
            assert!(name.parse::<PoolName>().is_err(), "{name:?}");
        }
    }
}

//! What has been found of a pool so far.

use serde_json::{Map, Value, json};

use super::ImportError;

/// Whose virtual kubelet it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cloud {
    Alibaba,
    Kingsoft,
}

impl Cloud {
    /// Its field of `provider`.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Alibaba => "alibabaEci",
            Self::Kingsoft => "kingsoftKci",
        }
    }

    /// The pool's name where no document has one.
    pub(super) fn short_name(self) -> &'static str {
        match self {
            Self::Alibaba => "eci",
            Self::Kingsoft => "kci",
        }
    }

    /// The Secret that keys belong into, where the manifest names none.
    pub(super) fn secret(self) -> &'static str {
        match self {
            Self::Alibaba => "alibaba-addon-secret",
            Self::Kingsoft => "kci-keys",
        }
    }

    /// What every pool needs: the field, what it is, and what to do where it is missing.
    fn needed(self) -> &'static [(&'static str, &'static str, &'static str)] {
        const ADD: &str = "add the one that has it";
        const REGION: (&str, &str, &str) =
            ("region", "the region", "add the one that has it, or name it with --region");
        match self {
            Self::Alibaba => &[REGION, ("zones", "a vSwitch", ADD), ("securityGroupId", "the security group", ADD)],
            Self::Kingsoft => &[REGION],
        }
    }
}

/// What has been found so far.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) provider: Cloud,
    pub(super) name: Option<String>,
    pub(super) settings: Map<String, Value>,
    pub(super) nodes: Option<u64>,
    pub(super) remarks: Vec<String>,
}

impl Found {
    pub(super) fn new(provider: Cloud) -> Self {
        Self { provider, name: None, settings: Map::new(), nodes: None, remarks: Vec::new() }
    }

    pub(super) fn set(&mut self, field: &str, value: impl Into<Value>) {
        self.settings.insert(field.to_owned(), value.into());
    }

    pub(super) fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    /// Has the pool read its keys from the Secret.
    pub(super) fn secret(&mut self, name: &str) {
        self.set("credentials", json!({"secretRef": {"name": name}}));
    }

    /// A variable that is a key: its value is never taken over, only where it belongs.
    pub(super) fn key(&mut self, variable: &str, secret: Option<(&str, &str)>, parts: &[&str]) {
        let own = self.provider.secret();
        self.secret(secret.map_or(own, |(name, _)| name));
        let part = parts.first().copied().unwrap_or_default();
        match secret {
            Some((_, key)) if parts.contains(&key) => {}
            Some((name, key)) => self.remark(format!("{variable}: rename the key {key} in the Secret {name} to {part}")),
            None => self.remark(format!(
                "{variable} stands in the manifest and was not taken over: put it into the Secret {own} of burstlet's namespace as {part}"
            )),
        }
    }

    /// Adds what is silently the same, and refuses what no pool can do without.
    pub(super) fn complete(&mut self) -> Result<(), ImportError> {
        for (field, named, what) in self.provider.needed() {
            if !self.settings.contains_key(*field) {
                return Err(ImportError::Missing(named, what));
            }
        }
        if !self.settings.contains_key("credentials") {
            let name = self.provider.secret();
            self.secret(name);
            self.remark(format!("no keys are named: the pool reads the Secret {name} of burstlet's namespace"));
        }
        Ok(())
    }
}

/// The ids of a list with commas.
pub(super) fn ids(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|id| !id.is_empty())
}

//! `~/.vnode/config`: whose account, which cluster, where. The file is vnodectl's own.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use kube::{Client, Config, config::KubeConfigOptions, config::Kubeconfig};
use serde::{Deserialize, Serialize};

use crate::provider::clouds::{alibaba_eci::manage::Account, credentials::Held};

const KIND: &str = "vnode";

/// The file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct VnodeConfig {
    kind: String,
    #[serde(default)]
    pub(super) contexts: Vec<VnodeContext>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) current_context: Option<String>,
}

/// One account, cluster and place.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(in crate::cli) struct VnodeContext {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) region_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) access_key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) access_key_secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) vswitch_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) security_group_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Address of the APIs, where it is not the cloud's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) endpoint: Option<String>,
}

impl VnodeConfig {
    /// `FILE`, or `~/.vnode/config`.
    pub(super) fn path(given: Option<&Path>) -> anyhow::Result<PathBuf> {
        if let Some(path) = given {
            return Ok(path.to_owned());
        }
        let home = std::env::var_os("HOME").context("HOME is not set; name the file with --config")?;
        Ok(Path::new(&home).join(".vnode/config"))
    }

    /// Reads the file; one that is not there has no contexts.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { kind: KIND.to_owned(), contexts: Vec::new(), current_context: None });
            }
            Err(error) => return Err(error).with_context(|| format!("unable to read {}", path.display())),
        };
        // The excerpt that a parser's error carries may hold a key.
        let read: Self = serde_saphyr::from_str(&text).map_err(|error| {
            let error = error.without_snippet().to_string();
            anyhow::anyhow!("{} is not understood: {}", path.display(), error.lines().next().unwrap_or_default())
        })?;
        if read.kind != KIND {
            bail!("{}: kind is {:?}; it must be {KIND}", path.display(), read.kind);
        }
        Ok(read)
    }

    /// Writes the file, for its owner alone, whole or not at all.
    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let what = || format!("unable to write {}", path.display());
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(what)?;
        }
        let new = path.with_extension(format!("new-{}", std::process::id()));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).with_context(what)?;
        file.set_permissions(Permissions::from_mode(0o600)).with_context(what)?;
        file.write_all(serde_saphyr::to_string(self)?.as_bytes()).with_context(what)?;
        fs::rename(&new, path).with_context(what)
    }

    /// Has the named context be the current one.
    pub(super) fn select(&mut self, name: &str) -> anyhow::Result<()> {
        if !self.contexts.iter().any(|context| context.name == name) {
            let known = self.contexts.iter().map(|context| context.name.as_str()).collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            bail!("there is no context {name}; known are: {known}. With settings, set-context makes one");
        }
        self.current_context = Some(name.to_owned());
        Ok(())
    }

    /// The named context, or the current one.
    pub(super) fn context(&self, name: Option<&str>) -> anyhow::Result<&VnodeContext> {
        let name = name.or(self.current_context.as_deref());
        let name = name.context("no context is selected; select one: burstlet vnode config set-context NAME")?;
        let found = self.contexts.iter().find(|context| context.name == name);
        found.with_context(|| format!("there is no context {name}"))
    }

    /// The same, with nothing in it that opens anything.
    pub(super) fn masked(&self) -> Self {
        let mut masked = self.clone();
        for context in &mut masked.contexts {
            if let Some(id) = &mut context.access_key_id {
                *id = format!("{}****", id.chars().take(4).collect::<String>());
            }
            if let Some(secret) = &mut context.access_key_secret {
                "****".clone_into(secret);
            }
        }
        masked
    }
}

impl VnodeContext {
    /// Takes over what `other` says.
    pub(super) fn merge(&mut self, other: Self) {
        let texts = [
            (&mut self.region_id, other.region_id),
            (&mut self.access_key_id, other.access_key_id),
            (&mut self.access_key_secret, other.access_key_secret),
            (&mut self.vswitch_id, other.vswitch_id),
            (&mut self.security_group_id, other.security_group_id),
            (&mut self.endpoint, other.endpoint),
        ];
        for (own, other) in texts {
            if other.is_some() {
                *own = other;
            }
        }
        if other.kubeconfig.is_some() {
            self.kubeconfig = other.kubeconfig;
        }
    }

    fn need<'a>(&self, field: &str, value: Option<&'a String>) -> anyhow::Result<&'a str> {
        let value = value.map(String::as_str).filter(|text| !text.is_empty());
        value.with_context(|| format!("the context {} has no {field}", self.name))
    }

    pub(in crate::cli) fn region(&self) -> anyhow::Result<&str> {
        self.need("region-id", self.region_id.as_ref())
    }

    pub(in crate::cli) fn vswitches(&self) -> anyhow::Result<&str> {
        self.need("vswitch-id", self.vswitch_id.as_ref())
    }

    pub(super) fn security_group(&self) -> anyhow::Result<&str> {
        self.need("security-group-id", self.security_group_id.as_ref())
    }

    pub(super) fn kubeconfig(&self) -> anyhow::Result<&Path> {
        self.kubeconfig.as_deref().with_context(|| format!("the context {} has no kubeconfig", self.name))
    }

    /// The account that it names.
    pub(in crate::cli) fn account(&self) -> anyhow::Result<Account> {
        let id = self.need("access-key-id", self.access_key_id.as_ref())?;
        let secret = self.need("access-key-secret", self.access_key_secret.as_ref())?;
        let keys = Held::of(&[("access-key-id", id), ("access-key-secret", secret)]);
        Ok(Account::new(self.region()?, Arc::new(keys), self.endpoint.as_deref())?)
    }

    /// A client of the cluster that it names.
    pub(in crate::cli) async fn cluster(&self) -> anyhow::Result<Client> {
        let path = self.kubeconfig()?;
        let kubeconfig =
            Kubeconfig::read_from(path).with_context(|| format!("unable to read the kubeconfig {}", path.display()))?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        // The client repeats by itself what a disruption budget refuses, for minutes: a drain minds its own `--timeout`.
        config.default_retry = false;
        Ok(Client::try_from(config)?)
    }
}

/// The context of the file that a command is to use.
pub(in crate::cli) fn context(file: Option<&Path>, name: Option<&str>) -> anyhow::Result<VnodeContext> {
    Ok(VnodeConfig::read(&VnodeConfig::path(file)?)?.context(name)?.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_a_fault_is_told_without_its_keys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        fs::write(&path, "kind: vnode\ncontexts:\n- {name: a, access-key-secret: hush, vswitch: x}\n").unwrap();
        let error = format!("{:?}", VnodeConfig::read(&path).err().unwrap());
        assert!(error.contains("vswitch") && !error.contains("hush"), "{error}");
        fs::write(&path, "kind: Config\n").unwrap();
        assert!(VnodeConfig::read(&path).err().unwrap().to_string().contains("kind is \"Config\""));
    }
}

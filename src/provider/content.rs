//! What a pod refers to, read and ready for a provider to pass on.

use std::{collections::BTreeMap, fmt};

use super::clouds::Secret;

/// What of a pod's content a provider passes on. The kubelet reads no more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Takes {
    /// Files of `configMap`, `secret`, `downwardAPI` and `projected` volumes.
    pub files: bool,
    /// Tokens of service accounts, among those files. Who takes them must take new ones, too: they expire.
    pub tokens: Tokens,
    /// Keys of image registries.
    pub registries: bool,
    /// Files that differ later, by [`Provider::renew`](super::Provider::renew).
    pub renewals: bool,
}

/// Which tokens of service accounts a provider passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tokens {
    /// None.
    #[default]
    None,
    /// Those of volumes that the pod itself has. Not the one that the API server adds to every pod: most pods never use it,
    /// and where its libraries look for an API server there is none, or another one.
    Asked,
    /// All.
    All,
}

/// Files and keys of one pod. Printing it shows names only.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// The files of each volume, by the volume's name, then by their path below it. A volume of which all sources are
    /// optional and missing is there without files.
    pub volumes: BTreeMap<String, BTreeMap<String, File>>,
    /// From the pod's `imagePullSecrets`, in their order.
    pub registries: Vec<RegistryKey>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: BTreeMap<_, Vec<_>> =
            self.volumes.iter().map(|(name, files)| (name, files.keys().collect())).collect();
        f.debug_struct("Content").field("volumes", &names).field("registries", &self.registries).finish()
    }
}

/// A file of a volume. Printing it shows its size only.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// What is in it.
    pub data: Vec<u8>,
    /// Permission bits, such as `0o644`.
    pub mode: u32,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, {:o}", self.data.len(), self.mode)
    }
}

/// A key of an image registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryKey {
    /// The registry as the Secret names it, such as `registry.example.com` or `https://index.docker.io/v1/`.
    pub server: String,
    /// The user.
    pub user: String,
    /// Its password or token.
    pub password: Secret,
}

/// `text` such that putting values in the place of `$(NAME)`, as every provider does for a pod's variables, gives
/// `text` again.
pub fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_is_printed() {
        let file = File { data: b"hunter2".to_vec(), mode: 0o400 };
        let volumes = BTreeMap::from([("keys".to_owned(), BTreeMap::from([("password".to_owned(), file.clone())]))]);
        let key = RegistryKey { server: "r".to_owned(), user: "u".to_owned(), password: Secret::new("hunter2") };
        let printed = format!("{:?} {file:?}", Content { volumes, registries: vec![key] });
        assert!(printed.contains("password") && !printed.contains("hunter2"), "{printed}");
        assert!(printed.contains("7 bytes, 400"), "{printed}");
    }
}

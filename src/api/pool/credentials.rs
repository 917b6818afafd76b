//! Where a cloud's keys come from.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a cloud's keys are read, again for each call: a key that is changed counts at once, without a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum CredentialsFrom {
    /// The process's environment variables, by the names that the cloud's own tools use.
    Environment {},
    /// A folder with one file a key, as a Secret or a `ConfigMap` that is mounted as a volume has it.
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// A Secret, read again every half minute.
    SecretRef {
        /// Its name.
        name: String,
        /// Its namespace; burstlet's own where missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
    },
    /// A `ConfigMap`, read again every half minute, as Kingsoft's clusters have temporary keys (`user-temp-aksk`).
    ConfigMapRef {
        /// Its name.
        name: String,
        /// Its namespace; burstlet's own where missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
    },
}

impl Default for CredentialsFrom {
    fn default() -> Self {
        Self::Environment {}
    }
}

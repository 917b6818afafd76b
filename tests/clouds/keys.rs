//! Keys that a test holds in its hand, and changes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use burstlet::provider::{
    ProviderError,
    clouds::{Secret, credentials::KeyStore},
};

#[derive(Debug, Clone)]
pub(crate) struct Fixed(Arc<Mutex<BTreeMap<String, Secret>>>);

impl Fixed {
    pub(crate) fn new(pairs: &[(&str, &str)]) -> Self {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(value)));
        Self(Arc::new(Mutex::new(pairs.collect())))
    }

    pub(crate) fn set(&self, name: &str, value: &str) {
        self.0.lock().unwrap().insert(name.to_owned(), Secret::new(value));
    }
}

#[async_trait]
impl KeyStore for Fixed {
    async fn value(&self, name: &str) -> Result<Option<Secret>, ProviderError> {
        Ok(self.0.lock().unwrap().get(name).cloned())
    }
}

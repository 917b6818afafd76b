//! What an account has beside a pool's instances: virtual nodes that ECI manages itself, and the VPC's routes.
//!
//! Nothing here runs by itself; commands call it on behalf of a person.

mod routes;
mod virtual_nodes;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

pub use routes::{Route, RouteTable};
pub use virtual_nodes::{CreatedNode, NewVirtualNode, NodeTaint, VirtualNode};

use super::{
    call::{Service, ServiceSettings},
    error::CallError,
    identity::Identity,
};
use crate::{
    api::pool::alibaba_eci::Signature,
    provider::{ProviderError, clouds::credentials::KeyStore},
};

/// Most members of a page of virtual nodes; routes take more.
const PAGE: u32 = 20;

/// An account at Alibaba Cloud, in one region.
#[derive(Debug)]
pub struct Account {
    eci: Service,
    vpc: Service,
    tokens: AtomicU64,
}

impl Account {
    /// The account of the keys in `store`, in `region`; `endpoint` stands for all APIs, as an emulator's does.
    pub fn new(region: &str, store: Arc<dyn KeyStore>, endpoint: Option<&str>) -> Result<Self, ProviderError> {
        let address =
            |name: &str| endpoint.map_or_else(|| format!("https://{name}.{region}.aliyuncs.com"), str::to_owned);
        let identity = Arc::new(Identity::new(store, &address("sts"), None)?);
        let service = |name: &str, version| {
            let endpoint = &address(name);
            let settings = ServiceSettings { endpoint, version, region, signature: Signature::V3, certificate: None };
            Service::new(&settings, identity.clone())
        };
        Ok(Self { eci: service("eci", "2018-08-08")?, vpc: service("vpc", "2016-04-28")?, tokens: AtomicU64::new(0) })
    }

    /// A client token that no other call has.
    fn token(&self) -> String {
        let now = jiff::Timestamp::now().as_nanosecond();
        format!("burstlet-{now:x}-{}-{}", std::process::id(), self.tokens.fetch_add(1, Ordering::Relaxed))
    }
}

/// What is gone already is deleted.
fn gone<T>(result: Result<T, CallError>, code: &str) -> Result<(), ProviderError> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => match error.into_provider() {
            ProviderError::Invalid(text) if text.contains(code) => Ok(()),
            other => Err(other),
        },
    }
}

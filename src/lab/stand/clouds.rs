//! Simulated clouds, each with its HTTP address.

use std::{net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    lab::stand::StandError,
    provider::simulated::{Cloud, Settings},
};

/// A pool, and how its cloud behaves.
#[derive(Debug, Clone)]
pub struct SimulatedPool {
    /// The pool's name.
    pub name: String,
    /// How many virtual nodes stand for it.
    pub nodes: u32,
    /// How many pods each of them takes.
    pub pods_per_node: u32,
    /// How its cloud behaves.
    pub settings: Settings,
}

/// A cloud that answers over HTTP until the stand is taken down.
pub(super) struct HostedCloud {
    cloud: Arc<Cloud>,
    address: SocketAddr,
}

impl HostedCloud {
    pub(super) async fn start(
        pool: &SimulatedPool,
        index: usize,
        stop: &CancellationToken,
    ) -> Result<Self, StandError> {
        // A network of its own for each: no two instances share an address.
        let network = pool.settings.network.wrapping_add(u8::try_from(index).unwrap_or(u8::MAX));
        let cloud = Arc::new(Cloud::new(Settings { network, ..pool.settings.clone() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(StandError::system("listen for a cloud"))?;
        let address = listener.local_addr().map_err(StandError::system("listen for a cloud"))?;
        let (router, stop) = (cloud.router(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = axum::serve(listener, router) => {}
            }
        });
        Ok(Self { cloud, address })
    }

    pub(super) fn cloud(&self) -> &Arc<Cloud> {
        &self.cloud
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

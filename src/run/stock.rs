//! Live stock: what each pool's provider can still take, told to the extender and the placer.

use std::{sync::Arc, time::Duration};

use burstlet_engine::model::PoolName;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{extender::VirtualNodes, placer::Stocks, provider::Provider};

/// How often a provider is asked.
const EVERY: Duration = Duration::from_secs(1);

/// Asks the pool's provider again and again. Where it does not answer, what it last said stands.
pub(super) async fn poll(
    pool: PoolName,
    provider: Arc<dyn Provider>,
    nodes: Arc<VirtualNodes>,
    stocks: watch::Sender<Stocks>,
) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match provider.stock().await {
            Ok(stock) => {
                nodes.set_stock(pool.as_str(), stock.instances);
                stocks.send_if_modified(|stocks| stocks.insert(pool.clone(), stock.instances) != Some(stock.instances));
            }
            Err(error) => tracing::debug!(%error, %pool, "the provider does not tell its stock"),
        }
    }
}

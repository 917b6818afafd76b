//! Live stock: what each pool's provider can still take, told to the extender and the placer, and its return to
//! kube-scheduler.

use std::{sync::Arc, time::Duration};

use burstlet_engine::model::PoolName;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use crate::{
    api::names,
    extender::VirtualNodes,
    kubelet::KubeletMetrics,
    placer::{ProviderNews, Stocks},
    provider::Provider,
};

/// How often a provider is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How long a provider may fail to answer before its pool is at fault: a glitch moves nothing.
const GLITCH: Duration = Duration::from_secs(15);

/// Asks the pool's provider again and again. Where it does not answer, what it last said stands.
pub(super) async fn poll(
    pool: PoolName,
    provider: Arc<dyn Provider>,
    nodes: Arc<VirtualNodes>,
    stocks: watch::Sender<Stocks>,
    metrics: KubeletMetrics,
) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing_since: Option<Instant> = None;
    loop {
        tick.tick().await;
        match metrics.asked("stock", provider.stock()).await {
            Ok(stock) => {
                failing_since = None;
                nodes.set_stock(pool.as_str(), stock.instances);
                note(&stocks, &pool, |news| (news.free, news.fault) = (stock.instances, None));
            }
            Err(error) => {
                tracing::debug!(%error, %pool, "the provider does not tell its stock");
                let since = *failing_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= GLITCH {
                    note(&stocks, &pool, |news| news.fault = Some(error.to_string().into()));
                }
            }
        }
    }
}

/// Changes what is told of a pool's provider; who listens hears of it only where it is something else.
pub(super) fn note(stocks: &watch::Sender<Stocks>, pool: &PoolName, change: impl FnOnce(&mut ProviderNews)) {
    stocks.send_if_modified(|stocks| {
        let is_new = !stocks.contains_key(pool);
        let news = stocks.entry(pool.clone()).or_default();
        let before = news.clone();
        change(news);
        is_new || *news != before
    });
}

/// Marks `node`, one of the pool's virtual nodes, whenever the pool takes pods again.
///
/// kube-scheduler tries a pod that the extender has refused again at a change of some node, else after 5 minutes
/// (`podMaxInUnschedulablePodsDuration`); the stock alone changes none. Says so once to begin with: the leader before
/// may have missed it.
pub(super) async fn announce(client: Client, pool: PoolName, node: String, mut stocks: watch::Receiver<Stocks>) {
    let api = Api::<Node>::all(client);
    let mut was_out = true;
    loop {
        let free = stocks.borrow_and_update().get(&pool).map(|news| news.free);
        if let Some(free) = free {
            let is_out = free == Some(0);
            if was_out && !is_out {
                mark(&api, &node).await;
            }
            was_out = is_out;
        }
        if stocks.changed().await.is_err() {
            return;
        }
    }
}

async fn mark(api: &Api<Node>, node: &str) {
    let mark = json!({"metadata": {"annotations": {names::STOCK_SINCE: jiff::Timestamp::now().to_string()}}});
    loop {
        match api.patch_metadata(node, &PatchParams::default(), &Patch::Merge(&mark)).await {
            Ok(_) => return,
            // Its creation will be a change, too.
            Err(kube::Error::Api(status)) if status.code == 404 => return,
            Err(error) => tracing::debug!(%error, node, "unable to mark the node of a pool that has stock again"),
        }
        sleep(EVERY).await;
    }
}

//! The kubelet's HTTPS API, for all virtual nodes of the process on one listener.
//!
//! Every path is authenticated and authorised as a kubelet's: `nodes/metrics`, `nodes/stats` and `nodes/proxy` of the
//! node that is asked about. Paths that name no node are for a process with a single one.

mod auth;
mod resource;
pub mod spdy;
mod summary;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{ListParams, ObjectList},
};

use self::auth::{Auth, Caller, Verdict};
use super::{
    KubeletHandle,
    usage::{NodeUsage, Snapshot},
};

/// Prometheus' text format.
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

struct Server {
    client: Client,
    kubelets: BTreeMap<String, KubeletHandle>,
    auth: Auth,
}

/// The kubelet API of `kubelets`. `client` reviews tokens and permissions and lists pods: it must be allowed to create
/// `tokenreviews` and `subjectaccessreviews`.
pub fn router(kubelets: Vec<KubeletHandle>, client: Client) -> Router {
    let by_node = |kubelet: KubeletHandle| {
        let names: Vec<String> = kubelet.nodes().map(str::to_owned).collect();
        names.into_iter().map(move |name| (name, kubelet.clone()))
    };
    let server = Arc::new(Server {
        auth: Auth::new(client.clone()),
        client,
        kubelets: kubelets.into_iter().flat_map(by_node).collect(),
    });
    Router::new()
        .route("/nodes/{node}/metrics/resource", get(metrics_of))
        .route("/nodes/{node}/stats/summary", get(summary_of))
        .route("/nodes/{node}/pods", get(pods_of))
        .route("/nodes/{node}/healthz", get(healthz))
        .route("/metrics/resource", get(metrics))
        .route("/stats/summary", get(stats))
        .route("/pods", get(pods))
        .route("/healthz", get(healthz))
        .layer(middleware::from_fn_with_state(Arc::clone(&server), guard))
        .with_state(server)
}

/// Lets through who is known and allowed.
async fn guard(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let (node, rest) = match path.strip_prefix("/nodes/").and_then(|p| p.split_once('/')) {
        Some((node, rest)) => (node, rest),
        // The only node, or all of them: then the name is empty, which only a grant for every node covers.
        None => (server.only().map_or("", |(node, _)| node), path.trim_start_matches('/')),
    };
    let subresources: &[&str] = match rest.split('/').next().unwrap_or_default() {
        "metrics" => &["metrics"],
        "stats" => &["stats"],
        "pods" => &["pods", "proxy"],
        "healthz" => &["healthz", "proxy"],
        _ => &["proxy"],
    };
    match server.auth.check(Caller::of(&request), node, subresources).await {
        Verdict::Allowed => next.run(request).await,
        Verdict::Unknown => (StatusCode::UNAUTHORIZED, "Unauthorized\n").into_response(),
        Verdict::Denied(who) => {
            let text = format!("Forbidden ({who} may not get nodes/{} of {node:?})\n", subresources.join(", nodes/"));
            (StatusCode::FORBIDDEN, text).into_response()
        }
        Verdict::Undecided(problem) => {
            tracing::warn!(error = %problem, "kubelet API: the API server could not be asked who may do what");
            (StatusCode::INTERNAL_SERVER_ERROR, "the API server could not be asked\n").into_response()
        }
    }
}

impl Server {
    /// The only node of the process.
    fn only(&self) -> Option<(&str, &KubeletHandle)> {
        let mut nodes = self.kubelets.iter().map(|(name, kubelet)| (name.as_str(), kubelet));
        nodes.next().filter(|_| self.kubelets.len() == 1)
    }

    fn node(&self, name: Option<&str>) -> Option<(&str, &KubeletHandle)> {
        match name {
            Some(name) => self.kubelets.get_key_value(name).map(|(name, kubelet)| (name.as_str(), kubelet)),
            None => self.only(),
        }
    }

    async fn usage(&self, name: Option<&str>, show: impl FnOnce(&str, &Snapshot, &NodeUsage) -> Response) -> Response {
        let Some((name, kubelet)) = self.node(name) else {
            return (StatusCode::NOT_FOUND, "no such node here; paths begin with /nodes/NAME/\n").into_response();
        };
        match kubelet.snapshot().await {
            Ok(snapshot) => match snapshot.nodes.get(name) {
                Some(usage) => show(name, &snapshot, usage),
                None => StatusCode::NOT_FOUND.into_response(),
            },
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
        }
    }

    async fn metrics(&self, name: Option<&str>) -> Response {
        let show = |_: &str, snapshot: &Snapshot, usage: &NodeUsage| {
            ([(header::CONTENT_TYPE, METRICS_TEXT)], resource::render(snapshot.at, usage)).into_response()
        };
        self.usage(name, show).await
    }

    async fn summary(&self, name: Option<&str>) -> Response {
        let show = |name: &str, snapshot: &Snapshot, usage: &NodeUsage| {
            Json(summary::summary(name, snapshot.at, usage)).into_response()
        };
        self.usage(name, show).await
    }

    /// Pods as the API server has them: the kubelet keeps no copy.
    async fn pods(&self, name: Option<&str>) -> Response {
        let Some((name, _)) = self.node(name) else { return StatusCode::NOT_FOUND.into_response() };
        let pods: Api<Pod> = Api::all(self.client.clone());
        match pods.list(&ListParams::default().fields(&format!("spec.nodeName={name}")).match_any()).await {
            Ok(list) => Json(ObjectList { types: kube::core::TypeMeta::list::<Pod>(), ..list }).into_response(),
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("pods not listed: {error}\n")).into_response(),
        }
    }
}

async fn metrics_of(State(server): State<Arc<Server>>, Path(node): Path<String>) -> Response {
    server.metrics(Some(&node)).await
}

async fn metrics(State(server): State<Arc<Server>>) -> Response {
    server.metrics(None).await
}

async fn summary_of(State(server): State<Arc<Server>>, Path(node): Path<String>) -> Response {
    server.summary(Some(&node)).await
}

async fn stats(State(server): State<Arc<Server>>) -> Response {
    server.summary(None).await
}

async fn pods_of(State(server): State<Arc<Server>>, Path(node): Path<String>) -> Response {
    server.pods(Some(&node)).await
}

async fn pods(State(server): State<Arc<Server>>) -> Response {
    server.pods(None).await
}

async fn healthz() -> &'static str {
    "ok"
}

//! The kubelet's HTTPS API, for all virtual nodes of the process on one listener.
//!
//! Every path is authenticated and authorised as a kubelet's: `nodes/metrics`, `nodes/stats` and `nodes/proxy` of the
//! node that is asked about, or of the node that the named pod is bound to. `exec`, `attach` and `portForward` need the
//! verb `create` whatever the HTTP method: over WebSocket they are a GET, and who may read must not run commands.
//! Paths that name neither node nor pod are for a process with a single node.
//!
//! ```text
//!  request ─> guard ─> route ─┬─> figures, pods, settings
//!                             ├─> containerLogs ─────────────────────────> provider
//!                             └─> exec, attach, portForward
//!                                     │ upgrade: SPDY/3.1 or WebSocket
//!                                     └─> session: pipes ────────────────> provider
//! ```

mod about;
pub(crate) mod auth;
pub mod channels;
mod containers;
mod forward;
mod port_channels;
pub mod query;
mod remote;
mod resource;
mod session;
pub mod spdy;
mod summary;
mod upgrade;
mod websocket;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::{Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{ListParams, ObjectList},
};
use tokio::sync::Semaphore;

use self::{
    auth::{Auth, Caller, Need, Verdict},
    upgrade::Wire,
};
use super::{
    KubeletHandle,
    usage::{NodeUsage, Snapshot},
};

/// Prometheus' text format.
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Sessions of `exec`, `attach` and `portForward` at a time.
const MOST_SESSIONS: usize = 512;

struct Server {
    client: Client,
    handles: Vec<KubeletHandle>,
    kubelets: BTreeMap<String, KubeletHandle>,
    auth: Auth,
    sessions: Arc<Semaphore>,
    begun: Begun,
}

/// Sessions begun so far, by wire.
#[derive(Debug, Default)]
struct Begun {
    spdy: AtomicU64,
    websocket: AtomicU64,
}

impl Begun {
    fn count(&self, wire: Wire) {
        let counter = match wire {
            Wire::Spdy => &self.spdy,
            Wire::WebSocket => &self.websocket,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
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
        kubelets: kubelets.iter().cloned().flat_map(by_node).collect(),
        handles: kubelets,
        sessions: Arc::new(Semaphore::new(MOST_SESSIONS)),
        begun: Begun::default(),
    });
    let exec = || get(containers::exec).post(containers::exec);
    let attach = || get(containers::attach).post(containers::attach);
    let port_forward = || get(containers::port_forward).post(containers::port_forward);
    Router::new()
        .route("/nodes/{node}/metrics/resource", get(metrics_of))
        .route("/nodes/{node}/metrics", get(own_metrics_of))
        .route("/nodes/{node}/stats/summary", get(summary_of))
        .route("/nodes/{node}/pods", get(pods_of))
        // Without the slash, too: client-go leaves it out on the way through `nodes/proxy`.
        .route("/nodes/{node}/runningpods", get(running_of))
        .route("/nodes/{node}/runningpods/", get(running_of))
        .route("/nodes/{node}/configz", get(configz_of))
        .route("/nodes/{node}/healthz", get(healthz))
        .route("/metrics/resource", get(metrics))
        .route("/metrics", get(own_metrics))
        .route("/stats/summary", get(stats))
        .route("/pods", get(pods))
        .route("/runningpods", get(running))
        .route("/runningpods/", get(running))
        .route("/configz", get(configz))
        .route("/healthz", get(healthz))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(containers::logs))
        .route("/exec/{namespace}/{pod}/{container}", exec())
        .route("/exec/{namespace}/{pod}/{uid}/{container}", exec())
        .route("/attach/{namespace}/{pod}/{container}", attach())
        .route("/attach/{namespace}/{pod}/{uid}/{container}", attach())
        .route("/portForward/{namespace}/{pod}", port_forward())
        .route("/portForward/{namespace}/{pod}/{uid}", port_forward())
        .layer(middleware::from_fn_with_state(Arc::clone(&server), guard))
        .with_state(server)
}

/// What a request to `rest`, the path after any node's prefix, needs.
fn need(method: &Method, rest: &str) -> Need {
    let first = rest.split('/').next().unwrap_or_default();
    let verb = match (first, method) {
        // They run commands and open ports, whatever the method says.
        ("exec" | "attach" | "portForward", _) | (_, &Method::POST) => "create",
        (_, &Method::GET | &Method::HEAD) => "get",
        (_, &Method::PUT) => "update",
        (_, &Method::PATCH) => "patch",
        (_, &Method::DELETE) => "delete",
        _ => "create",
    };
    let subresources: &'static [&'static str] = match first {
        "metrics" => &["metrics"],
        "stats" => &["stats"],
        "pods" | "runningpods" => &["pods", "proxy"],
        "healthz" => &["healthz", "proxy"],
        "configz" => &["configz", "proxy"],
        _ => &["proxy"],
    };
    Need { verb, subresources }
}

/// Lets through who is known and allowed.
async fn guard(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let (node, rest) = match path.strip_prefix("/nodes/").and_then(|p| p.split_once('/')) {
        Some((node, rest)) => (node.to_owned(), rest),
        None => (server.node_of(path), path.trim_start_matches('/')),
    };
    let need = need(request.method(), rest);
    match server.auth.check(Caller::of(&request), &node, need).await {
        Verdict::Allowed => next.run(request).await,
        Verdict::Unknown => (StatusCode::UNAUTHORIZED, "Unauthorized\n").into_response(),
        Verdict::Denied(who) => {
            let Need { verb, subresources } = need;
            let text =
                format!("Forbidden ({who} may not {verb} nodes/{} of {node:?})\n", subresources.join(", nodes/"));
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

    /// The node that a path without one is about: that of the pod it names, or the only one. Else the name is empty, which
    /// only a grant for every node covers.
    fn node_of(&self, path: &str) -> String {
        let mut parts = path.split('/').skip(1);
        let pod = match (parts.next(), parts.next(), parts.next()) {
            (Some("containerLogs" | "exec" | "attach" | "portForward"), Some(namespace), Some(pod)) => {
                self.pod(namespace, pod, None)
            }
            _ => None,
        };
        match pod {
            Some((_, found)) => found.owner.node,
            None => self.only().map(|(node, _)| node.to_owned()).unwrap_or_default(),
        }
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

impl Server {
    fn about(&self, name: Option<&str>, show: impl FnOnce(&str, &KubeletHandle) -> Response) -> Response {
        self.node(name).map_or_else(|| StatusCode::NOT_FOUND.into_response(), |(name, kubelet)| show(name, kubelet))
    }

    fn own_metrics(&self, name: Option<&str>) -> Response {
        let text = |name: &str, kubelet: &KubeletHandle| about::metrics(name, kubelet, &self.begun);
        self.about(name, |name, kubelet| ([(header::CONTENT_TYPE, METRICS_TEXT)], text(name, kubelet)).into_response())
    }

    fn running(&self, name: Option<&str>) -> Response {
        self.about(name, |name, kubelet| Json(about::running_pods(kubelet.running(name))).into_response())
    }

    fn configz(&self, name: Option<&str>) -> Response {
        let most = |name: &str, kubelet: &KubeletHandle| kubelet.template(name).map_or(0, |node| node.capacity.pods);
        self.about(name, |name, kubelet| Json(about::configz(most(name, kubelet))).into_response())
    }
}

async fn own_metrics_of(State(server): State<Arc<Server>>, Path(node): Path<String>) -> Response {
    server.own_metrics(Some(&node))
}

async fn own_metrics(State(server): State<Arc<Server>>) -> Response {
    server.own_metrics(None)
}

async fn running_of(State(server): State<Arc<Server>>, Path(node): Path<String>) -> Response {
    server.running(Some(&node))
}

async fn running(State(server): State<Arc<Server>>) -> Response {
    server.running(None)
}

async fn configz_of(State(server): State<Arc<Server>>, Path(node): Path<String>) -> Response {
    server.configz(Some(&node))
}

async fn configz(State(server): State<Arc<Server>>) -> Response {
    server.configz(None)
}

async fn healthz() -> &'static str {
    "ok"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_only_read_may_run_nothing_whatever_the_method() {
        for path in ["exec/ns/pod/c", "attach/ns/pod/c", "portForward/ns/pod", "exec/ns/pod/uid/c"] {
            for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS] {
                assert_eq!(need(&method, path), Need { verb: "create", subresources: &["proxy"] }, "{method} {path}");
            }
        }
    }

    #[test]
    fn what_is_read_needs_a_readers_right_to_it() {
        let reads = |path| need(&Method::GET, path);
        assert_eq!(reads("containerLogs/ns/pod/c"), Need { verb: "get", subresources: &["proxy"] });
        assert_eq!(reads("metrics/resource"), Need { verb: "get", subresources: &["metrics"] });
        assert_eq!(reads("metrics"), Need { verb: "get", subresources: &["metrics"] });
        assert_eq!(reads("stats/summary"), Need { verb: "get", subresources: &["stats"] });
        assert_eq!(reads("configz"), Need { verb: "get", subresources: &["configz", "proxy"] });
        assert_eq!(need(&Method::DELETE, "pods").verb, "delete");
    }
}

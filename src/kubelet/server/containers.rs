//! The routes that lead to one pod's containers: logs, exec, attach, port-forward.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

use super::{
    Server,
    forward::{self, Target},
    port_channels,
    query::{self, QueryError, Wishes},
    remote,
    upgrade::Switch,
};
use crate::{
    kubelet::{KubeletHandle, KubeletMetrics, index::Found},
    provider::{Exec, ExitStatus, Owner, Provider, ProviderError, Streams},
};

/// The pod, and mostly the container, that a path names.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Place {
    namespace: String,
    pod: String,
    uid: Option<String>,
    container: Option<String>,
}

/// What a call goes to.
struct Reached {
    provider: Arc<dyn Provider>,
    metrics: KubeletMetrics,
    owner: Owner,
    container: String,
}

impl Server {
    /// The pod of this name, on whichever of the nodes it is.
    pub(super) fn pod(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<(&KubeletHandle, Found)> {
        let mut kubelets = self.handles.iter();
        kubelets.find_map(|kubelet| Some((kubelet, kubelet.find(namespace, name, uid)?)))
    }

    #[expect(clippy::result_large_err, reason = "a response, once a request")]
    fn reach(&self, place: &Place) -> Result<Reached, Response> {
        let Place { namespace, pod, uid, container } = place;
        let Some((kubelet, Found { owner, shape })) = self.pod(namespace, pod, uid.as_deref()) else {
            return Err((StatusCode::NOT_FOUND, format!("pod {namespace}/{pod} is not here\n")).into_response());
        };
        let container = container.clone().unwrap_or_default();
        if !container.is_empty() && !shape.has(&container) {
            let text = format!("container {container} not found in pod {namespace}/{pod}\n");
            return Err((StatusCode::NOT_FOUND, text).into_response());
        }
        let (provider, metrics) = (Arc::clone(kubelet.provider()), kubelet.metrics().clone());
        Ok(Reached { provider, metrics, owner, container })
    }
}

fn bad_query(error: &QueryError) -> Response {
    (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response()
}

/// Of all codes the API server passes on the text of these two alone.
fn refusal(error: &ProviderError) -> Response {
    let is_callers =
        matches!(error, ProviderError::NotFound(_) | ProviderError::Unsupported(_) | ProviderError::Invalid(_));
    let status = if is_callers { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR };
    (status, format!("{error}\n")).into_response()
}

pub(super) async fn logs(State(server): State<Arc<Server>>, Path(place): Path<Place>, request: Request) -> Response {
    let reached = match server.reach(&place) {
        Ok(reached) => reached,
        Err(refusal) => return refusal,
    };
    let options = match query::log_options(request.uri().query().unwrap_or_default(), Timestamp::now()) {
        Ok(options) => options,
        Err(error) => return bad_query(&error),
    };
    let Reached { provider, metrics, owner, container } = &reached;
    match metrics.asked("logs", provider.logs(owner, container, &options)).await {
        Ok(stream) => ([(header::CONTENT_TYPE, "text/plain")], Body::from_stream(stream)).into_response(),
        Err(error) => refusal(&error),
    }
}

pub(super) async fn exec(State(server): State<Arc<Server>>, Path(place): Path<Place>, request: Request) -> Response {
    let call = |reached: Reached, wishes: Wishes, streams: Streams| async move {
        let Reached { provider, metrics, owner, container } = reached;
        metrics.asked("exec", provider.exec(&owner, Exec { container, command: wishes.command, streams })).await
    };
    remote_command(&server, &place, request, true, call)
}

pub(super) async fn attach(State(server): State<Arc<Server>>, Path(place): Path<Place>, request: Request) -> Response {
    let call = |reached: Reached, _, streams: Streams| async move {
        let Reached { provider, metrics, owner, container } = &reached;
        metrics.asked("attach", provider.attach(owner, container, streams)).await
    };
    remote_command(&server, &place, request, false, call)
}

fn remote_command<F>(
    server: &Server,
    place: &Place,
    mut request: Request,
    takes_command: bool,
    call: impl FnOnce(Reached, Wishes, Streams) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = Result<ExitStatus, ProviderError>> + Send,
{
    let reached = match server.reach(place) {
        Ok(reached) => reached,
        Err(refusal) => return refusal,
    };
    let wishes = match query::wishes(request.uri().query().unwrap_or_default(), takes_command) {
        Ok(wishes) => wishes,
        Err(error) => return bad_query(&error),
    };
    let switch = match Switch::of(&mut request, remote::SPOKEN) {
        Ok(switch) => switch,
        Err(refusal) => return refusal,
    };
    let Ok(session_place) = Arc::clone(&server.sessions).try_acquire_owned() else { return too_many() };
    let (wire, protocol) = (switch.wire, switch.protocol);
    let (response, connection) = switch.accept();
    server.begun.count(wire);
    tokio::spawn(async move {
        match remote::session(wire, protocol, connection, &wishes).await {
            Ok(session) => session.run(|streams| call(reached, wishes, streams)).await,
            Err(error) => tracing::debug!(%error, "a remote command did not begin"),
        }
        drop(session_place);
    });
    response
}

pub(super) async fn port_forward(
    State(server): State<Arc<Server>>,
    Path(place): Path<Place>,
    mut request: Request,
) -> Response {
    let Reached { provider, metrics, owner, .. } = match server.reach(&place) {
        Ok(reached) => reached,
        Err(refusal) => return refusal,
    };
    let switch = match Switch::of(&mut request, forward::SPOKEN) {
        Ok(switch) => switch,
        Err(refusal) => return refusal,
    };
    let Ok(session_place) = Arc::clone(&server.sessions).try_acquire_owned() else { return too_many() };
    let (wire, protocol) = (switch.wire, switch.protocol);
    let ports = port_channels::asked(request.uri().query().unwrap_or_default());
    server.begun.count(wire);
    let (response, connection) = switch.accept();
    tokio::spawn(async move {
        forward::run((wire, protocol), &ports, connection, Target { provider, metrics, owner }).await;
        drop(session_place);
    });
    response
}

fn too_many() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "too many exec, attach and port-forward sessions here; try again later\n")
        .into_response()
}

//! Counts what this process asks the API server: one layer around the client that all of its parts share.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::{Method, Request, Response, StatusCode};
use prometheus::{IntCounterVec, Opts, Registry};
use tower::{Layer, Service};

use super::{Collectors, listed, register};

/// Requests to the API server by verb, resource and outcome. As a [`Layer`] it counts those of a client.
#[derive(Debug, Clone)]
pub struct ApiRequests {
    requests: IntCounterVec,
}

impl ApiRequests {
    /// Makes the counter and adds it to `registry`; fails where it is there already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new("burstlet_api_requests_total", "Requests to the API server by verb, resource and outcome."),
            &["verb", "resource", "outcome"],
        )?;
        let metrics = Self { requests };
        register(registry, metrics.collectors())?;
        Ok(metrics)
    }

    /// All of them, to register and to document.
    pub fn collectors(&self) -> Collectors {
        vec![listed(&self.requests)]
    }
}

impl<S> Layer<S> for ApiRequests {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, metrics: self.clone() }
    }
}

/// A client's service whose requests are counted.
#[derive(Debug, Clone)]
pub struct Counted<S> {
    inner: S,
    metrics: ApiRequests,
}

impl<S, B, A> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (verb, resource) = asked(request.method(), request.uri());
        let mut call = Call { metrics: self.metrics.clone(), verb, resource, outcome: "unanswered" };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            call.was_answered(answer.status());
            Ok(answer)
        })
    }
}

/// A request under way. It counts when it ends, also where the caller waited no longer.
struct Call {
    metrics: ApiRequests,
    verb: &'static str,
    resource: String,
    outcome: &'static str,
}

impl Call {
    fn was_answered(&mut self, status: StatusCode) {
        self.outcome = match status.as_u16() {
            0..400 => "ok",
            400..500 => "refused",
            _ => "failed",
        };
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.metrics.requests.with_label_values(&[self.verb, &self.resource, self.outcome]).inc();
    }
}

/// Kubernetes' verb for a request, and the resource with its subresource: neither names an object.
fn asked(method: &Method, uri: &http::Uri) -> (&'static str, String) {
    let words: Vec<_> = uri.path().split('/').filter(|word| !word.is_empty()).collect();
    let of_group = match words.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        _ => &[],
    };
    let of_namespace = match of_group {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    let (resource, is_named) = match of_namespace {
        [] => ("other".to_owned(), true),
        [resource] => ((*resource).to_owned(), false),
        [resource, _] => ((*resource).to_owned(), true),
        [resource, _, subresource, ..] => (format!("{resource}/{subresource}"), true),
    };
    let is_watch =
        || uri.query().is_some_and(|query| query.split('&').any(|word| matches!(word, "watch=true" | "watch=1")));
    let verb = match *method {
        Method::GET if is_watch() => "watch",
        Method::GET if is_named => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if is_named => "delete",
        Method::DELETE => "deletecollection",
        _ => "other",
    };
    (verb, resource)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use tower::{ServiceExt, service_fn};

    use super::*;

    #[test]
    fn verb_and_resource_are_read_from_a_request_and_no_name_is() {
        let read = |method: &str, uri: &str| {
            let (verb, resource) = asked(&method.parse().unwrap(), &uri.parse().unwrap());
            format!("{verb} {resource}")
        };
        assert_eq!(read("GET", "https://x:6443/api/v1/pods?watch=true&timeoutSeconds=290"), "watch pods");
        assert_eq!(read("GET", "/api/v1/pods?limit=500"), "list pods");
        assert_eq!(read("PATCH", "/api/v1/namespaces/shop/pods/web-1?timeout=2s"), "patch pods");
        assert_eq!(read("POST", "/api/v1/namespaces/shop/pods/web-1/binding"), "create pods/binding");
        assert_eq!(read("PATCH", "/api/v1/nodes/burstlet-eci-0/status"), "patch nodes/status");
        assert_eq!(read("GET", "/api/v1/namespaces/shop"), "get namespaces");
        assert_eq!(read("GET", "/api/v1/namespaces"), "list namespaces");
        assert_eq!(read("PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n"), "update leases");
        assert_eq!(read("DELETE", "/api/v1/namespaces/shop/pods/web-1"), "delete pods");
        assert_eq!(read("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews"), "create subjectaccessreviews");
        assert_eq!(read("GET", "/version"), "get other");
    }

    #[tokio::test]
    async fn a_request_counts_by_how_it_ended_also_where_nobody_waited_for_that() {
        let registry = Registry::new();
        let metrics = ApiRequests::register(&registry).unwrap();
        let service = metrics.layer(service_fn(async |request: Request<()>| {
            if request.uri().path().ends_with("/slow") {
                std::future::pending::<()>().await;
            }
            let status = if request.uri().path().ends_with("/gone") { 404 } else { 200 };
            Ok::<_, Infallible>(Response::builder().status(status).body(()).unwrap())
        }));
        let ask = |name: &str| {
            let request = Request::delete(format!("/api/v1/namespaces/shop/pods/{name}")).body(()).unwrap();
            service.clone().oneshot(request)
        };
        ask("web").await.unwrap();
        ask("gone").await.unwrap();
        let given_up = tokio::time::timeout(std::time::Duration::from_millis(1), ask("slow")).await;
        assert!(given_up.is_err());
        for outcome in ["ok", "refused", "unanswered"] {
            assert_eq!(metrics.requests.with_label_values(&["delete", "pods", outcome]).get(), 1, "{outcome}");
        }
    }
}

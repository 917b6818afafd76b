//! An API server for tests: objects by path.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{
    body::Body,
    http::{Request, Response},
};
use kube::Client;
use serde_json::{Value, json};

#[derive(Clone, Default)]
pub(crate) struct FakeApi {
    objects: BTreeMap<&'static str, Value>,
    fails: bool,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeApi {
    pub(crate) fn new(objects: &[(&'static str, Value)]) -> Self {
        Self { objects: objects.iter().cloned().collect(), ..Self::default() }
    }

    pub(crate) fn failing() -> Self {
        Self { fails: true, ..Self::default() }
    }

    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let answer = api.answer(request.uri().path());
            async { Ok::<_, Infallible>(answer) }
        });
        Client::new(service, "default")
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn answer(&self, path: &str) -> Response<Body> {
        self.asked.lock().unwrap().push(path.to_owned());
        let failure = |code: u16, reason: &str| {
            (code, json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason}))
        };
        let (code, answer) = match self.objects.get(path) {
            _ if self.fails => failure(500, "InternalError"),
            Some(object) => (200, object.clone()),
            None => failure(404, "NotFound"),
        };
        Response::builder().status(code).body(Body::from(answer.to_string())).unwrap()
    }
}

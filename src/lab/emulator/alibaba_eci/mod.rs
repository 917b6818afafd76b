//! Alibaba Cloud's ECI, version 2018-08-08, and the VPC actions (2016-04-28) that go with it.

mod error;
mod verify;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Json,
    body::Bytes,
    http::request::Parts,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{AccessKey, Call, Cloud, Ground};
use error::ApiError;
use verify::{Request, Verifier};

/// The cloud, in memory.
#[derive(Debug)]
pub struct Eci {
    ground: Arc<Ground>,
    verifier: Mutex<Verifier>,
}

impl Eci {
    /// An empty cloud that knows `keys`.
    pub fn new(ground: Arc<Ground>, keys: impl IntoIterator<Item = AccessKey>) -> Self {
        Self { ground, verifier: Mutex::new(Verifier::new(keys)) }
    }

    fn perform(&self, call: &Call<'_>) -> Result<Value, ApiError> {
        let request = lock(&self.verifier).verify(call, self.ground.judged_time())?;
        match (request.version.as_str(), request.action.as_str()) {
            ("2018-08-08", "DescribeRegions") => Ok(regions(&request)),
            (version, action) => Err(ApiError::not_found(
                "InvalidAction.NotFound",
                format!("Specified api is not found: {action} of version {version}."),
            )),
        }
    }
}

fn regions(_: &Request) -> Value {
    json!({"Regions": [{
        "RegionId": "cn-hangzhou",
        "RegionEndpoint": "eci.aliyuncs.com",
        "Zones": ["cn-hangzhou-h", "cn-hangzhou-i"],
        "RecommendZones": ["cn-hangzhou-h"],
    }]})
}

impl Cloud for Eci {
    fn action(&self, head: &Parts, body: &Bytes) -> String {
        verify::action(head, body)
    }

    fn answer(&self, call: &Call<'_>) -> Response {
        let request_id = "AB772F9D-2FEF-5BFD-AAFB-DA3444851F29".to_owned();
        match self.perform(call) {
            Ok(mut answer) => {
                answer["RequestId"] = request_id.into();
                Json(answer).into_response()
            }
            Err(error) => error.response(&request_id, "eci.aliyuncs.com"),
        }
    }

    fn unavailable(&self) -> Response {
        ApiError::unavailable().response("", "eci.aliyuncs.com")
    }

    fn instances(&self) -> Value {
        json!([])
    }

    fn reclaim(&self, _: &str) -> bool {
        false
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

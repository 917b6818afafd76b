//! The simulated cloud as a provider.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use burstlet::provider::simulated::{Cloud, Remote, Settings, StartUp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::conformance::Subject;

fn ends_with(code: i32) -> Pod {
    serde_json::from_value(json!({"metadata": {"annotations": {
        "simulated.burstlet.dev/run-for": "200ms", "simulated.burstlet.dev/exit-code": code.to_string(),
    }}}))
    .unwrap()
}

async fn subject() -> Subject {
    let start_up = StartUp::fixed(Duration::from_millis(200));
    let cloud = Cloud::new(Settings { start_up, ..Settings::default() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let router = Arc::new(cloud.clone()).router();
    let task = tokio::spawn(async { axum::serve(listener, router).await });
    let counted = cloud.clone();
    let created = move || {
        let audit = counted.audit().into_iter();
        audit.map(|(uid, audit)| (uid, u64::try_from(audit.created).unwrap())).collect::<BTreeMap<_, _>>()
    };
    Subject {
        provider: Arc::new(cloud),
        restarted: Arc::new(Remote::new(&address).unwrap()),
        created: Box::new(created),
        ends_with,
        _cloud: Box::new(task),
    }
}

crate::conformance::conforms!(super::subject());

//! The version that nodes show.
//!
//! By Kubernetes' version skew policy a kubelet must not be newer than the API server, and may be three minors older. So nodes
//! show the control plane's version, as it is now, and none newer than the newest that this kubelet speaks.

use std::time::Duration;

use kube::Client;
use tokio::{sync::Mutex, time::Instant};

/// The newest minor of Kubernetes 1 that this kubelet speaks.
const NEWEST: u32 = 36;

/// What a node shows whose control plane does not tell its version: the oldest that burstlet runs on.
const OLDEST: &str = "v1.30.0";

/// How long an answer holds: control planes are upgraded under running nodes.
const FRESH: Duration = Duration::from_mins(5);

/// The control plane's version, asked for from time to time.
pub(super) struct ControlPlaneVersion {
    client: Client,
    known: Mutex<Option<(Instant, String)>>,
}

impl ControlPlaneVersion {
    pub(super) fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// What a node shows now. Fails only where the API server does not answer and never did.
    pub(super) async fn shown(&self) -> Result<String, kube::Error> {
        let mut known = self.known.lock().await;
        if let Some((_, shown)) = known.as_ref().filter(|(asked, _)| asked.elapsed() < FRESH) {
            return Ok(shown.clone());
        }
        let before = known.as_ref().map(|(_, shown)| shown.clone());
        let now = match (self.client.apiserver_version().await, before) {
            (Ok(version), _) => shown(&version.git_version).unwrap_or_else(|| own(OLDEST)),
            (Err(_), Some(before)) => before,
            // It answers, but not to us.
            (Err(kube::Error::Api(_)), None) => own(OLDEST),
            (Err(error), None) => return Err(error),
        };
        *known = Some((Instant::now(), now.clone()));
        Ok(now)
    }
}

/// What nodes of a control plane of that version show; `None` where it is not understood.
fn shown(control_plane: &str) -> Option<String> {
    let mut parts = control_plane.strip_prefix('v')?.splitn(3, '.');
    let (major, minor, rest) = (parts.next()?, parts.next()?, parts.next().unwrap_or("0"));
    let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    // A cloud's own suffix follows the patch's number: v1.30.4-gke.100, v1.31.2+k3s1.
    let patch = rest.split(|c: char| !c.is_ascii_digit()).next().filter(|patch| !patch.is_empty())?;
    if (major, minor) > (1, NEWEST) {
        return Some(own(&format!("v1.{NEWEST}.0")));
    }
    Some(own(&format!("v{major}.{minor}.{patch}")))
}

/// The part before the dash is what version-skew checks read.
fn own(version: &str) -> String {
    format!("{version}-burstlet-{}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
    };

    use axum::http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_shows_its_control_planes_version_and_never_one_newer_than_it_speaks() {
        let bare = |version: &str| shown(version).map(|shown| shown.split('-').next().unwrap().to_owned());
        assert_eq!(bare("v1.36.3").as_deref(), Some("v1.36.3"));
        assert_eq!(bare("v1.35.4").as_deref(), Some("v1.35.4"));
        assert_eq!(bare("v1.30.4-gke.100").as_deref(), Some("v1.30.4"));
        assert_eq!(bare("v1.31.2+k3s1").as_deref(), Some("v1.31.2"));
        assert_eq!(bare("v1.37.1").as_deref(), Some("v1.36.0"));
        assert_eq!(bare("v2.0.0").as_deref(), Some("v1.36.0"));
        for odd in ["", "1.36.3", "v1", "v1.x.3", "v1.36.", "vv1.36.3"] {
            assert_eq!(bare(odd), None, "{odd}");
        }
        assert!(shown("v1.36.3").unwrap().contains("-burstlet-"));
    }

    /// An API server of that minor; one of 0 does not answer.
    fn client(minor: &Arc<AtomicU32>) -> Client {
        let minor = Arc::clone(minor);
        let service = tower::service_fn(move |request: Request<Body>| {
            assert_eq!(request.uri().path(), "/version");
            let minor = minor.load(Ordering::SeqCst);
            async move {
                let info = json!({
                    "major": "1", "minor": minor.to_string(), "gitVersion": format!("v1.{minor}.5"), "gitCommit": "",
                    "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
                });
                let failure =
                    json!({"kind": "Status", "status": "Failure", "code": 403, "message": "no", "reason": "Forbidden"});
                let (code, body) = if minor == 0 { (403, failure) } else { (200, info) };
                let response = Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
                Ok::<_, Infallible>(response.unwrap())
            }
        });
        Client::new(service, "default")
    }

    #[tokio::test(start_paused = true)]
    async fn an_upgraded_control_plane_is_noticed_and_one_that_does_not_tell_leaves_what_was_known() {
        let minor = Arc::new(AtomicU32::new(0));
        let version = ControlPlaneVersion::new(client(&minor));
        let begins = async |with: &str| {
            let shown = version.shown().await.unwrap();
            assert!(shown.starts_with(with), "{shown}");
            tokio::time::advance(FRESH).await;
        };
        begins(OLDEST).await;
        for known in [34, 35] {
            minor.store(known, Ordering::SeqCst);
            begins(&format!("v1.{known}.5-")).await;
        }
        minor.store(0, Ordering::SeqCst);
        begins("v1.35.5-").await;
    }
}

//! The calls that the kubelet makes for one pod: to the provider and to the API server.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::http::{HeaderValue, Request as HttpRequest, header};
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, Preconditions, Request},
};
use serde::Deserialize;
use tokio::sync::watch;

use super::{
    events::Events,
    index::{Finished, Job, Notice},
    metrics::KubeletMetrics,
    reader::Reader,
    status::{StatusInput, StatusPatch},
    sync::{Action, Outcome, Report},
};
use crate::{
    api::names,
    provider::{Provider, ProviderError},
    watch::Leadership,
};

/// Longest wait for the API server.
const API_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest wait for the provider; creating may be slow, and a call given up may still take effect.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(90);

/// Answers without the object: the kubelet reads no more of it than its version.
const METADATA_ONLY: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json");

/// The answer to calls after this replica's right to make them has ended: should it lead again, it tries again.
const NOT_OURS: Finished = Finished::Call(Outcome::Failed { after: None });

/// What every call needs.
pub(crate) struct Calls {
    pub(crate) client: Client,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) reader: Arc<Reader>,
    pub(crate) events: Arc<Events>,
    pub(crate) host: IpAddr,
    pub(crate) metrics: KubeletMetrics,
    /// Whether this replica leads, where there are others.
    pub(crate) leadership: Option<watch::Receiver<Leadership>>,
}

#[derive(Deserialize)]
struct Answer {
    metadata: AnswerMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerMeta {
    resource_version: Option<String>,
}

impl Calls {
    /// Makes the call and says how it ended.
    pub(crate) async fn run(&self, mut job: Job) -> Finished {
        if !self.may_act() {
            return NOT_OURS;
        }
        match job.action.clone() {
            Action::Create => self.create(&mut job).await,
            Action::DeleteInstance { grace } => Finished::Call(self.delete_instance(&job, grace).await),
            Action::WriteStatus(report) => Finished::Call(self.write_status(&job, report).await),
            Action::DeletePod => Finished::Call(self.delete_pod(&job).await),
            Action::VerifyPod => match self.read_pod(&job).await {
                Ok(Some(pod)) => Finished::Pod(Box::new(pod)),
                Ok(None) => Finished::Call(Outcome::PodMissing),
                Err(error) => api_failed(&job, &error),
            },
        }
    }

    /// A process that was stopped for longer than its lease wakes with calls to make that are another's by now: an
    /// instance that has ended since would be made again. It must find that out before it makes any.
    fn may_act(&self) -> bool {
        self.leadership.as_ref().is_none_or(|leadership| leadership.borrow().may_write())
    }

    async fn create(&self, job: &mut Job) -> Finished {
        let pod = match job.pod.take() {
            Some(pod) => pod,
            None => match self.read_pod(job).await {
                Ok(Some(pod)) if pod.metadata.deletion_timestamp.is_some() => return Finished::Pod(Box::new(pod)),
                Ok(Some(pod)) => Box::new(pod),
                Ok(None) => return Finished::Call(Outcome::PodMissing),
                Err(error) => return api_failed(job, &error),
            },
        };
        let resolved = match self.reader.resolve(&job.owner, *pod).await {
            Ok(resolved) => resolved,
            Err(error) => return Finished::Call(Outcome::Unresolved(error)),
        };
        // Reading may have taken long.
        if !self.may_act() {
            return NOT_OURS;
        }
        let create = in_time(self.provider.create_with(&job.owner, &resolved.pod, &resolved.content));
        Finished::Call(match self.metrics.asked("create", create).await {
            Ok(instance) => {
                self.metrics.created();
                for absent in &resolved.absent {
                    let notice =
                        Notice { reason: absent.reason(true), text: format!("not found, and optional: {absent}") };
                    self.events.warn(&job.owner, &notice);
                }
                Outcome::Created(instance)
            }
            Err(error) => Outcome::CreateFailed(error),
        })
    }

    async fn delete_instance(&self, job: &Job, grace: Duration) -> Outcome {
        match self.metrics.asked("delete", in_time(self.provider.delete(&job.owner, grace))).await {
            Ok(()) => Outcome::InstanceDeleted { grace },
            Err(error) => {
                tracing::warn!(pod = %job.owner.name, namespace = %job.owner.namespace, %error, "instance not deleted");
                let after = error.retry_after();
                if error.is_shared() { Outcome::Down { after } } else { Outcome::Failed { after } }
            }
        }
    }

    async fn write_status(&self, job: &Job, report: Report) -> Outcome {
        let annotations = self.provider.annotations(&job.owner).await;
        let input = StatusInput {
            uid: &job.uid,
            shape: &job.shape,
            report: &report,
            instance: &job.instance,
            times: job.times,
            now: Timestamp::now().as_second(),
            host: self.host,
            provider: self.provider.name(),
            annotations: &annotations,
        };
        let patch = Patch::Strategic(StatusPatch::new(&input));
        let params = PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
        let request = pods(job).patch_subresource("status", &job.owner.name, &params, &patch);
        match self.send(request).await {
            Ok(text) => {
                self.metrics.status_written();
                let answer = serde_json::from_str::<Answer>(&text).ok();
                let version = answer.and_then(|a| a.metadata.resource_version).and_then(|v| v.parse().ok());
                Outcome::StatusWritten { report, version: version.unwrap_or(0) }
            }
            // The pod is gone, or its name is another pod's: the watch will tell.
            Err(error) if is_code(&error, 404) || is_code(&error, 409) => Outcome::Failed { after: None },
            Err(error) => {
                warn("status", job, &error);
                failed(&error)
            }
        }
    }

    async fn delete_pod(&self, job: &Job) -> Outcome {
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: Some(job.uid.to_string()), ..Preconditions::default() }),
            ..DeleteParams::default()
        };
        match self.send(pods(job).delete(&job.owner.name, &params)).await {
            Ok(_) => Outcome::PodDeleted,
            // Already gone, and maybe succeeded by another of its name.
            Err(error) if is_code(&error, 404) || is_code(&error, 409) => Outcome::PodDeleted,
            Err(error) => {
                warn("delete", job, &error);
                failed(&error)
            }
        }
    }

    /// The pod with the job's UID, read from etcd rather than from a cache.
    async fn read_pod(&self, job: &Job) -> Result<Option<Pod>, kube::Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &job.owner.namespace);
        let call = tokio::time::timeout(API_TIMEOUT, api.get_opt(&job.owner.name)).await;
        let pod = call.unwrap_or_else(|_| Err(timed_out()))?;
        Ok(pod.filter(|pod| pod.metadata.uid.as_deref() == Some(&*job.uid)))
    }

    async fn send(
        &self,
        request: Result<HttpRequest<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<String, kube::Error> {
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        request.headers_mut().insert(header::ACCEPT, METADATA_ONLY);
        tokio::time::timeout(API_TIMEOUT, self.client.request_text(request)).await.unwrap_or_else(|_| Err(timed_out()))
    }
}

fn api_failed(job: &Job, error: &kube::Error) -> Finished {
    warn("read", job, error);
    Finished::Call(failed(error))
}

/// A call to the API server failed: for this pod's sake, or for a reason that all calls share.
fn failed(error: &kube::Error) -> Outcome {
    match error {
        kube::Error::Api(status) if status.code == 429 => {
            let seconds = status.details.as_ref().map(|details| u64::from(details.retry_after_seconds));
            Outcome::Down { after: seconds.map(Duration::from_secs) }
        }
        kube::Error::Api(status) if status.code < 500 => Outcome::Failed { after: None },
        _ => Outcome::Down { after: None },
    }
}

fn pods(job: &Job) -> Request {
    Request::new(Pod::url_path(&(), Some(&job.owner.namespace)))
}

fn is_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

fn timed_out() -> kube::Error {
    kube::Error::Service(format!("no answer within {API_TIMEOUT:?}").into())
}

/// A provider that says nothing is one that is not there.
async fn in_time<T>(call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
    let silent = |_| Err(ProviderError::Unavailable(format!("no answer within {PROVIDER_TIMEOUT:?}")));
    tokio::time::timeout(PROVIDER_TIMEOUT, call).await.unwrap_or_else(silent)
}

fn warn(what: &str, job: &Job, error: &kube::Error) {
    tracing::warn!(pod = %job.owner.name, namespace = %job.owner.namespace, %error, "pod: {what} failed, will be tried again");
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use prometheus::Registry;
    use tokio::time::Instant;

    use super::*;
    use crate::{
        kubelet::{KubeletConfig, sync::InstanceFact},
        provider::{
            Owner,
            simulated::{Cloud, Settings},
        },
    };

    fn job(uid: &str) -> Job {
        let owner = Owner {
            cluster: "lab".to_owned(),
            node: "node".to_owned(),
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            uid: uid.to_owned(),
        };
        Job {
            uid: uid.into(),
            action: Action::Create,
            owner,
            pod: Some(Box::default()),
            shape: Arc::default(),
            times: super::super::pods::Times::default(),
            instance: InstanceFact::Absent,
        }
    }

    #[tokio::test]
    async fn a_replica_that_slept_through_the_end_of_its_lease_creates_nothing() {
        let cloud = Cloud::new(Settings::default());
        let (leadership, led) = watch::channel(Leadership::Leader { until: Instant::now() });
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
        let config = Arc::new(KubeletConfig::new("lab", Vec::new(), Ipv4Addr::LOCALHOST.into(), 1));
        let calls = Calls {
            client: client.clone(),
            provider: Arc::new(cloud.clone()),
            reader: Arc::new(Reader::new(client.clone(), config, cloud.takes())),
            events: Arc::new(Events::new(client)),
            host: Ipv4Addr::LOCALHOST.into(),
            metrics: KubeletMetrics::register(&Registry::new()).unwrap(),
            leadership: Some(led),
        };
        calls.run(job("a")).await;
        assert!(cloud.audit().is_empty());
        leadership.send_replace(Leadership::Leader { until: Instant::now() + Duration::from_secs(5) });
        calls.run(job("b")).await;
        assert_eq!(cloud.audit().into_keys().collect::<Vec<_>>(), ["b"]);
    }
}

//! Namespaces, read from the API server itself: one look-up a second serves all that is asked of a namespace.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use burstlet_engine::policy::Marks;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use tokio::sync::OnceCell;

use crate::api::owner::marks;

/// How long an answer is used again.
const FRESH: Duration = Duration::from_secs(1);
/// Answers kept at most.
const MAX_ANSWERS: usize = 4_096;

pub(super) struct Namespaces {
    client: Client,
    /// Calls for the same one wait for one look-up; one that fails is tried anew by the next.
    answers: Mutex<HashMap<String, Answer>>,
}

#[derive(Clone)]
struct Answer {
    asked: Instant,
    marks: Arc<OnceCell<Marks>>,
}

impl Namespaces {
    pub(super) fn new(client: Client) -> Arc<Self> {
        Arc::new(Self { client, answers: Mutex::default() })
    }

    /// What the namespace says now, or said within the last second; nothing where it is gone.
    pub(super) async fn marks(&self, namespace: &str) -> Result<Marks, kube::Error> {
        let look_up = async || {
            let found = Api::<Namespace>::all(self.client.clone()).get_metadata_opt(namespace).await?;
            Ok(found.map(|found| marks(&found.metadata)).unwrap_or_default())
        };
        self.answer(namespace).get_or_try_init(look_up).await.cloned()
    }

    fn answer(&self, namespace: &str) -> Arc<OnceCell<Marks>> {
        let now = Instant::now();
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = answers.get(namespace).filter(|answer| now.duration_since(answer.asked) < FRESH) {
            return answer.marks.clone();
        }
        if answers.len() >= MAX_ANSWERS {
            answers.clear();
        }
        let answer = Answer { asked: now, marks: Arc::default() };
        answers.insert(namespace.to_owned(), answer.clone());
        answer.marks
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::watch::fake_api::FakeApi;

    #[tokio::test]
    async fn all_that_ask_at_once_cost_one_look_up_and_a_failure_is_not_kept() {
        let object = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                            "metadata": {"name": "shop", "labels": {"team": "dev"}}});
        let api = FakeApi::new(&[("/api/v1/namespaces/shop", object)]);
        let namespaces = Namespaces::new(api.client());
        let all = futures::future::join_all((0..100).map(|_| namespaces.marks("shop"))).await;
        assert!(all.iter().all(|found| found.as_ref().is_ok_and(|marks| marks.labels["team"] == "dev")));
        assert_eq!(api.asked().len(), 1);
        assert_eq!(namespaces.marks("gone").await.unwrap(), Marks::default());
        let api = FakeApi::failing();
        let namespaces = Namespaces::new(api.client());
        assert!(namespaces.marks("shop").await.is_err() && namespaces.marks("shop").await.is_err());
        assert_eq!(api.asked().len(), 2);
    }

    #[tokio::test]
    async fn answers_are_bounded() {
        let namespaces = Namespaces::new(FakeApi::new(&[]).client());
        for index in 0..=MAX_ANSWERS {
            namespaces.answer(&index.to_string());
        }
        assert!(namespaces.answers.lock().unwrap().len() <= MAX_ANSWERS);
    }
}

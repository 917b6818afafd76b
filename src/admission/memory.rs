//! What the API server said a moment ago: one look-up a second serves all that is asked of an object.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::OnceCell;

/// How long an answer is used again: a hundred pods of one ReplicaSet in a second cost one look-up.
const FRESH: Duration = Duration::from_secs(1);
/// Answers kept at most.
const MOST: usize = 4_096;

/// Answers by what was asked.
pub(super) struct Memory<T> {
    fresh: Duration,
    answers: Mutex<HashMap<String, Answer<T>>>,
}

#[derive(Clone)]
struct Answer<T> {
    asked: Instant,
    found: Arc<OnceCell<T>>,
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self { fresh: FRESH, answers: Mutex::default() }
    }
}

impl<T: Clone> Memory<T> {
    /// What was asked within the last second, or is being asked for another; else what `ask` finds now. A failure is
    /// nobody else's.
    pub(super) async fn get<E>(&self, key: &str, ask: impl AsyncFnOnce() -> Result<T, E>) -> Result<T, E> {
        self.cell(key).get_or_try_init(|| ask()).await.cloned()
    }

    fn cell(&self, key: &str) -> Arc<OnceCell<T>> {
        let now = Instant::now();
        let is_fresh = |answer: &Answer<T>| now.duration_since(answer.asked) < self.fresh;
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = answers.get(key).filter(|answer| is_fresh(answer)) {
            return Arc::clone(&answer.found);
        }
        if answers.len() >= MOST {
            answers.retain(|_, answer| is_fresh(answer));
        }
        if answers.len() >= MOST {
            answers.clear();
        }
        let found = Arc::<OnceCell<T>>::default();
        answers.insert(key.to_owned(), Answer { asked: now, found: Arc::clone(&found) });
        found
    }

    /// One whose answers are stale at once.
    #[cfg(test)]
    pub(super) fn of_nothing() -> Self {
        Self { fresh: Duration::ZERO, answers: Mutex::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[tokio::test]
    async fn a_failure_is_not_kept_and_a_success_is() {
        let memory = Memory::default();
        assert_eq!(memory.get("shop", async || Err::<u32, _>("down")).await, Err("down"));
        assert_eq!(memory.get("shop", async || Ok::<_, &str>(1)).await, Ok(1));
        assert_eq!(memory.get("shop", async || Ok::<_, &str>(2)).await, Ok(1));
        assert_eq!(memory.get("other", async || Ok::<_, &str>(3)).await, Ok(3));
    }

    #[tokio::test]
    async fn a_stale_answer_is_asked_for_anew() {
        let memory = Memory::of_nothing();
        for asked in 0..3 {
            assert_eq!(memory.get("shop", async || Ok::<_, Infallible>(asked)).await, Ok(asked));
        }
    }

    #[tokio::test]
    async fn answers_are_bounded() {
        let memory = Memory::default();
        for index in 0..=MOST {
            memory.get(&index.to_string(), async || Ok::<_, Infallible>(())).await.unwrap();
        }
        assert!(memory.answers.lock().unwrap().len() <= MOST);
    }
}

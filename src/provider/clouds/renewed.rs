//! Keys and tokens that end: held until shortly before, then asked for anew by one caller for all.

use std::time::Duration;

use tokio::{sync::Mutex, time::Instant};

use crate::provider::ProviderError;

/// A value is asked for anew this long before it ends.
const MARGIN: Duration = Duration::from_mins(5);
/// While that fails and the value still serves, it is asked for so often.
const AGAIN: Duration = Duration::from_secs(10);

/// A value `T` that was granted for a proof `P`.
#[derive(Debug)]
pub(super) struct Renewed<P, T> {
    /// Held while somebody asks, so that one asks for all.
    standing: Mutex<Option<Standing<P, T>>>,
}

#[derive(Debug)]
struct Standing<P, T> {
    proof: P,
    value: T,
    ask_from: Instant,
    until: Instant,
}

impl<P, T> Default for Renewed<P, T> {
    fn default() -> Self {
        Self { standing: Mutex::new(None) }
    }
}

impl<P: PartialEq, T: Clone + PartialEq> Renewed<P, T> {
    /// What stands for `proof`, or else what `ask` gets, which also says for how long it is good. One that cannot be
    /// renewed yet serves to its end.
    pub(super) async fn get(
        &self,
        proof: P,
        ask: impl Future<Output = Result<(T, Duration), ProviderError>> + Send,
    ) -> Result<T, ProviderError> {
        let mut standing = self.standing.lock().await;
        let serves = |known: &&mut Standing<P, T>| known.proof == proof && known.until > Instant::now();
        if let Some(known) = standing.as_mut().filter(serves)
            && known.ask_from > Instant::now()
        {
            return Ok(known.value.clone());
        }
        match ask.await {
            Ok((value, lasts)) => {
                let now = Instant::now();
                let (ask_from, until) = (now + lasts.saturating_sub(MARGIN), now + lasts);
                *standing = Some(Standing { proof, value: value.clone(), ask_from, until });
                Ok(value)
            }
            Err(error) => {
                let Some(known) = standing.as_mut().filter(serves) else { return Err(error) };
                tracing::warn!(%error, "what proves burstlet to its cloud is not renewed yet; the one before still serves");
                known.ask_from = Instant::now() + AGAIN;
                Ok(known.value.clone())
            }
        }
    }

    /// `value` was refused: where it still stands, the next caller asks anew. Whether there is another one to try.
    pub(super) async fn forget(&self, value: &T) -> bool {
        let mut standing = self.standing.lock().await;
        if standing.as_ref().is_some_and(|known| known.value == *value) {
            *standing = None;
            return true;
        }
        standing.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Grants 1, 2, 3 … for an hour each, unless it is out.
    #[derive(Default)]
    struct Grants {
        count: AtomicU32,
        is_out: std::sync::atomic::AtomicBool,
    }

    impl Grants {
        async fn ask(&self) -> Result<(u32, Duration), ProviderError> {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if self.is_out.load(Ordering::Relaxed) {
                return Err(ProviderError::Unavailable("out".to_owned()));
            }
            Ok((self.count.fetch_add(1, Ordering::Relaxed) + 1, Duration::from_hours(1)))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_asks_for_all_and_again_before_the_end() {
        let (grants, renewed) = (Grants::default(), Renewed::default());
        let all = (0..50).map(|_| renewed.get("a", grants.ask()));
        assert!(futures::future::join_all(all).await.into_iter().all(|value| value == Ok(1)));
        tokio::time::sleep(Duration::from_mins(54)).await;
        assert_eq!(renewed.get("a", grants.ask()).await, Ok(1));
        tokio::time::sleep(Duration::from_mins(2)).await;
        assert_eq!(renewed.get("a", grants.ask()).await, Ok(2));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_cannot_be_renewed_serves_to_its_end_and_no_longer() {
        let (grants, renewed) = (Grants::default(), Renewed::default());
        assert_eq!(renewed.get("a", grants.ask()).await, Ok(1));
        grants.is_out.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_mins(56)).await;
        assert_eq!(renewed.get("a", grants.ask()).await, Ok(1));
        // Not asked again at once: whoever comes meanwhile does not wait.
        let began = Instant::now();
        assert_eq!(renewed.get("a", grants.ask()).await, Ok(1));
        assert_eq!(began.elapsed(), Duration::ZERO);
        tokio::time::sleep(Duration::from_mins(4)).await;
        assert!(renewed.get("a", grants.ask()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn another_proof_and_a_refusal_ask_anew() {
        let (grants, renewed) = (Grants::default(), Renewed::default());
        assert_eq!(renewed.get("a", grants.ask()).await, Ok(1));
        assert_eq!(renewed.get("b", grants.ask()).await, Ok(2));
        assert!(renewed.forget(&2).await);
        assert_eq!(renewed.get("b", grants.ask()).await, Ok(3));
        // A late refusal of the one before takes nothing away.
        assert!(renewed.forget(&2).await);
        assert_eq!(renewed.get("b", grants.ask()).await, Ok(3));
        assert!(!Renewed::<&str, u32>::default().forget(&2).await);
    }
}

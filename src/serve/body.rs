//! Request bodies, bounded.

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream, Bytes, HttpBody},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use tokio::time::timeout;

/// Longest time a body may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);
/// Room made for a body before its first bytes are there, whatever length its header claims.
const FIRST_ROOM: usize = 64 * 1024;

/// What is read of a body that is too large, and thrown away: a client that is still sending when the connection closes
/// loses the answer, and with it the reason.
const MOST_DISCARDED: usize = 32 * 1024 * 1024;

/// Why a body was not read. As a response it is the status that says so, with the reason as text.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client announced or sent more than the limit.
    #[error("the request body is larger than {limit} bytes")]
    TooLarge {
        /// Limit in bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    #[error("the request body did not arrive within {longest:?}")]
    TooSlow {
        /// How long it may take.
        longest: Duration,
    },
    /// The connection broke, or the framing is wrong.
    #[error("unable to read the request body: {0}")]
    Broken(#[source] axum::Error),
}

impl BodyError {
    /// The HTTP status that tells it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        (self.status(), self.to_string()).into_response()
    }
}

/// Reads a whole body of at most `limit` bytes. Of a larger one nothing is kept, and so much is read that a client hears
/// why it was refused, unless it is excessive.
pub async fn read_body_limited(body: Body, limit: usize) -> Result<Bytes, BodyError> {
    read_within(body, limit, ARRIVAL).await
}

async fn read_within(body: Body, limit: usize, longest: Duration) -> Result<Bytes, BodyError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    timeout(longest, collect(body, announced, limit)).await.map_err(|_| BodyError::TooSlow { longest })?
}

async fn collect(body: Body, announced: usize, limit: usize) -> Result<Bytes, BodyError> {
    let mut chunks = body.into_data_stream();
    if announced > limit {
        return Err(too_large(chunks, announced, limit).await);
    }
    let Some(first) = chunks.next().await.transpose().map_err(BodyError::Broken)? else {
        return Ok(Bytes::new());
    };
    if first.len() > limit {
        return Err(too_large(chunks, announced, limit).await);
    }
    // Most bodies are one chunk, which is then not copied.
    if first.len() == announced {
        return Ok(first);
    }
    let mut whole = Vec::with_capacity(announced.min(FIRST_ROOM).max(first.len()));
    whole.extend_from_slice(&first);
    while let Some(chunk) = chunks.next().await.transpose().map_err(BodyError::Broken)? {
        if whole.len() + chunk.len() > limit {
            drop(whole);
            return Err(too_large(chunks, announced, limit).await);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.into())
}

async fn too_large(mut rest: BodyDataStream, announced: usize, limit: usize) -> BodyError {
    let mut discarded = 0;
    while announced <= MOST_DISCARDED
        && discarded <= MOST_DISCARDED
        && let Some(Ok(chunk)) = rest.next().await
    {
        discarded += chunk.len();
    }
    BodyError::TooLarge { limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunked(chunks: &'static [&'static [u8]]) -> Body {
        Body::from_stream(futures::stream::iter(
            chunks.iter().map(|chunk| Ok::<_, std::io::Error>(Bytes::from(*chunk))),
        ))
    }

    #[tokio::test]
    async fn a_body_within_the_limit_is_read_whole() {
        assert_eq!(read_body_limited(Body::from("abcd"), 4).await.unwrap(), "abcd");
        assert_eq!(read_body_limited(chunked(&[b"ab", b"", b"cd"]), 4).await.unwrap(), "abcd");
        assert_eq!(read_body_limited(Body::empty(), 0).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_larger_body_is_refused_by_its_announced_length_or_once_past_the_limit() {
        for body in [Body::from("abcde"), chunked(&[b"abcde"]), chunked(&[b"abc", b"de"])] {
            let fault = read_body_limited(body, 4).await.unwrap_err();
            assert_eq!(fault.status(), StatusCode::PAYLOAD_TOO_LARGE);
            assert_eq!(fault.to_string(), "the request body is larger than 4 bytes");
        }
    }

    #[tokio::test]
    async fn a_body_that_never_comes_is_given_up() {
        let body = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let fault = read_within(body, 4, Duration::from_millis(10)).await.unwrap_err();
        assert_eq!(fault.status(), StatusCode::REQUEST_TIMEOUT);
    }
}

//! A remote command's connection, whichever wire carries it: pipes on the provider's side, an outcome at the end.

use std::pin::pin;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Status, StatusCause, StatusDetails},
    serde_json,
};
use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    task::JoinHandle,
};

use crate::provider::{ExitStatus, ProviderError, Streams};

/// How a protocol version tells the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Version 4 and later: a `Status`, in JSON, always.
    Json,
    /// Before: a text, and only where it went badly.
    Text,
}

/// One `exec` or `attach`.
pub(super) struct Session {
    pub(super) streams: Streams,
    pub(super) status: StatusPipe,
    /// Carries the bytes; ends when the peer has left, or, once all pipes are dropped, when it has everything.
    pub(super) connection: JoinHandle<()>,
}

/// Where the outcome goes.
pub(super) struct StatusPipe {
    pub(super) pipe: DuplexStream,
    pub(super) dialect: Dialect,
}

impl Session {
    /// Runs `call` on the session's streams and tells the client how it ended. A client that leaves ends the call.
    pub(super) async fn run<F>(self, call: impl FnOnce(Streams) -> F)
    where
        F: Future<Output = Result<ExitStatus, ProviderError>>,
    {
        let Self { streams, mut status, mut connection } = self;
        let outcome = {
            let call = pin!(call(streams));
            tokio::select! {
                outcome = call => outcome,
                _ = &mut connection => return,
            }
        };
        if let Err(error) = &outcome {
            tracing::debug!(%error, "remote command failed");
        }
        // Fails only where the client has left.
        let _ = status.pipe.write_all(&told(&outcome, status.dialect)).await;
        drop(status);
        let _ = connection.await;
    }
}

/// What the client is told.
fn told(outcome: &Result<ExitStatus, ProviderError>, dialect: Dialect) -> Vec<u8> {
    let status = status_of(outcome);
    match dialect {
        Dialect::Json => serde_json::to_vec(&status).unwrap_or_default(),
        Dialect::Text => status.message.unwrap_or_default().into_bytes(),
    }
}

fn status_of(outcome: &Result<ExitStatus, ProviderError>) -> Status {
    let failure = |reason: &str, message: String| Status {
        status: Some("Failure".to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message),
        ..Status::default()
    };
    match outcome {
        Ok(ExitStatus { code: 0 }) => Status { status: Some("Success".to_owned()), ..Status::default() },
        Ok(ExitStatus { code }) => {
            let cause =
                StatusCause { reason: Some("ExitCode".to_owned()), message: Some(code.to_string()), field: None };
            let details = StatusDetails { causes: Some(vec![cause]), ..StatusDetails::default() };
            let message = format!("command terminated with non-zero exit code: {code}");
            Status { details: Some(details), ..failure("NonZeroExitCode", message) }
        }
        Err(error) => {
            Status { code: Some(500), ..failure("InternalError", format!("unable to run in the container: {error}")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn json_of(outcome: &Result<ExitStatus, ProviderError>) -> Value {
        serde_json::from_slice(&told(outcome, Dialect::Json)).unwrap()
    }

    #[test]
    fn exit_codes_reach_the_client_as_causes() {
        assert_eq!(json_of(&Ok(ExitStatus::SUCCESS))["status"], "Success");
        let failed = json_of(&Ok(ExitStatus { code: 42 }));
        assert_eq!(failed["status"], "Failure");
        assert_eq!(failed["reason"], "NonZeroExitCode");
        assert_eq!(failed["details"]["causes"], json!([{"reason": "ExitCode", "message": "42"}]));
    }

    #[test]
    fn old_protocols_are_told_nothing_of_success_and_a_text_of_failure() {
        assert_eq!(told(&Ok(ExitStatus::SUCCESS), Dialect::Text), b"");
        let text = told(&Ok(ExitStatus { code: 3 }), Dialect::Text);
        assert_eq!(text, b"command terminated with non-zero exit code: 3");
        let error = json_of(&Err(ProviderError::Unsupported("no exec".to_owned())));
        assert_eq!(error["message"], "unable to run in the container: not supported: no exec");
    }
}

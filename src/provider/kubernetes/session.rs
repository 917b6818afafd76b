//! Conversations with a container through the other API server.

use std::pin::Pin;

use bytes::Bytes;
use futures::{AsyncRead as FuturesRead, AsyncReadExt, SinkExt, channel::mpsc, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::{AttachParams, AttachedProcess, LogParams, TerminalSize as RemoteSize};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy},
    sync::watch,
};

use crate::provider::{ExitStatus, LogOptions, LogStream, ProviderError, Streams, TerminalSize};

/// Bytes of a stream that wait on their way.
const BUFFER: usize = 64 << 10;

/// The same wish in the other API server's words.
pub(super) fn log_params(container: &str, options: &LogOptions) -> LogParams {
    let whole = |number: Option<u64>| number.map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    LogParams {
        container: Some(container.to_owned()),
        follow: options.follow,
        previous: options.previous,
        timestamps: options.timestamps,
        since_time: options.since,
        tail_lines: whole(options.tail_lines),
        limit_bytes: whole(options.limit_bytes),
        ..LogParams::default()
    }
}

/// A log in pieces.
pub(super) fn log_stream(log: impl FuturesRead + Send + 'static) -> LogStream {
    let pieces = stream::try_unfold(Box::pin(log), |mut log| async move {
        let mut piece = vec![0; 8 << 10];
        let length = log.read(&mut piece).await?;
        piece.truncate(length);
        Ok((length > 0).then(|| (Bytes::from(piece), log)))
    });
    Box::pin(pieces)
}

/// What is connected.
pub(super) fn attach_params(container: &str, streams: &Streams) -> AttachParams {
    AttachParams {
        container: Some(container.to_owned()),
        stdin: streams.stdin.is_some(),
        stdout: streams.stdout.is_some(),
        stderr: streams.stderr.is_some() && !streams.tty,
        tty: streams.tty,
        max_stdin_buf_size: Some(BUFFER),
        max_stdout_buf_size: Some(BUFFER),
        max_stderr_buf_size: Some(BUFFER),
    }
}

/// Connects both sides until the command ends and all that it wrote is through.
pub(super) async fn join(mut process: AttachedProcess, streams: Streams) -> Result<ExitStatus, ProviderError> {
    let Streams { stdin, stdout, stderr, resize, .. } = streams;
    let status = process.take_status();
    let input = feed(stdin, process.stdin());
    let sizes = follow(resize, process.terminal_size());
    let output = async {
        let status = async {
            match status {
                Some(status) => status.await,
                None => None,
            }
        };
        tokio::join!(status, drain(process.stdout(), stdout), drain(process.stderr(), stderr)).0
    };
    // Input and sizes end with the command, not the other way round.
    tokio::select! {
        status = output => exit_status(status),
        () = async { tokio::join!(input, sizes); std::future::pending().await } => exit_status(None),
    }
}

/// Passes input on; its end is the command's end of input.
async fn feed(from: Option<Pin<Box<dyn AsyncRead + Send>>>, to: Option<impl AsyncWrite + Unpin>) {
    let (Some(mut from), Some(mut to)) = (from, to) else { return };
    let _ = copy(&mut from, &mut to).await;
    let _ = to.shutdown().await;
}

/// Passes output on. Where nobody takes it any more, it is read on, so that the command does not hang.
async fn drain(from: Option<impl AsyncRead + Unpin>, to: Option<Pin<Box<dyn AsyncWrite + Send>>>) {
    let Some(mut from) = from else { return };
    if let Some(mut to) = to
        && copy(&mut from, &mut to).await.is_ok()
    {
        let _ = to.flush().await;
        return;
    }
    let _ = copy(&mut from, &mut tokio::io::sink()).await;
}

async fn follow(sizes: Option<watch::Receiver<Option<TerminalSize>>>, to: Option<mpsc::Sender<RemoteSize>>) {
    let (Some(mut sizes), Some(mut to)) = (sizes, to) else { return };
    loop {
        let size = *sizes.borrow_and_update();
        if let Some(TerminalSize { width, height }) = size
            && to.send(RemoteSize { width, height }).await.is_err()
        {
            return;
        }
        if sizes.changed().await.is_err() {
            return;
        }
    }
}

/// How a command ended, as the status that closes a session tells it.
fn exit_status(status: Option<Status>) -> Result<ExitStatus, ProviderError> {
    let broken = "kubernetes: the session with the other cluster broke before the command ended";
    let status = status.ok_or_else(|| ProviderError::Unavailable(broken.to_owned()))?;
    if status.status.as_deref() == Some("Success") {
        return Ok(ExitStatus::SUCCESS);
    }
    let details = status.details.unwrap_or_default();
    let mut causes = details.causes.iter().flatten();
    let code = causes.find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    match code.and_then(|cause| cause.message.as_deref()?.parse().ok()) {
        Some(code) => Ok(ExitStatus { code }),
        None => Err(ProviderError::Unavailable(format!("kubernetes: {}", status.message.unwrap_or_default()))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_closing_status_has_the_exit_code() {
        let of = |status: Value| exit_status(Some(serde_json::from_value(status).unwrap()));
        assert_eq!(of(json!({"status": "Success"})).unwrap(), ExitStatus::SUCCESS);
        let causes = json!({"causes": [{"reason": "ExitCode", "message": "7"}]});
        let failed = json!({"status": "Failure", "reason": "NonZeroExitCode", "details": causes});
        assert_eq!(of(failed).unwrap(), ExitStatus { code: 7 });
        let error = of(json!({"status": "Failure", "message": "container not found"})).unwrap_err();
        assert!(error.to_string().contains("container not found"));
        assert!(exit_status(None).unwrap_err().to_string().contains("broke"));
    }
}

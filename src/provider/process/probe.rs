//! Probes: startup, then readiness and liveness beside each other, as the kubelet runs them.

use std::{net::Ipv4Addr, time::Duration};

use k8s_openapi::{api::core::v1::Probe, apimachinery::pkg::util::intstr::IntOrString};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use super::container::Container;
use crate::provider::{Streams, clouds::http};

/// How a probe is timed, with Kubernetes' defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rhythm {
    delay: Duration,
    period: Duration,
    timeout: Duration,
    /// Passes in a row that make it pass.
    success: u32,
    /// Failures in a row that make it fail.
    failure: u32,
}

impl Rhythm {
    fn of(probe: &Probe) -> Self {
        let seconds = |value: Option<i32>, default| {
            Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
        };
        let count = |value: Option<i32>, default| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|count| *count > 0).unwrap_or(default)
        };
        Self {
            delay: seconds(probe.initial_delay_seconds, 0),
            period: seconds(probe.period_seconds, 10).max(Duration::from_secs(1)),
            timeout: seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1)),
            success: count(probe.success_threshold, 1),
            failure: count(probe.failure_threshold, 3),
        }
    }
}

/// Results in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Streak {
    passes: u32,
    failures: u32,
}

impl Streak {
    /// Takes a result; answers whether the probe as a whole passes or fails now, where that is decided.
    fn take(&mut self, passed: bool, rhythm: Rhythm) -> Option<bool> {
        if passed {
            *self = Self { passes: self.passes.saturating_add(1), failures: 0 };
            (self.passes >= rhythm.success).then_some(true)
        } else {
            *self = Self { passes: 0, failures: self.failures.saturating_add(1) };
            (self.failures >= rhythm.failure).then_some(false)
        }
    }
}

/// Probes a container that runs, and ends when it must be ended.
pub(super) async fn until_dead(container: &Container) {
    let plan = &container.plan;
    if let Some(startup) = &plan.startup {
        let mut has_started = false;
        each(container, startup, |passes| {
            has_started = passes;
            // Either way it is decided.
            false
        })
        .await;
        if !has_started {
            return;
        }
        container.update(|report| {
            report.has_started = true;
            report.is_ready = plan.readiness.is_none();
        });
    }
    let readiness = async {
        if let Some(readiness) = &plan.readiness {
            each(container, readiness, |passes| {
                container.update(|report| report.is_ready = passes);
                true
            })
            .await;
        }
        std::future::pending::<()>().await;
    };
    let liveness = async {
        match &plan.liveness {
            Some(liveness) => each(container, liveness, |passes| passes).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = readiness => {}
        () = liveness => {}
    }
}

/// Probes again and again, for as long as `decided` answers true to what has been decided.
async fn each(container: &Container, probe: &Probe, mut decided: impl FnMut(bool) -> bool) {
    let rhythm = Rhythm::of(probe);
    let mut streak = Streak::default();
    sleep(rhythm.delay).await;
    loop {
        let passed = timeout(rhythm.timeout, passes(container, probe)).await.unwrap_or(false);
        if let Some(passes) = streak.take(passed, rhythm)
            && !decided(passes)
        {
            return;
        }
        sleep(rhythm.period).await;
    }
}

/// Probes once; answers whether it passes.
pub(super) async fn passes(container: &Container, probe: &Probe) -> bool {
    if let Some(command) = probe.exec.as_ref().and_then(|exec| exec.command.as_ref()) {
        let streams = Streams { stdin: None, stdout: None, stderr: None, tty: false, resize: None };
        return container.exec(command, streams).await.is_ok_and(|status| status.code == 0);
    }
    let host = |host: &Option<String>| host.clone().unwrap_or_else(|| Ipv4Addr::LOCALHOST.to_string());
    if let Some(http) = &probe.http_get {
        let Some(port) = port(container, &http.port) else { return false };
        let scheme = http.scheme.as_deref().unwrap_or("HTTP").to_ascii_lowercase();
        let path = http.path.as_deref().unwrap_or("/").trim_start_matches('/');
        // As a kubelet does: whoever answers at the pod's own address is believed.
        let client = http::builder().no_proxy().tls_danger_accept_invalid_certs(true).build();
        let Ok(client) = client else { return false };
        let mut request = client.get(format!("{scheme}://{}:{port}/{path}", host(&http.host)));
        for header in http.http_headers.iter().flatten() {
            request = request.header(&header.name, &header.value);
        }
        return request.send().await.is_ok_and(|answer| (200..400).contains(&answer.status().as_u16()));
    }
    if let Some(tcp) = &probe.tcp_socket {
        let Some(port) = port(container, &tcp.port) else { return false };
        return TcpStream::connect((host(&tcp.host), port)).await.is_ok();
    }
    false
}

/// A port by number, or by its name among the container's.
fn port(container: &Container, port: &IntOrString) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => container.plan.ports.get(name).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_decided_by_results_in_a_row() {
        let rhythm = Rhythm::of(&Probe { success_threshold: Some(2), failure_threshold: Some(2), ..Probe::default() });
        let mut streak = Streak::default();
        let decided: Vec<_> = [true, false, true, true, true, false, false].map(|p| streak.take(p, rhythm)).to_vec();
        assert_eq!(decided, [None, None, None, Some(true), Some(true), None, Some(false)]);
    }

    #[test]
    fn what_is_not_given_is_as_in_kubernetes() {
        let rhythm = Rhythm::of(&Probe::default());
        assert_eq!((rhythm.period.as_secs(), rhythm.timeout.as_secs()), (10, 1));
        assert_eq!((rhythm.success, rhythm.failure), (1, 3));
    }
}

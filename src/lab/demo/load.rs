//! What traffic costs each pod.

use std::time::Duration;

use burstlet_engine::{model::MilliCpu, traffic::Rate};

/// A pod never uses less: metrics-server drops a pod whose counter stands at zero, and the HPA then misses it.
const IDLE: MilliCpu = MilliCpu(1);

/// CPU that each of `ready` pods uses when `rate` is spread evenly over them and a request takes `request_cpu` of CPU
/// time; rounded up to a thousandth of a core, never above the pod's `limit`, never below one thousandth. Requests that
/// the limit leaves undone are lost, not queued. With no ready pod nobody serves, and this is the idle pod's CPU.
pub fn cpu_per_pod(rate: Rate, ready: u32, request_cpu: Duration, limit: Option<MilliCpu>) -> MilliCpu {
    if ready == 0 {
        return IDLE;
    }
    // CPU seconds a second are cores, so milliseconds a second are thousandths of a core.
    let all = Duration::try_from_secs_f64(request_cpu.as_secs_f64() * rate.per_second()).unwrap_or(Duration::MAX);
    let share = all.as_micros().div_ceil(1000 * u128::from(ready));
    let used = MilliCpu(u64::try_from(share).unwrap_or(u64::MAX));
    limit.map_or(used, |limit| used.min(limit)).max(IDLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(rate: f64, ready: u32, limit: Option<u64>) -> u64 {
        let rate = Rate::new(rate).unwrap();
        cpu_per_pod(rate, ready, Duration::from_millis(20), limit.map(MilliCpu)).0
    }

    #[test]
    fn the_ready_pods_share_the_traffic() {
        assert_eq!([millis(120.0, 20, None), millis(120.0, 3, None), millis(7.0, 3, None)], [120, 800, 47]);
    }

    #[test]
    fn a_pod_uses_no_more_than_its_limit() {
        assert_eq!([millis(120.0, 3, Some(500)), millis(60.0, 3, Some(500))], [500, 400]);
    }

    #[test]
    fn an_idle_pod_is_still_seen_by_metrics_server() {
        assert_eq!([millis(0.0, 3, None), millis(120.0, 0, None)], [1, 1]);
    }

    #[test]
    fn the_extremes_do_not_overflow() {
        assert_eq!(cpu_per_pod(Rate::MAX, 1, Duration::MAX, None), MilliCpu(u64::MAX));
    }
}

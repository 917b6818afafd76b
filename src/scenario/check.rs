//! What a scenario's file must not say, though it is well-formed.

use std::{collections::BTreeSet, time::Duration};

use super::{Pool, StartUp, read::Written};

/// A fault's field and what is allowed.
pub(super) fn check(written: &Written) -> Result<(), (String, String)> {
    let refuse = |field: &str, fault: &str| Err((field.to_owned(), fault.to_owned()));
    if written.name.is_empty() {
        return refuse("name", "empty; give the scenario a name");
    }
    if written.about.is_empty() || written.about.contains('\n') {
        return refuse("about", "it must be one line that says what the scenario shows");
    }
    if written.manifests.is_empty() {
        return refuse("manifests", "empty; name the files of the Deployment and the HPA");
    }
    if written.request_cpu.is_zero() || written.request_cpu > Duration::from_hours(1) {
        return refuse("requestCpu", "allowed are more than 0s and up to 1h");
    }
    if written.pools.is_empty() {
        return refuse("pools", "empty; the overflow needs at least one pool");
    }
    check_start_up("realNodes.startUp", &written.real_nodes.start_up)?;
    check_simulated(written)?;
    let mut names = BTreeSet::new();
    let currency = written.pools.first().map(|pool| &pool.price.currency);
    for (index, pool) in written.pools.iter().enumerate() {
        check_start_up(&format!("pools[{index}].startUp"), &pool.start_up)?;
        check_behaviour(&format!("pools[{index}]"), pool)?;
        if !names.insert(&pool.name) {
            return Err((format!("pools[{index}].name"), format!("{} names two pools; names must differ", pool.name)));
        }
        if let Some(first) = currency.filter(|first| **first != pool.price.currency) {
            let fault = format!("{}, but the first pool's is {first}; all must be the same", pool.price.currency);
            return Err((format!("pools[{index}].price.currency"), fault));
        }
    }
    Ok(())
}

/// What only a simulation plays.
fn check_simulated(written: &Written) -> Result<(), (String, String)> {
    let refuse = |field: &str, fault: String| Err((field.to_owned(), fault));
    let Written { serving, cluster, node_autoscaler, real_nodes, .. } = written;
    check_start_up("serving.readyAfter", &serving.ready_after)?;
    if serving.give_up_after < serving.late_after {
        let fault = format!("{:?} is less than lateAfter {:?}", serving.give_up_after.0, serving.late_after.0);
        return refuse("serving.giveUpAfter", fault);
    }
    let spans = [
        ("serving.requestTime", serving.request_time),
        ("sampleEvery", written.sample_every),
        ("cluster.hpaSync", cluster.hpa_sync),
        ("cluster.metricsResolution", cluster.metrics_resolution),
        ("nodeAutoscaler.scan", node_autoscaler.as_ref().map(|autoscaler| autoscaler.scan)),
    ];
    for (field, span) in spans {
        if span.is_some_and(|span| !SPANS.contains(&span.0)) {
            return refuse(field, "allowed are 1ms to 24h".to_owned());
        }
    }
    if written.warm_up.is_some_and(|span| span.0 > Duration::from_hours(24)) {
        return refuse("warmUp", "allowed are 0s to 24h".to_owned());
    }
    if let Some(autoscaler) = node_autoscaler {
        check_start_up("nodeAutoscaler.boot", &autoscaler.boot)?;
        let (max, count) = (autoscaler.max, real_nodes.count);
        if max < count.get() {
            return refuse("nodeAutoscaler.max", format!("{max} is less than realNodes.count {count}"));
        }
    }
    Ok(())
}

fn check_behaviour(field: &str, pool: &Pool) -> Result<(), (String, String)> {
    let mut end = Duration::ZERO;
    for (index, out) in pool.stock_outs.iter().enumerate() {
        let field = format!("{field}.stockOuts[{index}]");
        if out.until <= out.from {
            return Err((field, format!("until {:?} is not after from {:?}", out.until.0, out.from.0)));
        }
        if out.from.0 < end {
            return Err((field, format!("from {:?} lies before the end of the one before, {end:?}", out.from.0)));
        }
        end = out.until.0;
    }
    Ok(())
}

/// Periods of what comes again and again.
const SPANS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(24);

fn check_start_up(field: &str, start_up: &StartUp) -> Result<(), (String, String)> {
    let StartUp { min, max, .. } = start_up;
    if min > max {
        return Err((field.to_owned(), format!("min {min:?} is more than max {max:?}")));
    }
    if !start_up.quantiles().is_sorted() {
        return Err((format!("{field}.between"), "the quantiles must rise from min to max".to_owned()));
    }
    Ok(())
}

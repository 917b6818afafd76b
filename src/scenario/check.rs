//! What a scenario's file must not say, though it is well-formed.

use std::{collections::BTreeSet, time::Duration};

use burstlet_engine::simulator::ZONE;

use super::{RealNodes, Serving, StartUp, pools::Behaviour, read::Written, template::HOSTNAME};

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
    check_workloads(written)?;
    if written.pools.is_empty() {
        return refuse("pools", "empty; the overflow needs at least one pool");
    }
    check_nodes("realNodes", &written.real_nodes)?;
    for (index, nodes) in written.other_nodes.iter().enumerate() {
        check_nodes(&format!("otherNodes[{index}]"), nodes)?;
    }
    check_simulated(written)?;
    let mut names = BTreeSet::new();
    for (index, pool) in written.pools.iter().enumerate() {
        check_start_up(&format!("pools[{index}].startUp"), &pool.start_up)?;
        check_behaviour(&format!("pools[{index}]"), pool)?;
        if !names.insert(&pool.name) {
            return Err((format!("pools[{index}].name"), format!("{} names two pools; names must differ", pool.name)));
        }
    }
    Ok(())
}

/// Real nodes of one kind.
fn check_nodes(field: &str, nodes: &RealNodes) -> Result<(), (String, String)> {
    check_start_up(&format!("{field}.startUp"), &nodes.start_up)?;
    if nodes.labels.contains_key(HOSTNAME) {
        return Err((format!("{field}.labels"), format!("{HOSTNAME} is each node's own; leave it out")));
    }
    if !nodes.zones.is_empty() && nodes.labels.contains_key(ZONE) {
        return Err((format!("{field}.zones"), format!("labels say {ZONE} already; leave one of them out")));
    }
    if let Some(index) = nodes.taints.iter().position(|taint| taint.key.is_empty()) {
        return Err((format!("{field}.taints[{index}].key"), "empty; name what the taint is for".to_owned()));
    }
    let is_twice = |(index, zone): &(usize, &String)| zone.is_empty() || nodes.zones[..*index].contains(*zone);
    match nodes.zones.iter().enumerate().find(is_twice) {
        None => Ok(()),
        Some((index, zone)) => {
            Err((format!("{field}.zones[{index}]"), format!("{zone:?} is empty or stands there already")))
        }
    }
}

/// The workloads' traffic: one at the top, or each with its own.
fn check_workloads(written: &Written) -> Result<(), (String, String)> {
    let refuse = |field: String, fault: &str| Err((field, fault.to_owned()));
    let most = Duration::from_hours(1);
    let check_cpu = |field: String, cpu: Option<Duration>| match cpu {
        Some(cpu) if cpu.is_zero() || cpu > most => refuse(field, "allowed are more than 0s and up to 1h"),
        Some(_) => Ok(()),
        None => refuse(field, "missing; write the CPU time that one request costs a pod, for example 20ms"),
    };
    let Some(workloads) = &written.workloads else {
        if written.traffic.is_none() {
            return refuse("traffic".to_owned(), "missing; write {file: traffic.csv}, or workloads, each with its own");
        }
        return check_cpu("requestCpu".to_owned(), written.request_cpu.map(|span| span.0));
    };
    let at_the_top = [
        ("traffic", written.traffic.is_some()),
        ("updates", !written.updates.is_empty()),
        ("metrics", !written.metrics.is_empty()),
    ];
    for (field, is_there) in at_the_top {
        if is_there {
            return refuse(field.to_owned(), "stands beside workloads; write it in each of them that it is for");
        }
    }
    if workloads.is_empty() {
        return refuse("workloads".to_owned(), "empty; name each Deployment with its traffic");
    }
    for (index, workload) in workloads.iter().enumerate() {
        let field = format!("workloads[{index}]");
        let cpu = workload.request_cpu.or(written.request_cpu);
        check_cpu(format!("{field}.requestCpu"), cpu.map(|span| span.0))?;
        if let Some(serving) = &workload.serving {
            check_serving(&format!("{field}.serving"), serving)?;
        }
    }
    Ok(())
}

fn check_serving(field: &str, serving: &Serving) -> Result<(), (String, String)> {
    check_start_up(&format!("{field}.readyAfter"), &serving.ready_after)?;
    if serving.give_up_after < serving.late_after {
        let fault = format!("{:?} is less than lateAfter {:?}", serving.give_up_after.0, serving.late_after.0);
        return Err((format!("{field}.giveUpAfter"), fault));
    }
    if serving.request_time.is_some_and(|span| !SPANS.contains(&span.0)) {
        return Err((format!("{field}.requestTime"), "allowed are 1ms to 24h".to_owned()));
    }
    Ok(())
}

/// What only a simulation plays.
fn check_simulated(written: &Written) -> Result<(), (String, String)> {
    let refuse = |field: &str, fault: String| Err((field.to_owned(), fault));
    let Written { serving, cluster, node_autoscaler, real_nodes, .. } = written;
    if let Some(serving) = serving {
        check_serving("serving", serving)?;
    }
    let spans = [
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

fn check_behaviour(field: &str, pool: &Behaviour) -> Result<(), (String, String)> {
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

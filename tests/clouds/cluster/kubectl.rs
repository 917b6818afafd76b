//! The real kubectl on a pod that ECI runs: logs, exec, and what is written on the pod.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::Stdio,
};

use kube::ResourceExt;
use serde_json::json;

use super::Bench;

pub(super) async fn story(bench: &Bench) {
    let written = "burstlet_kubelet_status_writes_total";
    let before = bench.metric(written).await;
    let script = "echo one; echo two; sleep 6; echo three; sleep 3600";
    let resources = json!({"requests": {"cpu": "3", "memory": "5Gi"}});
    bench.pod("talker", json!({}), json!({"command": ["sh", "-c", script], "resources": resources}));
    let pod = bench.until_running("talker").await;

    // All that the cloud tells came with the status: one write.
    let told = pod.annotations().clone();
    for (name, value) in told.iter().filter(|(name, _)| name.contains("instance") || name.contains("eci")) {
        bench.say(format!("  {name}: {value}"));
    }
    let has = |name: &str, prefix: &str| assert!(told[name].starts_with(prefix), "{name}: {told:?}");
    has("k8s.aliyun.com/eci-instance-id", "eci-");
    has("k8s.aliyun.com/eci-instance-spec", "4-8.0Gi");
    has("k8s.aliyun.com/eci-vpc", "vpc-");
    has("k8s.aliyun.com/eni-instance-id", "eni-");
    assert!(!told["k8s.aliyun.com/eci-request-id"].is_empty());
    has("burstlet.dev/instance-id", "eci-");
    assert_eq!(told["burstlet.dev/instance-size"], "3 vCPU, 5 GiB rounded up to 4 vCPU, 8 GiB");
    assert!((bench.metric(written).await - before - 1.0).abs() < 0.1, "a second status was written");

    // Followed from the start until the line that comes later.
    let mut follow = bench.stand.cluster().kubectl_command(["logs", "--follow", "talker"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(follow.stdout.take().unwrap()).lines().map(Result::unwrap);
    let followed = tokio::task::block_in_place(|| lines.take(4).collect::<Vec<_>>());
    follow.kill().unwrap();
    follow.wait().unwrap();
    assert_eq!(followed, ["main started", "one", "two", "three"]);

    assert_eq!(bench.said(&["logs", "talker"]), "main started\none\ntwo\nthree\n");
    assert_eq!(bench.said(&["logs", "talker", "--tail=1"]), "three\n");
    assert_eq!(bench.said(&["logs", "talker", "--limit-bytes=4"]), "main");
    let stamped = bench.said(&["logs", "talker", "--timestamps"]);
    let stamps = stamped.lines().filter_map(|line| line.split_once(' '));
    let stamps = stamps.map(|(time, line)| (line, time)).collect::<BTreeMap<_, _>>();
    assert!(stamps.values().all(|time| time.parse::<k8s_openapi::jiff::Timestamp>().is_ok()), "{stamped}");
    // kubectl's own times are whole seconds: three came six seconds after the others.
    let since = stamps["three"].parse::<k8s_openapi::jiff::Timestamp>().unwrap().as_second();
    let since = k8s_openapi::jiff::Timestamp::from_second(since).unwrap();
    assert_eq!(bench.said(&["logs", "talker", &format!("--since-time={since}")]), "three\n");
    assert_eq!(bench.said(&["logs", "talker", "--since=1h"]), "main started\none\ntwo\nthree\n");
    let refused = bench.kubectl(&["logs", "talker", "--previous"]);
    assert!(!refused.status.success());

    let script = "echo out; echo bad >&2; exit 7";
    let output = bench.kubectl(&["exec", "talker", "--", "sh", "-c", script]);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((out.as_ref(), output.status.code()), ("out\n", Some(7)), "{err}");
    assert!(err.contains("bad\n") && err.contains("exit code 7"), "{err}");
    assert_eq!(bench.said(&["exec", "talker", "--", "echo", "a", "b"]), "a b\n");
    let long = "x".repeat(300);
    let output = bench.kubectl(&["exec", "talker", "--", "echo", &long]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && err.contains("256 characters"), "{err}");
    bench.said(&["delete", "pod", "talker"]);
    bench.say("kubectl has its logs and its commands");
}

//! Bad input, of pods and of pools: told by field and limit, and no call is made for it where that is possible.

use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};

use super::{Bench, pool, until};

/// Pools that the cloud has to be asked about; what is told of them is looked at in [`story`].
pub(super) fn begin(bench: &Bench) {
    bench.secret("malformed", "testid", "not-the-secret");
    bench.apply(&pool("nowhere", bench.provider(json!({"region": "cn-nowhere"}))));
    let keys = json!({"credentials": {"secretRef": {"name": "malformed"}}});
    bench.apply(&pool("malformed", bench.provider(keys)));
}

pub(super) async fn story(bench: &Bench) {
    pods(bench).await;
    refused_pools(bench).await;
    told(bench, "nowhere", "region: ").await;
    told(bench, "malformed", "credentials: ").await;
    bench.say("bad input was told by field and limit");
}

async fn pods(bench: &Bench) {
    let eleven = (0..11).map(|number| format!("vsw-{number}")).collect::<Vec<_>>().join(",");
    let bad = [
        ("k8s.aliyun.com/eci-vswitch", eleven.as_str(), "at most 10"),
        ("k8s.aliyun.com/eci-security-group", "a,b,c,d,e,f", "at most 5"),
        ("k8s.aliyun.com/eci-use-specs", "large", "such as 2-4Gi"),
        ("k8s.aliyun.com/eci-max-pending-minute", "5", "10 to 1440"),
        ("kubernetes.io/ingress-bandwidth", "fast", "such as 100M"),
    ];
    let before = bench.creations();
    for (number, (key, value, _)) in bad.iter().enumerate() {
        bench.pod(&format!("bad-{number}"), json!({*key: value}), json!({}));
    }
    bench.pod("bad-size", json!({}), json!({"resources": {"limits": {"cpu": "100"}}}));
    let size = ("containers[].resources", "64000m CPU and 524288 MiB is the largest");
    let texts = bad.iter().map(|(key, _, limit)| (*key, *limit)).chain([size]).enumerate();
    for (number, (key, limit)) in texts {
        let name = if number == bad.len() { "bad-size".to_owned() } else { format!("bad-{number}") };
        until(&format!("an event on {name} names {key} and {limit}"), async || {
            let told = bench.events(&name, "Invalid").await;
            let is_meant = told.iter().any(|text| text.contains(key) && text.contains(limit));
            if is_meant { Ok(()) } else { Err(format!("{told:?}")) }
        })
        .await;
        bench.said(&["delete", "pod", &name]);
    }
    assert_eq!(bench.creations(), before, "the cloud was asked for what cannot be");
}

/// What the API server, or burstlet without any call, says of a pool.
async fn refused_pools(bench: &Bench) {
    let zones = (0..11).map(|number| json!({"vSwitchId": format!("vsw-{number}")})).collect::<Vec<_>>();
    let kci = json!({"kingsoftKci": {"region": "cn-beijing-6", "subnetIds": ["subnet-a"],
        "securityGroupIds": ["sg-1", "sg-2", "sg-3", "sg-4"], "credentials": {"secretRef": {"name": "kci-keys"}}}});
    let cases = [
        ("zones", bench.provider(json!({"zones": zones})), "zones", "10"),
        ("region", bench.provider(json!({"region": "China!"})), "region", "cn-hangzhou"),
        (
            "zone",
            bench.provider(json!({"zones": [{"vSwitchId": "vsw-a", "zoneId": "cn-beijing-h"}]})),
            "zoneId",
            "cn-hangzhou",
        ),
        ("groups", kci, "securityGroupIds", "3"),
    ];
    for (name, provider, field, limit) in cases {
        let output = bench.try_apply(&pool(name, provider));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            let told = until(&format!("the pool {name} is refused"), async || {
                let all = conditions(bench, name).await;
                let faulty = all.iter().find(|one| one["type"] == "Accepted" && one["status"] == "False").cloned();
                faulty.ok_or_else(|| format!("{all:?}"))
            })
            .await;
            let message = told["message"].as_str().unwrap();
            bench.say(format!("  {name}: {message}"));
            assert!(message.contains(field) && message.contains(limit), "{told}");
        } else {
            bench.say(format!("  {name}, at kubectl apply: {}", said.trim()));
            assert!(said.contains(field) && said.contains(limit), "{said}");
        }
    }
}

async fn conditions(bench: &Bench, name: &str) -> Vec<Value> {
    let kind = GroupVersionKind::gvk("burstlet.dev", "v1alpha1", "VirtualPool");
    let kind = ApiResource::from_gvk_with_plural(&kind, "virtualpools");
    let pool = Api::<DynamicObject>::all_with(bench.client.clone(), &kind).get(name).await.unwrap();
    pool.data["status"]["conditions"].as_array().cloned().unwrap_or_default()
}

/// What the cloud said of a pool stands in its conditions.
async fn told(bench: &Bench, name: &str, text: &str) {
    let message = until(&format!("the pool {name} tells of {text}"), async || {
        let all = conditions(bench, name).await;
        let messages = all.iter().filter_map(|one| one["message"].as_str());
        messages.clone().find(|message| message.contains(text)).map(str::to_owned).ok_or_else(|| format!("{all:?}"))
    })
    .await;
    bench.say(format!("  {name}: {message}"));
}

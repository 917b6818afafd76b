//! Workloads that carry another product's mark and no word of burstlet's. A part of the story in `coexist`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{
    coexist::{is_on_real, remove},
    support::{Bench, Wanted},
};

const NAMESPACE: &str = "marked";

/// A Deployment of two pods with this mark, and how many of them belong on real nodes.
struct Marked {
    name: &'static str,
    /// `labels` or `annotations` of the pods.
    on: &'static str,
    key: &'static str,
    value: &'static str,
    real: usize,
}

const fn label(name: &'static str, key: &'static str, value: &'static str, real: usize) -> Marked {
    Marked { name, on: "labels", key, value, real }
}

const fn note(name: &'static str, key: &'static str, value: &'static str, real: usize) -> Marked {
    Marked { name, on: "annotations", key, value, real }
}

const ALL: [Marked; 8] = [
    label("eci", "alibabacloud.com/eci", "true", 0),
    label("eci-only", "alibabacloud.com/burst-resource", "eci_only", 0),
    note("eci-too", "alibabacloud.com/burst-resource", "eci", 2),
    label("cci", "bursting.cci.io/burst-to-cci", "enforce", 0),
    label("cci-local", "bursting.cci.io/burst-to-cci", "localPrefer", 2),
    label("cci-off", "virtual-kubelet.io/burst-to-cci", "off", 2),
    note("vci", "vke.volcengine.com/burst-to-vci", "enforce", 0),
    note("eks", "LOCAL_REPLICAS", "1", 1),
];

/// Labels of namespaces by which every pod bursts.
const NAMESPACES: [(&str, &str); 2] =
    [("eci-space", "alibabacloud.com/eci=true"), ("affine-space", "virtual-node-affinity-injection=enabled")];

/// How many pods of each Deployment stand on real nodes.
fn on_real(pods: &[Pod]) -> BTreeMap<&str, usize> {
    let mut found = BTreeMap::new();
    for pod in pods {
        *found.entry(pod.labels()["app"].as_str()).or_default() += usize::from(is_on_real(pod));
    }
    found
}

pub(crate) async fn marks_of_other_products(bench: &Bench) {
    bench.namespace(NAMESPACE, &json!({})).await;
    for Marked { name, on, key, value, .. } in ALL {
        let mut deployment = Wanted::new(name, None, 2).object("Deployment");
        deployment["metadata"]["namespace"] = json!(NAMESPACE);
        let metadata = &mut deployment["spec"]["template"]["metadata"];
        if metadata[on] == Value::Null {
            metadata[on] = json!({});
        }
        metadata[on][key] = json!(value);
        bench.apply(&deployment);
    }
    for (name, label) in NAMESPACES {
        bench.namespace(name, &json!({})).await;
        let labelled = bench.stand.cluster().kubectl(["label", "namespace", name, label]).unwrap();
        assert!(labelled.status.success(), "{}", String::from_utf8_lossy(&labelled.stderr));
        bench.deploy(name, &Wanted::new("web", None, 2)).await;
    }
    let real: usize = ALL.iter().map(|marked| marked.real).sum();
    let pods = bench.runs(NAMESPACE, real, 2 * ALL.len() - real).await;
    assert_eq!(on_real(&pods), ALL.iter().map(|marked| (marked.name, marked.real)).collect());
    for (name, _) in NAMESPACES {
        bench.runs(name, 0, 2).await;
        remove(bench, name).await;
    }
    println!("marks of ECI, CCI, VCI and super nodes on pods and namespaces are followed as they are");
    for Marked { name, .. } in ALL {
        bench.deployments(NAMESPACE).delete(name, &kube::api::DeleteParams::background()).await.unwrap();
    }
    bench.runs(NAMESPACE, 0, 0).await;
}

//! `docs/metrics.md` lists every metric, as the code registers it.

use burstlet::{
    admission::AdmissionMetrics,
    extender::ExtenderMetrics,
    kubelet::KubeletMetrics,
    placer::PlacerMetrics,
    run::ConsumedMetrics,
    telemetry::{ApiRequests, documented},
};
use prometheus::Registry;

use crate::tool::root;

/// To make the page anew after a change on purpose, run this with `BURSTLET_WRITE_DOCS=1`.
#[test]
fn the_page_of_metrics_lists_what_the_code_registers() {
    let registry = Registry::new();
    let admission = AdmissionMetrics::register(&registry).unwrap();
    let extender = ExtenderMetrics::register(&registry).unwrap();
    let (placer, kubelet) = (PlacerMetrics::register(&registry).unwrap(), KubeletMetrics::register(&registry).unwrap());
    let consumed = ConsumedMetrics::register(&registry).unwrap();
    let page = root().join("docs/metrics.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let (head, _) = text.split_once("## Placement").expect("the page has a head of its own");
    let made = format!(
        "{head}## Placement\n\n{}\n## Virtual kubelet\n\n{}\n## Admission\n\n{}\n## Extender\n\n{}\n## All parts\n\n{}",
        documented(placer.collectors()),
        documented(kubelet.collectors().into_iter().chain(consumed.collectors()).collect()),
        documented(admission.collectors()),
        documented(extender.collectors()),
        documented(ApiRequests::register(&registry).unwrap().collectors())
    );
    if std::env::var_os("BURSTLET_WRITE_DOCS").is_some() {
        std::fs::write(&page, &made).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&page).unwrap(), made, "docs/metrics.md is not what the code has");
}

/// Prometheus' rules: a unit or a thing counted, counters end in `_total`, and nothing else does.
#[test]
fn metrics_are_named_by_prometheus_rules() {
    let text = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `burstlet_"));
    let mut count = 0;
    for row in rows {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let (name, kind) = (cells[1].trim_matches('`'), cells[2]);
        assert_eq!(name.ends_with("_total"), kind == "counter", "{row}");
        assert!(kind != "histogram" || name.ends_with("_seconds"), "{row}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{row}");
        assert!(cells[4].ends_with('.'), "{row}");
        count += 1;
    }
    assert!(count > 15, "{count}");
}

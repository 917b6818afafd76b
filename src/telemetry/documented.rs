//! The list of metrics, as `docs/metrics.md` has it.

use std::fmt::Write;

use prometheus::core::Collector;

/// A table of metrics for the documentation: name, kind, labels, meaning.
pub fn documented<'a>(collectors: impl IntoIterator<Item = &'a dyn Collector>) -> String {
    let mut table = String::from("| metric | kind | labels | meaning |\n|---|---|---|---|\n");
    for collector in collectors {
        let labels: Vec<_> = collector.desc().iter().flat_map(|desc| desc.variable_labels.clone()).collect();
        for family in collector.collect() {
            let kind = format!("{:?}", family.get_field_type()).to_lowercase();
            let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
            let labels = if labels.is_empty() { "–".to_owned() } else { labels };
            // Writing to a text does not fail.
            let _ = writeln!(table, "| `{}` | {kind} | {labels} | {} |", family.name(), family.help());
        }
    }
    table
}

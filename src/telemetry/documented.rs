//! One list of what a part counts: by it, and by nothing else, metrics are registered and documented.

use std::fmt::Write;

use prometheus::{Registry, core::Collector};

/// What a part counts.
pub type Collectors = Vec<Box<dyn Collector>>;

/// One of a list of [`Collectors`]; it counts on with the metric that it is made from.
pub fn listed<C: Collector + Clone + 'static>(metric: &C) -> Box<dyn Collector> {
    Box::new(metric.clone())
}

/// Adds all of the list to `registry`; fails where a name is taken.
pub fn register(registry: &Registry, collectors: Collectors) -> Result<(), prometheus::Error> {
    collectors.into_iter().try_for_each(|collector| registry.register(collector))
}

/// A table of metrics, as `docs/metrics.md` has it: name, kind, labels, meaning.
pub fn documented(collectors: Collectors) -> String {
    let mut table = String::from("| metric | kind | labels | meaning |\n|---|---|---|---|\n");
    for collector in collectors {
        for family in collector.collect() {
            let of_family = |desc: &&&prometheus::core::Desc| desc.fq_name == family.name();
            let labels = collector.desc().iter().find(of_family).map(|desc| desc.variable_labels.clone());
            let kind = format!("{:?}", family.get_field_type()).to_lowercase();
            let labels: Vec<_> = labels.into_iter().flatten().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
            // Writing to a text does not fail.
            let _ = writeln!(table, "| `{}` | {kind} | {labels} | {} |", family.name(), family.help());
        }
    }
    table
}

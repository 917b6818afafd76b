//! The figures of one workload's run: charts, tiles, tables.

use burstlet_engine::simulator::{Plant, Played, Sample, Summary, TierUse};

use super::{
    axis::Axis,
    chart::{Chart, Layer},
    number::{duration, escaped, fixed, moment, percent, short},
    thin::{Column, columns},
};

/// Rows of the table of moments.
const MOMENTS: usize = 48;

/// What its sections share.
pub(super) struct Figures<'a> {
    played: &'a Played,
    currency: &'a str,
    /// Prefix of ids, unique on the page.
    id: String,
    pools: Vec<String>,
    columns: Vec<Column>,
    span: f64,
}

impl<'a> Figures<'a> {
    pub(super) fn new(played: &'a Played, currency: &'a str, index: usize) -> Self {
        let pools: Vec<String> = played
            .summary
            .tiers
            .keys()
            .filter(|tier| *tier != "real")
            .cloned()
            .chain(played.samples.iter().take(1).flat_map(|sample| sample.ready_pools.keys().map(ToString::to_string)))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        // Each moment stands for the time until the next.
        let pace = played.samples.windows(2).map(|pair| pair[1].t - pair[0].t).next().unwrap_or(1.0);
        let span = played.samples.last().map_or(1.0, |sample| sample.t + pace).max(1e-3);
        Self { played, currency, id: format!("w{index}"), pools, columns: columns(&played.samples, usize::MAX), span }
    }

    pub(super) fn html(&self) -> String {
        let charts = [Some(self.traffic()), Some(self.pods()), self.delay(), Some(self.cost()), self.lost()];
        let charts: String = charts.into_iter().flatten().map(|chart| chart.html()).collect();
        format!(
            "{}{charts}<div class=\"two\"><div>{}{}</div>\n{}</div>\n{}",
            self.tiles(),
            self.tiers_table(),
            self.promises_table(),
            self.plant_table(),
            self.moments_table()
        )
    }

    fn chart(&self, name: &str, title: &str, unit: &str, axis: Axis) -> Chart {
        Chart {
            id: format!("{}-{name}", self.id),
            title: title.to_owned(),
            unit: unit.to_owned(),
            description: String::new(),
            axis,
            time: Axis::of_time(self.span),
            layers: Vec::new(),
            legend: Vec::new(),
            moment,
        }
    }

    fn values(&self, value: impl Fn(&Column) -> f64) -> Vec<f64> {
        self.columns.iter().map(value).collect()
    }

    fn traffic(&self) -> Chart {
        let values = self.values(|column| column.rps);
        let (highest, at) = highest(&self.columns, |column| column.rps);
        let mut chart = self.chart("traffic", "Traffic", "requests per second", Axis::of_values(highest));
        chart.description = format!(
            "Requests per second over {}; the peak is {} at {}.",
            duration(self.span),
            short(highest),
            moment(at, self.span)
        );
        chart.layers = surface("traffic", values);
        chart
    }

    fn pods(&self) -> Chart {
        let wanted = self.values(|column| column.wanted);
        let mut top = vec![0.0; self.columns.len()];
        let mut layers = Vec::new();
        let mut legend = Vec::new();
        let mut described = Vec::new();
        let tiers = std::iter::once("real".to_owned()).chain(self.pools.iter().cloned());
        for (index, tier) in tiers.enumerate() {
            let class = format!("tier{}", index % 6);
            let ready = self.values(|column| match tier.as_str() {
                "real" => column.ready_real,
                pool => {
                    column.ready_pools.iter().find(|(name, _)| name.to_string() == pool).map_or(0.0, |(_, pods)| *pods)
                }
            });
            let bottom = top.clone();
            top.iter_mut().zip(&ready).for_each(|(top, pods)| *top += pods);
            let most = ready.iter().copied().fold(0.0, f64::max);
            let name = if tier == "real" { "real nodes".to_owned() } else { tier };
            described.push(format!("at most {} on {name}", fixed(most, 0)));
            layers.push(Layer::Area { class: class.clone(), bottom, top: top.clone() });
            legend.push((name, class));
        }
        let most_wanted = wanted.iter().copied().fold(0.0, f64::max);
        let highest = top.iter().copied().fold(most_wanted, f64::max);
        let base = f64::from(self.played.summary.base);
        let mut chart = self.chart("pods", "Pods", "ready by tier, and wanted", Axis::of_pods(highest.max(base)));
        layers.push(Layer::Level { class: "base".to_owned(), value: base });
        layers.push(Layer::Line { class: "wanted".to_owned(), values: wanted });
        legend.push(("wanted".to_owned(), "wanted".to_owned()));
        legend.push((format!("base of {}", fixed(base, 0)), "base".to_owned()));
        chart.description = format!(
            "Ready pods by tier over time: {}. At most {} pods were wanted; the base is {}.",
            described.join(", "),
            fixed(most_wanted, 0),
            fixed(base, 0)
        );
        (chart.layers, chart.legend) = (layers, legend);
        chart
    }

    fn delay(&self) -> Option<Chart> {
        let delays: Vec<Option<f64>> = self.columns.iter().map(|column| column.delay).collect();
        let longest = delays.iter().flatten().copied().reduce(f64::max)?;
        let mut chart = self.chart(
            "delay",
            "Scale-out delay",
            "seconds from created to Ready, the longest",
            Axis::of_values(longest),
        );
        chart.description = format!("The longest wait of a pod from created to Ready: {} at most.", duration(longest));
        chart.layers = vec![Layer::Bars { class: "delay".to_owned(), values: delays }];
        Some(chart)
    }

    fn cost(&self) -> Chart {
        let values = self.values(|column| column.cost);
        let end = values.last().copied().unwrap_or(0.0);
        let mut chart = self.chart("cost", "Cost", &format!("{} so far", self.currency), Axis::of_values(end));
        chart.description = format!("Money accrued over time: {} {} at the end.", short(end), self.currency);
        chart.layers = surface("cost", values);
        chart
    }

    /// Late and unserved requests, where any are known of.
    fn lost(&self) -> Option<Chart> {
        let late = self.values(|column| column.late);
        let unserved = self.values(|column| column.unserved);
        let highest = late.iter().zip(&unserved).map(|(late, unserved)| late + unserved).fold(0.0, f64::max);
        if highest <= 0.0 {
            return None;
        }
        let mut chart = self.chart("lost", "Requests not served in time", "per second", Axis::of_values(highest));
        chart.description = format!("Late and unserved requests: {} per second at worst.", short(highest));
        let both: Vec<f64> = late.iter().zip(&unserved).map(|(late, unserved)| late + unserved).collect();
        chart.layers = vec![
            Layer::Area { class: "unserved".to_owned(), bottom: vec![0.0; unserved.len()], top: unserved.clone() },
            Layer::Area { class: "late".to_owned(), bottom: unserved, top: both },
        ];
        chart.legend = [("late", "late"), ("unserved", "unserved")].map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec();
        Some(chart)
    }

    fn tiles(&self) -> String {
        let summary = &self.played.summary;
        let mut tiles = vec![
            tile("Peak", "", &fixed(f64::from(summary.peak), 0), "pods ready at once"),
            tile("Burst share", "", &percent(summary.burst_share), "of the pods' time"),
            delay_tile(summary),
            tile("Cost", "", &format!("{} <small>{}</small>", short(summary.cost), escaped(self.currency)), "in all"),
        ];
        if let Some(plant) = &summary.plant {
            tiles.push(requests_tile(plant));
        }
        tiles.push(base_tile(summary));
        format!("<dl class=\"tiles\">{}</dl>\n", tiles.concat())
    }

    fn tiers_table(&self) -> String {
        let summary = &self.played.summary;
        let time: f64 = summary.tiers.values().map(|tier| tier.pod_s).sum();
        let row = |name: &str, pod_s: f64, cost: f64, class: &str| {
            let share = if time > 0.0 { pod_s / time } else { 0.0 };
            format!(
                "<tr{class}><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                escaped(name),
                fixed(pod_s / 3600.0, 2),
                percent(share),
                short(cost)
            )
        };
        let name = |tier: &str| if tier == "real" { "real nodes".to_owned() } else { tier.to_owned() };
        let in_order = summary
            .tiers
            .iter()
            .filter(|(tier, _)| *tier == "real")
            .chain(summary.tiers.iter().filter(|(tier, _)| *tier != "real"));
        let rows: String = in_order.map(|(tier, used)| row(&name(tier), used.pod_s, used.cost, "")).collect();
        let all = row("all", time, summary.cost, " class=\"sum\"");
        let would_be = |(pool, used): (&String, &TierUse)| {
            let name = escaped(&format!("would have burst to {pool}"));
            let (hours, cost) = (fixed(used.pod_s / 3600.0, 2), short(used.cost));
            format!("<tr><th scope=\"row\">{name}</th><td>{hours}</td><td>–</td><td>{cost}</td></tr>\n")
        };
        let observed = summary.observed.iter().map(would_be).collect::<Vec<_>>().concat();
        format!(
            "<div class=\"card wide\"><table><caption>Tiers</caption><thead><tr><th scope=\"col\">tier</th><th scope=\"col\">pod-hours</th>\
             <th scope=\"col\">share</th><th scope=\"col\">{}</th></tr></thead><tbody>\n{rows}{all}{observed}</tbody></table></div>\n",
            escaped(self.currency)
        )
    }

    fn promises_table(&self) -> String {
        let summary = &self.played.summary;
        let seconds = |delay: Option<f64>| delay.map_or_else(|| "none".to_owned(), duration);
        let rows = [
            ("delay, median", seconds(summary.delay_p50_s)),
            ("delay, 95th percentile", seconds(summary.delay_p95_s)),
            ("delay, 99th percentile", seconds(summary.delay_p99_s)),
            ("base", fixed(f64::from(summary.base), 0)),
            ("placements beyond the base", fixed(f64::from(summary.base_exceeded), 0)),
            ("instances left behind", fixed(f64::from(summary.instances_left), 0)),
        ];
        totals("Delays and base", &rows)
    }

    fn plant_table(&self) -> String {
        let Some(plant) = &self.played.summary.plant else { return String::new() };
        let rows = [
            ("requests", fixed(plant.requests, 0)),
            ("of them late", fixed(plant.late, 0)),
            ("of them unserved", fixed(plant.unserved, 0)),
            ("pods created", fixed(f64::from(plant.created), 0)),
            ("pod-seconds short of the base", fixed(plant.base_short_s, 0)),
            ("evictions", fixed(f64::from(plant.evictions), 0)),
            ("pods that a pool took back", fixed(f64::from(plant.reclaims), 0)),
            ("creations that a pool refused", fixed(f64::from(plant.refusals), 0)),
            ("real nodes at most", fixed(f64::from(plant.nodes_peak), 0)),
            ("node-hours", fixed(plant.node_s / 3600.0, 2)),
        ];
        totals("Requests, pods and nodes", &rows)
    }

    /// The charts' values for those who read tables.
    fn moments_table(&self) -> String {
        let pool_heading = |pool: &String| format!("<th scope=\"col\">{}</th>", escaped(pool));
        let pools: String = self.pools.iter().map(pool_heading).collect();
        let row = |column: &Column| {
            let in_pool = |pool: &String| {
                let pods = column
                    .ready_pools
                    .iter()
                    .find(|(name, _)| name.to_string() == **pool)
                    .map_or(0.0, |(_, pods)| *pods);
                format!("<td>{}</td>", fixed(pods, 0))
            };
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td>{}<td>{}</td><td>{}</td></tr>\n",
                moment(column.t, self.span),
                short(column.rps),
                fixed(column.wanted, 0),
                fixed(column.ready_real, 0),
                self.pools.iter().map(in_pool).collect::<String>(),
                column.delay.map_or_else(|| "–".to_owned(), |delay| fixed(delay, 1)),
                short(column.cost)
            )
        };
        let rows: String = columns(&self.played.samples, MOMENTS).iter().map(row).collect();
        format!(
            "<details class=\"card\"><summary>The charts as a table</summary><div class=\"wide\" tabindex=\"0\" role=\"region\" \
             aria-label=\"The charts as a table\"><table><thead><tr><th scope=\"col\">time</th><th scope=\"col\">requests/s</th>\
             <th scope=\"col\">wanted</th><th scope=\"col\">real nodes</th>{pools}<th scope=\"col\">delay, s</th>\
             <th scope=\"col\">{}</th></tr></thead><tbody>\n{rows}</tbody></table></div></details>\n",
            escaped(self.currency)
        )
    }
}

fn totals(caption: &str, rows: &[(&str, String)]) -> String {
    let row = |(name, value): &(&str, String)| format!("<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>\n");
    let rows: String = rows.iter().map(row).collect();
    format!("<div class=\"card wide\"><table><caption>{caption}</caption><tbody>\n{rows}</tbody></table></div>\n")
}

/// A line and the surface under it.
fn surface(class: &str, values: Vec<f64>) -> Vec<Layer> {
    let bottom = vec![0.0; values.len()];
    vec![
        Layer::Area { class: class.to_owned(), bottom, top: values.clone() },
        Layer::Line { class: class.to_owned(), values },
    ]
}

fn highest(columns: &[Column], value: impl Fn(&Column) -> f64) -> (f64, f64) {
    columns.iter().fold(
        (0.0, 0.0),
        |(highest, at), column| {
            if value(column) > highest { (value(column), column.t) } else { (highest, at) }
        },
    )
}

fn tile(name: &str, class: &str, value: &str, note: &str) -> String {
    format!("<div><dt>{name}</dt><dd class=\"value {class}\">{value}</dd><dd class=\"note\">{note}</dd></div>\n")
}

fn delay_tile(summary: &Summary) -> String {
    let seconds = |delay: Option<f64>| delay.map_or_else(|| "none".to_owned(), duration);
    let note = format!("created to Ready, 95 % of pods; half within {}", seconds(summary.delay_p50_s));
    tile("Scale-out delay", "", &seconds(summary.delay_p95_s), &note)
}

fn requests_tile(plant: &Plant) -> String {
    let bad = plant.late + plant.unserved;
    let part = if plant.requests > 0.0 { 1.0 - bad / plant.requests } else { 1.0 };
    let class = if part >= 0.99 { "" } else { "bad" };
    let note =
        format!("{} late, {} unserved of {}", short(plant.late), short(plant.unserved), fixed(plant.requests, 0));
    tile("Served in time", class, &percent(part.max(0.0)), &note)
}

fn base_tile(summary: &Summary) -> String {
    let pods = fixed(f64::from(summary.base), 0);
    if summary.base_exceeded == 0 {
        return tile("Base held", "good", "yes", &format!("never more than {pods} of a revision on real nodes"));
    }
    let times = fixed(f64::from(summary.base_exceeded), 0);
    tile("Base held", "bad", "no", &format!("{times} placements beyond the base of {pods}"))
}

/// The first and the last moment, for the page's head.
pub(super) fn lasts(samples: &[Sample]) -> f64 {
    samples.last().map_or(0.0, |sample| sample.t)
}

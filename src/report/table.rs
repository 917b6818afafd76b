//! A run for people: a line a sample, and the summary.

use comfy_table::{Cell, CellAlignment, Table, presets};

use burstlet_engine::{
    model::PoolName,
    simulator::{Plant, Sample, Summary},
};

use super::{Paint, paint::Ink};

/// Cells of the bar at most; a larger workload is drawn to scale.
const BAR: u32 = 40;

/// Shades of the pools, in turn.
const SHADES: [(char, Ink); 3] = [('▓', Ink::Blue), ('▒', Ink::Magenta), ('▚', Ink::Cyan)];

/// A table that grows line by line; every line is as wide as the one before.
///
/// ```text
///  time     rps  wanted  ready  pending  gated  real  cloud        CNY  █ real  ▓ cloud  ░ no node yet
///  0:25    60.1      10      3        0      7     3      0     0.0000  ███░░░░░░░
///  0:30    98.4      17     10        7      0     3     14     0.0013  ███▓▓▓▓▓▓▓▓▓▓▓▓▓▓
/// ```
#[derive(Debug, Clone)]
pub struct LiveTable {
    pools: Vec<PoolName>,
    currency: String,
    most: u32,
    paint: Paint,
}

impl LiveTable {
    /// A table of these pools, their currency, and the most replicas that are to be expected (the HPA's maximum).
    pub fn new(mut pools: Vec<PoolName>, currency: String, most: u32, paint: Paint) -> Self {
        pools.sort_unstable();
        Self { pools, currency, most, paint }
    }

    /// The line above the rows, with the bar's legend.
    pub fn header(&self) -> String {
        let names = ["rps", "wanted", "ready", "pending", "gated", "real"].map(str::to_owned);
        let pools = self.pools.iter().map(ToString::to_string);
        let shades = self.pools.iter().zip(SHADES.into_iter().cycle());
        let mut parts = vec![self.line("time", &names, pools, &self.currency)];
        parts.push(self.paint.apply(Ink::Green, "█ real"));
        parts.extend(shades.map(|(pool, (block, ink))| self.paint.apply(ink, &format!("{block} {pool}"))));
        parts.push(self.paint.apply(Ink::Dim, "░ no node yet"));
        parts.join("  ")
    }

    /// One sample as a line.
    pub fn row(&self, sample: &Sample) -> String {
        let numbers = [
            format!("{:.1}", sample.rps),
            sample.wanted.to_string(),
            sample.ready.to_string(),
            sample.pending.to_string(),
            sample.gated.to_string(),
            sample.real.to_string(),
        ];
        let pools = self.pools.iter().map(|pool| pods_in(sample, pool).to_string());
        let line = self.line(&clock(sample.t), &numbers, pools, &format!("{:.4}", sample.cost));
        format!("{line}  {}", self.bar(sample))
    }

    fn line(&self, time: &str, numbers: &[String; 6], pools: impl Iterator<Item = String>, cost: &str) -> String {
        let [rps, wanted, ready, pending, gated, real] = numbers;
        let mut parts = vec![format!("{time:>6}{rps:>8}{wanted:>8}{ready:>7}{pending:>9}{gated:>7}{real:>6}")];
        let widths = self.pools.iter().map(|name| name.as_str().len().max(4) + 2);
        parts.extend(pools.zip(widths).map(|(pods, width)| format!("{pods:>width$}")));
        parts.push(format!("{cost:>11}"));
        parts.concat()
    }

    fn bar(&self, sample: &Sample) -> String {
        let mut pods = vec![(sample.real, '█', Ink::Green)];
        for (pool, (block, ink)) in self.pools.iter().zip(SHADES.into_iter().cycle()) {
            pods.push((pods_in(sample, pool), block, ink));
        }
        let placed = pods.iter().map(|(count, ..)| count).sum::<u32>();
        let live = sample.ready + sample.pending + sample.gated;
        pods.push((live.saturating_sub(placed), '░', Ink::Dim));

        let mut bar = String::new();
        let mut seen = 0;
        for (count, block, ink) in pods {
            let cells = self.cells(seen + count) - self.cells(seen);
            seen += count;
            bar += &self.paint.apply(ink, &block.to_string().repeat(cells));
        }
        bar
    }

    /// How far the bar reaches after so many pods: one cell a pod where they all fit.
    fn cells(&self, pods: u32) -> usize {
        let cells = if self.most <= BAR {
            u64::from(pods)
        } else {
            (u64::from(pods) * u64::from(BAR)).div_ceil(u64::from(self.most))
        };
        // More pods than expected, as during a rollout, lengthen the line by a half at most.
        usize::try_from(cells.min(u64::from(BAR + BAR / 2))).unwrap_or_default()
    }
}

/// The summary as a small table.
pub fn summary_table(summary: &Summary, currency: &str) -> String {
    let seconds = |delay: Option<f64>| delay.map_or_else(|| "no scale-out".to_owned(), |delay| format!("{delay:.1} s"));
    let share = format!("{:.1} %", summary.burst_share * 100.0);
    let mut rows = vec![
        ("most ready pods".to_owned(), summary.peak.to_string()),
        ("base".to_owned(), summary.base.to_string()),
        ("placements beyond the base".to_owned(), summary.base_exceeded.to_string()),
        ("burst share of pod time".to_owned(), share),
        ("created to Ready, median".to_owned(), seconds(summary.delay_p50_s)),
        ("created to Ready, p95".to_owned(), seconds(summary.delay_p95_s)),
    ];
    if let Some(plant) = &summary.plant {
        rows.push(("created to Ready, p99".to_owned(), seconds(summary.delay_p99_s)));
        rows.extend(plant_rows(plant));
    }
    for (tier, used) in &summary.tiers {
        let figure = format!("{:.2} h, {:.4} {currency}", used.pod_s / 3600.0, used.cost);
        rows.push((format!("pod time and cost, {tier}"), figure));
    }
    for (pool, used) in &summary.observed {
        let figure = format!("{:.2} h, {:.4} {currency}", used.pod_s / 3600.0, used.cost);
        rows.push((format!("would have burst to {pool}"), figure));
    }
    rows.push(("cost".to_owned(), format!("{:.4} {currency}", summary.cost)));
    rows.push(("instances left behind".to_owned(), summary.instances_left.to_string()));
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    for (name, figure) in rows {
        table.add_row([Cell::new(name), Cell::new(figure).set_alignment(CellAlignment::Right)]);
    }
    table.to_string()
}

/// What only a simulation knows.
fn plant_rows(plant: &Plant) -> Vec<(String, String)> {
    let share = |part: f64| {
        let percent = if plant.requests > 0.0 { part / plant.requests * 100.0 } else { 0.0 };
        format!("{part:.0} ({percent:.3} %)")
    };
    let rows = [
        ("requests", format!("{:.0}", plant.requests)),
        ("requests late", share(plant.late)),
        ("requests unserved", share(plant.unserved)),
        ("pods created", plant.created.to_string()),
        ("base lacking on real nodes", format!("{:.1} pod-s", plant.base_short_s)),
        ("evictions", plant.evictions.to_string()),
        ("taken back by pools", plant.reclaims.to_string()),
        ("refused by pools", plant.refusals.to_string()),
        ("real nodes, at most", plant.nodes_peak.to_string()),
        ("real node time", format!("{:.2} h", plant.node_s / 3600.0)),
    ];
    rows.map(|(name, figure)| (name.to_owned(), figure)).to_vec()
}

fn pods_in(sample: &Sample, pool: &PoolName) -> u32 {
    sample.pools.get(pool).copied().unwrap_or_default()
}

/// Minutes and seconds.
fn clock(seconds: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    format!("{}:{:02}", whole / 60, whole % 60)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn table(most: u32, paint: Paint) -> LiveTable {
        let pools = ["spot", "eci-long"].map(|name| name.parse().unwrap()).to_vec();
        LiveTable::new(pools, "CNY".to_owned(), most, paint)
    }

    fn sample(t: f64, real: u32, pools: [u32; 2], waiting: u32) -> Sample {
        let [eci, spot] = pools;
        Sample {
            t,
            rps: t * 2.0,
            wanted: real + eci + spot + waiting,
            ready: real,
            pending: eci + spot,
            gated: waiting,
            real,
            pools: BTreeMap::from([("eci-long".parse().unwrap(), eci), ("spot".parse().unwrap(), spot)]),
            cost: t / 1000.0,
            ..Sample::default()
        }
    }

    #[test]
    fn rows_stand_below_their_names_and_the_bar_shows_each_pod() {
        let table = table(20, Paint::Plain);
        let rows = [sample(0.0, 3, [0, 0], 0), sample(25.9, 3, [4, 0], 7), sample(605.0, 3, [12, 5], 0)];
        let lines = [table.header()].into_iter().chain(rows.iter().map(|row| table.row(row))).collect::<Vec<_>>();
        insta::assert_snapshot!(lines.join("\n"), @r"
         time     rps  wanted  ready  pending  gated  real  eci-long  spot        CNY  █ real  ▓ eci-long  ▒ spot  ░ no node yet
         0:00     0.0       3      3        0      0     3         0     0     0.0000  ███
         0:25    51.8      14      3        4      7     3         4     0     0.0259  ███▓▓▓▓░░░░░░░
        10:05  1210.0      20      3       17      0     3        12     5     0.6050  ███▓▓▓▓▓▓▓▓▓▓▓▓▒▒▒▒▒
        ");
    }

    #[test]
    fn a_large_workload_is_drawn_to_scale() {
        let bar = |real, pools, waiting| table(400, Paint::Plain).bar(&sample(0.0, real, pools, waiting));
        assert_eq!(bar(100, [100, 100], 100), "█".repeat(10) + &"▓".repeat(10) + &"▒".repeat(10) + &"░".repeat(10));
        assert_eq!(bar(1, [0, 0], 0), "█", "one pod is seen");
        assert_eq!(bar(4000, [0, 0], 0).chars().count(), 60, "and no line is endless");
    }

    #[test]
    fn colours_change_no_character() {
        let moment = sample(5.0, 2, [1, 0], 1);
        let coloured = table(20, Paint::Colour).row(&moment);
        assert!(coloured.contains("\x1b[32m██\x1b[0m\x1b[34m▓\x1b[0m\x1b[2m░\x1b[0m"), "{coloured:?}");
        let plain =
            ["\x1b[32m", "\x1b[34m", "\x1b[2m", "\x1b[0m"].iter().fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(plain, table(20, Paint::Plain).row(&moment));
    }

    #[test]
    fn the_summary_says_what_each_figure_is() {
        let summary = Summary {
            peak: 20,
            burst_share: 0.6123,
            delay_p50_s: Some(3.15),
            delay_p95_s: None,
            base: 3,
            base_exceeded: 0,
            instances_left: 0,
            cost: 0.01234,
            ..Summary::default()
        };
        insta::assert_snapshot!(summary_table(&summary, "CNY"), @r"
        ┌───────────────────────────────────────────┐
        │ most ready pods                        20 │
        │ base                                    3 │
        │ placements beyond the base              0 │
        │ burst share of pod time            61.2 % │
        │ created to Ready, median            3.1 s │
        │ created to Ready, p95        no scale-out │
        │ cost                           0.0123 CNY │
        │ instances left behind                   0 │
        └───────────────────────────────────────────┘
        ");
    }
}

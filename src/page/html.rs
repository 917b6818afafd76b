//! What is seen, as one HTML page that needs nothing from elsewhere.

use std::fmt::{Display, Write};

use burstlet_engine::{
    model::Timestamp,
    placement::{Census, PoolSight},
    policy::{Money, Spend},
};

use super::chart::timeline;
use crate::{
    placer::Sight,
    report::{STYLE, escaped},
};

const OWN_STYLE: &str = include_str!("page.css");
/// Brings what is live up to date every few seconds, until it is told to pause.
pub(super) const SCRIPT: &str = include_str!("page.js");

/// The page.
pub fn page(sight: &Sight) -> String {
    let moments: Vec<_> = sight.moments.iter().copied().collect();
    let live = [
        format!("<p class=\"run\">As of <time>{}</time> UTC</p>\n", clock(sight.at)),
        tiles(sight),
        timeline(&moments, sight.at),
        workloads(sight),
        pools(sight),
        nodes(sight),
        decisions(sight),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>burstlet</title>\n<style>\n{STYLE}{OWN_STYLE}</style>\n</head>\n<body>\n<main>\n<header>\n<h1>burstlet</h1>\n\
         <p class=\"live\"><label><input type=\"checkbox\" id=\"pause\"> Pause updates</label> \
         <span id=\"lost\" role=\"status\"></span></p>\n</header>\n<div id=\"live\">\n{}</div>\n\
         <footer><p>Read-only. <code>burstlet explain pod/NAME</code> tells for each place why it took or refused a pod.</p></footer>\n\
         </main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        live.concat()
    )
}

fn tiles(sight: &Sight) -> String {
    let last = sight.moments.back().copied().unwrap_or_default();
    let healthy = sight.pools.iter().filter(|pool| pool.obstacle.is_none()).count();
    let health = if healthy == sight.pools.len() { "good" } else { "bad" };
    let mut html = String::from("<dl class=\"tiles\">\n");
    let mut tile = |name: &str, value: String, class: &str| {
        let _ = writeln!(html, "<div><dt>{name}</dt><dd class=\"value {class}\">{value}</dd></div>");
    };
    tile("Pods on real nodes", last.real.to_string(), "");
    tile("Pods on pools", last.cloud.to_string(), "");
    tile("Pods waiting", last.waiting.to_string(), if last.waiting == 0 { "" } else { "bad" });
    tile("Pools that take pods", format!("{healthy} <small>of {}</small>", sight.pools.len()), health);
    for (rate, today) in money(&sight.pools) {
        tile("Costs an hour now", short(&rate), "");
        tile("Cost today", short(&today), "");
    }
    html.push_str("</dl>\n");
    html
}

/// What all pools cost an hour, and have cost today, by currency.
fn money(pools: &[PoolSight]) -> Vec<(Money, Money)> {
    let mut sums: Vec<(Money, Money)> = Vec::new();
    let costs = pools.iter().filter_map(|pool| Some((pool.rate.clone()?, pool.spent.clone()?.1)));
    for (rate, today) in costs {
        match sums.iter_mut().find(|(sum, _)| sum.currency() == rate.currency()) {
            Some(sum) => *sum = (sum.0.plus(&rate), sum.1.plus(&today)),
            None => sums.push((rate, today)),
        }
    }
    sums
}

fn workloads(sight: &Sight) -> String {
    let row = |(name, census): (&burstlet_engine::model::ObjectName, &Census)| {
        let cells = [census.base - census.strayed, census.strayed, census.burst, census.beyond, census.waiting];
        (name.to_string(), cells.iter().map(Cell::plain).collect())
    };
    let head = ["Base, real nodes", "Base, on pools", "Burst", "Beyond the base, real nodes", "Waiting"];
    table("Workloads by tier", "Workload", &head, sight.workloads.iter().map(row), "No workload is governed yet.")
}

fn pools(sight: &Sight) -> String {
    let row = |pool: &PoolSight| {
        let health = match &pool.obstacle {
            None => Cell { html: "takes pods".to_owned(), class: "good" },
            Some(obstacle) => Cell { html: escaped(obstacle), class: "bad" },
        };
        let or_dash = |number: Option<u64>| number.map_or("–".to_owned(), |number| number.to_string());
        let money = |money: Option<&Money>| money.map_or("–".to_owned(), short);
        let budget = pool.budget.as_ref().map(|budget| {
            let part =
                |limit: &Option<Spend>, of: &str| limit.as_ref().map(|limit| format!("{} a {of}", limit_text(limit)));
            [part(&budget.per_hour, "hour"), part(&budget.per_day, "day")].into_iter().flatten().collect::<Vec<_>>()
        });
        let cells = vec![
            health,
            Cell::plain(pool.nodes.len()),
            Cell::plain(pool.pods),
            Cell::plain(or_dash(pool.quota.pods)),
            Cell::plain(or_dash(pool.stock)),
            Cell::plain(money(pool.rate.as_ref())),
            Cell::plain(money(pool.spent.as_ref().map(|spent| &spent.1))),
            Cell::plain(budget.map_or("–".to_owned(), |parts| parts.join(", "))),
        ];
        (pool.name.to_string(), cells)
    };
    let head = ["Health", "Nodes", "Pods", "Quota", "Stock", "An hour now", "Today", "Budget"];
    let empty = "No pool is named yet: what exceeds a base waits.";
    of_class(&table("Pools", "Pool", &head, sight.pools.iter().map(row), empty), "second")
}

fn nodes(sight: &Sight) -> String {
    let all = sight.pools.iter().flat_map(|pool| pool.nodes.iter().map(move |node| (pool, node)));
    let rows = all.map(|(pool, node)| {
        let cells = vec![Cell::plain(&pool.name), Cell::plain(node.pods), Cell::plain(node.most)];
        (node.name.to_string(), cells)
    });
    of_class(&table("Virtual nodes", "Node", &["Pool", "Pods", "At most"], rows, "No virtual node is open."), "second")
}

fn decisions(sight: &Sight) -> String {
    let rows = sight.decisions.iter().map(|decided| {
        let time = format!("{} {}", clock(decided.at), decided.word);
        (time, vec![Cell::plain(&decided.pod), Cell::plain(&decided.reason)])
    });
    of_class(&table("Last decisions", "When and what", &["Pod", "Why"], rows, "Nothing has been decided yet."), "told")
}

/// A section whose columns are aligned in their own way.
fn of_class(section: &str, class: &str) -> String {
    section.replacen("class=\"card\"", &format!("class=\"card {class}\""), 1)
}

struct Cell {
    html: String,
    class: &'static str,
}

impl Cell {
    fn plain(text: impl Display) -> Self {
        Self { html: escaped(&text.to_string()), class: "" }
    }
}

/// A table that scrolls within itself where it is too wide; a keyboard reaches it, too.
fn table(
    caption: &str,
    first: &str,
    head: &[&str],
    rows: impl Iterator<Item = (String, Vec<Cell>)>,
    empty: &str,
) -> String {
    let mut body = String::new();
    for (name, cells) in rows {
        let _ = write!(body, "<tr><th scope=\"row\">{}</th>", escaped(&name));
        for Cell { html, class } in cells {
            let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
            let _ = write!(body, "<td{class}>{html}</td>");
        }
        body.push_str("</tr>\n");
    }
    if body.is_empty() {
        return format!("<section class=\"card\"><h2>{caption}</h2><p>{empty}</p></section>\n");
    }
    let head = head.iter().map(|name| format!("<th scope=\"col\">{name}</th>")).collect::<Vec<_>>().concat();
    format!(
        "<section class=\"card\"><h2>{caption}</h2><div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table>\n\
         <thead><tr><th scope=\"col\">{first}</th>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div></section>\n"
    )
}

fn limit_text(limit: &Spend) -> String {
    match limit {
        Spend::Money(money) => money.to_string(),
        Spend::PodMinutes(minutes) => format!("{minutes} pod-minutes"),
    }
}

/// Two digits after the point; four where it is little.
fn short(money: &Money) -> String {
    let (nanos, currency) = (money.nanos(), money.currency());
    let (unit, digits) = if nanos >= 1_000_000_000 { (10_000_000, 2) } else { (100_000, 4) };
    let parts = nanos / unit;
    let whole = 10_i128.pow(digits);
    escaped(&format!("{}.{:0width$} {currency}", parts / whole, parts % whole, width = digits as usize))
}

/// Hours, minutes, seconds.
fn clock(at: Timestamp) -> String {
    let at = i64::try_from(at.as_millis()).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(String::new, |at| at.strftime("%H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_short_and_not_rounded_up() {
        let text = |text: &str| short(&text.parse::<Money>().unwrap());
        assert_eq!(text("0.01987 CNY"), "0.0198 CNY");
        assert_eq!(text("12.349 CNY"), "12.34 CNY");
        assert_eq!(text("0 USD"), "0.0000 USD");
    }

    #[test]
    fn names_of_others_are_text_and_no_markup() {
        let mut sight = Sight::default();
        sight.workloads.insert(burstlet_engine::model::ObjectName::new("shop", "<b>"), Census::default());
        let html = page(&sight);
        assert!(html.contains("shop/&lt;b&gt;") && !html.contains("<b>"));
        assert!(html.contains("No pool is named yet"));
    }
}

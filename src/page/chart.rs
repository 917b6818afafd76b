//! The last hour as stacked step areas.

use std::fmt::Write;

use burstlet_engine::model::Timestamp;

use crate::placer::Moment;

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 240.0;
/// Milliseconds that the drawing spans.
const SPAN: u64 = 3_600_000;

type Layer = (&'static str, &'static str, fn(&Moment) -> usize);

/// Class, name and value of each layer, from the bottom.
const LAYERS: [Layer; 3] = [
    ("tier0", "real nodes", |moment| moment.real),
    ("tier1", "pools", |moment| moment.cloud),
    // Far from the pools' colour, for those who see few colours, too.
    ("tier3", "waiting", |moment| moment.waiting),
];

/// The chart as a `figure`; `now` is its right end.
pub(super) fn timeline(moments: &[Moment], now: Timestamp) -> String {
    let begin = now.as_millis().saturating_sub(SPAN);
    let moments: Vec<_> = moments.iter().filter(|moment| moment.at.as_millis() >= begin).collect();
    let most = moments.iter().map(|moment| LAYERS.iter().map(|layer| layer.2(moment)).sum()).max().unwrap_or(0);
    let top = rounded_up(most);
    let mut drawing = String::new();
    for part in [0.0, 0.5, 1.0] {
        let y = HEIGHT * part;
        let _ = writeln!(drawing, "<path class=\"grid\" d=\"M0 {y:.1}H{WIDTH}\"/>");
    }
    let x = |at: Timestamp| {
        let ms = at.as_millis().saturating_sub(begin).min(SPAN);
        float(usize::try_from(ms).unwrap_or(0)) * WIDTH / 3_600_000.0
    };
    let y = |value: usize| HEIGHT - float(value) * HEIGHT / float(top);
    for (index, (class, _, _)) in LAYERS.iter().enumerate() {
        let below = |moment: &Moment, layers: usize| LAYERS[..layers].iter().map(|layer| layer.2(moment)).sum();
        let upper = steps(&moments, now, x, |moment| y(below(moment, index + 1)));
        let mut lower = steps(&moments, now, x, |moment| y(below(moment, index)));
        lower.reverse();
        let points = upper.iter().chain(&lower).map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>();
        if !points.is_empty() {
            let _ = writeln!(drawing, "<path class=\"area {class}\" d=\"M{}Z\"/>", points.join("L"));
        }
    }
    let legend = LAYERS
        .iter()
        .map(|(class, name, _)| format!("<li><span class=\"key area {class}\" aria-hidden=\"true\"></span>{name}</li>"))
        .collect::<Vec<_>>()
        .concat();
    let marks = [0, top / 2, top]
        .iter()
        .map(|value| format!("<span style=\"top:{:.1}%\">{value}</span>", 100.0 - 100.0 * float(*value) / float(top)))
        .collect::<Vec<_>>()
        .concat();
    let times = "<span class=\"first\" style=\"left:0%\">60 min ago</span><span style=\"left:50%\">30 min ago</span>\
                 <span class=\"last\" style=\"left:100%\">now</span>";
    let last = moments.last().copied().copied().unwrap_or_default();
    format!(
        "<figure class=\"chart\">\n<figcaption><h2>The last hour</h2><span class=\"unit\">governed pods</span>\
         <ul class=\"legend\">{legend}</ul></figcaption>\n\
         <div class=\"plot\"><div class=\"y\" aria-hidden=\"true\">{marks}</div>\n\
         <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-labelledby=\"hour-t hour-d\">\
         <title id=\"hour-t\">Governed pods over the last hour</title><desc id=\"hour-d\">Now {} on real nodes, {} on pools, \
         {} waiting; at most {most} in all.</desc>\n{drawing}</svg>\n\
         <div class=\"x\" aria-hidden=\"true\">{times}</div></div>\n</figure>\n",
        last.real, last.cloud, last.waiting
    )
}

/// Each value holds until the next; the last until `now`.
fn steps(
    moments: &[&Moment],
    now: Timestamp,
    x: impl Fn(Timestamp) -> f64,
    y: impl Fn(&Moment) -> f64,
) -> Vec<(f64, f64)> {
    let ends = moments.iter().skip(1).map(|next| next.at).chain([now]);
    moments.iter().zip(ends).flat_map(|(moment, end)| [(x(moment.at), y(moment)), (x(end), y(moment))]).collect()
}

/// A whole number of 2, 4, 10, 20, 40 … that is no less.
fn rounded_up(most: usize) -> usize {
    let mut ten = 1;
    loop {
        for step in [2, 4, 10] {
            if step * ten >= most {
                return step * ten;
            }
        }
        ten *= 10;
    }
}

/// Counts of pods and milliseconds of an hour are exact.
fn float(value: usize) -> f64 {
    f64::from(u32::try_from(value).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_a_round_number_above_all() {
        assert_eq!([0, 2, 3, 5, 11, 21, 55, 4_001].map(rounded_up), [2, 2, 4, 10, 20, 40, 100, 10_000]);
    }

    #[test]
    fn a_moment_of_more_than_an_hour_ago_is_left_out() {
        let at = |second: u64| Timestamp::from_millis(second * 1000);
        let moments = [
            Moment { at: at(10), real: 900, ..Moment::default() },
            Moment { at: at(5_000), real: 3, cloud: 4, waiting: 1 },
        ];
        let chart = timeline(&moments, at(5_010));
        assert!(chart.contains("at most 8 in all") && chart.contains(">10</span>"), "{chart}");
        assert!(timeline(&[], at(0)).contains("<svg"));
    }
}

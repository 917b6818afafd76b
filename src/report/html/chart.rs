//! Charts: SVG that stretches with the page, and its labels in HTML beside it.

use std::fmt::Write;

use super::{axis::Axis, number::escaped};

/// Width and height of the drawing, in units of its own: the page stretches it.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 240.0;

/// How something is drawn. The class gives its colour.
#[derive(Debug, Clone)]
pub(super) enum Layer {
    /// A surface between two step lines.
    Area { class: String, bottom: Vec<f64>, top: Vec<f64> },
    /// A step line.
    Line { class: String, values: Vec<f64> },
    /// A column for each value there is.
    Bars { class: String, values: Vec<Option<f64>> },
    /// A line over the whole width.
    Level { class: String, value: f64 },
}

/// A chart and what it says in words.
#[derive(Debug)]
pub(super) struct Chart {
    /// Unique on the page.
    pub(super) id: String,
    pub(super) title: String,
    /// What values are, shown by the title.
    pub(super) unit: String,
    /// What those who cannot see it are told.
    pub(super) description: String,
    pub(super) axis: Axis,
    pub(super) time: Axis,
    pub(super) layers: Vec<Layer>,
    /// Name and class of each layer that the legend tells of.
    pub(super) legend: Vec<(String, String)>,
    /// How marks of `time` are written.
    pub(super) moment: fn(f64, f64) -> String,
}

impl Chart {
    /// The chart as a `figure`.
    pub(super) fn html(&self) -> String {
        let Self { id, title, unit, description, .. } = self;
        let mut html = format!(
            "<figure class=\"chart\">\n<figcaption><h3>{}</h3><span class=\"unit\">{}</span>{}</figcaption>\n",
            escaped(title),
            escaped(unit),
            self.legend_html()
        );
        let _ = write!(
            html,
            "<div class=\"plot\"><div class=\"y\" aria-hidden=\"true\">{}</div>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>\n{}</svg>\n",
            self.value_labels(),
            escaped(title),
            escaped(description),
            self.drawing()
        );
        html + &format!("<div class=\"x\" aria-hidden=\"true\">{}</div></div>\n</figure>\n", self.time_labels())
    }

    fn legend_html(&self) -> String {
        if self.legend.is_empty() {
            return String::new();
        }
        let entry =
            |(name, class): &(String, String)| format!("<li><i class=\"key {class}\"></i>{}</li>", escaped(name));
        format!("<ul class=\"legend\">{}</ul>", self.legend.iter().map(entry).collect::<String>())
    }

    fn value_labels(&self) -> String {
        let label = |mark: f64| {
            let top = 100.0 - self.axis.place(mark) * 100.0;
            format!("<span style=\"top:{top:.2}%\">{}</span>", super::number::fixed(mark, self.axis.decimals()))
        };
        self.axis.marks().map(label).collect()
    }

    fn time_labels(&self) -> String {
        let count = self.time.marks().count();
        let label = |(index, mark): (usize, f64)| {
            let left = self.time.place(mark) * 100.0;
            // The outermost labels stay within the page.
            let class = match index {
                0 => " class=\"first\"",
                index if index + 1 == count && left > 92.0 => " class=\"last\"",
                index if index % 2 == 1 => " class=\"odd\"",
                _ => "",
            };
            format!("<span{class} style=\"left:{left:.2}%\">{}</span>", (self.moment)(mark, self.time.end))
        };
        self.time.marks().enumerate().map(label).collect()
    }

    fn drawing(&self) -> String {
        let mut svg = String::new();
        for mark in self.axis.marks() {
            let y = self.y(mark);
            let _ = writeln!(svg, "<path class=\"grid\" d=\"M0 {y}H{WIDTH}\"/>");
        }
        for layer in &self.layers {
            let (class, path) = match layer {
                Layer::Area { class, bottom, top } => (format!("area {class}"), self.area(bottom, top)),
                Layer::Line { class, values } => (format!("line {class}"), self.steps(values, 'M')),
                Layer::Bars { class, values } => (format!("bars {class}"), self.bars(values)),
                Layer::Level { class, value } => (format!("line {class}"), format!("M0 {}H{WIDTH}", self.y(*value))),
            };
            if matches!(layer, Layer::Level { .. }) {
                // A rim keeps it apart from any surface that it crosses.
                let _ = writeln!(svg, "<path class=\"rim\" d=\"{path}\"/>");
            }
            if !path.is_empty() {
                let _ = writeln!(svg, "<path class=\"{class}\" d=\"{path}\"/>");
            }
        }
        svg
    }

    fn y(&self, value: f64) -> String {
        tenths(HEIGHT - self.axis.place(value) * HEIGHT)
    }

    /// Each value from its column's left to its right.
    fn steps(&self, values: &[f64], first: char) -> String {
        let mut path = String::new();
        let mut before = String::new();
        for (index, value) in values.iter().enumerate() {
            let y = self.y(*value);
            if index == 0 {
                let _ = write!(path, "{first}0 {y}");
            } else if y != before {
                let _ = write!(path, "H{}V{y}", x(index, values.len()));
            }
            before = y;
        }
        if values.is_empty() { path } else { path + &format!("H{WIDTH}") }
    }

    fn area(&self, bottom: &[f64], top: &[f64]) -> String {
        if top.iter().zip(bottom).all(|(top, bottom)| top <= bottom) {
            return String::new();
        }
        let mut path = self.steps(top, 'M');
        let mut before = String::new();
        for (index, value) in bottom.iter().enumerate().rev() {
            let y = self.y(*value);
            if y != before {
                let _ = write!(path, "V{y}");
            }
            let _ = write!(path, "H{}", x(index, bottom.len()));
            before = y;
        }
        path + "Z"
    }

    fn bars(&self, values: &[Option<f64>]) -> String {
        let mut path = String::new();
        for (index, value) in values.iter().enumerate() {
            if let Some(value) = value.filter(|value| *value > 0.0) {
                let (left, right) = (x(index, values.len()), x(index + 1, values.len()));
                let _ = write!(path, "M{left} {}V{}H{right}V{HEIGHT}Z", tenths(HEIGHT), self.y(value));
            }
        }
        path
    }
}

fn x(index: usize, columns: usize) -> String {
    let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    tenths(number(index) / number(columns.max(1)) * WIDTH)
}

/// One decimal, none where it is 0.
fn tenths(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(layers: Vec<Layer>) -> Chart {
        Chart {
            id: "c".to_owned(),
            title: "Pods <of> web".to_owned(),
            unit: "pods".to_owned(),
            description: "a & b".to_owned(),
            axis: Axis::of_pods(4.0),
            time: Axis::of_time(60.0),
            layers,
            legend: vec![("real \"nodes\"".to_owned(), "real".to_owned())],
            moment: |seconds, _| format!("{seconds}"),
        }
    }

    #[test]
    fn steps_areas_and_bars_are_drawn_to_scale() {
        let chart = chart(vec![]);
        assert_eq!(chart.steps(&[0.0, 4.0, 4.0, 2.0], 'M'), "M0 240H250V0H750V120H1000");
        assert_eq!(chart.area(&[0.0, 0.0], &[2.0, 4.0]), "M0 120H500V0H1000V240H500H0Z");
        assert_eq!(chart.area(&[0.0, 1.0], &[0.0, 1.0]), "");
        assert_eq!(chart.bars(&[None, Some(1.0), Some(0.0)]), "M333.3 240V180H666.7V240Z");
        assert_eq!(chart.steps(&[], 'M'), "");
    }

    #[test]
    fn a_chart_says_in_words_what_it_shows_and_names_are_safe() {
        let html = chart(vec![Layer::Level { class: "base".to_owned(), value: 3.0 }]).html();
        assert!(html.contains(r#"role="img" aria-labelledby="c-t c-d""#), "{html}");
        assert!(
            html.contains("<title id=\"c-t\">Pods &lt;of&gt; web</title><desc id=\"c-d\">a &amp; b</desc>"),
            "{html}"
        );
        assert!(html.contains("real &quot;nodes&quot;"), "{html}");
        assert!(html.contains(r#"<path class="line base" d="M0 60H1000"/>"#), "{html}");
    }
}

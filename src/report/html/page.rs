//! The page around the figures.

use burstlet_engine::simulator::Outcome;

use super::{
    figures::{Figures, lasts},
    number::{duration, escaped},
};

/// What a run is of.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The scenario's name.
    pub name: &'a str,
    /// What it shows, in one line.
    pub about: &'a str,
    /// Of all money.
    pub currency: &'a str,
}

pub(crate) const STYLE: &str = include_str!("style.css");

/// `outcome` as one HTML file. The same outcome gives the same bytes on every machine.
pub fn html_page(subject: Subject, outcome: &Outcome) -> String {
    let (name, about) = (escaped(subject.name), escaped(subject.about));
    let is_alone = outcome.workloads.len() == 1;
    let span = outcome.workloads.iter().map(|played| lasts(&played.samples)).fold(0.0, f64::max);
    let total = outcome.total();
    let sections = outcome.workloads.iter().chain(&total).enumerate().map(|(index, played)| {
        let name = if index < outcome.workloads.len() { escaped(&played.workload) } else { "all workloads".to_owned() };
        let heading = if is_alone { String::new() } else { format!("<h2>{name}</h2>\n") };
        format!("<section>\n{heading}{}</section>\n", Figures::new(played, subject.currency, index).html())
    });
    let of = match &outcome.workloads[..] {
        [played] => format!("{} · ", escaped(&played.workload)),
        played => format!("{} workloads · ", played.len()),
    };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{name} · burstlet</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<header>\n\
         <h1>{name}</h1>\n<p class=\"about\">{about}</p>\n\
         <p class=\"run\">{of}{} simulated · seed {}</p>\n</header>\n{}\
         <footer><p>Made by burstlet. Times are from the traffic's start; a chart's column shows the highest value of its time.</p></footer>\n\
         </main>\n</body>\n</html>\n",
        duration(span),
        outcome.seed,
        sections.collect::<String>()
    )
}

//! What a service promises: `p95<30s`, `unserved<0.1%`.

use std::{fmt, str::FromStr, time::Duration};

use super::Figures;

/// A bound on one figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    figure: Figure,
    /// Seconds, or a share of 0 to 1.
    bound: f64,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Figure {
    P50,
    P95,
    P99,
    Late,
    Unserved,
}

/// Why a text is no objective.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no objective: {fault}; write for example p95<30s, p99<1m, late<1% or unserved<0.1%")]
pub struct ObjectiveError {
    text: String,
    fault: &'static str,
}

impl Objective {
    /// Whether the figures keep to it. Without a scale-out no delay is too long.
    pub fn holds(&self, figures: &Figures) -> bool {
        self.value(figures).is_none_or(|value| value < self.bound)
    }

    /// The figure's value, for people.
    pub fn told(&self, figures: &Figures) -> String {
        match (self.value(figures), self.figure) {
            (None, _) => "no scale-out".to_owned(),
            (Some(value), Figure::Late | Figure::Unserved) => format!("{:.3} %", value * 100.0),
            (Some(value), _) => format!("{value:.1} s"),
        }
    }

    /// Whether it bounds what becomes of requests. Delays alone do not tell of pods that never start.
    pub fn is_of_requests(&self) -> bool {
        matches!(self.figure, Figure::Late | Figure::Unserved)
    }

    /// The worst of these figures.
    pub fn worst<'a>(&self, figures: &'a [Figures]) -> Option<&'a Figures> {
        let value = |figures: &Figures| self.value(figures).unwrap_or_default();
        figures.iter().reduce(|worst, next| if value(next) > value(worst) { next } else { worst })
    }

    /// Of several such sets the one whose worst figures are the best.
    pub fn least<'a, K>(&self, sets: impl Iterator<Item = (K, &'a [Figures])>) -> Option<(K, &'a Figures)> {
        let value = |figures: &Figures| self.value(figures).unwrap_or_default();
        let worst = sets.filter_map(|(key, figures)| Some((key, self.worst(figures)?)));
        worst.reduce(|best, next| if value(next.1) < value(best.1) { next } else { best })
    }

    /// The figure's value, of several workloads the worst.
    fn value(&self, figures: &Figures) -> Option<f64> {
        if !figures.each.is_empty() {
            return figures.each.values().filter_map(|figures| self.value(figures)).reduce(f64::max);
        }
        match self.figure {
            Figure::P50 => figures.delay_p50_s,
            Figure::P95 => figures.delay_p95_s,
            Figure::P99 => figures.delay_p99_s,
            Figure::Late => Some(figures.late),
            Figure::Unserved => Some(figures.unserved),
        }
    }
}

impl FromStr for Objective {
    type Err = ObjectiveError;

    fn from_str(text: &str) -> Result<Self, ObjectiveError> {
        let refuse = |fault| ObjectiveError { text: text.chars().take(60).collect(), fault };
        let (figure, bound) = text.split_once('<').ok_or_else(|| refuse("it has no <"))?;
        let bound = bound.trim();
        let seconds = || {
            let span = bound.parse::<humantime::Duration>().map_err(|_| refuse("its bound is no length of time"))?;
            Ok(Duration::from(span).as_secs_f64())
        };
        let share = || {
            let percent = bound.strip_suffix('%').and_then(|digits| digits.trim().parse::<f64>().ok());
            let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
            percent.map(|percent| percent / 100.0).ok_or_else(|| refuse("its bound is no share of 0% to 100%"))
        };
        let (figure, bound) = match figure.trim() {
            "p50" => (Figure::P50, seconds()?),
            "p95" => (Figure::P95, seconds()?),
            "p99" => (Figure::P99, seconds()?),
            "late" => (Figure::Late, share()?),
            "unserved" => (Figure::Unserved, share()?),
            _ => return Err(refuse("its figure is none of p50, p95, p99, late, unserved")),
        };
        if bound <= 0.0 {
            return Err(refuse("nothing is less than zero"));
        }
        Ok(Self { figure, bound, text: text.split_whitespace().collect() })
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objectives_read_as_people_write_them() {
        let figures = Figures { delay_p95_s: Some(29.9), unserved: 0.001, ..Figures::default() };
        for (text, holds) in
            [("p95<30s", true), (" p95 < 29s", false), ("p99<1ms", true), ("unserved<0.1%", false), ("late<0.1%", true)]
        {
            assert_eq!(text.parse::<Objective>().unwrap().holds(&figures), holds, "{text}");
        }
    }

    #[test]
    fn of_several_workloads_the_worst_one_counts() {
        let with = |late| Figures { late, ..Figures::default() };
        let each = [("web".to_owned(), with(0.001)), ("api".to_owned(), with(0.5))].into();
        let objective = "late<1%".parse::<Objective>().unwrap();
        assert!(objective.holds(&with(0.005)) && !objective.holds(&Figures { each, ..with(0.005) }));
    }

    #[test]
    fn what_is_no_objective_is_refused_by_its_fault() {
        let fault = |text: &str| text.parse::<Objective>().unwrap_err().to_string();
        let example = "write for example p95<30s, p99<1m, late<1% or unserved<0.1%";
        for (text, told) in [
            ("fast", "it has no <"),
            ("p75<3s", "its figure is none of p50, p95, p99, late, unserved"),
            ("p95<30", "its bound is no length of time"),
            ("late<2", "its bound is no share of 0% to 100%"),
            ("late<-2%", "its bound is no share of 0% to 100%"),
            ("p95<0s", "nothing is less than zero"),
        ] {
            assert_eq!(fault(text), format!("{text:?} is no objective: {told}; {example}"));
        }
    }
}

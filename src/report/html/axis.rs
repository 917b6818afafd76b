//! Where an axis has its marks.

/// An axis from 0 to `end`, with a mark every `every`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    pub(super) end: f64,
    every: f64,
}

impl Axis {
    /// An axis that `highest` fits under, with three to six marks at round numbers.
    pub(super) fn of_values(highest: f64) -> Self {
        let highest = if highest.is_finite() && highest > 0.0 { highest } else { 1.0 };
        let magnitude = 10_f64.powf(highest.log10().floor());
        let steps = [0.2, 0.25, 0.5, 1.0, 2.0, 2.5, 5.0];
        let fits = |step: &f64| step * magnitude * 5.0 >= highest * 0.999_999;
        let every = steps.into_iter().find(fits).unwrap_or(5.0) * magnitude;
        let marks = (highest / every - 1e-9).ceil().max(1.0);
        Self { end: marks * every, every }
    }

    /// The same for a number of pods: no mark between whole ones.
    pub(super) fn of_pods(highest: f64) -> Self {
        let Self { every, .. } = Self::of_values(highest.max(1.0));
        let every = every.max(1.0).ceil();
        Self { end: (highest.max(1.0) / every).ceil() * every, every }
    }

    /// An axis of `span` seconds, marked at usual times; it ends with the run.
    pub(super) fn of_time(span: f64) -> Self {
        const USUAL: [f64; 16] = [
            1.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 10_800.0, 21_600.0,
            43_200.0,
        ];
        let day = 86_400.0;
        let every = USUAL.into_iter().find(|usual| usual * 6.0 >= span);
        Self { end: span, every: every.unwrap_or_else(|| (span / 6.0 / day).ceil() * day) }
    }

    /// Its marks from 0 on.
    pub(super) fn marks(self) -> impl Iterator<Item = f64> {
        (0_u32..100)
            .map(move |index| f64::from(index) * self.every)
            .take_while(move |mark| *mark <= self.end * 1.000_001)
    }

    /// How many decimals its marks need.
    pub(super) fn decimals(self) -> usize {
        (0..6)
            .find(|decimals| (self.every * 10_f64.powi(*decimals)).fract().min(1.0).abs() < 1e-6)
            .map_or(6, |decimals| usize::try_from(decimals).unwrap_or(0))
    }

    /// Where `value` lies on it, from 0 to 1.
    pub(super) fn place(self, value: f64) -> f64 {
        (value / self.end).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(axis: Axis) -> Vec<f64> {
        axis.marks().collect()
    }

    #[test]
    fn values_have_round_marks_above_the_highest() {
        for (highest, expected) in [
            (0.0, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0][..]),
            (440.0, &[0.0, 100.0, 200.0, 300.0, 400.0, 500.0]),
            (20.0, &[0.0, 5.0, 10.0, 15.0, 20.0]),
            (137.0, &[0.0, 50.0, 100.0, 150.0]),
            (3752.0, &[0.0, 1000.0, 2000.0, 3000.0, 4000.0]),
        ] {
            assert!(
                marks(Axis::of_values(highest)).iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9),
                "{highest}"
            );
            assert_eq!(marks(Axis::of_values(highest)).len(), expected.len(), "{highest}");
        }
        assert_eq!(Axis::of_values(0.019).decimals(), 3);
    }

    #[test]
    fn pods_are_whole_and_times_usual() {
        assert_eq!(marks(Axis::of_pods(3.0)).len(), 4);
        assert!(marks(Axis::of_pods(1.0)).iter().all(|mark| mark.fract() < 1e-9));
        let day = marks(Axis::of_time(86_400.0));
        assert!((day[1] - 21_600.0).abs() < 1e-9 && day.len() == 5, "{day:?}");
        assert_eq!(marks(Axis::of_time(210.0)).len(), 4);
    }
}

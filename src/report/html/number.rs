//! Numbers as a report writes them: the same on every machine, whatever its locale.

/// `text` safe within HTML, in attributes too.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A number with `decimals` and its thousands apart: `12,345.6`.
pub(super) fn fixed(number: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", if number.is_finite() { number } else { 0.0 });
    let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let is_zero = digits.chars().all(|digit| matches!(digit, '0' | '.'));
    let sign = if is_zero { "" } else { sign };
    if fraction.is_empty() { format!("{sign}{grouped}") } else { format!("{sign}{grouped}.{fraction}") }
}

/// Three digits that count: `1,234`, `56.7`, `8.90`, `0.0123`.
pub(super) fn short(number: f64) -> String {
    let size = number.abs();
    let decimals = match size {
        size if !(1e-9..100.0).contains(&size) => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.1 => 3,
        _ => 4,
    };
    fixed(number, decimals)
}

/// A part of one as percents: `61.0 %`; no line breaks before a unit. What is not quite all or nothing does not round to it.
pub(super) fn percent(part: f64) -> String {
    let decimals = if part > 0.9995 && part < 1.0 { 3 } else { 1 };
    let part = if part < 1.0 { part.min(0.99999) } else { part };
    format!("{}\u{a0}%", fixed(part * 100.0, decimals))
}

/// Seconds as `4.2 s`, `3 m 20 s` or `5.2 h`.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 99.95 => format!("{}\u{a0}s", fixed(seconds, 1)),
        seconds if seconds < 5999.5 => {
            let whole = seconds.round();
            let minutes = (whole / 60.0).floor();
            format!("{}\u{a0}m {}\u{a0}s", fixed(minutes, 0), fixed(whole - minutes * 60.0, 0))
        }
        seconds => format!("{}\u{a0}h", fixed(seconds / 3600.0, 1)),
    }
}

/// A moment of a run that lasts `span` seconds: `1:05:00` or, of a short one, `1:05`.
pub(super) fn moment(seconds: f64, span: f64) -> String {
    let whole = seconds.round();
    let sign = if whole < 0.0 { "-" } else { "" };
    let whole = whole.abs();
    let (minutes, rest) = ((whole / 60.0).floor(), whole % 60.0);
    if span < 7200.0 {
        return format!("{sign}{minutes:.0}:{rest:02.0}");
    }
    let hours = (minutes / 60.0).floor();
    format!("{sign}{hours:.0}:{:02.0}", minutes - hours * 60.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_thousands_apart_and_no_negative_zero() {
        let written = [(1_234_567.891, 1), (-1234.0, 0), (999.95, 1), (-0.04, 1), (f64::NAN, 0)];
        assert_eq!(
            written.map(|(number, decimals)| fixed(number, decimals)),
            ["1,234,567.9", "-1,234", "1,000.0", "0.0", "0"]
        );
        assert_eq!(
            [0.0, 0.012_34, 0.5, 8.9, 56.72, 1234.4].map(short),
            ["0", "0.0123", "0.500", "8.90", "56.7", "1,234"]
        );
    }

    #[test]
    fn percents_do_not_round_to_all_or_nothing() {
        assert_eq!(
            [0.61, 1.0, 0.999_98, 0.999_999_9].map(percent),
            ["61.0\u{a0}%", "100.0\u{a0}%", "99.998\u{a0}%", "99.999\u{a0}%"]
        );
    }

    #[test]
    fn times_are_written_by_their_size() {
        assert_eq!([4.2, 200.0, 18_720.0].map(duration), ["4.2\u{a0}s", "3\u{a0}m 20\u{a0}s", "5.2\u{a0}h"]);
        assert_eq!([moment(65.0, 200.0), moment(3900.0, 86_400.0), moment(-5.0, 60.0)], ["1:05", "1:05", "-0:05"]);
    }

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(escaped(r#"<b a="x">&'"#), "&lt;b a=&quot;x&quot;&gt;&amp;&#39;");
    }
}

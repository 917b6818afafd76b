//! When pods may burst: days and hours in a place's own time.

use std::{fmt, str::FromStr, sync::LazyLock};

use jiff::{
    civil::Time,
    tz::{TimeZone, TimeZoneDatabase},
};

use crate::model::Timestamp;

/// The time zones that burstlet brings along: every machine agrees on them, whatever it has installed.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Days of the week, by the names in which people write them.
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// A span of hours on some days of the week, in the local time of an IANA zone.
///
/// Written as `Mon-Fri 08:00-20:00 Asia/Shanghai`: days (`Mon`, `Mon-Fri`, `Sat,Sun`, `Fri-Mon`, or `*` for every
/// day), from and until (`24:00` is the day's end), zone. It begins at `from` and ends before `until`. Where `until`
/// is not after `from` it ends on the next day, and belongs to the day on which it began. Hours that a clock change
/// skips or repeats are taken as the wall clock shows them.
///
/// ```
/// use burstlet_engine::{model::Timestamp, policy::Window};
///
/// let window: Window = "Mon-Fri 08:00-20:00 Asia/Shanghai".parse()?;
/// // 2026-01-05 is a Monday; 01:00 UTC is 09:00 in Shanghai.
/// assert!(window.holds_at(Timestamp::from_millis(1_767_574_800_000)));
/// # Ok::<(), burstlet_engine::policy::WindowError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// By days since Monday.
    days: [bool; 7],
    from: Minute,
    until: Minute,
    zone: TimeZone,
    text: Box<str>,
}

/// Minutes since midnight, up to 1440.
type Minute = u16;

/// A text that is no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Not three words.
    #[error("{0:?} is no time window; write days, hours and a zone, for example Mon-Fri 08:00-20:00 Asia/Shanghai")]
    Malformed(String),
    /// No days of the week.
    #[error("{0:?} names no days of the week; write for example Mon-Fri, Sat,Sun or *")]
    Days(String),
    /// No span of hours.
    #[error("{0:?} is no span of hours; write for example 08:00-20:00, from 00:00 to 24:00")]
    Hours(String),
    /// No IANA zone.
    #[error("{0:?} is no time zone of the IANA database; write for example Asia/Shanghai or UTC")]
    Zone(String),
}

impl Window {
    /// Whether the moment lies in the window.
    pub fn holds_at(&self, now: Timestamp) -> bool {
        let Ok(millis) = i64::try_from(now.as_millis()) else { return false };
        let Ok(moment) = jiff::Timestamp::from_millisecond(millis) else { return false };
        let local = self.zone.to_datetime(moment);
        let today = usize::from(local.weekday().to_monday_zero_offset().unsigned_abs());
        let minute = minute_of(local.time());
        if self.from < self.until {
            return self.days[today] && (self.from..self.until).contains(&minute);
        }
        let yesterday = (today + 6) % 7;
        self.days[today] && minute >= self.from || self.days[yesterday] && minute < self.until
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let words: Vec<_> = text.split_whitespace().collect();
        let [days, hours, zone] = words[..] else { return Err(WindowError::Malformed(quoted(text))) };
        let days = days_of(days).ok_or_else(|| WindowError::Days(quoted(days)))?;
        let (from, until) = hours_of(hours).ok_or_else(|| WindowError::Hours(quoted(hours)))?;
        let zone = ZONES.get(zone).map_err(|_| WindowError::Zone(quoted(zone)))?;
        Ok(Self { days, from, until, zone, text: words.join(" ").into() })
    }
}

fn quoted(text: &str) -> String {
    text.chars().take(60).collect()
}

fn minute_of(time: Time) -> Minute {
    u16::from(time.hour().unsigned_abs()) * 60 + u16::from(time.minute().unsigned_abs())
}

fn days_of(text: &str) -> Option<[bool; 7]> {
    if text == "*" {
        return Some([true; 7]);
    }
    let day = |name: &str| DAYS.iter().position(|known| known.eq_ignore_ascii_case(name));
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        for offset in 0..=(last + 7 - first) % 7 {
            days[(first + offset) % 7] = true;
        }
    }
    Some(days)
}

fn hours_of(text: &str) -> Option<(Minute, Minute)> {
    let (from, until) = text.split_once('-')?;
    let (from, until) = (minutes(from)?, minutes(until)?);
    // A span from a moment to itself says neither nothing nor all of a day.
    (from != until && from < 24 * 60).then_some((from, until))
}

fn minutes(text: &str) -> Option<Minute> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !two_digits(hour) || !two_digits(minute) {
        return None;
    }
    let (hour, minute) = (hour.parse::<Minute>().ok()?, minute.parse::<Minute>().ok()?);
    (minute < 60 && (hour < 24 || hour == 24 && minute == 0)).then_some(hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let moment: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_millis(moment.as_millisecond().unsigned_abs())
    }

    fn holds(window: &str, moment: &str) -> bool {
        window.parse::<Window>().unwrap().holds_at(at(moment))
    }

    #[test]
    fn a_window_begins_at_its_first_minute_and_ends_before_its_last() {
        let window = "Mon-Fri 08:00-20:00 Asia/Shanghai";
        assert!(!holds(window, "2026-01-04T23:59:59Z"), "Monday, 07:59:59");
        assert!(holds(window, "2026-01-05T00:00:00Z"), "Monday, 08:00");
        assert!(holds(window, "2026-01-05T11:59:59Z"), "Monday, 19:59:59");
        assert!(!holds(window, "2026-01-05T12:00:00Z"), "Monday, 20:00");
        assert!(!holds(window, "2026-01-04T04:00:00Z"), "Sunday noon");
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_began() {
        let window = "Fri 22:00-06:00 UTC";
        assert!(holds(window, "2026-01-09T22:00:00Z"), "Friday night");
        assert!(holds(window, "2026-01-10T05:59:00Z"), "Saturday morning");
        assert!(!holds(window, "2026-01-09T05:00:00Z"), "Friday morning");
        assert!(!holds(window, "2026-01-10T22:00:00Z"), "Saturday night");
    }

    #[test]
    fn a_window_follows_the_zones_clock_changes() {
        // Berlin is UTC+1 in winter, and UTC+2 from 2026-03-29 on.
        assert!(holds("* 08:00-09:00 Europe/Berlin", "2026-03-28T07:30:00Z"));
        assert!(holds("* 08:00-09:00 Europe/Berlin", "2026-03-29T06:30:00Z"));
        assert!(!holds("* 08:00-09:00 Europe/Berlin", "2026-03-29T07:30:00Z"));
    }

    #[test]
    fn days_are_ranges_lists_or_all() {
        let weekdays = |text: &str| days_of(text).unwrap().map(u8::from);
        assert_eq!(weekdays("Sat,Sun"), [0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(weekdays("fri-Mon"), [1, 0, 0, 0, 1, 1, 1]);
        assert_eq!(weekdays("*"), [1; 7]);
        assert!(holds("* 00:00-24:00 UTC", "2026-01-04T23:59:00Z"));
    }

    #[test]
    fn what_is_no_window_is_refused_by_its_fault() {
        let fault = |text: &str| text.parse::<Window>().unwrap_err();
        assert!(matches!(fault("Mon 08:00-20:00"), WindowError::Malformed(_)));
        assert!(matches!(fault("Mon-Funday 08:00-20:00 UTC"), WindowError::Days(_)));
        for hours in ["8-20", "08:00", "24:00-08:00", "08:00-24:01", "08:60-09:00", "08:00-08:00", "-1:00-08:00"] {
            assert!(matches!(fault(&format!("* {hours} UTC")), WindowError::Hours(_)), "{hours}");
        }
        assert!(matches!(fault("* 08:00-20:00 Asia/Shanghigh"), WindowError::Zone(_)));
    }
}

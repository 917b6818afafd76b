//! Moments as recordings write them: calendar times, with or without a zone, and numbers.

use std::{fmt, str::FromStr};

use crate::model::Timestamp;

/// How far a clock is ahead of UTC, in whole seconds; such as `-04:00`, `+0530`, `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Zone(i32);

/// Why a text is no zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no offset from UTC; write it as Z, +08:00 or -0400")]
pub struct ZoneError(String);

impl Zone {
    /// Universal time.
    pub const UTC: Self = Self(0);

    /// `Z`, `±hh:mm`, `±hhmm` or `±hh`.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (sign, digits) = match text {
            b"Z" | b"z" | b"UTC" => return Some(Self::UTC),
            [b'+', digits @ ..] => (1, digits),
            [b'-', digits @ ..] => (-1, digits),
            _ => return None,
        };
        let (hours, minutes) = match *digits {
            [a, b] => (pair(a, b)?, 0),
            [a, b, c, d] | [a, b, b':', c, d] => (pair(a, b)?, pair(c, d)?),
            _ => return None,
        };
        let seconds = i32::from(hours) * 3600 + i32::from(minutes) * 60;
        (hours <= 18 && minutes < 60).then_some(Self(sign * seconds))
    }
}

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(text: &str) -> Result<Self, ZoneError> {
        Self::parse(text.as_bytes()).ok_or_else(|| ZoneError(text.to_owned()))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        let minutes = self.0.abs() / 60;
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

/// A calendar time as written: its zone may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    /// Milliseconds since 1970 by the writer's clock.
    local: i64,
    /// The zone that the text states.
    pub(super) zone: Option<Zone>,
}

impl Written {
    /// The moment, where a text without a zone means `assumed`. None before 1970.
    pub(super) fn moment(self, assumed: Zone) -> Option<Timestamp> {
        let ahead = i64::from(self.zone.unwrap_or(assumed).0) * 1000;
        u64::try_from(self.local - ahead).ok().map(Timestamp::from_millis)
    }

    /// `1995-07-12T00:00:01.5-04:00`: `T` or a space between date and time, seconds, fraction and zone optional (all
    /// that finer than a millisecond is dropped); or a date alone.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (date, rest) = text.split_at_checked(10)?;
        let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = date else { return None };
        let year = u32::from(pair(y1, y2)?) * 100 + u32::from(pair(y3, y4)?);
        let days = days(year, pair(m1, m2)?, pair(d1, d2)?)?;
        let Some((b'T' | b't' | b' ', clock)) = rest.split_first() else {
            return rest.is_empty().then_some(Self { local: days * 86_400_000, zone: None });
        };
        let (&[h1, h2, b':', i1, i2], rest) = clock.split_at_checked(5)? else { return None };
        let (seconds, rest) = match rest {
            [b':', s1, s2, rest @ ..] => (pair(*s1, *s2)?, rest),
            rest => (0, rest),
        };
        let (millis, rest) = fraction(rest)?;
        let zone = match rest.trim_ascii_start() {
            [] => None,
            zone => Some(Zone::parse(zone)?),
        };
        Some(Self { local: days * 86_400_000 + of_day(pair(h1, h2)?, pair(i1, i2)?, seconds)? + millis, zone })
    }

    /// `01/Aug/1995:00:00:01 -0400`, as access logs write it.
    pub(super) fn parse_log(text: &[u8]) -> Option<Self> {
        let &[
            d1,
            d2,
            b'/',
            n1,
            n2,
            n3,
            b'/',
            y1,
            y2,
            y3,
            y4,
            b':',
            h1,
            h2,
            b':',
            i1,
            i2,
            b':',
            s1,
            s2,
            b' ',
            ref zone @ ..,
        ] = text
        else {
            return None;
        };
        let month = (1..).zip(MONTHS).find(|(_, name)| **name == [n1, n2, n3])?.0;
        let year = u32::from(pair(y1, y2)?) * 100 + u32::from(pair(y3, y4)?);
        let days = days(year, month, pair(d1, d2)?)?;
        let local = days * 86_400_000 + of_day(pair(h1, h2)?, pair(i1, i2)?, pair(s1, s2)?)?;
        Some(Self { local, zone: Some(Zone::parse(zone)?) })
    }
}

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

fn pair(tens: u8, ones: u8) -> Option<u8> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| (tens - b'0') * 10 + (ones - b'0'))
}

/// Milliseconds of `.5` or `,123456`, and what follows.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.' | b',', digits @ ..] = text else { return Some((0, text)) };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    let digit = |index: usize| digits[..length].get(index).map_or(0, |byte| i64::from(byte - b'0'));
    Some((digit(0) * 100 + digit(1) * 10 + digit(2), &digits[length..]))
}

/// Milliseconds into the day; a leap second counts as the next one.
fn of_day(hours: u8, minutes: u8, seconds: u8) -> Option<i64> {
    let is_valid = hours < 24 && minutes < 60 && seconds <= 60;
    is_valid.then(|| (i64::from(hours) * 3600 + i64::from(minutes) * 60 + i64::from(seconds)) * 1000)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, in the years 1970 to 2105.
fn days(year: u32, month: u8, day: u8) -> Option<i64> {
    let is_leap = |year: u32| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let index = usize::from(month).checked_sub(1)?;
    let length = *lengths.get(index)?;
    if !(1970..=2105).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    let leaps = |year: u32| i64::from(year / 4) - i64::from(year / 100) + i64::from(year / 400);
    let years = i64::from(year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    let months = lengths[..index].iter().map(|length| i64::from(*length)).sum::<i64>();
    Some(years + months + i64::from(day) - 1)
}

/// `moment` in universal time: `1995-07-12T04:00:01Z`, with milliseconds where there are any.
pub fn in_utc(moment: Timestamp) -> String {
    let millis = moment.as_millis();
    let (day, of_day) = (millis / 86_400_000, millis % 86_400_000);
    // Eras of 400 years that begin on 1 March, so that the leap day comes last.
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (seconds, rest) = (of_day / 1000, of_day % 1000);
    let fraction = if rest == 0 { String::new() } else { format!(".{rest:03}") };
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// The moment that a text names: `1995-07-13`, `1995-07-13 07:00`, `1995-07-13T07:00:00-04:00`; without a zone in that
/// of `assumed`. None where it is no such text, or lies before 1970 or after 2105.
pub fn moment(text: &str, assumed: Zone) -> Option<Timestamp> {
    Written::parse(text.trim().as_bytes())?.moment(assumed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> Option<String> {
        Written::parse(text.as_bytes())?.moment(Zone::UTC).map(in_utc)
    }

    #[test]
    fn calendar_times_are_read_in_their_zone() {
        for (text, expected) in [
            ("1995-07-12T00:00:01-04:00", "1995-07-12T04:00:01Z"),
            ("1998-04-30 21:30:00", "1998-04-30T21:30:00Z"),
            ("2023-11-16 18:15:46.6805900", "2023-11-16T18:15:46.680Z"),
            ("2024-02-29T23:59:60Z", "2024-03-01T00:00:00Z"),
            ("2026-01-01 07:00+0800", "2025-12-31T23:00:00Z"),
            ("2000-12-31", "2000-12-31T00:00:00Z"),
            ("2105-12-31 23:59 +00", "2105-12-31T23:59:00Z"),
        ] {
            assert_eq!(utc(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_not_read() {
        for text in [
            "",
            "1995",
            "1995-13-01",
            "2023-02-29",
            "1900-01-01",
            "2106-01-01",
            "1995-07-12T24:00:00",
            "1995-07-12 00:61",
            "1995-07-12T00:00:01.",
            "1995-07-12T00:00:01 EST",
            "1995-07-12x",
            "1970-01-01T00:00+01",
            "1995/07/12",
        ] {
            assert_eq!(utc(text), None, "{text}");
        }
    }

    #[test]
    fn the_times_of_access_logs_are_read() {
        let read = |text: &str| Written::parse_log(text.as_bytes())?.moment(Zone::UTC).map(in_utc);
        assert_eq!(read("01/Aug/1995:00:00:01 -0400").unwrap(), "1995-08-01T04:00:01Z");
        for text in ["01/Aug/1995:00:00:01", "01/aug/1995:00:00:01 -0400", "32/Aug/1995:00:00:01 -0400", "-"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_comes_back_as_it_was_written() {
        for day in 0..49_000 {
            let text = in_utc(Timestamp::from_millis(day * 86_400_000 + 3_723_004));
            assert!(text.ends_with("T01:02:03.004Z"), "{text}");
            assert_eq!(moment(&text, Zone::UTC).unwrap().as_millis(), day * 86_400_000 + 3_723_004, "{text}");
        }
    }

    #[test]
    fn a_zone_is_shown_as_it_can_be_written() {
        for (text, shown) in [("Z", "+00:00"), ("-0400", "-04:00"), ("+05:30", "+05:30"), ("+08", "+08:00")] {
            assert_eq!(text.parse::<Zone>().unwrap().to_string(), shown);
        }
        assert_eq!(
            "Asia/Shanghai".parse::<Zone>().unwrap_err().to_string(),
            r#""Asia/Shanghai" is no offset from UTC; write it as Z, +08:00 or -0400"#
        );
    }
}

//! Access logs: the common log format, the combined one, and others that begin like them.
//!
//! ```text
//! 192.0.2.1 - - [01/Aug/1995:00:00:01 -0400] "GET / HTTP/1.0" 200 1839
//! ```
//!
//! Each line is a request at the time in brackets. A log is written when a request ends, so neighbours may stand in
//! the wrong order; counts do not depend on it.

use memchr::{memchr, memchr_iter};

use super::{Events, Fault, Faults, ImportError, Place, times::Times};
use crate::traffic::{clock::Written, csv::shortened};

/// Length of `01/Aug/1995:00:00:01 -0400`.
const TIME: usize = 26;

/// Reads lines of an access log.
#[derive(Debug)]
pub(super) struct AccessLog {
    times: Times,
    events: Events,
    /// The time read last, as it was written: most lines repeat it.
    known: Option<([u8; TIME], u64)>,
    pub(super) rows: u64,
}

impl AccessLog {
    pub(super) fn new(times: Times, events: Events) -> Self {
        Self { times, events, known: None, rows: 0 }
    }

    /// Whether `line` is one of an access log.
    pub(super) fn is_line(line: &[u8]) -> bool {
        time_of(line).is_some_and(|time| Written::parse_log(time).is_some())
    }

    pub(super) fn line(&mut self, number: u64, line: &[u8], faults: &mut Faults) -> Result<(), ImportError> {
        if line.is_empty() {
            return Ok(());
        }
        let place = Place::Line(number);
        let Some(time) = time_of(line) else {
            return faults.meet(place, Fault::NoLogLine { found: shortened(&String::from_utf8_lossy(line)) });
        };
        let at = match &self.known {
            Some((known, at)) if known == time => *at,
            _ => {
                let Some(written) = Written::parse_log(time) else {
                    let found = shortened(&String::from_utf8_lossy(time));
                    return faults.meet(place, Fault::NoTime { column: "the time".to_owned(), found });
                };
                let Some(at) = self.times.of_calendar(written, place, faults)? else {
                    let found = shortened(&String::from_utf8_lossy(time));
                    return faults.meet(place, Fault::NoTime { column: "the time".to_owned(), found });
                };
                self.known = Some((*time, at));
                at
            }
        };
        self.rows += 1;
        self.events.count(at, number)
    }

    pub(super) fn finish(self) -> (Events, Times) {
        (self.events, self.times)
    }
}

/// The time of a line that has all that a request needs: the time in brackets, the quoted request and a status.
fn time_of(line: &[u8]) -> Option<&[u8; TIME]> {
    // A user's name may hold a bracket; a time is followed by one and the request.
    memchr_iter(b'[', line).find_map(|open| {
        let (time, rest) = line[open + 1..].split_first_chunk::<TIME>()?;
        let request = rest.strip_prefix(b"] \"")?;
        has_status(request).then_some(time)
    })
}

/// Whether a quote, a status and nothing or a space follow somewhere; a request may hold quotes itself.
fn has_status(mut request: &[u8]) -> bool {
    while let Some(quote) = memchr(b'"', request) {
        request = &request[quote + 1..];
        if let [b' ', a, b, c, rest @ ..] = request
            && [a, b, c].iter().all(|digit| digit.is_ascii_digit())
            && matches!(rest, [] | [b' ', ..])
        {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Zone;

    fn read(lines: &[&str]) -> Result<u64, ImportError> {
        let mut log = AccessLog::new(Times::new(Zone::UTC), Events::new(None));
        for (number, line) in (1..).zip(lines) {
            log.line(number, line.as_bytes(), &mut Faults::default())?;
        }
        Ok(log.rows)
    }

    #[test]
    fn common_and_combined_lines_are_requests() {
        let lines = [
            r#"192.0.2.1 - - [01/Aug/1995:00:00:01 -0400] "GET / HTTP/1.0" 200 1839"#,
            r#"host - - [01/Aug/1995:00:00:01 -0400] "GET /a" 404 -"#,
            r#"::1 - "o[dd" user [x] [01/Aug/1995:00:00:02 -0400] "GET /\"q\" HTTP/1.1" 200 5 "http://a/" "curl/8.0" 0.01"#,
            r#"h - - [01/Aug/1995:00:00:02 -0400] "\x16\x03" 400"#,
        ];
        assert_eq!(read(&lines).unwrap(), 4);
    }

    #[test]
    fn other_lines_are_named() {
        for line in [
            "192.0.2.1 - - [01/Aug/1995:00:00:01 -0400] \"GET / HT",
            "192.0.2.1 - - [01/Aug/1995:00:00:01 -0400] \"GET /\" 20x 5",
            "192.0.2.1 - - 01/Aug/1995:00:00:01 -0400 \"GET /\" 200 5",
            "[",
        ] {
            let refused = read(&[line]).unwrap_err().to_string();
            assert!(refused.starts_with("line 1: no line of an access log: "), "{refused}");
        }
        let refused = read(&[r#"h - - [31/Feb/1995:00:00:01 -0400] "GET /" 200 5"#]).unwrap_err().to_string();
        assert!(
            refused.starts_with(r#"line 1: the time is "31/Feb/1995:00:00:01 -0400", which is no time"#),
            "{refused}"
        );
    }
}

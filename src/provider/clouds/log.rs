//! Logs of clouds that tell only a log's end: some last lines, asked for again and again where somebody follows.
//!
//! What is new in a window is what comes after its overlap with what was seen. Lines carry their times where the cloud
//! has them, so that equal lines are told apart; where it has none, and more equal lines come between two looks than a
//! window holds, some are missed.

use std::{io, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use k8s_openapi::jiff::Timestamp;
use tokio::time::{Instant, sleep};

use crate::provider::{LogOptions, LogStream, ProviderError};

/// How often a log that is followed is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How much further back than the last look a window reaches: clocks differ, and calls take time.
const SLACK: Duration = Duration::from_secs(5);
/// Looks in a row that may fail.
const MOST_FAILURES: u32 = 10;

/// What a cloud can tell of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reads {
    /// Most lines of one answer.
    pub most: usize,
    /// Each line's time.
    pub has_times: bool,
    /// The log of the run before the last restart.
    pub has_previous: bool,
}

/// What is asked for at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Last lines.
    pub lines: usize,
    /// Only lines that are no older; a cloud without times leaves it out.
    pub since: Option<Duration>,
    /// Of the run before the last restart.
    pub previous: bool,
}

/// One container's log.
#[async_trait]
pub(super) trait Source: Send + Sync + 'static {
    /// What can be told.
    fn reads(&self) -> Reads;

    /// The log's end, each line after its time and a space where there are times.
    async fn window(&self, window: Window) -> Result<String, ProviderError>;

    /// Whether nothing will be written any more.
    fn is_over(&self) -> bool;
}

/// The log, as `options` want it.
pub(super) async fn stream(source: impl Source, options: &LogOptions) -> Result<LogStream, ProviderError> {
    let reads = source.reads();
    if options.previous && !reads.has_previous {
        return Err(ProviderError::Unsupported(
            "the cloud keeps no log of the run before: leave --previous out".into(),
        ));
    }
    if options.timestamps && !reads.has_times {
        return Err(ProviderError::Unsupported("the cloud tells no times of lines: leave --timestamps out".into()));
    }
    if options.since.is_some() && !reads.has_times {
        return Err(ProviderError::Unsupported("the cloud tells no times of lines: write --tail, not --since".into()));
    }
    let wanted = options.tail_lines.and_then(|tail| usize::try_from(tail).ok()).unwrap_or(usize::MAX);
    let lines = if options.since.is_some() { reads.most } else { wanted.clamp(1, reads.most) };
    let text = source.window(Window { lines, since: None, previous: options.previous }).await?;
    let seen = text.lines().map(str::to_owned).collect::<Vec<_>>();
    let mut shown = seen.iter().filter(|line| is_since(line, options.since)).collect::<Vec<_>>();
    shown.drain(..shown.len().saturating_sub(wanted));
    let mut left = options.limit_bytes;
    let first = written(shown, reads.has_times && !options.timestamps, &mut left);
    let first = stream::iter((!first.is_empty()).then_some(Ok(first)));
    if !options.follow || left == Some(0) {
        return Ok(first.boxed());
    }
    let follow = Follow { source, seen, options: *options, left, looked: Instant::now(), failures: 0, is_done: false };
    let more = stream::unfold(follow, |mut follow| async move {
        let piece = follow.next().await?;
        Some((piece, follow))
    });
    Ok(first.chain(more).boxed())
}

/// A log that is followed.
struct Follow<S> {
    source: S,
    /// The last lines, at most a window of them.
    seen: Vec<String>,
    options: LogOptions,
    /// Bytes that may still be told.
    left: Option<u64>,
    looked: Instant,
    failures: u32,
    is_done: bool,
}

impl<S: Source> Follow<S> {
    /// What comes next; `None` when nothing will.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let Reads { most, has_times, .. } = self.source.reads();
        while !self.is_done {
            sleep(EVERY).await;
            // Asked before the look, so that the look shows what was written last.
            let is_over = self.source.is_over();
            let begun = Instant::now();
            let since = has_times.then(|| self.looked.elapsed() + SLACK);
            match self.source.window(Window { lines: most, since, previous: false }).await {
                Ok(text) => {
                    (self.looked, self.failures, self.is_done) = (begun, 0, is_over);
                    let lines = text.lines().map(str::to_owned).collect::<Vec<_>>();
                    let fresh = lines[overlap(&self.seen, &lines)..].to_vec();
                    let piece = written(&fresh, has_times && !self.options.timestamps, &mut self.left);
                    self.seen.extend(fresh);
                    self.seen.drain(..self.seen.len().saturating_sub(most));
                    self.is_done |= self.left == Some(0);
                    if !piece.is_empty() {
                        return Some(Ok(piece));
                    }
                }
                Err(ProviderError::NotFound(_) | ProviderError::Invalid(_)) if is_over => self.is_done = true,
                Err(error) => {
                    self.failures += 1;
                    if self.failures >= MOST_FAILURES || !error.is_retryable() {
                        self.is_done = true;
                        return Some(Err(io::Error::other(error.to_string())));
                    }
                }
            }
        }
        None
    }
}

/// How many of `new`'s first lines were seen: the longest run at its beginning that ends as `seen` does.
fn overlap(seen: &[String], new: &[String]) -> usize {
    let length = |end: usize| {
        let both = end.min(seen.len());
        (seen[seen.len() - both..] == new[end - both..end]).then_some(both)
    };
    let ends = (0..=new.len()).filter_map(|end| Some((length(end)?, end)));
    // Of equally long ones the first: rather a line twice than a line lost.
    ends.max_by_key(|(length, end)| (*length, usize::MAX - end)).map_or(0, |(_, end)| end)
}

fn time_of(line: &str) -> Option<Timestamp> {
    line.split_once(' ').map_or(line, |(time, _)| time).parse().ok()
}

/// Whether a line was written at `since` or later; one without a time counts.
fn is_since(line: &str, since: Option<Timestamp>) -> bool {
    since.is_none_or(|since| time_of(line).is_none_or(|time| time >= since))
}

/// The lines as bytes, without their times where nobody wants them, no more than what is `left`.
fn written<'a>(lines: impl IntoIterator<Item = &'a String>, drops_times: bool, left: &mut Option<u64>) -> Bytes {
    let mut text = String::new();
    for line in lines {
        let bare = line.split_once(' ').filter(|_| drops_times && time_of(line).is_some()).map(|(_, bare)| bare);
        text.push_str(bare.unwrap_or(line));
        text.push('\n');
    }
    let mut bytes = Bytes::from(text);
    if let Some(left) = left {
        bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= bytes.len() as u64;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    };

    use super::*;

    /// A log with its time, and a window of five lines.
    #[derive(Clone, Default)]
    struct Written {
        lines: Arc<Mutex<Vec<(Timestamp, String)>>>,
        is_over: Arc<AtomicBool>,
        has_no_times: bool,
    }

    impl Written {
        fn write(&self, text: &str) {
            self.lines.lock().unwrap().push((Timestamp::now(), text.to_owned()));
        }
    }

    #[async_trait]
    impl Source for Written {
        fn reads(&self) -> Reads {
            Reads { most: 5, has_times: !self.has_no_times, has_previous: false }
        }

        async fn window(&self, window: Window) -> Result<String, ProviderError> {
            let lines = self.lines.lock().unwrap();
            let shown = lines[lines.len().saturating_sub(window.lines)..].iter();
            let line = |(time, text): &(Timestamp, String)| {
                if self.has_no_times { format!("{text}\n") } else { format!("{time} {text}\n") }
            };
            Ok(shown.map(line).collect())
        }

        fn is_over(&self) -> bool {
            self.is_over.load(Ordering::Relaxed)
        }
    }

    async fn read(source: &Written, options: LogOptions) -> String {
        let pieces = stream(source.clone(), &options).await.unwrap().collect::<Vec<_>>().await;
        pieces.into_iter().map(|piece| String::from_utf8(piece.unwrap().to_vec()).unwrap()).collect()
    }

    #[tokio::test]
    async fn tail_since_times_and_limit_are_kept() {
        let source = Written::default();
        for line in ["a", "b"] {
            source.write(line);
        }
        let since = Timestamp::now();
        for line in ["c", "d"] {
            source.write(line);
        }
        let options = LogOptions::default();
        assert_eq!(read(&source, options).await, "a\nb\nc\nd\n");
        assert_eq!(read(&source, LogOptions { tail_lines: Some(1), ..options }).await, "d\n");
        assert_eq!(read(&source, LogOptions { tail_lines: Some(0), ..options }).await, "");
        assert_eq!(read(&source, LogOptions { since: Some(since), ..options }).await, "c\nd\n");
        assert_eq!(read(&source, LogOptions { limit_bytes: Some(3), ..options }).await, "a\nb");
        let stamped = read(&source, LogOptions { timestamps: true, tail_lines: Some(1), ..options }).await;
        assert!(stamped.split_once(' ').unwrap().0.parse::<Timestamp>().is_ok(), "{stamped}");
    }

    #[tokio::test]
    async fn what_a_cloud_cannot_tell_is_refused_by_name() {
        let source = Written { has_no_times: true, ..Written::default() };
        let options = LogOptions::default();
        let asked = [
            ("--timestamps", LogOptions { timestamps: true, ..options }),
            ("--since", LogOptions { since: Some(Timestamp::now()), ..options }),
            ("--previous", LogOptions { previous: true, ..options }),
        ];
        for (flag, options) in asked {
            let refused = stream(source.clone(), &options).await.err().unwrap().to_string();
            assert!(refused.contains(flag), "{refused}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_is_followed_goes_on_to_its_end_without_gaps_or_repeats() {
        for has_no_times in [false, true] {
            let source = Written { has_no_times, ..Written::default() };
            source.write("0");
            let following = tokio::spawn({
                let source = source.clone();
                async move { read(&source, LogOptions { follow: true, tail_lines: Some(1), ..LogOptions::default() }).await }
            });
            for line in 1..12 {
                sleep(EVERY / 2).await;
                // Equal lines among others.
                source.write(if line % 3 == 0 { "tick" } else { "tock" });
            }
            source.is_over.store(true, Ordering::Relaxed);
            source.write("end");
            let told = following.await.unwrap();
            let all: Vec<_> = source.lines.lock().unwrap().iter().map(|(_, line)| line.clone()).collect();
            assert_eq!(told.lines().collect::<Vec<_>>(), all, "without times: {has_no_times}");
        }
    }

    #[test]
    fn the_overlap_is_what_was_seen() {
        let lines = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        let cases = [
            ("", "abc", 0),
            ("abc", "abc", 3),
            ("abc", "bcd", 2),
            ("c", "abcd", 3),
            ("abc", "xyz", 0),
            ("aa", "aaaa", 2),
        ];
        for (seen, new, wanted) in cases {
            assert_eq!(overlap(&lines(seen), &lines(new)), wanted, "{seen} {new}");
        }
    }
}

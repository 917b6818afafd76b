//! A container's log: lines with their moments in a file, cut when it grows too long, one file a run.

use std::{
    collections::VecDeque,
    io::{self, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use k8s_openapi::jiff::Timestamp;
use tokio::{
    fs::File,
    io::{AsyncBufReadExt, AsyncSeekExt, AsyncWriteExt, BufReader},
    sync::{Mutex, mpsc, watch},
};

use crate::provider::{LogOptions, LogStream};

/// Longest line that is kept in one piece; longer ones are cut.
const LONGEST_LINE: usize = 16 * 1024;

/// Bytes handed to a reader at a time.
const PIECE: usize = 32 * 1024;

/// Pieces that wait for a reader.
const QUEUE: usize = 8;

/// How far a log has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Progress {
    /// Bytes written to the file of now.
    written: u64,
    /// How often the file was put aside.
    rotations: u64,
    has_ended: bool,
}

/// The log of one run. Clones are the same log.
#[derive(Debug, Clone)]
pub(super) struct Log {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    limit: u64,
    file: Mutex<Option<File>>,
    progress: watch::Sender<Progress>,
}

impl Log {
    /// An empty log at `path`, which is put aside as `path.1` when it has `limit` bytes.
    ///
    /// Its file is there at once: who follows has it open by the first line, even where the pod is removed right after.
    pub(super) async fn create(path: PathBuf, limit: u64) -> Self {
        // Where it cannot be, the first write tries again and tells why.
        let file = Mutex::new(File::create(&path).await.ok());
        let progress = watch::Sender::new(Progress::default());
        Self { inner: Arc::new(Inner { path, limit, file, progress }) }
    }

    /// Takes what a stream of the container wrote; the lines of one stream must come through one [`Lines`].
    pub(super) async fn write(&self, lines: &mut Lines, data: &[u8], now: Timestamp) -> io::Result<()> {
        self.append(&lines.take(data, now)).await
    }

    /// Takes the end of a stream.
    pub(super) async fn finish(&self, lines: &mut Lines, now: Timestamp) -> io::Result<()> {
        self.append(&lines.finish(now)).await
    }

    /// Nothing more will come.
    pub(super) fn end(&self) {
        self.inner.progress.send_modify(|progress| progress.has_ended = true);
    }

    async fn append(&self, text: &[u8]) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let Inner { path, limit, file, progress } = &*self.inner;
        let mut file = file.lock().await;
        let written = progress.borrow().written;
        if written > 0 && written + text.len() as u64 > *limit {
            *file = None;
            tokio::fs::rename(path, aside(path)).await?;
            progress.send_modify(|progress| (progress.written, progress.rotations) = (0, progress.rotations + 1));
        }
        if file.is_none() {
            *file = Some(File::create(path).await?);
        }
        if let Some(file) = &mut *file {
            file.write_all(text).await?;
            file.flush().await?;
        }
        progress.send_modify(|progress| progress.written += text.len() as u64);
        Ok(())
    }

    /// What `options` asks of the log.
    pub(super) fn read(&self, options: LogOptions) -> LogStream {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let log = self.clone();
        tokio::spawn(async move {
            let mut reader = Reader { options, left: options.limit_bytes, output: BytesMut::new(), sender };
            if let Err(error) = log.read_into(&mut reader).await {
                let _ = reader.sender.send(Err(error)).await;
            }
        });
        futures::stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) })
            .boxed()
    }

    async fn read_into(&self, reader: &mut Reader) -> io::Result<()> {
        let mut progress = self.inner.progress.subscribe();
        let mut at = self.skip_to_tail(reader.options.tail_lines).await?;
        loop {
            let seen = *progress.borrow_and_update();
            if let Some(file) = at.file.as_mut() {
                if !reader.copy(file).await? {
                    return Ok(());
                }
            } else {
                at = self.newest().await?;
                if at.file.is_some() {
                    continue;
                }
            }
            let is_behind = at.file.is_none() && seen.written > 0 || at.rotations < seen.rotations;
            if is_behind {
                // What is in the file that was put aside has been read.
                at = self.newest().await?;
                if at.file.is_some() {
                    continue;
                }
                // The log of an old run, removed meanwhile.
            }
            if !reader.flush().await || !reader.options.follow || seen.has_ended {
                return Ok(());
            }
            tokio::select! {
                changed = progress.changed() => if changed.is_err() { return Ok(()) },
                () = reader.sender.closed() => return Ok(()),
            }
        }
    }

    /// Opens the file of now, at its beginning. One that was put aside meanwhile is not taken for it.
    async fn newest(&self) -> io::Result<At> {
        loop {
            let rotations = self.inner.progress.borrow().rotations;
            let at = At::open(&self.inner.path, rotations).await?;
            if rotations == self.inner.progress.borrow().rotations {
                return Ok(at);
            }
        }
    }

    /// Opens the log where its last `lines` lines begin.
    async fn skip_to_tail(&self, lines: Option<u64>) -> io::Result<At> {
        let rotations = self.inner.progress.borrow().rotations;
        let path = &self.inner.path;
        let mut old = At::open(&aside(path), rotations.saturating_sub(1)).await?;
        if rotations == 0 {
            old.file = None;
        }
        let mut new = At::open(path, rotations).await?;
        let Some(lines) = lines else { return Ok(if old.file.is_some() { old } else { new }) };
        let starts = new.starts(lines).await?;
        if (starts.len() as u64) < lines && old.file.is_some() {
            let more = old.starts(lines - starts.len() as u64).await?;
            old.seek(more.front().copied()).await?;
            return Ok(old);
        }
        new.seek(starts.front().copied()).await?;
        Ok(new)
    }
}

fn aside(path: &Path) -> PathBuf {
    path.with_added_extension("1")
}

/// A file of the log, somewhere in it.
struct At {
    file: Option<BufReader<File>>,
    rotations: u64,
}

impl At {
    async fn open(path: &Path, rotations: u64) -> io::Result<Self> {
        match File::open(path).await {
            Ok(file) => Ok(Self { file: Some(BufReader::new(file)), rotations }),
            // Nothing has been written yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self { file: None, rotations }),
            Err(error) => Err(error),
        }
    }

    /// Where its last lines begin, at most `most` of them.
    async fn starts(&mut self, most: u64) -> io::Result<VecDeque<u64>> {
        let mut starts = VecDeque::new();
        let Some(file) = self.file.as_mut() else { return Ok(starts) };
        let (mut offset, mut line, mut begins) = (0, Vec::new(), true);
        loop {
            line.clear();
            let length = file.read_until(b'\n', &mut line).await?;
            if length == 0 {
                return Ok(starts);
            }
            if begins {
                starts.push_back(offset);
                if starts.len() as u64 > most {
                    starts.pop_front();
                }
            }
            begins = Line::parse(&line).is_none_or(|line| line.is_whole);
            offset += length as u64;
        }
    }

    /// Goes to `offset`, or to the end.
    async fn seek(&mut self, offset: Option<u64>) -> io::Result<()> {
        if let Some(file) = self.file.as_mut() {
            file.seek(offset.map_or(SeekFrom::End(0), SeekFrom::Start)).await?;
        }
        Ok(())
    }
}

struct Reader {
    options: LogOptions,
    left: Option<u64>,
    output: BytesMut,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

impl Reader {
    /// Copies lines up to the end of what is there; answers whether more is wanted.
    async fn copy(&mut self, file: &mut BufReader<File>) -> io::Result<bool> {
        let mut line = Vec::new();
        loop {
            line.clear();
            if file.read_until(b'\n', &mut line).await? == 0 {
                return Ok(true);
            }
            if !self.take(&line) {
                self.flush().await;
                return Ok(false);
            }
            if self.output.len() >= PIECE && !self.flush().await {
                return Ok(false);
            }
        }
    }

    /// Takes a line of the file; answers whether more fit.
    fn take(&mut self, line: &[u8]) -> bool {
        let Some(line) = Line::parse(line) else { return true };
        if self.options.since.is_some_and(|since| line.at.parse::<Timestamp>().is_ok_and(|at| at < since)) {
            return true;
        }
        let begun = self.output.len();
        if self.options.timestamps {
            self.output.extend_from_slice(line.at.as_bytes());
            self.output.extend_from_slice(b" ");
        }
        self.output.extend_from_slice(line.text);
        if line.is_whole {
            self.output.extend_from_slice(b"\n");
        }
        let Some(left) = &mut self.left else { return true };
        let added = (self.output.len() - begun) as u64;
        if added >= *left {
            self.output.truncate(begun + usize::try_from(*left).unwrap_or(usize::MAX));
            return false;
        }
        *left -= added;
        true
    }

    /// Hands on what has come together; answers whether someone takes it.
    async fn flush(&mut self) -> bool {
        self.output.is_empty() || self.sender.send(Ok(self.output.split().freeze())).await.is_ok()
    }
}

/// A line of the file: `2026-01-31T12:00:00.000000000Z stdout F text`, as container runtimes write it.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    at: &'a str,
    text: &'a [u8],
    /// The container ended the line here; else it goes on in the next one.
    is_whole: bool,
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut parts = line.strip_suffix(b"\n").unwrap_or(line).splitn(4, |byte| *byte == b' ');
        let at = std::str::from_utf8(parts.next()?).ok()?;
        let (_stream, tag) = (parts.next()?, parts.next()?);
        Some(Self { at, text: parts.next()?, is_whole: tag == b"F" })
    }
}

/// Makes lines of the pieces that a stream comes in.
#[derive(Debug)]
pub(super) struct Lines {
    name: &'static str,
    begun: Vec<u8>,
}

impl Lines {
    /// Of the stream `stdout` or `stderr`.
    pub(super) fn of(name: &'static str) -> Self {
        Self { name, begun: Vec::new() }
    }

    fn take(&mut self, mut data: &[u8], now: Timestamp) -> Vec<u8> {
        let mut text = Vec::new();
        while let Some(end) = data.iter().position(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(&data[..end]);
            self.put(now, "F", &mut text);
            data = &data[end + 1..];
        }
        self.begun.extend_from_slice(data);
        if self.begun.len() >= LONGEST_LINE {
            self.put(now, "P", &mut text);
        }
        text
    }

    fn finish(&mut self, now: Timestamp) -> Vec<u8> {
        let mut text = Vec::new();
        if !self.begun.is_empty() {
            self.put(now, "P", &mut text);
        }
        text
    }

    fn put(&mut self, now: Timestamp, tag: &str, text: &mut Vec<u8>) {
        text.extend_from_slice(format!("{now:.9} {} {tag} ", self.name).as_bytes());
        text.append(&mut self.begun);
        text.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    struct Fixture {
        log: Log,
        lines: Lines,
        folder: TempDir,
    }

    impl Fixture {
        async fn new(limit: u64) -> Self {
            let folder = tempfile::tempdir().unwrap();
            Self { log: Log::create(folder.path().join("0.log"), limit).await, lines: Lines::of("stdout"), folder }
        }

        /// Writes at the `second` of a day.
        async fn write(&mut self, second: i64, text: &str) {
            let now = Timestamp::from_second(second).unwrap();
            self.log.write(&mut self.lines, text.as_bytes(), now).await.unwrap();
        }

        async fn read(&self, options: LogOptions) -> String {
            let pieces: Vec<_> = self.log.read(options).collect().await;
            let pieces = pieces.into_iter().map(Result::unwrap).collect::<Vec<_>>().concat();
            String::from_utf8(pieces).unwrap()
        }
    }

    #[tokio::test]
    async fn every_way_to_ask_for_a_part_gives_that_part() {
        let mut fixture = Fixture::new(1 << 20).await;
        for second in 0..5 {
            fixture.write(second, &format!("line {second}\n")).await;
        }
        let all = LogOptions::default();
        assert_eq!(fixture.read(all).await, "line 0\nline 1\nline 2\nline 3\nline 4\n");
        assert_eq!(fixture.read(LogOptions { tail_lines: Some(2), ..all }).await, "line 3\nline 4\n");
        assert_eq!(fixture.read(LogOptions { tail_lines: Some(0), ..all }).await, "");
        assert_eq!(fixture.read(LogOptions { tail_lines: Some(9), limit_bytes: Some(9), ..all }).await, "line 0\nli");
        let since = Some(Timestamp::from_second(4).unwrap());
        let stamped = fixture.read(LogOptions { since, timestamps: true, ..all }).await;
        assert_eq!(stamped, "1970-01-01T00:00:04.000000000Z line 4\n");
    }

    #[tokio::test]
    async fn a_log_that_nobody_wrote_to_is_empty() {
        assert_eq!(Fixture::new(100).await.read(LogOptions::default()).await, "");
    }

    #[tokio::test]
    async fn long_lines_and_a_last_one_without_an_end_come_back_as_they_were() {
        let mut fixture = Fixture::new(1 << 20).await;
        let long = "x".repeat(3 * LONGEST_LINE);
        for piece in long.as_bytes().chunks(5000) {
            fixture.write(0, std::str::from_utf8(piece).unwrap()).await;
        }
        fixture.write(0, "\nlast").await;
        fixture.log.finish(&mut fixture.lines, Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(fixture.read(LogOptions::default()).await, format!("{long}\nlast"));
        assert_eq!(
            fixture.read(LogOptions { tail_lines: Some(2), ..LogOptions::default() }).await,
            format!("{long}\nlast")
        );
    }

    #[tokio::test]
    async fn a_follower_gets_the_last_line_of_a_pod_that_is_removed_right_after() {
        let mut fixture = Fixture::new(100).await;
        let followed = fixture.log.read(LogOptions { follow: true, ..LogOptions::default() });
        let opened = || {
            let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            open.filter(|file| std::fs::read_link(file.path()).is_ok_and(|path| path == fixture.log.inner.path)).count()
        };
        // By the writer and by the follower.
        let began = std::time::Instant::now();
        while opened() < 2 {
            assert!(began.elapsed().as_secs() < 10, "the follower does not open the file");
            tokio::task::yield_now().await;
        }
        fixture.write(0, "last words\n").await;
        fixture.log.end();
        std::fs::remove_dir_all(fixture.folder.path()).unwrap();
        let pieces: Vec<_> = followed.collect().await;
        assert_eq!(pieces.into_iter().map(Result::unwrap).collect::<Vec<_>>().concat(), b"last words\n");
    }

    #[tokio::test]
    async fn a_follower_of_a_silent_log_gets_its_first_line_at_once() {
        let mut fixture = Fixture::new(100).await;
        let mut followed = fixture.log.read(LogOptions { follow: true, ..LogOptions::default() });
        // It has looked, and waits.
        while fixture.log.inner.progress.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        fixture.write(0, "first\n").await;
        let first = tokio::time::timeout(std::time::Duration::from_secs(20), followed.next()).await;
        assert_eq!(first.unwrap().unwrap().unwrap(), "first\n");
    }

    #[tokio::test]
    async fn a_follower_misses_nothing_over_a_rotation_and_ends_with_the_log() {
        let mut fixture = Fixture::new(200).await;
        fixture.write(0, "before\n").await;
        let mut followed = fixture.log.read(LogOptions { follow: true, ..LogOptions::default() });
        let mut seen = Vec::new();
        for number in 0..20 {
            fixture.write(1, &format!("{number}\n")).await;
            seen.extend_from_slice(&followed.next().await.unwrap().unwrap());
        }
        fixture.log.end();
        while let Some(piece) = followed.next().await {
            seen.extend_from_slice(&piece.unwrap());
        }
        let expected = (0..20).map(|number| format!("{number}\n")).collect::<Vec<_>>().concat();
        assert_eq!(String::from_utf8(seen).unwrap(), format!("before\n{expected}"));
        assert!(fixture.log.inner.progress.borrow().rotations > 1);
        let tail = fixture.read(LogOptions { tail_lines: Some(5), ..LogOptions::default() }).await;
        assert_eq!(tail, "15\n16\n17\n18\n19\n");
    }
}

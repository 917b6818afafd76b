//! Lines of a stream of bytes, whatever pieces it comes in.

use memchr::memchr;

use super::{Fault, ImportError};

/// No line of a log or table is longer; Azure's tables have some 10 KB.
const LONGEST: usize = 1 << 20;

/// Cuts pieces of a stream into lines; holds the end of a piece until its line is whole.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
    number: u64,
}

impl Lines {
    /// Hands each line that ends in `piece` to `take`, with its number (from 1), and without its line ending.
    pub(super) fn push(
        &mut self,
        mut piece: &[u8],
        mut take: impl FnMut(u64, &[u8]) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        while let Some(end) = memchr(b'\n', piece) {
            let (line, rest) = (&piece[..end], &piece[end + 1..]);
            self.number += 1;
            if self.begun.is_empty() {
                take(self.number, without_return(line))?;
            } else {
                self.hold(line)?;
                let whole = std::mem::take(&mut self.begun);
                take(self.number, without_return(&whole))?;
                // The room is kept for the next one.
                self.begun = whole;
                self.begun.clear();
            }
            piece = rest;
        }
        self.hold(piece)
    }

    /// Hands over the last line if no line ending follows it.
    pub(super) fn finish(
        &mut self,
        mut take: impl FnMut(u64, &[u8]) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        let last = std::mem::take(&mut self.begun);
        if last.is_empty() {
            return Ok(());
        }
        self.number += 1;
        take(self.number, without_return(&last))
    }

    /// Forgets a line that has begun, and says which one it is.
    pub(super) fn cut(&mut self) -> u64 {
        self.begun.clear();
        self.number + 1
    }

    fn hold(&mut self, piece: &[u8]) -> Result<(), ImportError> {
        if self.begun.len() + piece.len() > LONGEST {
            // No repair: a file with such a line is another kind of file.
            let what = Fault::LongLine(LONGEST).to_string();
            return Err(ImportError::Shape { line: self.number.max(1), what });
        }
        self.begun.extend_from_slice(piece);
        Ok(())
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<(u64, String)> {
        let (mut lines, mut seen) = (Lines::default(), Vec::new());
        let mut take = |number, line: &[u8]| {
            seen.push((number, String::from_utf8_lossy(line).into_owned()));
            Ok(())
        };
        for piece in pieces {
            lines.push(piece, &mut take).unwrap();
        }
        lines.finish(&mut take).unwrap();
        seen
    }

    #[test]
    fn lines_are_the_same_whatever_pieces_they_come_in() {
        let whole = b"a\r\n\nbc\nlast";
        let expected = [(1, "a"), (2, ""), (3, "bc"), (4, "last")].map(|(number, line)| (number, line.to_owned()));
        assert_eq!(lines(&[whole]), expected);
        for cut in 0..whole.len() {
            assert_eq!(lines(&[&whole[..cut], &whole[cut..]]), expected, "{cut}");
        }
        assert_eq!(lines(&whole.chunks(1).collect::<Vec<_>>()), expected);
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; LONGEST / 2 + 1];
        lines.push(&piece, |_, _| Ok(())).unwrap();
        let refused = lines.push(&piece, |_, _| Ok(())).unwrap_err().to_string();
        assert_eq!(refused, "line 1: longer than 1048576 bytes; no log or table has such a line");
    }
}

//! Header blocks: pairs of length and text, compressed as one zlib stream a direction and connection.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{
    dictionary::DICTIONARY,
    frame::{Headers, SpdyError},
};

/// Longest header block after decompression. Kubernetes' have under 200 bytes; a bomb is cut here.
const MAX_BLOCK: usize = 16 * 1024;

/// Step of decompression.
const STEP: usize = 1024;

/// Compresses header blocks, each after the one before.
#[derive(Debug)]
pub(super) struct Compressor {
    zlib: Compress,
    is_primed: bool,
}

impl Compressor {
    pub(super) fn new() -> Self {
        Self { zlib: Compress::new(Compression::fast(), true), is_primed: false }
    }

    pub(super) fn compress(&mut self, headers: &Headers) -> Result<Vec<u8>, SpdyError> {
        if !self.is_primed {
            self.zlib.set_dictionary(DICTIONARY).map_err(|_| SpdyError::HeaderBlock("no dictionary"))?;
            self.is_primed = true;
        }
        let plain = plain(headers);
        let mut compressed = Vec::with_capacity(plain.len() + 64);
        let before = self.zlib.total_in();
        loop {
            let done = usize::try_from(self.zlib.total_in() - before).unwrap_or(usize::MAX);
            let rest = plain.get(done..).unwrap_or_default();
            compressed.reserve(STEP);
            let status = self.zlib.compress_vec(rest, &mut compressed, FlushCompress::Sync);
            status.map_err(|_| SpdyError::HeaderBlock("not compressed"))?;
            let all_in = self.zlib.total_in() - before == plain.len() as u64;
            // Room left over says that the flush is complete.
            if all_in && compressed.len() < compressed.capacity() {
                return Ok(compressed);
            }
        }
    }
}

/// Decompresses header blocks, each after the one before.
#[derive(Debug)]
pub(super) struct Decompressor(Decompress);

impl Decompressor {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub(super) fn decompress(&mut self, block: &[u8]) -> Result<Headers, SpdyError> {
        let refuse = |why| Err(SpdyError::HeaderBlock(why));
        let mut plain = Vec::new();
        let mut rest = block;
        loop {
            let (taken, made) = (self.0.total_in(), self.0.total_out());
            let begun = plain.len();
            plain.resize(begun + STEP, 0);
            let status = self.0.decompress(rest, &mut plain[begun..], FlushDecompress::Sync);
            let taken = usize::try_from(self.0.total_in() - taken).unwrap_or(usize::MAX);
            let made = usize::try_from(self.0.total_out() - made).unwrap_or(usize::MAX);
            rest = rest.get(taken..).unwrap_or_default();
            plain.truncate(begun + made);
            if plain.len() > MAX_BLOCK {
                return refuse("it is too long");
            }
            match status {
                Err(error) if error.needs_dictionary().is_some() => {
                    if self.0.set_dictionary(DICTIONARY).is_err() {
                        return refuse("it needs another dictionary");
                    }
                }
                Err(_) => return refuse("it is no zlib stream"),
                Ok(Status::StreamEnd) => return refuse("its zlib stream has ended"),
                Ok(_) if made == STEP => {}
                Ok(_) if rest.is_empty() => return parse(&plain),
                Ok(_) if taken == 0 && made == 0 => return refuse("it does not go on"),
                Ok(_) => {}
            }
        }
    }
}

fn plain(headers: &Headers) -> Vec<u8> {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let mut plain = length(headers.0.len()).to_vec();
    for (name, value) in &headers.0 {
        for text in [name, value] {
            plain.extend_from_slice(&length(text.len()));
            plain.extend_from_slice(text.as_bytes());
        }
    }
    plain
}

fn parse(plain: &[u8]) -> Result<Headers, SpdyError> {
    let mut rest = plain;
    let count = number(&mut rest)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = text(&mut rest)?.to_lowercase();
        // Several values of a name stand in one, each ended by a zero.
        for value in text(&mut rest)?.split('\0') {
            headers.push((name.clone(), value.to_owned()));
        }
    }
    Ok(Headers(headers))
}

const SHORT: SpdyError = SpdyError::HeaderBlock("it ends too early");

fn number(rest: &mut &[u8]) -> Result<usize, SpdyError> {
    let (number, after) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
    *rest = after;
    usize::try_from(u32::from_be_bytes(*number)).map_err(|_| SHORT)
}

fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, SpdyError> {
    let length = number(rest)?;
    let (text, after) = rest.split_at_checked(length).ok_or(SHORT)?;
    *rest = after;
    std::str::from_utf8(text).map_err(|_| SpdyError::HeaderBlock("it is no UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        Headers(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn blocks_of_one_connection_lean_on_each_other() {
        let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::new());
        let first = headers(&[("streamtype", "error"), ("port", "8080"), ("requestid", "0")]);
        let second = headers(&[("streamtype", "data"), ("port", "8080"), ("requestid", "0")]);
        let (a, b) = (compressor.compress(&first).unwrap(), compressor.compress(&second).unwrap());
        assert!(b.len() < a.len());
        assert_eq!(decompressor.decompress(&a).unwrap(), first);
        assert_eq!(decompressor.decompress(&b).unwrap(), second);
    }

    #[test]
    fn a_block_that_grows_without_end_is_cut() {
        let mut compressor = Compressor::new();
        let bomb = compressor.compress(&headers(&[("a", &"x".repeat(1 << 22))])).unwrap();
        assert!(bomb.len() < 1 << 16);
        let refused = Decompressor::new().decompress(&bomb).unwrap_err();
        assert_eq!(refused, SpdyError::HeaderBlock("it is too long"));
    }

    #[test]
    fn several_values_of_a_name_are_taken_apart() {
        let block = Compressor::new().compress(&headers(&[("Port", "1\0two")])).unwrap();
        assert_eq!(Decompressor::new().decompress(&block).unwrap(), headers(&[("port", "1"), ("port", "two")]));
    }
}

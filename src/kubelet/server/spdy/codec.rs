//! Bytes to frames and back, without I/O: bytes may come in any pieces, and memory is bounded whatever they are.

use bytes::{Buf, BufMut, BytesMut};

use super::{
    frame::{FLAG_FIN, Frame, Headers, MAX_ID, ResetStatus, Setting, SpdyError, StreamId, VERSION, kind},
    header_block::{Compressor, Decompressor},
};

/// Bytes before every frame's own.
const HEAD: usize = 8;

/// Longest control frame; longer ones of known kinds are refused. Kubernetes' have under 300 bytes.
const MAX_CONTROL: usize = 16 * 1024;

/// Longest data frame that the 24 bits of its length hold.
const MAX_DATA: usize = 0x00ff_ffff;

/// What the decoder is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// Between two frames.
    Nothing,
    /// A data frame.
    Data { stream: StreamId, left: usize, fin: bool },
    /// A frame of no known kind.
    Unknown { left: usize },
}

/// Reads frames.
#[derive(Debug)]
pub struct Decoder {
    within: Within,
    headers: Decompressor,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { within: Within::Nothing, headers: Decompressor::new() }
    }
}

impl Decoder {
    /// Takes the next frame, or piece of a data frame, off the front of `input`. `None` says that more bytes are needed;
    /// what is then left in `input` is the beginning of a control frame, at most 16 KiB.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, SpdyError> {
        loop {
            match self.within {
                Within::Data { stream, left, fin } => {
                    if input.is_empty() && left > 0 {
                        return Ok(None);
                    }
                    let data = input.split_to(left.min(input.len())).freeze();
                    let left = left - data.len();
                    self.within = if left == 0 { Within::Nothing } else { Within::Data { stream, left, fin } };
                    return Ok(Some(Frame::Data { stream, data, fin: fin && left == 0 }));
                }
                Within::Unknown { left } => {
                    let skipped = left.min(input.len());
                    input.advance(skipped);
                    if skipped < left {
                        self.within = Within::Unknown { left: left - skipped };
                        return Ok(None);
                    }
                    self.within = Within::Nothing;
                }
                Within::Nothing => {
                    let Some(head) = input.first_chunk::<HEAD>() else { return Ok(None) };
                    let (first, second) = halves(*head);
                    let (flags, length) = (head[4], usize::try_from(second & 0x00ff_ffff).unwrap_or(MAX_DATA));
                    if first >> 31 == 0 {
                        input.advance(HEAD);
                        self.within =
                            Within::Data { stream: StreamId(first), left: length, fin: flags & FLAG_FIN != 0 };
                        continue;
                    }
                    let kind = control_kind(first)?;
                    if !is_known(kind) {
                        input.advance(HEAD);
                        self.within = Within::Unknown { left: length };
                        continue;
                    }
                    if length > MAX_CONTROL {
                        return Err(SpdyError::Length { kind, length });
                    }
                    if input.len() < HEAD + length {
                        return Ok(None);
                    }
                    input.advance(HEAD);
                    let body = input.split_to(length);
                    return self.control(kind, flags, &body).map(Some);
                }
            }
        }
    }

    fn control(&mut self, kind: u16, flags: u8, body: &[u8]) -> Result<Frame, SpdyError> {
        let wrong = SpdyError::Length { kind, length: body.len() };
        let fin = flags & FLAG_FIN != 0;
        let mut rest = body;
        let mut number = || {
            let (number, after) = rest.split_first_chunk::<4>().ok_or(wrong)?;
            rest = after;
            Ok(u32::from_be_bytes(*number))
        };
        let id = |number: u32| StreamId(number & MAX_ID);
        let frame = match kind {
            kind::SYN_STREAM => {
                let (stream, _associated) = (id(number()?), number()?);
                // Priority and credential slot, which nobody uses.
                let block = rest.get(2..).ok_or(wrong)?;
                return Ok(Frame::SynStream { stream, headers: self.headers.decompress(block)?, fin });
            }
            kind::SYN_REPLY => {
                let stream = id(number()?);
                return Ok(Frame::SynReply { stream, headers: self.headers.decompress(rest)?, fin });
            }
            kind::HEADERS => {
                let stream = id(number()?);
                return Ok(Frame::Headers { stream, headers: self.headers.decompress(rest)?, fin });
            }
            kind::RST_STREAM => Frame::Reset { stream: id(number()?), status: ResetStatus(number()?) },
            kind::PING => Frame::Ping(number()?),
            kind::GOAWAY => Frame::GoAway { last: id(number()?), status: number()? },
            kind::WINDOW_UPDATE => Frame::WindowUpdate { stream: id(number()?), delta: number()? & MAX_ID },
            _ => {
                let count = number()?;
                let mut settings = Vec::new();
                for _ in 0..count {
                    settings.push(Setting { id: number()? & 0x00ff_ffff, value: number()? });
                }
                Frame::Settings(settings)
            }
        };
        if rest.is_empty() { Ok(frame) } else { Err(wrong) }
    }
}

fn halves(head: [u8; HEAD]) -> (u32, u32) {
    let both = u64::from_be_bytes(head);
    (u32::try_from(both >> 32).unwrap_or_default(), u32::try_from(both & u64::from(u32::MAX)).unwrap_or_default())
}

/// Kind of the control frame that begins with `first`.
fn control_kind(first: u32) -> Result<u16, SpdyError> {
    let [a, b, c, d] = first.to_be_bytes();
    let version = u16::from_be_bytes([a & 0x7f, b]);
    if version == VERSION { Ok(u16::from_be_bytes([c, d])) } else { Err(SpdyError::Version(version)) }
}

fn is_known(kind: u16) -> bool {
    matches!(kind, kind::SYN_STREAM..=kind::SETTINGS | kind::PING..=kind::WINDOW_UPDATE)
}

/// Writes frames.
#[derive(Debug)]
pub struct Encoder {
    headers: Compressor,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { headers: Compressor::new() }
    }
}

impl Encoder {
    /// Appends `frame` to `output`; data that is too long for one frame becomes several.
    pub fn encode(&mut self, frame: &Frame, output: &mut BytesMut) -> Result<(), SpdyError> {
        match frame {
            Frame::Data { stream, data, fin } => put_data(*stream, data, *fin, output),
            Frame::SynStream { stream, headers, fin } => {
                let mut body = numbers(&[stream.0, 0]);
                body.extend_from_slice(&[0, 0]);
                self.put_headers(kind::SYN_STREAM, *fin, body, headers, output)?;
            }
            Frame::SynReply { stream, headers, fin } => {
                self.put_headers(kind::SYN_REPLY, *fin, numbers(&[stream.0]), headers, output)?;
            }
            Frame::Headers { stream, headers, fin } => {
                self.put_headers(kind::HEADERS, *fin, numbers(&[stream.0]), headers, output)?;
            }
            Frame::Reset { stream, status } => {
                put_control(kind::RST_STREAM, 0, &numbers(&[stream.0, status.0]), output);
            }
            Frame::Ping(id) => put_control(kind::PING, 0, &numbers(&[*id]), output),
            Frame::GoAway { last, status } => put_control(kind::GOAWAY, 0, &numbers(&[last.0, *status]), output),
            Frame::WindowUpdate { stream, delta } => {
                put_control(kind::WINDOW_UPDATE, 0, &numbers(&[stream.0, *delta]), output);
            }
            Frame::Settings(settings) => {
                let mut body = numbers(&[u32::try_from(settings.len()).unwrap_or(u32::MAX)]);
                body.extend(settings.iter().flat_map(|setting| numbers(&[setting.id, setting.value])));
                put_control(kind::SETTINGS, 0, &body, output);
            }
        }
        Ok(())
    }

    fn put_headers(
        &mut self,
        kind: u16,
        fin: bool,
        mut body: Vec<u8>,
        headers: &Headers,
        output: &mut BytesMut,
    ) -> Result<(), SpdyError> {
        body.extend_from_slice(&self.headers.compress(headers)?);
        put_control(kind, if fin { FLAG_FIN } else { 0 }, &body, output);
        Ok(())
    }
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn put_data(stream: StreamId, data: &[u8], fin: bool, output: &mut BytesMut) {
    let mut rest = data;
    loop {
        let (now, later) = rest.split_at(rest.len().min(MAX_DATA));
        output.put_u32(stream.0 & MAX_ID);
        put_length(if fin && later.is_empty() { FLAG_FIN } else { 0 }, now.len(), output);
        output.extend_from_slice(now);
        rest = later;
        if rest.is_empty() {
            return;
        }
    }
}

fn put_control(kind: u16, flags: u8, body: &[u8], output: &mut BytesMut) {
    output.put_u16(0x8000 | VERSION);
    output.put_u16(kind);
    put_length(flags, body.len(), output);
    output.extend_from_slice(body);
}

fn put_length(flags: u8, length: usize, output: &mut BytesMut) {
    let length = u32::try_from(length).unwrap_or(u32::MAX) & 0x00ff_ffff;
    output.put_u32(u32::from(flags) << 24 | length);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn stream() -> impl Strategy<Value = StreamId> {
        (0..=MAX_ID).prop_map(StreamId)
    }

    fn headers() -> impl Strategy<Value = Headers> {
        vec(("[a-z-]{1,12}", "[ -~]{0,40}"), 0..8).prop_map(Headers)
    }

    fn frame() -> impl Strategy<Value = Frame> {
        prop_oneof![
            (stream(), headers(), any::<bool>()).prop_map(|(stream, headers, fin)| Frame::SynStream {
                stream,
                headers,
                fin
            }),
            (stream(), headers(), any::<bool>()).prop_map(|(stream, headers, fin)| Frame::SynReply {
                stream,
                headers,
                fin
            }),
            (stream(), headers(), any::<bool>()).prop_map(|(stream, headers, fin)| Frame::Headers {
                stream,
                headers,
                fin
            }),
            (stream(), vec(any::<u8>(), 0..300), any::<bool>()).prop_map(|(stream, data, fin)| Frame::Data {
                stream,
                data: data.into(),
                fin
            }),
            (stream(), any::<u32>()).prop_map(|(stream, status)| Frame::Reset { stream, status: ResetStatus(status) }),
            vec((0..0x0100_0000_u32, any::<u32>()), 0..5)
                .prop_map(|all| Frame::Settings(all.into_iter().map(|(id, value)| Setting { id, value }).collect())),
            any::<u32>().prop_map(Frame::Ping),
            (stream(), any::<u32>()).prop_map(|(last, status)| Frame::GoAway { last, status }),
            (stream(), 0..=MAX_ID).prop_map(|(stream, delta)| Frame::WindowUpdate { stream, delta }),
        ]
    }

    /// Frames out of `bytes` that come `piece` at a time; pieces of one data frame are put together.
    fn decoded(bytes: &[u8], piece: usize) -> Result<Vec<Frame>, SpdyError> {
        let (mut decoder, mut input, mut frames) = (Decoder::default(), BytesMut::new(), Vec::new());
        let mut is_open = false;
        for bytes in bytes.chunks(piece) {
            input.extend_from_slice(bytes);
            while let Some(frame) = decoder.decode(&mut input)? {
                let goes_on = is_open;
                is_open = matches!(decoder.within, Within::Data { .. });
                match (frames.last_mut(), frame) {
                    (Some(Frame::Data { data, fin, .. }), Frame::Data { data: more, fin: last, .. }) if goes_on => {
                        *data = [&**data, &*more].concat().into();
                        *fin = last;
                    }
                    (_, frame) => frames.push(frame),
                }
            }
            assert!(input.len() < HEAD + MAX_CONTROL, "the decoder keeps {} bytes", input.len());
        }
        Ok(frames)
    }

    proptest! {
        #[test]
        fn frames_come_back_as_they_were_in_whatever_pieces(frames in vec(frame(), 0..12), piece in 1..70_usize) {
            let (mut encoder, mut bytes) = (Encoder::default(), BytesMut::new());
            for frame in &frames {
                encoder.encode(frame, &mut bytes).unwrap();
            }
            prop_assert_eq!(decoded(&bytes, piece).unwrap(), frames);
        }

        #[test]
        fn no_bytes_make_it_panic_or_grow(bytes in vec(any::<u8>(), 0..2000), piece in 1..70_usize) {
            let _ = decoded(&bytes, piece);
        }

        #[test]
        fn no_damaged_frames_make_it_panic_or_grow(
            frames in vec(frame(), 1..6), at in any::<prop::sample::Index>(), byte in any::<u8>(), piece in 1..70_usize,
        ) {
            let (mut encoder, mut bytes) = (Encoder::default(), BytesMut::new());
            for frame in &frames {
                encoder.encode(frame, &mut bytes).unwrap();
            }
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = decoded(&bytes, piece);
        }
    }

    #[test]
    fn a_frame_of_an_unknown_kind_is_passed_over() {
        let mut bytes = BytesMut::new();
        put_control(77, 0, &vec![1; 100_000], &mut bytes);
        put_control(kind::PING, 0, &numbers(&[9]), &mut bytes);
        assert_eq!(decoded(&bytes, 1000).unwrap(), [Frame::Ping(9)]);
    }

    #[test]
    fn another_version_and_a_control_frame_that_is_too_long_are_refused() {
        assert_eq!(decoded(b"\x80\x02\0\x01\0\0\0\0", 8), Err(SpdyError::Version(2)));
        let refused = decoded(b"\x80\x03\0\x01\0\xff\xff\xff", 8);
        assert_eq!(refused, Err(SpdyError::Length { kind: 1, length: 0x00ff_ffff }));
    }

    #[test]
    fn data_is_handed_on_before_all_of_it_is_there() {
        let (mut decoder, mut input) = (Decoder::default(), BytesMut::from(&b"\0\0\0\x05\x01\0\0\x04ab"[..]));
        let first = Frame::Data { stream: StreamId(5), data: Bytes::from_static(b"ab"), fin: false };
        assert_eq!(decoder.decode(&mut input), Ok(Some(first)));
        assert_eq!(decoder.decode(&mut input), Ok(None));
        input.extend_from_slice(b"cd");
        let last = Frame::Data { stream: StreamId(5), data: Bytes::from_static(b"cd"), fin: true };
        assert_eq!(decoder.decode(&mut input), Ok(Some(last)));
    }
}

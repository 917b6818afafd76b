//! Any bytes in any pieces: the decoder neither panics nor keeps more than a control frame, and what it reads can be
//! written and read again.
#![no_main]

use burstlet::kubelet::server::spdy::{Decoder, Encoder, Frame};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

/// A frame's head and the longest control frame.
const MOST_KEPT: usize = 8 + 16 * 1024;

fuzz_target!(|data: &[u8]| {
    let Some((piece, bytes)) = data.split_first() else { return };
    let (mut decoder, mut input) = (Decoder::default(), BytesMut::new());
    let mut frames = Vec::new();
    'read: for piece in bytes.chunks(usize::from(*piece).max(1)) {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => break 'read,
            }
        }
        assert!(input.len() < MOST_KEPT, "{} bytes are kept", input.len());
    }
    let (mut encoder, mut written) = (Encoder::default(), BytesMut::new());
    for frame in &frames {
        encoder.encode(frame, &mut written).expect("what was read can be written");
    }
    let mut again = Decoder::default();
    for frame in &frames {
        let read = again.decode(&mut written).expect("what was written can be read");
        // A value with a zero in it would be several values.
        let has_headers = matches!(frame, Frame::SynStream { .. } | Frame::SynReply { .. } | Frame::Headers { .. });
        assert!(has_headers && read.is_some() || read.as_ref() == Some(frame));
    }
});

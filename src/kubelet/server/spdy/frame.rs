//! The frames of SPDY/3.1, as far as Kubernetes' streams use them.

use bytes::Bytes;

/// Number of a stream; odd where the client opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// Largest number that the 31 bits of a stream id hold.
pub(super) const MAX_ID: u32 = 0x7fff_ffff;

/// Names and values of a header block, in order. Names are lower case; a name may come more than once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The first value of `name`, which is lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Why a stream is reset: the codes of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResetStatus(pub u32);

impl ResetStatus {
    /// Against the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// Data for a stream that is not open.
    pub const INVALID_STREAM: Self = Self(2);
    /// Refused before anything was done with it.
    pub const REFUSED_STREAM: Self = Self(3);
    /// Not wanted any more.
    pub const CANCEL: Self = Self(5);
}

/// A setting, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Which; 7 is the window that streams begin with.
    pub id: u32,
    /// Its value.
    pub value: u32,
}

impl Setting {
    /// Number of the setting that gives the window, in bytes, that streams begin with.
    pub const INITIAL_WINDOW: u32 = 7;
}

/// One frame, or a piece of one: the decoder hands long data on as it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Opens a stream.
    SynStream {
        /// The new stream.
        stream: StreamId,
        /// What it is for.
        headers: Headers,
        /// The opener sends nothing on it.
        fin: bool,
    },
    /// Takes a stream.
    SynReply {
        /// The stream.
        stream: StreamId,
        /// Its answer's headers.
        headers: Headers,
        /// The answerer sends nothing on it.
        fin: bool,
    },
    /// Bytes of a stream.
    Data {
        /// The stream.
        stream: StreamId,
        /// The bytes.
        data: Bytes,
        /// The sender's last.
        fin: bool,
    },
    /// Ends a stream at once, both ways.
    Reset {
        /// The stream.
        stream: StreamId,
        /// Why.
        status: ResetStatus,
    },
    /// Changes settings of the connection.
    Settings(Vec<Setting>),
    /// Asks for the same frame back.
    Ping(u32),
    /// No stream above `last` will be looked at.
    GoAway {
        /// The last stream that was.
        last: StreamId,
        /// 0 for a good end.
        status: u32,
    },
    /// More headers of a stream.
    Headers {
        /// The stream.
        stream: StreamId,
        /// The headers.
        headers: Headers,
        /// The sender's last.
        fin: bool,
    },
    /// Lets the other side send so many bytes more.
    WindowUpdate {
        /// The stream.
        stream: StreamId,
        /// How many bytes more.
        delta: u32,
    },
}

/// Numbers of the control frames.
pub(super) mod kind {
    pub(in super::super) const SYN_STREAM: u16 = 1;
    pub(in super::super) const SYN_REPLY: u16 = 2;
    pub(in super::super) const RST_STREAM: u16 = 3;
    pub(in super::super) const SETTINGS: u16 = 4;
    pub(in super::super) const PING: u16 = 6;
    pub(in super::super) const GOAWAY: u16 = 7;
    pub(in super::super) const HEADERS: u16 = 8;
    pub(in super::super) const WINDOW_UPDATE: u16 = 9;
}

/// The protocol's version in every control frame.
pub(super) const VERSION: u16 = 3;

/// Flag of a sender's last frame.
pub(super) const FLAG_FIN: u8 = 1;

/// What is wrong with the bytes of a peer; the connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpdyError {
    /// Another protocol, or another version of it.
    #[error("a control frame of SPDY version {0}; 3 is spoken here")]
    Version(u16),
    /// A frame is shorter or longer than its kind allows.
    #[error("a control frame of kind {kind} with {length} bytes")]
    Length {
        /// Number of the frame's kind.
        kind: u16,
        /// Its length.
        length: usize,
    },
    /// Headers that do not decompress, or are too many.
    #[error("a header block that is not understood: {0}")]
    HeaderBlock(&'static str),
}

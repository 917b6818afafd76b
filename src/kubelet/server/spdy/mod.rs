//! SPDY/3.1 as Kubernetes' clients and API servers speak it for `exec`, `attach` and `port-forward`.
//!
//! [`Decoder`] and [`Encoder`] are the wire, without I/O; [`serve`] runs a connection whose streams the client opens.

mod codec;
mod connection;
mod dictionary;
mod frame;
mod header_block;

pub use codec::{Decoder, Encoder};
pub use connection::{ConnectionError, Stream, serve};
pub use frame::{Frame, Headers, ResetStatus, Setting, SpdyError, StreamId};

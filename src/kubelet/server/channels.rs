//! The messages of a WebSocket `exec` or `attach`: a byte that names the channel, then the channel's bytes.

use serde::Deserialize;

use crate::provider::TerminalSize;

/// Versions of the protocol that are spoken here, the best first.
pub const PROTOCOLS: [&str; 2] = [V5, "v4.channel.k8s.io"];

/// The one in which a client can end its input and still listen.
pub const V5: &str = "v5.channel.k8s.io";

const STDIN: u8 = 0;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// Channels from the server to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
    /// How the command ended.
    Status = 3,
}

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<'a> {
    /// Bytes of standard input.
    Stdin(&'a [u8]),
    /// Standard input ends.
    StdinEnds,
    /// The terminal has another size.
    Resize(TerminalSize),
    /// Nothing that concerns the server.
    Nothing,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

/// Reads a terminal's size, `{"Width": 80, "Height": 24}`; `None` for anything else.
pub fn terminal_size(json: &[u8]) -> Option<TerminalSize> {
    let Size { width, height } = serde_json::from_slice(json).ok()?;
    Some(TerminalSize { width, height })
}

/// Reads a client's message. In version 4 nothing ends standard input but the connection's end.
pub fn read(message: &[u8], is_v5: bool) -> Input<'_> {
    match message.split_first() {
        Some((&STDIN, data)) => Input::Stdin(data),
        Some((&RESIZE, json)) => terminal_size(json).map_or(Input::Nothing, Input::Resize),
        Some((&CLOSE, [STDIN])) if is_v5 => Input::StdinEnds,
        _ => Input::Nothing,
    }
}

/// The message that carries `data` on `channel`.
pub fn write(channel: Output, data: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(data.len() + 1);
    message.push(channel as u8);
    message.extend_from_slice(data);
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn channels_are_told_apart() {
        assert_eq!(read(b"\x00hello", false), Input::Stdin(b"hello"));
        let size = Input::Resize(TerminalSize { width: 120, height: 40 });
        assert_eq!(read(b"\x04{\"Width\":120,\"Height\":40}", false), size);
        assert_eq!(write(Output::Stderr, b"x"), b"\x02x");
    }

    #[test]
    fn only_version_5_ends_input_by_a_message() {
        assert_eq!(read(b"\xff\x00", true), Input::StdinEnds);
        assert_eq!(read(b"\xff\x00", false), Input::Nothing);
        assert_eq!(read(b"\xff\x01", true), Input::Nothing);
    }

    #[test]
    fn what_is_not_understood_is_nothing() {
        for message in [&b""[..], b"\x04", b"\x04{}", b"\x04{\"Width\":-1,\"Height\":2}", b"\x01abc", b"\xff"] {
            assert_eq!(read(message, true), Input::Nothing, "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic_and_input_is_whole(message in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Input::Stdin(data) = read(&message, true) {
                prop_assert_eq!(data, &message[1..]);
            }
        }
    }
}

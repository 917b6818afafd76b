//! Port-forward over the numbered channels of a WebSocket, as clients did before SPDY was tunnelled (kube-rs still does):
//! two channels a port, data and error, the ports named in the query.
//!
//! Each channel begins with its port, in two bytes, the lower first (`k8s.io/kubelet/pkg/cri/streaming/portforward`).
//! Nothing ends one channel alone: the client's end is the connection's.

use futures::StreamExt;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split},
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};
use tokio_tungstenite::tungstenite::Message;

use super::websocket::{PIPE, QUEUE, converse, open, pump, send_all};

/// Most ports of one connection: their channels are numbered by a byte.
const MOST: usize = 127;

/// One port's streams.
pub(super) struct PortStreams {
    pub(super) port: u16,
    pub(super) data: DuplexStream,
    pub(super) error: DuplexStream,
}

/// The ports that a query asks for: `port=80,443`, once or more often. What is no port is left out.
pub(super) fn asked(query: &str) -> Vec<u16> {
    let values = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "port" || name == "ports");
    let ports = values.flat_map(|(_, value)| value.split(',').filter_map(|port| port.parse().ok()).collect::<Vec<_>>());
    ports.filter(|port| *port > 0).take(MOST).collect()
}

/// The streams of `ports`, and what carries them: it ends with the client, or when all of them are dropped.
pub(super) async fn streams<T>(io: T, ports: &[u16]) -> (Vec<PortStreams>, JoinHandle<()>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sink, mut source) = open(io).await.split();
    let (messages, queue) = mpsc::channel(QUEUE);
    let (mut streams, mut inputs, mut pumps) = (Vec::new(), Vec::new(), JoinSet::new());
    for (channel, port) in (0_u8..).step_by(2).zip(ports) {
        let ((own_data, data), (own_error, error)) = (duplex(PIPE), duplex(PIPE));
        let (output, input) = split(own_data);
        inputs.push(input);
        pumps.spawn(channel_out(channel, *port, output, messages.clone()));
        pumps.spawn(channel_out(channel + 1, *port, own_error, messages.clone()));
        streams.push(PortStreams { port: *port, data, error });
    }
    drop(messages);
    let carrying = tokio::spawn(async move {
        // Dropped at the end, which ends what they read.
        let _pumps = pumps;
        let reading = async {
            while let Some(Ok(message)) = source.next().await {
                let Message::Binary(bytes) = message else { continue };
                let Some((channel, bytes)) = bytes.split_first() else { continue };
                // The odd ones are for errors, of which a client has none.
                if let Some(input) = inputs.get_mut(usize::from(*channel / 2)).filter(|_| channel % 2 == 0) {
                    let _ = input.write_all(bytes).await;
                }
            }
            for input in &mut inputs {
                let _ = input.shutdown().await;
            }
        };
        converse(reading, send_all(sink, queue)).await;
    });
    (streams, carrying)
}

async fn channel_out(channel: u8, port: u16, pipe: impl AsyncRead + Unpin, messages: mpsc::Sender<Message>) {
    let framed = move |bytes: &[u8]| [&[channel], bytes].concat().into();
    if messages.send(Message::Binary(framed(&port.to_le_bytes()))).await.is_ok() {
        pump(pipe, messages, framed).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::SinkExt;
    use tokio::io::AsyncReadExt;
    use tokio_tungstenite::{WebSocketStream, tungstenite::protocol::Role};

    use super::*;

    #[test]
    fn ports_are_read_from_the_query() {
        assert_eq!(asked("port=80,443&port=8080&other=1"), [80, 443, 8080]);
        assert_eq!(asked("port=0,x,70000&ports=9"), [9]);
        assert!(asked("").is_empty());
    }

    #[tokio::test]
    async fn channels_begin_with_their_port_and_carry_both_ways() {
        let (client, server) = duplex(1 << 16);
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let (mut streams, _carrying) = streams(server, &[80, 0x1F90]).await;
        let mut first = Vec::new();
        for _ in 0..4 {
            let Some(Ok(Message::Binary(bytes))) = client.next().await else { panic!() };
            first.push(bytes.to_vec());
        }
        first.sort();
        assert_eq!(first, [[0, 80, 0], [1, 80, 0], [2, 0x90, 0x1F], [3, 0x90, 0x1F]]);

        client.send(Message::binary(&b"\x02ab"[..])).await.unwrap();
        client.send(Message::binary(&b"\x03no"[..])).await.unwrap();
        client.send(Message::binary(&b"\x09no"[..])).await.unwrap();
        client.send(Message::binary(&b"\x02cd"[..])).await.unwrap();
        let mut four = [0; 4];
        streams[1].data.read_exact(&mut four).await.unwrap();
        assert_eq!((streams[1].port, &four), (8080, b"abcd"));
        streams[1].data.write_all(b"back").await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), Message::binary(&b"\x02back"[..]));
        streams[0].error.write_all(b"refused").await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), Message::binary(&b"\x01refused"[..]));
        drop(streams);
        assert!(matches!(client.next().await, Some(Ok(Message::Close(_)))));
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_the_streams() {
        let (client, server) = duplex(1 << 16);
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let (mut streams, carrying) = streams(server, &[80]).await;
        drop(client);
        carrying.await.unwrap();
        assert_eq!(streams[0].data.read(&mut [0; 8]).await.unwrap(), 0);
    }
}

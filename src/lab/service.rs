//! What a Kubernetes Service does for pods, for processes on loopback: one address, several backends.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

#[derive(Debug, Default)]
struct Backends {
    addresses: Vec<SocketAddr>,
    /// Ends the connections that stand now.
    cut: CancellationToken,
}

/// Forwards connections to the first backend that answers, beginning with another one each time. Ends when dropped.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    backends: Arc<Mutex<Backends>>,
    _task: AbortOnDropHandle<()>,
}

impl Service {
    /// Listens on a free port of 127.0.0.1. Without backends, connections are closed at once.
    pub async fn start() -> std::io::Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST.into()).await
    }

    /// The same on an address of this machine.
    pub async fn start_at(address: IpAddr) -> std::io::Result<Self> {
        Self::listen((address, 0).into()).await
    }

    /// The same on a port of one's choice.
    pub async fn listen(at: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(at).await?;
        let address = listener.local_addr()?;
        let backends = Arc::<Mutex<Backends>>::default();
        let task = AbortOnDropHandle::new(tokio::spawn(accept(listener, backends.clone())));
        Ok(Self { address, backends, _task: task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the backends; connections that stand are left alone.
    pub fn set_backends(&self, backends: impl IntoIterator<Item = SocketAddr>) {
        self.backends().addresses = backends.into_iter().collect();
    }

    /// Closes the connections that stand, as a backend's end would: a client's next call makes a new one.
    pub fn cut(&self) {
        std::mem::take(&mut self.backends().cut).cancel();
    }

    fn backends(&self) -> MutexGuard<'_, Backends> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, backends: Arc<Mutex<Backends>>) {
    let mut turn = 0_usize;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let (mut addresses, cut) = {
            let backends = backends.lock().unwrap_or_else(PoisonError::into_inner);
            (backends.addresses.clone(), backends.cut.clone())
        };
        turn = turn.wrapping_add(1);
        if !addresses.is_empty() {
            let first = turn % addresses.len();
            addresses.rotate_left(first);
        }
        tokio::spawn(cut.run_until_cancelled_owned(forward(stream, addresses)));
    }
}

async fn forward(mut stream: TcpStream, backends: Vec<SocketAddr>) {
    for backend in backends {
        if let Ok(mut to) = TcpStream::connect(backend).await {
            // A Service passes packets on as they come. Nagle's algorithm would hold the second of two small writes back
            // until the first is acknowledged, 40 ms later. A socket that refuses is served anyway.
            let _ = (stream.set_nodelay(true), to.set_nodelay(true));
            // Either side's end is the connection's end; nobody else need hear of it.
            let _ = copy_bidirectional(&mut stream, &mut to).await;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn backend(says: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(says).await.unwrap();
            }
        });
        address
    }

    async fn said(service: &Service) -> String {
        let mut stream = TcpStream::connect(service.address()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_backend_that_is_gone_is_passed_over() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let service = Service::start().await.unwrap();
        service.set_backends([gone, backend(b"here").await]);
        for _ in 0..4 {
            assert_eq!(said(&service).await, "here");
        }
    }

    #[tokio::test]
    async fn a_cut_ends_the_connections_that_stand_and_no_later_one() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = Service::start().await.unwrap();
        service.set_backends([silent.local_addr().unwrap()]);
        let mut standing = TcpStream::connect(service.address()).await.unwrap();
        let _held = silent.accept().await.unwrap();
        service.set_backends([backend(b"here").await]);
        service.cut();
        assert_eq!(standing.read(&mut [0]).await.unwrap_or(0), 0);
        assert_eq!(said(&service).await, "here");
    }

    #[tokio::test]
    async fn without_backends_a_connection_is_closed() {
        let service = Service::start().await.unwrap();
        assert_eq!(said(&service).await, "");
    }
}

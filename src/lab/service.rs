//! What a Kubernetes Service does for pods, for processes on loopback: one address, several backends.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_util::task::AbortOnDropHandle;

/// Forwards connections to the first backend that answers, beginning with another one each time. Ends when dropped.
#[derive(Debug)]
pub struct Service {
    address: SocketAddr,
    backends: Arc<Mutex<Vec<SocketAddr>>>,
    _task: AbortOnDropHandle<()>,
}

impl Service {
    /// Listens on a free port of 127.0.0.1. Without backends, connections are closed at once.
    pub async fn start() -> std::io::Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST.into()).await
    }

    /// The same on an address of this machine.
    pub async fn start_at(address: IpAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind((address, 0)).await?;
        let address = listener.local_addr()?;
        let backends = Arc::<Mutex<Vec<SocketAddr>>>::default();
        let task = AbortOnDropHandle::new(tokio::spawn(accept(listener, backends.clone())));
        Ok(Self { address, backends, _task: task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the backends; connections that stand are left alone.
    pub fn set_backends(&self, backends: impl IntoIterator<Item = SocketAddr>) {
        *self.backends.lock().unwrap_or_else(PoisonError::into_inner) = backends.into_iter().collect();
    }
}

async fn accept(listener: TcpListener, backends: Arc<Mutex<Vec<SocketAddr>>>) {
    let mut turn = 0_usize;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let mut backends = backends.lock().unwrap_or_else(PoisonError::into_inner).clone();
        turn = turn.wrapping_add(1);
        if !backends.is_empty() {
            let first = turn % backends.len();
            backends.rotate_left(first);
        }
        tokio::spawn(forward(stream, backends));
    }
}

async fn forward(mut stream: TcpStream, backends: Vec<SocketAddr>) {
    for backend in backends {
        if let Ok(mut to) = TcpStream::connect(backend).await {
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
    async fn without_backends_a_connection_is_closed() {
        let service = Service::start().await.unwrap();
        assert_eq!(said(&service).await, "");
    }
}

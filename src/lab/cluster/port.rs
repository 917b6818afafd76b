//! Ports of the loopback device that stay ours.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

use super::ClusterError;

/// A port on 127.0.0.1, reserved for as long as this value lives.
///
/// The socket is bound and never listens, so connections go to the component alone, which shares the port by
/// `SO_REUSEPORT`. While the component is stopped nobody else gets the port, and clients are refused at once.
#[derive(Debug)]
pub(super) struct Port {
    number: u16,
    // Only Linux leaves the unconnected socket out when it looks for the listener.
    _reservation: Option<TcpSocket>,
}

impl Port {
    pub(super) fn reserve() -> Result<Self, ClusterError> {
        let socket = TcpSocket::new_v4().map_err(ClusterError::Port)?;
        socket.set_reuseport(true).map_err(ClusterError::Port)?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).map_err(ClusterError::Port)?;
        let number = socket.local_addr().map_err(ClusterError::Port)?.port();
        Ok(Self { number, _reservation: cfg!(target_os = "linux").then_some(socket) })
    }

    pub(super) fn number(&self) -> u16 {
        self.number
    }

    /// `https://127.0.0.1:PORT`
    pub(super) fn url(&self) -> String {
        format!("https://{self}")
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Ipv4Addr::LOCALHOST, self.number)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_reserved_port_is_refused_to_others_until_it_is_given_back() {
        let port = Port::reserve().unwrap();
        let address = port.to_string();
        if cfg!(target_os = "linux") {
            assert!(TcpListener::bind(&address).is_err());
        }
        drop(port);
        assert!(TcpListener::bind(&address).is_ok());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_component_listens_on_the_reserved_port() {
        let port = Port::reserve().unwrap();
        let component = TcpSocket::new_v4().unwrap();
        component.set_reuseport(true).unwrap();
        component.bind(port.to_string().parse().unwrap()).unwrap();
        let listener = component.listen(16).unwrap();
        for _ in 0..20 {
            let (client, server) = tokio::join!(tokio::net::TcpStream::connect(port.to_string()), listener.accept());
            assert!(client.is_ok() && server.is_ok());
        }
    }

    #[test]
    fn no_port_is_reserved_twice() {
        let ports: Vec<_> = (0..200).map(|_| Port::reserve().unwrap()).collect();
        let distinct: std::collections::BTreeSet<_> = ports.iter().map(Port::number).collect();
        assert!(!cfg!(target_os = "linux") || distinct.len() == ports.len());
    }
}

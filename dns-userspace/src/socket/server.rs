//! The server as a whole: binds every address over UDP and TCP, then serves until stopped.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{Resolver, Responder, SocketCounters, TcpLimits, tcp, udp};

/// With port 0 the system chooses a port for UDP, which may be taken for TCP: so many tries.
const ANY_PORT_TRIES_MAX: u32 = 8;

/// Where and how to serve.
#[derive(Clone, Debug, Default)]
pub struct ServerConfig {
    /// Each is served over UDP and TCP. Port 0 lets the system choose one port for both.
    pub listen: Vec<SocketAddr>,
    /// Limits of each TCP listener.
    pub tcp_limits: TcpLimits,
    /// RA in replies.
    pub recursion_available: bool,
    /// The addresses of an answer are rotated from query to query.
    pub rotate: bool,
}

/// An address that cannot be served, why, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({transport}): {source}; {}", remedy(source, *address))]
pub struct BindError {
    /// The address as it was given.
    pub address: SocketAddr,
    /// `UDP` or `TCP`.
    pub transport: &'static str,
    /// What the system said.
    pub source: io::Error,
}

fn remedy(error: &io::Error, address: SocketAddr) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "find who listens there with `ss -lntup 'sport = :{port}'` and stop it, or choose another port with --listen"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "port {port} needs root or the capability CAP_NET_BIND_SERVICE; or choose a port above 1023 with --listen"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "no interface has this address: see `ip address`, add it with `ip address add {}/{} dev lo`, or choose another with --listen",
            address.ip(),
            if address.is_ipv4() { 32 } else { 128 },
        ),
        io::ErrorKind::Unsupported => {
            "give each address to answer on its own --listen, such as 127.0.0.1:1053".to_owned()
        }
        _ => "choose another address with --listen".to_owned(),
    }
}

/// Sockets that are bound and not yet served.
#[derive(Debug)]
pub struct Server {
    sockets: Vec<(UdpSocket, TcpListener)>,
    addresses: Vec<SocketAddr>,
    config: ServerConfig,
}

impl Server {
    /// Binds every address, or none.
    ///
    /// # Errors
    ///
    /// An address cannot be bound, or is a wildcard: over UDP the reply must leave from the
    /// address that was asked (RFC 2181 section 4), and a wildcard socket does not know it.
    pub async fn bind(config: ServerConfig) -> Result<Self, BindError> {
        let mut sockets = Vec::new();
        let mut addresses = Vec::new();
        for &address in &config.listen {
            if address.ip().is_unspecified() {
                return Err(BindError {
                    address,
                    transport: "UDP",
                    source: io::Error::new(
                        io::ErrorKind::Unsupported,
                        "a wildcard address cannot reply from the address that was asked",
                    ),
                });
            }
            let pair = bind_pair(address).await?;
            // The address was known to the system a moment ago; it cannot fail to tell it.
            addresses.push(pair.0.local_addr().unwrap_or(address));
            sockets.push(pair);
        }
        Ok(Self {
            sockets,
            addresses,
            config,
        })
    }

    /// The bound addresses, with the ports that the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `stop`; then no socket is left open.
    pub async fn run(
        self,
        resolver: Arc<dyn Resolver>,
        counters: Arc<SocketCounters>,
        stop: CancellationToken,
    ) {
        let responder =
            Responder::new(self.config.recursion_available).rotating(self.config.rotate);
        let mut tasks = JoinSet::new();
        for (udp, tcp) in self.sockets {
            tasks.spawn(udp::serve(
                udp,
                responder,
                Arc::clone(&resolver),
                Arc::clone(&counters),
                stop.clone(),
            ));
            let context = tcp::Context {
                responder,
                resolver: Arc::clone(&resolver),
                counters: Arc::clone(&counters),
                limits: self.config.tcp_limits,
                stop: stop.clone(),
            };
            tasks.spawn(tcp::serve(tcp, context));
        }
        while tasks.join_next().await.is_some() {}
    }
}

/// The same address and port, over UDP and TCP.
async fn bind_pair(address: SocketAddr) -> Result<(UdpSocket, TcpListener), BindError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let udp = UdpSocket::bind(address).await.map_err(|source| BindError {
            address,
            transport: "UDP",
            source,
        })?;
        let chosen = udp.local_addr().unwrap_or(address);
        match TcpListener::bind(chosen).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(_) if address.port() == 0 && tries < ANY_PORT_TRIES_MAX => {}
            Err(source) => {
                return Err(BindError {
                    address,
                    transport: "TCP",
                    source,
                });
            }
        }
    }
}

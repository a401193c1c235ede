//! The server as a whole: binds every address over UDP and TCP, then serves until stopped.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    Service, SocketCounters, TcpLimits,
    bind::{self, Bound},
    tcp, udp,
};

/// Where and how to serve.
#[derive(Clone, Debug, Default)]
pub struct ServerConfig {
    /// Each is served over UDP and TCP. Port 0 lets the system choose one port for both.
    pub listen: Vec<SocketAddr>,
    /// UDP sockets of each address; `None`: one for each core; 0: over TCP alone.
    pub udp_sockets: Option<usize>,
    /// Sockets of ours may be there already, such as those of all addresses beside those of one.
    pub beside_ours: bool,
    /// Limits of each TCP listener.
    pub tcp_limits: TcpLimits,
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
        _ => "choose another address with --listen".to_owned(),
    }
}

/// Sockets that are bound and not yet served.
#[derive(Debug)]
pub struct Server {
    sockets: Vec<Bound>,
    addresses: Vec<SocketAddr>,
    config: ServerConfig,
}

impl Server {
    /// Binds every address, or none.
    ///
    /// # Errors
    ///
    /// An address cannot be bound.
    pub fn bind(config: ServerConfig) -> Result<Self, BindError> {
        let sockets = (config.listen.iter())
            .map(|&address| bind::bind(address, config.udp_sockets, config.beside_ours))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            addresses: sockets.iter().map(|bound| bound.address).collect(),
            sockets,
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
        service: Arc<dyn Service>,
        counters: Arc<SocketCounters>,
        stop: CancellationToken,
    ) {
        let mut tasks = JoinSet::new();
        for Bound { udp, tcp, address } in self.sockets {
            for endpoint in udp {
                tasks.spawn(udp::serve(
                    endpoint,
                    Arc::clone(&service),
                    Arc::clone(&counters),
                    stop.clone(),
                ));
            }
            let context = tcp::Context {
                local: address,
                service: Arc::clone(&service),
                counters: Arc::clone(&counters),
                limits: self.config.tcp_limits,
                stop: stop.clone(),
            };
            tasks.spawn(tcp::serve(tcp, context));
        }
        while tasks.join_next().await.is_some() {}
    }
}

//! Binding the sockets of an address: a UDP socket for each core, and a TCP listener.

use std::{io, net::SocketAddr, num::NonZero, thread};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UdpSocket};

use super::{BindError, udp::Endpoint};

/// With port 0 the system chooses a port for UDP, which may be taken for TCP: so many tries.
const ANY_PORT_TRIES_MAX: u32 = 8;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// The sockets of one address.
#[derive(Debug)]
pub(super) struct Bound {
    pub udp: Vec<Endpoint>,
    pub tcp: TcpListener,
    /// With the port that the system chose.
    pub address: SocketAddr,
}

/// Binds the same address and port over UDP and TCP; over TCP alone if there are to be no UDP sockets. `[::]` is all
/// addresses of both families. With `beside_ours` sockets of this user that are there already are no hindrance.
///
/// # Errors
///
/// It cannot be bound: in use, not ours, not permitted.
pub(super) fn bind(
    address: SocketAddr,
    udp_sockets: Option<usize>,
    beside_ours: bool,
) -> Result<Bound, BindError> {
    let failed = |transport, source| BindError {
        address,
        transport,
        source,
    };
    if udp_sockets == Some(0) {
        let tcp = bind_tcp(address, beside_ours).map_err(|source| failed("TCP", source))?;
        let address = tcp.local_addr().map_err(|source| failed("TCP", source))?;
        return Ok(Bound {
            udp: Vec::new(),
            tcp,
            address,
        });
    }
    let mut tries = 0;
    loop {
        tries += 1;
        let udp =
            bind_udp(address, udp_sockets, beside_ours).map_err(|source| failed("UDP", source))?;
        let chosen = udp[0].1;
        match bind_tcp(chosen, beside_ours) {
            Ok(tcp) => {
                let udp = udp.into_iter().map(|(endpoint, _)| endpoint).collect();
                return Ok(Bound {
                    udp,
                    tcp,
                    address: chosen,
                });
            }
            Err(_) if address.port() == 0 && tries < ANY_PORT_TRIES_MAX => {}
            Err(source) => return Err(failed("TCP", source)),
        }
    }
}

fn bind_udp(
    mut address: SocketAddr,
    sockets: Option<usize>,
    beside_ours: bool,
) -> io::Result<Vec<(Endpoint, SocketAddr)>> {
    let cores = || thread::available_parallelism().map_or(1, NonZero::get);
    let sockets = sockets.unwrap_or_else(cores);
    let mut endpoints = Vec::with_capacity(sockets);
    for number in 0..sockets {
        let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
        // The first without: two daemons on one address would share its queries unnoticed.
        if number > 0 || beside_ours {
            socket.set_reuse_port(true)?;
        }
        socket.bind(&address.into())?;
        socket.set_reuse_port(true)?;
        let socket = UdpSocket::from_std(socket.into())?;
        address = socket.local_addr()?;
        endpoints.push((Endpoint::new(socket)?, address));
    }
    Ok(endpoints)
}

fn bind_tcp(address: SocketAddr, beside_ours: bool) -> io::Result<TcpListener> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    // Connections of a daemon before that are still closing are no hindrance.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(beside_ours)?;
    socket.bind(&address.into())?;
    socket.set_reuse_port(true)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    Ok(socket)
}

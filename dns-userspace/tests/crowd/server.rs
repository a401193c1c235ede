//! A server in this process, and clients that it takes for many.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use hopzero::{
    corefile::Corefile,
    plugin::Environment,
    server::Servers,
    socket::{Server, ServerConfig, Service, SocketCounters, TcpLimits},
};
use socket2::{Domain, Socket, Type};
use tokio_util::sync::CancellationToken;

/// An address may have 32 connections; the others would be refused.
pub const PER_ADDRESS: u32 = 20;

/// Serves the one server block of a Corefile, on a port of loopback; it has more patience with clients than the test.
pub fn start(
    corefile: String,
    stop: &CancellationToken,
) -> (
    SocketAddr,
    Arc<SocketCounters>,
    impl Future<Output = ()> + use<>,
) {
    let corefile = Corefile::parse(Path::new("Corefile"), corefile, &|_| None).unwrap();
    let servers = Servers::build(&corefile, 53, &Environment::default()).unwrap();
    let service: Arc<dyn Service> = Arc::clone(servers.iter().next().unwrap().1) as _;
    let config = ServerConfig {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        tcp_limits: TcpLimits {
            read: Duration::from_mins(5),
            idle: Duration::from_mins(5),
            ..TcpLimits::default()
        },
        ..ServerConfig::default()
    };
    let server = Server::bind(config).unwrap();
    let (address, counters) = (server.addresses()[0], Arc::new(SocketCounters::default()));
    let serving = server.run(service, Arc::clone(&counters), stop.clone());
    (address, counters, serving)
}

/// From one of loopback's many addresses: as many connections come from each as it may have.
pub fn connect(server: SocketAddr, number: u32) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let client = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + number / PER_ADDRESS);
    socket.bind(&SocketAddr::from((client, 0)).into())?;
    socket.connect(&server.into())?;
    Ok(socket.into())
}

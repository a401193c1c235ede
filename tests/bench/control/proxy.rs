//! A way to the API server that counts: bytes as they are on the wire, encrypted and perhaps compressed.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use anyhow::Result;
use hopzero_tests::namespace::Namespace;

/// A running one, until the process ends.
pub struct Proxy {
    /// Where it listens, in its namespace.
    pub address: SocketAddr,
    down: Arc<AtomicU64>,
}

impl Proxy {
    /// Starts one to `server`, both in `namespace`.
    pub fn start(namespace: &Namespace, server: SocketAddr) -> Result<Self> {
        let listener = namespace.tcp((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = listener.local_addr()?;
        let down = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&down);
        // Its threads are in the namespace as the one that starts them.
        namespace.within(|| {
            thread::spawn(move || listen(&listener, server, &counted));
            Ok(())
        })?;
        Ok(Self { address, down })
    }

    /// Bytes that the API server has sent.
    pub fn down(&self) -> u64 {
        self.down.load(Relaxed)
    }
}

fn listen(listener: &TcpListener, server: SocketAddr, counted: &Arc<AtomicU64>) {
    for client in listener.incoming().map_while(Result::ok) {
        // Whoever cannot be connected is told by the end of the connection.
        let Ok(server) = TcpStream::connect(server) else {
            continue;
        };
        let _ = both_ways(client, server, counted);
    }
}

fn both_ways(client: TcpStream, server: TcpStream, counted: &Arc<AtomicU64>) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (up_from, up_to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || copy(up_from, up_to, &AtomicU64::new(0)));
    let counted = Arc::clone(counted);
    thread::spawn(move || copy(server, client, &counted));
    Ok(())
}

/// Until one of them ends, which ends the other.
fn copy(mut from: TcpStream, mut to: TcpStream, counted: &AtomicU64) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        counted.fetch_add(length as u64, Relaxed);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}

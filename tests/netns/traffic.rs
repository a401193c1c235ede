//! What is no query to the cluster's DNS goes through untouched.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    os::fd::{FromRawFd, OwnedFd},
    thread,
};

use anyhow::{Context, Result, ensure};
use hopzero_tests::{
    client::{Client, PATIENCE, Query, ask_udp, rtype, summary},
    daemon::counter,
    harness::Test,
    namespace::Namespace,
    network::{DNS_V4, DNS_V6, NODE_DEVICE, NODE_V4, NODE_V6, POD_V4, POD_V6, dns},
};

use crate::setup::{By, Setup, with_each_hook};

const TCP_PORT: u16 = 8080;
const UDP_PORT: u16 = 5353;
/// Enough for many segments, and for them to be merged.
const STREAM_BYTES: usize = 4 << 20;
/// Longer than what a frame of 1500 bytes takes.
const PADDING_BYTES: usize = 2000;

pub fn tests() -> Vec<Test> {
    let mut tests = with_each_hook("traffic::tcp", tcp);
    tests.extend(with_each_hook("traffic::udp", udp));
    tests.extend(with_each_hook("traffic::icmp", icmp));
    tests.extend(with_each_hook("traffic::dns_that_is_passed", passed));
    tests.extend(with_each_hook("traffic::fragments", fragments));
    tests
}

/// A stream to the node and back, to an address that the kernel answers for as well.
fn tcp(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    for address in [NODE_V4, NODE_V6, DNS_V4, DNS_V6] {
        let server = SocketAddr::new(address, TCP_PORT);
        let listener = setup.network.node.tcp(server)?;
        let echo = thread::spawn(move || -> Result<()> {
            let (mut stream, _) = listener.accept()?;
            let mut bytes = vec![0; STREAM_BYTES];
            stream.read_exact(&mut bytes)?;
            Ok(stream.write_all(&bytes)?)
        });
        let sent: Vec<u8> = (0..=250).cycle().take(STREAM_BYTES).collect();
        let received = setup.network.pod.within(|| {
            let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(&sent)?;
            let mut bytes = vec![0; STREAM_BYTES];
            stream.read_exact(&mut bytes)?;
            Ok(bytes)
        });
        let received = received.with_context(|| format!("TCP to {server}"))?;
        ensure!(received == sent, "TCP to {server} was changed");
        echo.join().expect("no panic")?;
    }
    Ok(())
}

/// A datagram that looks like a query comes back as it was sent, whoever it is sent to.
fn udp(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    let query = Query::new("checkout.shop.svc.cluster.local", rtype::A);
    setup.network.node.ip_batch(&format!(
        "addr add 10.244.0.3/32 dev {NODE_DEVICE}\n\
         addr add fd00:10:244::3/128 dev {NODE_DEVICE} nodad\n"
    ))?;
    let before = setup.daemon.counts()?;
    for server in [
        SocketAddr::new(DNS_V4, UDP_PORT),
        SocketAddr::new(DNS_V6, UDP_PORT),
        SocketAddr::new(NODE_V4, UDP_PORT),
        // Port 53 of an address that we do not answer for.
        dns("10.244.0.3".parse()?),
        dns("fd00:10:244::3".parse()?),
    ] {
        let echo = setup.network.node.udp(server)?;
        echo.set_read_timeout(Some(PATIENCE))?;
        let echoing = thread::spawn(move || echo_once(&echo));
        let client = Client::new(&setup.network.pod, server)?;
        let echoed = client
            .ask(&query.bytes())
            .with_context(|| format!("UDP to {server}"))?;
        ensure!(
            echoed == query.bytes(),
            "UDP to {server} was answered by us"
        );
        echoing.join().expect("no panic")?;
    }
    ensure!(setup.daemon.counts()? == before, "somebody answered");
    Ok(())
}

fn echo_once(socket: &UdpSocket) -> Result<()> {
    let mut bytes = [0; 1500];
    let (length, client) = socket.recv_from(&mut bytes)?;
    socket.send_to(&bytes[..length], client)?;
    Ok(())
}

fn icmp(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    let pod = &setup.network.pod;
    for address in [NODE_V4, NODE_V6, DNS_V4, DNS_V6] {
        let socket = ping_socket(pod, address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect((address, 0))?;
        let (request, reply) = if address.is_ipv4() {
            (8, 0)
        } else {
            (128, 129)
        };
        let payload = [0x35; 56];
        let mut echo = vec![request, 0, 0, 0, 0, 0, 0, 1]; // the kernel fills in checksum and identifier
        echo.extend(payload);
        socket.send(&echo)?;
        let mut bytes = [0; 128];
        let length = (socket.recv(&mut bytes)).with_context(|| format!("no echo of {address}"))?;
        ensure!(
            bytes[0] == reply && bytes[8..length] == payload,
            "{address}: {:02x?}",
            &bytes[..length]
        );
    }
    Ok(())
}

/// An ICMP echo socket (`man 7 icmp`, `ping_group_range`), which behaves as a UDP socket does.
fn ping_socket(namespace: &Namespace, address: IpAddr) -> Result<UdpSocket> {
    let (family, protocol) = if address.is_ipv4() {
        (libc::AF_INET, libc::IPPROTO_ICMP)
    } else {
        (libc::AF_INET6, libc::IPPROTO_ICMPV6)
    };
    namespace.within(|| {
        // Of this thread's network namespace.
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
        // SAFETY: socket() takes no pointers.
        let socket =
            unsafe { libc::socket(family, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, protocol) };
        ensure!(socket >= 0, "ICMP: {}", std::io::Error::last_os_error());
        // SAFETY: a new descriptor that nobody else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(socket) }.into())
    })
}

/// Queries that could be answered, but for one thing.
fn passed(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    let query = Query::new("checkout.shop.svc.cluster.local", rtype::A).bytes();
    for (server, from) in [(DNS_V4, POD_V4), (DNS_V6, POD_V6)] {
        // From port 53: it may be a response that only looks like a query.
        let client = Client::from_port(&setup.network.pod, dns(server), dns(from))?;
        let before = setup.daemon.report()?;
        let answer = client.ask(&query)?;
        ensure!(summary(&answer)? == "NOERROR 10.96.20.20");
        let after = setup.daemon.report()?;
        let moved = |label| counter(&after, label) - counter(&before, label);
        ensure!(
            (moved("answered"), moved("source_port")) == (0, 1),
            "from port 53 of {from}: answered {}, passed {}",
            moved("answered"),
            moved("source_port")
        );
    }
    for node in [NODE_V4, NODE_V6] {
        let before = setup.daemon.report()?;
        ask_udp(
            &setup.network.pod,
            dns(node),
            &Query::new("checkout.shop.svc.cluster.local", rtype::A),
        )?;
        let after = setup.daemon.report()?;
        let moved = |label| counter(&after, label) - counter(&before, label);
        ensure!(
            (moved("answered"), moved("destination")) == (0, 1),
            "to {node}"
        );
    }
    Ok(())
}

/// A query in two fragments passes, and is put together for the socket.
fn fragments(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    let mut padding = vec![0, 12]; // RFC 7830
    padding.extend(u16::try_from(PADDING_BYTES)?.to_be_bytes());
    padding.extend([0; PADDING_BYTES]);
    let query = Query::new("checkout.shop.svc.cluster.local", rtype::A).edns(&padding);
    for (server, label, fragments) in [(DNS_V4, "fragment", 2), (DNS_V6, "not_udp", 2)] {
        let before = setup.daemon.report()?;
        let (answer, by) = setup.ask(dns(server), &query)?;
        ensure!(summary(&answer)? == "NOERROR 10.96.20.20");
        ensure!(
            by == By::Socket,
            "a fragmented query was answered by the kernel"
        );
        let after = setup.daemon.report()?;
        let moved = counter(&after, label) - counter(&before, label);
        // Over IPv6 the neighbour's solicitations count as well.
        ensure!(
            moved >= fragments,
            "{server}: {moved} packets counted as {label}"
        );
    }
    Ok(())
}

//! What the program at a pod's veth costs the pod's other traffic: two pods alike, one of them covered, measured in turns.
//!
//! The figures are those of one machine that does nothing else (`HOPZERO_THROUGHPUT_ROUNDS` for more of them); what fails the test
//! is far worse than what is hoped for (0.97), since tests share their machine.

use std::{
    env,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use hopzero_tests::{
    daemon::{Daemon, Home},
    harness::Test,
    loaded::attached,
    namespace::Namespace,
    network::{DNS_V4, dns},
    node::Node,
};

const ROUNDS: usize = 4;
const ROUND: Duration = Duration::from_millis(500);
/// Native XDP in this place costs half.
const RATIO_MIN: f64 = 0.8;
const CHUNK: usize = 128 * 1024;
/// A datagram that is no query.
const DATAGRAM: usize = 64;
const PORT: u16 = 7777;

pub fn tests() -> Vec<Test> {
    vec![Test::new("node::throughput", throughput)]
}

fn throughput() -> Result<()> {
    let rounds = env::var("HOPZERO_THROUGHPUT_ROUNDS").ok();
    let rounds = rounds.map_or(Ok(ROUNDS), |text| text.parse())?;
    let node = Node::new()?;
    let (with, without) = (node.pod(1)?, node.pod(2)?);
    let home = Home::shop()?;
    let (listen, answer_for) = (dns(DNS_V4).to_string(), DNS_V4.to_string());
    let arguments = [
        "--listen",
        &listen,
        "--attach",
        &with.device,
        "--answer-for",
        &answer_for,
    ];
    let _daemon = Daemon::spawn(home.serve(&node.namespace, &arguments)?, &home)?.ready()?;
    ensure!(attached(&node.namespace, &with.device)?.len() == 1);
    ensure!(attached(&node.namespace, &without.device)?.is_empty());
    let at = |number: u8, end: u8| SocketAddr::from(([10, 244, number, end], PORT));
    let measures: [(&str, Measure); 3] = [
        ("TCP, pod to node, bytes", |pod, node, _, of_node| {
            tcp(pod, node, of_node)
        }),
        ("TCP, node to pod, bytes", |pod, node, of_pod, _| {
            tcp(node, pod, of_pod)
        }),
        ("UDP, pod to node, datagrams", |pod, node, _, of_node| {
            udp(pod, node, of_node)
        }),
    ];
    for (what, measure) in measures {
        let (mut sum_with, mut sum_without) = (0.0, 0.0);
        for round in 0..rounds {
            let one = || measure(&with.namespace, &node.namespace, at(1, 2), at(1, 1));
            let other = || measure(&without.namespace, &node.namespace, at(2, 2), at(2, 1));
            // Each goes first as often as the other.
            let (first, second) = if round.is_multiple_of(2) {
                let first = one()?;
                (first, other()?)
            } else {
                let second = other()?;
                (one()?, second)
            };
            sum_with += first;
            sum_without += second;
        }
        let ratio = sum_with / sum_without;
        println!(
            "R5: {what} a second with the program {:.3e}, without {:.3e}: {ratio:.3} ({rounds} rounds each)",
            sum_with / f64::from(u32::try_from(rounds)?),
            sum_without / f64::from(u32::try_from(rounds)?)
        );
        ensure!(ratio > RATIO_MIN, "{what}: {ratio}");
    }
    Ok(())
}

type Measure = fn(&Namespace, &Namespace, SocketAddr, SocketAddr) -> Result<f64>;

/// Bytes a second from one namespace to an address of the other.
fn tcp(from: &Namespace, to: &Namespace, address: SocketAddr) -> Result<f64> {
    let listener: TcpListener = to.tcp(address)?;
    let receiving = thread::spawn(move || -> Result<f64> {
        let (mut stream, _) = listener.accept()?;
        let mut buffer = vec![0; CHUNK];
        let (started, mut bytes) = (Instant::now(), 0);
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(rate(bytes, started.elapsed())),
                length => bytes += length,
            }
        }
    });
    from.within(|| {
        let mut stream = TcpStream::connect(address)?;
        let (started, chunk) = (Instant::now(), vec![0; CHUNK]);
        while started.elapsed() < ROUND {
            stream.write_all(&chunk)?;
        }
        Ok(())
    })?;
    receiving.join().map_err(|_| anyhow!("it panicked"))?
}

/// Datagrams a second that arrive.
fn udp(from: &Namespace, to: &Namespace, address: SocketAddr) -> Result<f64> {
    let receiver: UdpSocket = to.udp(address)?;
    receiver.set_read_timeout(Some(ROUND / 4))?;
    let receiving = thread::spawn(move || {
        let mut buffer = [0; DATAGRAM];
        let (mut count, mut started) = (0, None);
        let mut last = Instant::now();
        while receiver.recv(&mut buffer).is_ok() {
            last = Instant::now();
            started.get_or_insert(last);
            count += 1;
        }
        started.map_or(0.0, |started| rate(count, last - started))
    });
    from.within(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(address)?;
        let started = Instant::now();
        while started.elapsed() < ROUND {
            // What does not fit the receiver's buffer is not counted.
            let _ = socket.send(&[0; DATAGRAM]);
        }
        Ok(())
    })?;
    receiving.join().map_err(|_| anyhow!("it panicked"))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn rate(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

//! Queries that are broken, and clients that are, against the daemon's sockets: it does not panic, it does not grow, and
//! whoever asks properly in between is answered.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use hopzero_tests::{
    beside::{
        peer::{Client, Peer, Software},
        question::{Asked, Questions},
        upstream,
    },
    harness::{self, Test},
};

/// Messages over UDP, if `HOPZERO_MALFORMED_MESSAGES` does not say. One in a hundred of them comes over TCP, too.
const MESSAGES: usize = 100_000;
/// Messages between two proper queries: so many fit into a socket's queue.
const ROUND: usize = 100;
/// Connections that are left open at once: one client may have some more.
const CONNECTIONS_MAX: usize = 20;
/// What the daemon may have grown by since a tenth of the messages.
const GROWTH_BYTES_MAX: u64 = 16 << 20;
/// The most changes of one message.
const CHANGES_MAX: usize = 5;
/// Bytes that mean something somewhere: ends, lengths, pointers, types.
const BYTES: [u8; 12] = [0, 1, 5, 10, 16, 28, 33, 41, 63, 64, 0xc0, 0xff];
const NAMES: &str = "a1.up.test\ncname.up.test\ndenied.up.test\nnodata.up.test\nwhoami.test\nx.whoami.test\n\
    a1.rewritten.test\nhost.test\n7.2.0.192.in-addr.arpa\nblocked.test\necho.test\nkubernetes.default.svc.cluster.local\n\
    version.bind\nsix.up.test\nboth.up.test";

fn main() -> ExitCode {
    harness::run_plain(vec![Test::new("broken messages and broken clients", run)])
}

fn run() -> Result<()> {
    let messages = match env::var("HOPZERO_MALFORMED_MESSAGES") {
        Ok(messages) => messages.parse().context("HOPZERO_MALFORMED_MESSAGES")?,
        Err(_) => MESSAGES,
    };
    let upstream = upstream::start()?.to_string();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("malformed");
    let mut peer = Peer::start(Software::Hopzero, &folder, &[("UPSTREAM", &upstream)])?;
    let client = Client::new()?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    let mut random = fastrand::Rng::with_seed(1);
    let mut questions = Questions::new(NAMES);
    let mut open = Vec::new();
    let mut replies = 0;
    let (mut bytes_before, mut asked) = (0, 0);
    while asked < messages {
        for _ in 0..ROUND {
            let message = broken(questions.next().context("a query")?.bytes, &mut random);
            if random.usize(..100) == 0 {
                open.push(misbehave(peer.address(), &message, &mut random)?);
            }
            // A full queue loses it, which is fine.
            let _ = socket.send_to(&message, peer.address());
            replies += replies_to(&socket)?;
        }
        open.drain(..open.len().saturating_sub(CONNECTIONS_MAX));
        asked += ROUND;
        proper(&mut questions, &peer, &client)
            .with_context(|| format!("after {asked} messages"))?;
        if let Some(status) = peer.ended()? {
            bail!(
                "it ended ({status}) after {asked} messages:\n{}",
                peer.log()
            );
        }
        if bytes_before == 0 && asked * 10 >= messages {
            bytes_before = resident_bytes(peer.pid())?;
        }
    }
    let bytes = resident_bytes(peer.pid())?;
    println!(
        "{asked} messages, {replies} replies; {:.1} MB, {:.1} MB after a tenth of them",
        megabytes(bytes),
        megabytes(bytes_before)
    );
    ensure!(
        !peer.whole_log().contains("panicked"),
        "it panicked:\n{}",
        peer.log()
    );
    ensure!(
        replies * 10 > asked,
        "only {replies} replies: the messages are too broken to test much"
    );
    ensure!(bytes < bytes_before + GROWTH_BYTES_MAX, "it has grown");
    Ok(())
}

/// A query, changed here and there.
fn broken(mut message: Vec<u8>, random: &mut fastrand::Rng) -> Vec<u8> {
    for _ in 0..random.usize(..CHANGES_MAX) {
        if message.is_empty() {
            break;
        }
        let at = random.usize(..message.len());
        match random.usize(..8) {
            0 => message[at] ^= 1 << random.usize(..8),
            1 => message[at] = random.u8(..),
            2 => message[at] = BYTES[random.usize(..BYTES.len())],
            3 => message.truncate(at),
            4 => message.insert(at, BYTES[random.usize(..BYTES.len())]),
            5 => {
                message.remove(at);
            }
            // A pointer to somewhere.
            6 if at + 1 < message.len() => {
                message[at..at + 2].copy_from_slice(&[0xc0, random.u8(..)]);
            }
            // A part of itself once more.
            _ => message.extend_from_within(at..),
        }
    }
    message.truncate(4000);
    message
}

/// What has come back: each is a reply.
fn replies_to(socket: &UdpSocket) -> Result<usize> {
    let mut buffer = vec![0; 65_535];
    let mut replies = 0;
    while let Ok(length) = socket.recv(&mut buffer) {
        ensure!(
            length >= 12 && buffer[2] & 0x80 != 0,
            "no reply: {:02x?}",
            &buffer[..length]
        );
        replies += 1;
    }
    Ok(replies)
}

/// A client over TCP that sends a message in its own way, and does not wait.
fn misbehave(server: SocketAddr, message: &[u8], random: &mut fastrand::Rng) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_millis(1)))?;
    let length = match random.usize(..4) {
        // A length that is not the message's.
        0 => random.u16(..),
        _ => u16::try_from(message.len())?,
    };
    let framed = [&length.to_be_bytes(), message].concat();
    let cut = random.usize(..=framed.len());
    // It may be closed at any time.
    let _ = stream.write_all(&framed[..cut]);
    if random.bool() {
        let _ = stream.write_all(&framed[cut..]);
    }
    if random.usize(..4) == 0 {
        let _ = stream.read(&mut [0; 3]);
    }
    Ok(stream)
}

/// The next query as it should be, over UDP or TCP: it is answered.
fn proper(questions: &mut Questions<'_>, peer: &Peer, client: &Client) -> Result<()> {
    let asked: Asked = questions.next().context("a query")?;
    let seen = peer.ask(client, &asked)?;
    ensure!(
        seen.unreadable.is_none() && seen.flags & 0x8000 != 0,
        "{asked}: {seen}"
    );
    Ok(())
}

/// Memory of a process.
fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("no VmRSS")?;
    Ok(kilobytes.trim().parse::<u64>()? * 1024)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

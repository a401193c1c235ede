//! Ten thousand clients over TCP that say nothing, or begin a query and do not end it: what they cost, and what
//! others notice. One process alone, since its memory is measured.
//!
//! Half of the connections are idle, half have sent a part of a query. Then others ask, each over a connection of its
//! own and over UDP. The crowd is a process of its own, so the memory is that of the server; what the kernel has for its
//! sockets is not in it.

mod process;
mod server;

use std::{
    env,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Trial};
use process::{allow_files, memory};
use server::{connect, start};
use tokio_util::sync::CancellationToken;

const CONNECTIONS: u32 = 10_000;
const FRESH: usize = 1000;
const MEMORY_BYTES_MAX: u64 = 64_000_000;
const P99_MAX: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(10);

const COREFILE: &str = ".:53 {\n errors\n whoami\n}\n";
/// example.org A.
const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\x01\0\x01";

/// Set for the process that is the crowd: the server.
const CROWD: &str = "HOPZERO_CROWD";

fn main() {
    if let Ok(server) = env::var(CROWD) {
        gather(server.parse().unwrap()).unwrap();
        return;
    }
    let trial = Trial::test("ten thousand idle and slow clients", crowd);
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit();
}

fn crowd() -> Result<(), libtest_mimic::Failed> {
    let files = allow_files();
    if files < u64::from(CONNECTIONS) + 1000 {
        return Err(format!("{files} files at most are too few: ulimit -Hn 11000").into());
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let stop = CancellationToken::new();
    let (address, counters, serving) = {
        let _entered = runtime.enter();
        start(COREFILE.to_owned(), &stop)
    };
    let serving = runtime.spawn(serving);

    fresh(address)?;
    let before = memory();
    let begun = Instant::now();
    let mut crowd = Command::new(env::current_exe()?)
        .env(CROWD, address.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut told = [0];
    crowd
        .stdout
        .take()
        .ok_or("no output")?
        .read_exact(&mut told)?;
    let opened = begun.elapsed();
    let (p50, p99) = fresh(address)?;
    let grown = memory().saturating_sub(before);
    let snapshot = counters.snapshot();
    println!(
        "{CONNECTIONS} connections in {opened:?}: {} kB more in memory; {FRESH} fresh queries over TCP and UDP: \
         p50 {p50:?}, p99 {p99:?}; dropped {:?}",
        grown / 1000,
        snapshot.dropped
    );
    // None was refused or cut off, so that all of them were there.
    assert_eq!(snapshot.dropped.values().sum::<u64>(), 0);
    assert!(grown < MEMORY_BYTES_MAX, "{grown} bytes");
    assert!(p99 < P99_MAX, "p99 {p99:?}");
    // It ends when its input does.
    drop(crowd.stdin.take());
    crowd.wait()?;
    stop.cancel();
    runtime.block_on(serving)?;
    Ok(())
}

/// Opens the connections, says so, and holds them until its input ends.
fn gather(server: SocketAddr) -> std::io::Result<()> {
    allow_files();
    let mut held = Vec::new();
    for number in 0..CONNECTIONS {
        let mut stream = connect(server, number)?;
        if number % 2 == 1 {
            // The length of a query, and not all of it.
            stream.write_all(&[0, 29])?;
            stream.write_all(&QUERY[..20])?;
        }
        held.push(stream);
    }
    std::io::stdout().write_all(b"!")?;
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Asks over connections of their own, and over UDP; the median, and what 99 of 100 do not exceed.
fn fresh(server: SocketAddr) -> std::io::Result<(Duration, Duration)> {
    let mut times = Vec::new();
    for number in 0..FRESH {
        let begun = Instant::now();
        let mut answer = [0; 512];
        if number % 2 == 0 {
            let mut stream = TcpStream::connect(server)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            let length = u16::try_from(QUERY.len()).unwrap_or(0).to_be_bytes();
            stream.write_all(&[&length, QUERY].concat())?;
            // All of it: what is closed with something unread is reset.
            stream.read_exact(&mut answer[..PREFIX])?;
            let length = usize::from(u16::from_be_bytes([answer[0], answer[1]]));
            stream.read_exact(&mut answer[PREFIX..PREFIX + length])?;
            assert_eq!(answer[PREFIX..PREFIX + 2], QUERY[..2]);
        } else {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.send_to(QUERY, server)?;
            socket.recv(&mut answer)?;
            assert_eq!(answer[..2], QUERY[..2]);
        }
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok((times[FRESH / 2], times[FRESH * 99 / 100]))
}

/// Before a message.
const PREFIX: usize = 2;

//! The client: one thread on the client's CPU that sends in bursts, and whose answers are counted where they arrive.
//!
//! A client that makes a system call for each message costs more than the servers that it is to load, and the cheaper
//! ones among them would be idle and woken for every packet. Here some dozens of queries go out by one `sendmmsg`, and
//! a program at the pod's device counts the answers and swallows them ([`Answers`]).

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    ptr, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::network::{Network, POD_V4};

use super::answers::{Answers, CLIENT_PORT, Count};
use crate::cpu::{self, SERVER_CPU};

/// Queries under way at a time: enough that a server never waits for the client, and too few to fill a
/// socket's buffer.
const OUTSTANDING: u64 = 128;
/// Messages of one system call.
const BURST: usize = 64;
/// What has no answer after so long is lost.
const PATIENCE: Duration = Duration::from_millis(200);
/// Between two looks at what has come; a device holds back its packets for longer.
const PAUSE: Duration = Duration::from_micros(20);
/// Queries that may be lost, of all.
const LOST_MAX: f64 = 0.001;

/// What came of some time of asking.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    asked: f64,
    answers: f64,
    seconds: f64,
    cpu: cpu::Busy,
    /// How many of the answers are NXDOMAIN.
    pub nxdomain: f64,
}

impl Load {
    /// Answers for each second of the server's CPU.
    pub fn per_cpu_second(&self) -> f64 {
        self.answers / self.cpu.busy
    }

    /// Answers a second.
    pub fn per_second(&self) -> f64 {
        self.answers / self.seconds
    }

    /// How much of its CPU the server's side took.
    pub fn busy(&self) -> f64 {
        self.cpu.busy / self.cpu.wall
    }

    /// Queries without an answer.
    pub fn lost(&self) -> f64 {
        1.0 - self.answers / self.asked
    }

    /// Both together.
    pub fn add(&mut self, more: &Load) {
        let all = self.answers + more.answers;
        self.nxdomain = (self.nxdomain * self.answers + more.nxdomain * more.answers) / all;
        self.answers = all;
        self.asked += more.asked;
        self.seconds += more.seconds;
        self.cpu.busy += more.cpu.busy;
        self.cpu.wall += more.cpu.wall;
    }
}

/// Asks a server for so many seconds.
pub fn run(
    network: &Network,
    server: SocketAddr,
    queries: &[Vec<u8>],
    seconds: u32,
) -> Result<Load> {
    let socket = network.pod.udp((POD_V4, CLIENT_PORT).into())?;
    socket.connect(server)?;
    let mut answers = Answers::counted(network)?;
    let (mut asked, mut answered, mut took) = (0, Count::default(), 0.0);
    let cpu = cpu::busy_while(SERVER_CPU, || {
        // Sockets stay in the namespace that they were made in; this thread has the client's CPU already.
        let started = Instant::now();
        let duration = Duration::from_secs(seconds.into());
        (asked, answered) = ask(&socket, queries, duration, &mut answers)?;
        took = started.elapsed().as_secs_f64();
        Ok(())
    })?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let load = Load {
        asked: asked as f64,
        answers: answered.all as f64,
        seconds: took,
        cpu,
        nxdomain: answered.denials as f64 / answered.all.max(1) as f64,
    };
    ensure!(
        load.lost() <= LOST_MAX,
        "{} of {} queries without an answer",
        asked - answered.all,
        asked
    );
    Ok(load)
}

/// How many were asked, and what came back.
fn ask(
    socket: &UdpSocket,
    queries: &[Vec<u8>],
    duration: Duration,
    answers: &mut Answers,
) -> Result<(u64, Count)> {
    let (mut next, mut asked, mut lost) = (0, 0, 0);
    let mut answered = Count::default();
    let started = Instant::now();
    let mut heard = started;
    loop {
        let goes_on = started.elapsed() < duration;
        while goes_on && asked - answered.all - lost < OUTSTANDING {
            let burst = BURST.min(queries.len() - next);
            let sent = send(socket, &queries[next..next + burst]).context("sending")?;
            next = (next + sent) % queries.len();
            asked += sent as u64;
        }
        let now = answers.count()?;
        if now.all > answered.all {
            (answered, heard) = (now, Instant::now());
        } else if heard.elapsed() > PATIENCE {
            // What is judged is how many.
            lost = asked - answered.all;
        } else {
            // What takes in the answers runs on this CPU, too, and so may what the server asks.
            thread::sleep(PAUSE);
        }
        if !goes_on && asked == answered.all + lost {
            return Ok((asked, answered));
        }
    }
}

fn header(buffer: *mut u8, bytes: usize, vector: &mut libc::iovec) -> libc::mmsghdr {
    *vector = libc::iovec {
        iov_base: buffer.cast(),
        iov_len: bytes,
    };
    // SAFETY: all zero is a header without address, vectors and control data.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_iov = vector;
    header.msg_hdr.msg_iovlen = 1;
    header
}

const NO_VECTOR: libc::iovec = libc::iovec {
    iov_base: ptr::null_mut(),
    iov_len: 0,
};

/// Sends at most [`BURST`] messages; how many were sent.
fn send(socket: &UdpSocket, messages: &[Vec<u8>]) -> io::Result<usize> {
    let mut vectors = [NO_VECTOR; BURST];
    let mut headers: Vec<libc::mmsghdr> = (messages.iter().zip(&mut vectors))
        .map(|(message, vector)| header(message.as_ptr().cast_mut(), message.len(), vector))
        .collect();
    let count = libc::c_uint::try_from(headers.len()).unwrap_or(0);
    // SAFETY: `count` headers, whose vectors and messages outlive the call, which only reads the messages.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

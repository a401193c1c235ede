//! The client: one thread on the client's CPU that sends and receives in bursts.
//!
//! A client that makes a system call for each message costs more than the servers that it is to load, and the cheaper
//! ones among them would be idle and woken for every packet. Here some dozens of queries go out by one `sendmmsg` and
//! their answers come in by one `recvmmsg`.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    ptr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::{client::any, network::Network};

use crate::cpu::{self, SERVER_CPU};

/// Queries under way at a time: enough that a server never waits for the client, and too few to fill a
/// socket's buffer.
const OUTSTANDING: usize = 128;
/// Messages of one system call.
const BURST: usize = 64;
/// No answer is longer.
const ANSWER_BYTES_MAX: usize = 1500;
/// What has no answer after so long is lost.
const PATIENCE: Duration = Duration::from_millis(200);
/// Queries that may be lost, of all.
const LOST_MAX: f64 = 0.001;
const NXDOMAIN: u8 = 3;

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
    let socket = network.pod.udp(any(server))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let (mut counts, mut took) = (Counts::default(), 0.0);
    let cpu = cpu::busy_while(SERVER_CPU, || {
        // Sockets stay in the namespace that they were made in; this thread has the client's CPU already.
        let started = Instant::now();
        counts = ask(&socket, queries, Duration::from_secs(seconds.into()))?;
        took = started.elapsed().as_secs_f64();
        Ok(())
    })?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let load = Load {
        asked: counts.asked as f64,
        answers: counts.answers as f64,
        seconds: took,
        cpu,
        nxdomain: counts.nxdomain as f64 / counts.answers.max(1) as f64,
    };
    ensure!(
        load.lost() <= LOST_MAX,
        "{} of {} queries without an answer",
        counts.asked - counts.answers,
        counts.asked
    );
    Ok(load)
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    asked: u64,
    answers: u64,
    nxdomain: u64,
}

fn ask(socket: &UdpSocket, queries: &[Vec<u8>], duration: Duration) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut answers = vec![[0; ANSWER_BYTES_MAX]; BURST];
    let (mut next, mut outstanding) = (0, 0);
    let started = Instant::now();
    loop {
        let goes_on = started.elapsed() < duration;
        while goes_on && outstanding < OUTSTANDING {
            let burst = BURST.min(queries.len() - next);
            let sent = send(socket, &queries[next..next + burst]).context("sending")?;
            next = (next + sent) % queries.len();
            outstanding += sent;
            counts.asked += sent as u64;
        }
        if outstanding == 0 {
            return Ok(counts);
        }
        match receive(socket, &mut answers) {
            Ok(received) => {
                outstanding = outstanding.saturating_sub(received);
                counts.answers += received as u64;
                let denials = answers[..received].iter();
                let denials = denials.filter(|answer| answer[3] & 15 == NXDOMAIN);
                counts.nxdomain += denials.count() as u64;
            }
            // They are lost; what is judged is how many.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => outstanding = 0,
            Err(error) => return Err(error).context("receiving"),
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

/// Receives what is there, and waits for one if there is nothing; how many came.
fn receive(socket: &UdpSocket, answers: &mut [[u8; ANSWER_BYTES_MAX]]) -> io::Result<usize> {
    let mut vectors = [NO_VECTOR; BURST];
    let mut headers: Vec<libc::mmsghdr> = (answers.iter_mut().zip(&mut vectors))
        .map(|(answer, vector)| header(answer.as_mut_ptr(), answer.len(), vector))
        .collect();
    let count = libc::c_uint::try_from(headers.len()).unwrap_or(0);
    let (fd, wait) = (socket.as_raw_fd(), libc::MSG_WAITFORONE);
    // SAFETY: `count` headers, whose vectors and buffers outlive the call; nothing else refers to the buffers.
    let received =
        unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), count, wait, ptr::null_mut()) };
    usize::try_from(received).map_err(|_| io::Error::last_os_error())
}

//! Answers arrive whatever offloads both ends of the veth have: not one is lost.
//!
//! A query that a local socket sent has no checksum yet (`CHECKSUM_PARTIAL`): the device that it leaves by
//! completes it, or a later one. The answer is the same buffer, and must leave no trace of that.
//!
//! A client that sends many datagrams by one call (`UDP_SEGMENT`) has them in one packet until somebody cuts it:
//! such a packet is no query, and passes.

use std::{env, io, os::fd::AsRawFd, time::Instant};

use anyhow::{Context, Result, ensure};
use hopzero_tests::{
    client::{PATIENCE, Query, any, rtype, summary},
    harness::Test,
    network::{DNS_V4, DNS_V6, dns},
    offload::Switches,
    window::{self, Question, Sum},
};

use crate::setup::{Setup, with_each_hook};

/// Queries for each combination and family, if `HOPZERO_OFFLOAD_QUERIES` does not say.
const QUERIES: u64 = 2000;
/// Queries in one packet.
const SEGMENTS: u16 = 8;
/// Packets of them for each combination and family.
const SEGMENTED_PACKETS: u16 = 20;

pub fn tests() -> Vec<Test> {
    let mut tests = with_each_hook("offloads::each", each);
    tests.extend(with_each_hook("offloads::segmented", segmented));
    tests
}

fn each(hook: &'static str) -> Result<()> {
    let count = match env::var("HOPZERO_OFFLOAD_QUERIES") {
        Ok(count) => count.parse().context("HOPZERO_OFFLOAD_QUERIES")?,
        Err(_) => QUERIES,
    };
    let setup = Setup::new(hook)?;
    let mut wrong = Vec::new();
    for switches in Switches::all() {
        switches.apply(&setup.network)?;
        for address in [DNS_V4, DNS_V6] {
            let (before, started) = (setup.daemon.counts()?, Instant::now());
            let sum = window::ask(&setup.network.pod, dns(address), &mut questions(), count)?;
            let took = started.elapsed().as_secs_f64();
            let after = setup.daemon.counts()?;
            let line = format!("{hook}, {switches}, {address}: {sum:?} in {took:.1} s");
            println!("{line}");
            let right = Sum {
                answered: count,
                ..Sum::default()
            };
            if sum != right || after.kernel - before.kernel != count {
                wrong.push(line);
            }
        }
    }
    ensure!(
        wrong.is_empty(),
        "answers were lost, or are not the kernel's: {wrong:#?}"
    );
    Ok(())
}

/// Small and large ones, with and without EDNS.
fn questions() -> Vec<Question> {
    let rows = [
        (
            "checkout.shop.svc.cluster.local",
            rtype::A,
            "NOERROR 10.96.20.20",
        ),
        (
            "cart.shop.svc.cluster.local",
            rtype::AAAA,
            "NOERROR fd00:10:96::2030",
        ),
        (
            "db.data.svc.cluster.local",
            rtype::A,
            "NOERROR 10.244.1.10 10.244.2.10 10.244.3.10",
        ),
        ("nothing.shop.svc.cluster.local", rtype::A, "NXDOMAIN"),
        (
            "20.20.96.10.in-addr.arpa",
            rtype::PTR,
            "NOERROR checkout.shop.svc.cluster.local.",
        ),
    ];
    rows.iter()
        .flat_map(|(name, qtype, expected)| {
            let query = Query::new(*name, *qtype);
            [
                Question::new(&query, *expected),
                Question::new(&query.edns(&[]), *expected),
            ]
        })
        .collect()
}

fn segmented(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    for switches in Switches::all() {
        switches.apply(&setup.network)?;
        for address in [DNS_V4, DNS_V6] {
            let server = dns(address);
            let socket = setup.network.pod.udp(any(server))?;
            socket.connect(server)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            let query = Query::new("checkout.shop.svc.cluster.local", rtype::A);
            set_segment(&socket, query.bytes().len())?;
            let mut buffer = [0; 512];
            for packet in 0..SEGMENTED_PACKETS {
                let ids = packet * SEGMENTS..(packet + 1) * SEGMENTS;
                let all: Vec<u8> = (ids.clone())
                    .flat_map(|id| query.clone().id(id).bytes())
                    .collect();
                socket.send(&all)?;
                let mut answered: Vec<u16> = Vec::new();
                for _ in ids.clone() {
                    let length = socket
                        .recv(&mut buffer)
                        .with_context(|| format!("{switches}, {address}: only {answered:?}"))?;
                    let summary = summary(&buffer[..length])?;
                    ensure!(summary == "NOERROR 10.96.20.20", "{switches}: {summary}");
                    answered.push(u16::from_be_bytes([buffer[0], buffer[1]]));
                }
                answered.sort_unstable();
                ensure!(answered.into_iter().eq(ids), "{switches}: other answers");
            }
        }
    }
    Ok(())
}

/// What is sent by one call goes as datagrams of `bytes` (Linux 4.18).
fn set_segment(socket: &std::net::UdpSocket, bytes: usize) -> Result<()> {
    let bytes = libc::c_int::try_from(bytes)?;
    // SAFETY: the kernel reads an int from the pointer, which outlives the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const bytes).cast(),
            libc::socklen_t::try_from(size_of::<libc::c_int>())?,
        )
    };
    ensure!(done == 0, "UDP_SEGMENT: {}", io::Error::last_os_error());
    Ok(())
}

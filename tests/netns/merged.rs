//! Datagrams that the kernel merges before any program sees them are no query: they pass, and come out whole.
//!
//! A device with GRO merges datagrams of one client that come together, if a socket of the node wants them so
//! (`UDP_GRO`, Linux 5.0; `udp_gro_receive` looks it up). Our own sockets do not, but others may. They do come together
//! if the client sends them by one call (`UDP_SEGMENT`) and its device cuts them.

use std::{
    io::{ErrorKind, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::{
    client::{PATIENCE, Query, any, ask_udp, rtype, summary},
    daemon::{Home, counter},
    harness::Test,
    network::{NODE_V4, Network, dns},
    offload::Switches,
};
use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};
use quinn_udp::{RecvMeta, UdpSocketState};

use crate::setup::{Setup, with_each_hook};

/// Queries in one packet.
const SEGMENTS: u16 = 8;
/// Packets of them for each family.
const PACKETS: u16 = 20;
/// The kernel answers for these, and another server than ours listens there.
const OTHER_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 99));
const OTHER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0x99));

pub fn tests() -> Vec<Test> {
    with_each_hook("merged::pass_whole", pass_whole)
}

fn pass_whole(hook: &'static str) -> Result<()> {
    let network = Network::new()?;
    network.node.ip_batch(&format!(
        "addr add {OTHER_V4}/32 dev lo\naddr add {OTHER_V6}/128 dev lo nodad\n"
    ))?;
    let answer_for = [OTHER_V4, OTHER_V6].map(|address| address.to_string());
    let arguments = [
        "--answer-for",
        &*answer_for[0],
        "--answer-for",
        &answer_for[1],
    ];
    let setup = Setup::start(network, Home::shop()?, hook, &arguments)?;
    // Without checksums the pod's device has no segmentation: it cuts what is sent by one call, and the node's end merges
    // again (`veth_skb_is_eligible_for_gro`).
    let switches = Switches {
        pod_checksums: false,
        node_checksums: true,
        gso: false,
        gro: true,
    };
    switches.apply(&setup.network)?;
    for address in [OTHER_V4, OTHER_V6] {
        let server = setup.network.node.udp(dns(address))?;
        let client = setup.network.pod.udp(any(dns(address)))?;
        client.connect(dns(address))?;
        client.set_read_timeout(Some(PATIENCE))?;
        let state = UdpSocketState::new((&server).into())?;
        ensure!(state.gro_segments() > 1, "this kernel has no UDP_GRO");
        let (passed, answered) = (merged(&setup)?, setup.daemon.counts()?.kernel);
        for packet in 0..PACKETS {
            let sent = ask(&client, packet)?;
            if hook == "tc" {
                let (came, from, segment) = receive(&server, &state)?;
                ensure!(
                    came == sent && segment == sent.len() / usize::from(SEGMENTS),
                    "{address}: {came:02x?} in datagrams of {segment} bytes, instead of {sent:02x?}"
                );
                // What stands behind an address that the kernel answers for: it asks our socket.
                for query in came.chunks(segment) {
                    let id = u16::from_be_bytes([query[0], query[1]]);
                    let answer = ask_udp(&setup.network.node, dns(NODE_V4), &shop().id(id))?;
                    server.send_to(&answer, from)?;
                }
            }
            answers(&client, packet).with_context(|| format!("{address}, packet {packet}"))?;
        }
        let passed = merged(&setup)? - passed;
        let answered = setup.daemon.counts()?.kernel - answered;
        let expected = match hook {
            "tc" => (u64::from(PACKETS), 0),
            // A device with XDP in the stack merges nothing (`netif_elide_gro`).
            _ => (0, u64::from(PACKETS * SEGMENTS)),
        };
        ensure!(
            (passed, answered) == expected,
            "{address}: the kernel passed {passed} packets and answered {answered} queries"
        );
    }
    Ok(())
}

fn shop() -> Query {
    Query::new("checkout.shop.svc.cluster.local", rtype::A)
}

/// Packets whose bytes are not all at hand, as at tc, or with others behind their message.
fn merged(setup: &Setup) -> Result<u64> {
    let report = setup.daemon.report()?;
    Ok(counter(&report, "trailing") + counter(&report, "length"))
}

/// Sends the queries of a packet by one call; returns them one behind the other.
fn ask(client: &UdpSocket, packet: u16) -> Result<Vec<u8>> {
    let queries: Vec<u8> = ids(packet).flat_map(|id| shop().id(id).bytes()).collect();
    let segment = i32::try_from(queries.len() / usize::from(SEGMENTS))?;
    setsockopt(client, UdpGsoSegment, &segment)?;
    client.send(&queries)?;
    Ok(queries)
}

/// Receives the answers to them.
fn answers(client: &UdpSocket, packet: u16) -> Result<()> {
    let mut answered = Vec::new();
    let mut buffer = [0; 512];
    for _ in ids(packet) {
        let length = client
            .recv(&mut buffer)
            .with_context(|| format!("only {answered:?}"))?;
        let found = summary(&buffer[..length])?;
        ensure!(found == "NOERROR 10.96.20.20", "{found}");
        answered.push(u16::from_be_bytes([buffer[0], buffer[1]]));
    }
    answered.sort_unstable();
    ensure!(
        answered.iter().copied().eq(ids(packet)),
        "answers to {answered:?}"
    );
    Ok(())
}

fn ids(packet: u16) -> std::ops::Range<u16> {
    packet * SEGMENTS..(packet + 1) * SEGMENTS
}

/// What came by one call, from whom, and the length of the datagrams that it was merged of.
fn receive(server: &UdpSocket, state: &UdpSocketState) -> Result<(Vec<u8>, SocketAddr, usize)> {
    let mut buffer = vec![0; 65_535];
    let mut metas = [RecvMeta::default()];
    let started = Instant::now();
    // It does not block.
    while let Err(error) = state.recv(
        server.into(),
        &mut [IoSliceMut::new(&mut buffer)],
        &mut metas,
    ) {
        ensure!(
            error.kind() == ErrorKind::WouldBlock && started.elapsed() < PATIENCE,
            "{error}"
        );
        thread::sleep(Duration::from_millis(1));
    }
    buffer.truncate(metas[0].len);
    Ok((buffer, metas[0].addr, metas[0].stride))
}

//! Queries, byte by byte: nothing here uses the code that is tested.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The client.
pub const CLIENT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
/// The device of the programs. All zero is the address of `lo`, which is the device of
/// `BPF_PROG_TEST_RUN` for tc.
pub const DEVICE_MAC: [u8; 6] = [0; 6];
/// The client's addresses.
pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 2);
/// The client's addresses.
pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 2);
/// The addresses that the programs answer for.
pub const SERVER_V4: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// The addresses that the programs answer for.
pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0xa);
/// The client's port.
pub const CLIENT_PORT: u16 = 40000;

/// Offset of the network header.
pub const L3: usize = 14;
/// Offset of the DNS message behind IPv4.
pub const DNS_V4: usize = 42;
/// Offset of the DNS message behind IPv6.
pub const DNS_V6: usize = 62;

/// A VLAN that the programs answer in.
pub const VLAN: u16 = 100;
/// And one that they do not.
pub const VLAN_OTHER: u16 = 101;
/// Priority 5, drop eligible.
pub const PRIORITY: u16 = 0xb000;
/// The type of an 802.1Q tag.
pub const DOT1Q: u16 = 0x8100;
/// The type of an 802.1ad tag.
pub const DOT1AD: u16 = 0x88a8;

/// Record types.
pub const A: u16 = 1;
/// Record types.
pub const AAAA: u16 = 28;
/// Record types.
pub const PTR: u16 = 12;

/// A name in wire form, its case kept; escapes are not understood.
pub fn wire_name(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name
        .trim_end_matches('.')
        .split('.')
        .filter(|label| !label.is_empty())
    {
        wire.push(u8::try_from(label.len()).expect("a label of a test"));
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire
}

/// A DNS query for `name` with RD set and no OPT.
pub fn message(name: &str, qtype: u16) -> Vec<u8> {
    message_of(&wire_name(name), qtype)
}

/// A DNS query for a name in wire form.
pub fn message_of(name: &[u8], qtype: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(name);
    message.extend_from_slice(&qtype.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message
}

/// Appends an OPT record with options in wire form.
pub fn with_opt(mut message: Vec<u8>, size: u16, dnssec_ok: bool, options: &[u8]) -> Vec<u8> {
    message[11] += 1;
    message.extend_from_slice(&[0, 0, 41]);
    message.extend_from_slice(&size.to_be_bytes());
    message.extend_from_slice(&[0, 0, if dnssec_ok { 0x80 } else { 0 }, 0]);
    let length = u16::try_from(options.len()).expect("options of a test");
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(options);
    message
}

/// A datagram from the client to the programs' IPv4 address.
pub fn v4(message: &[u8]) -> Vec<u8> {
    packet(CLIENT_V4.into(), SERVER_V4.into(), CLIENT_PORT, 53, message)
}

/// A datagram from the client to the programs' IPv6 address.
pub fn v6(message: &[u8]) -> Vec<u8> {
    packet(CLIENT_V6.into(), SERVER_V6.into(), CLIENT_PORT, 53, message)
}

/// A datagram from the client to the device.
pub fn packet(
    source: IpAddr,
    destination: IpAddr,
    sport: u16,
    dport: u16,
    payload: &[u8],
) -> Vec<u8> {
    let macs = (CLIENT_MAC, DEVICE_MAC);
    frame(macs, (source, destination), (sport, dport), 0x1c1c, payload)
}

/// The answer to a datagram of [`packet`]: everything turned round, and the checksums as we send them.
pub fn answer(source: IpAddr, destination: IpAddr, sport: u16, payload: &[u8]) -> Vec<u8> {
    let macs = (DEVICE_MAC, CLIENT_MAC);
    let mut packet = frame(macs, (destination, source), (53, sport), 0, payload);
    if source.is_ipv4() {
        packet[L3 + 8] = 64;
        fix_v4_checksum(&mut packet);
    } else {
        packet[L3 + 7] = 64;
        let checksum = udp_v6_checksum(&packet);
        packet[L3 + 46..L3 + 48].copy_from_slice(&checksum.to_be_bytes());
    }
    packet
}

fn frame(
    (source_mac, destination_mac): ([u8; 6], [u8; 6]),
    addresses: (IpAddr, IpAddr),
    (sport, dport): (u16, u16),
    udp_checksum: u16,
    payload: &[u8],
) -> Vec<u8> {
    let udp_len = u16::try_from(payload.len() + 8).expect("a datagram of a test");
    let mut packet = Vec::new();
    packet.extend_from_slice(&destination_mac);
    packet.extend_from_slice(&source_mac);
    match addresses {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            packet.extend_from_slice(&[0x08, 0x00, 0x45, 0]);
            packet.extend_from_slice(&(udp_len + 20).to_be_bytes());
            // Identification, don't fragment, hop limit, UDP, checksum.
            packet.extend_from_slice(&[0xab, 0xcd, 0x40, 0, 63, 17, 0, 0]);
            packet.extend_from_slice(&source.octets());
            packet.extend_from_slice(&destination.octets());
            fix_v4_checksum(&mut packet);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            // Version 6 with a flow label.
            packet.extend_from_slice(&[0x86, 0xdd, 0x60, 0x01, 0x02, 0x03]);
            packet.extend_from_slice(&udp_len.to_be_bytes());
            packet.extend_from_slice(&[17, 63]);
            packet.extend_from_slice(&source.octets());
            packet.extend_from_slice(&destination.octets());
        }
        _ => panic!("addresses of two families"),
    }
    packet.extend_from_slice(&sport.to_be_bytes());
    packet.extend_from_slice(&dport.to_be_bytes());
    packet.extend_from_slice(&udp_len.to_be_bytes());
    packet.extend_from_slice(&udp_checksum.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// The frame with a tag in it.
pub fn tagged(packet: &[u8], protocol: u16, control: u16) -> Vec<u8> {
    let mut tagged = packet.to_vec();
    let [a, b] = protocol.to_be_bytes();
    let [c, d] = control.to_be_bytes();
    tagged.splice(12..12, [a, b, c, d]);
    tagged
}

/// Bytes of the tag in a frame of [`tagged`].
pub fn tag_len(packet: &[u8]) -> usize {
    if packet[12..14] == DOT1Q.to_be_bytes() {
        4
    } else {
        0
    }
}

/// Offset of the DNS message.
pub fn dns_of(packet: &[u8]) -> usize {
    let tag = tag_len(packet);
    tag + if packet[12 + tag] == 0x08 {
        DNS_V4
    } else {
        DNS_V6
    }
}

/// The name that a packet asks for.
pub fn question_of(packet: &[u8]) -> hickory_proto::rr::Name {
    let message = hickory_proto::op::Message::from_vec(&packet[dns_of(packet)..]);
    message.expect("a query").queries[0].name().clone()
}

/// The answer's message with TC and without records, but for the OPT that ends the answer to a query with EDNS.
pub fn emptied(query: &[u8], reply: &[u8]) -> Vec<u8> {
    let has_opt = query[11] == 1;
    let name = query[12..].iter().position(|byte| *byte == 0);
    let question_end = 12 + name.expect("a name") + 5;
    let mut emptied = reply[..question_end].to_vec();
    emptied[2] |= 2;
    emptied[6..12].copy_from_slice(&[0, 0, 0, 0, 0, u8::from(has_opt)]);
    if has_opt {
        emptied.extend_from_slice(&reply[reply.len() - 11..]);
    }
    emptied
}

/// An answer as it may come back to a program: to its device, with addresses and ports as they are and
/// turned round, to port 53 from any other, and in the order of a loop.
pub fn fed_back(answer: &[u8]) -> Vec<Vec<u8>> {
    let dns = dns_of(answer);
    let (udp, tag) = (dns - 8, tag_len(answer));
    let is_v4 = answer[12 + tag] == 0x08;
    let (address, len) = if is_v4 { (udp - 8, 4) } else { (udp - 32, 16) };
    let mut packets = Vec::new();
    for to_device in [false, true] {
        for turned in [false, true] {
            for ports in [
                None,
                Some((53, 53)),
                Some((99, 53)),
                Some((CLIENT_PORT, 53)),
            ] {
                let mut packet = answer.to_vec();
                if to_device {
                    packet[..6].copy_from_slice(&DEVICE_MAC);
                }
                if turned {
                    let (source, rest) = packet[address..].split_at_mut(len);
                    source.swap_with_slice(&mut rest[..len]);
                }
                if let Some((source, destination)) = ports {
                    packet[udp..udp + 2].copy_from_slice(&u16::to_be_bytes(source));
                    packet[udp + 2..udp + 4].copy_from_slice(&u16::to_be_bytes(destination));
                }
                packets.push(packet);
            }
        }
    }
    packets
}

/// Makes the IPv4 header's checksum right.
pub fn fix_v4_checksum(packet: &mut [u8]) {
    packet[L3 + 10..L3 + 12].fill(0);
    let checksum = !ones_complement_sum(&packet[L3..L3 + 20], 0);
    packet[L3 + 10..L3 + 12].copy_from_slice(&checksum.to_be_bytes());
}

/// The UDP checksum of an IPv6 packet whose checksum field is zero.
pub(super) fn udp_v6_checksum(packet: &[u8]) -> u16 {
    let udp = &packet[L3 + 40..];
    let pseudo_header = ones_complement_sum(&packet[L3 + 8..L3 + 40], 17)
        .wrapping_add(u16::try_from(udp.len()).expect("a datagram"));
    let carried = pseudo_header < u16::try_from(udp.len()).expect("a datagram");
    match !ones_complement_sum(udp, u32::from(pseudo_header) + u32::from(carried)) {
        0 => 0xffff,
        checksum => checksum,
    }
}

fn ones_complement_sum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum = (sum & 0xffff) + (sum >> 16);
    u16::try_from(sum).expect("folded twice")
}

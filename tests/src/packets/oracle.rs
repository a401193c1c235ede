//! What must hold for any packet: it comes out as it went in, or as the answer to what it asks.
//!
//! Nothing here uses the code that is tested. The message is found by walking the headers; the answer
//! is the socket's, but for the order of addresses; a DNS library reads it; the headers around it are
//! made anew from the query's.

use std::{collections::BTreeMap, ops::Range, sync::RwLock};

use hickory_proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::RecordType,
};
use hopzero::{
    socket::{Transport, respond},
    zone::Zone,
};

use super::{
    Outcome,
    build::{A, AAAA, L3, fix_v4_checksum, udp_v6_checksum},
    hex,
};

const CNAME: u16 = 5;
/// The largest answer over UDP, whatever the client takes.
const ANSWER_BYTES_MAX: usize = 1232;
/// What every client takes (RFC 1035 section 2.3.4, RFC 6891 section 6.2.3).
const ANSWER_BYTES_PLAIN: usize = 512;
/// Behind both MAC addresses: the tag of IEEE 802.1Q, if there is one.
const TAG: Range<usize> = 12..16;

/// Judges what became of packets.
pub struct Oracle {
    zone: RwLock<Zone>,
}

impl Oracle {
    /// For programs that answer from this zone.
    pub fn new(zone: Zone) -> Self {
        Self {
            zone: RwLock::new(zone),
        }
    }

    /// Says what is wrong with the outcome.
    ///
    /// # Errors
    /// What is wrong, readable.
    pub fn judge(&self, packet: &[u8], outcome: &Outcome) -> Result<(), String> {
        let verdict = if outcome.answered {
            self.is_answer(packet, &outcome.packet)
        } else if outcome.packet == packet {
            Ok(())
        } else {
            Err(format!("passed for {:?}, but changed", outcome.reason))
        };
        verdict.map_err(|error| {
            format!(
                "{error}\n  {}\nbecame\n  {}",
                hex(packet),
                hex(&outcome.packet)
            )
        })
    }

    fn is_answer(&self, packet: &[u8], answer: &[u8]) -> Result<(), String> {
        let message = message(packet).ok_or("there is no query in it")?;
        let (query, reply) = (
            &packet[message.clone()],
            answer.get(message.start..).ok_or("there is no answer")?,
        );
        let turned = turned(packet, message.start, reply);
        if answer != turned {
            return Err(format!("headers are not\n  {}", hex(&turned)));
        }
        answers(query, reply)?;
        let socket = respond(query, Transport::Udp, &self.zone).ok_or("the socket is silent")?;
        if socket != reply && in_order(&socket) != in_order(reply) {
            return Err(format!("the socket's answer is\n  {}", hex(&socket)));
        }
        Ok(())
    }
}

/// What kind of answer it is, for counting: `IPv6 SRV`, `IPv4 NXDOMAIN OPT`.
pub fn kind(answer: &[u8]) -> String {
    let family = if ethertype(answer) == 0x86dd {
        "IPv6"
    } else {
        "IPv4"
    };
    let Some(message) = message(answer).map(|message| &answer[message]) else {
        return format!("{family} nothing");
    };
    let end = question_end(message).unwrap_or(message.len());
    let what = match (message[2] & 2, message[3] & 15, be16(message, 6)) {
        (0, 3, _) => "NXDOMAIN".into(),
        (0, _, Some(0)) => "NODATA".into(),
        (0, ..) => match be16(message, end - 4).unwrap_or(0) {
            A => "A".into(),
            AAAA => "AAAA".into(),
            12 => "PTR".into(),
            16 => "TXT".into(),
            33 => "SRV".into(),
            5 => "CNAME".into(),
            other => format!("TYPE{other}"),
        },
        _ => "TC".into(),
    };
    let opt = message.len() >= end + 11 && message[message.len() - 11..].starts_with(&[0, 0, 41]);
    format!("{family} {what}{}", if opt { " OPT" } else { "" })
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// Of the network's header, behind a tag.
fn ethertype(packet: &[u8]) -> u16 {
    let at = if is_tagged(packet) { TAG.end } else { 12 };
    be16(packet, at).unwrap_or(0)
}

fn is_tagged(packet: &[u8]) -> bool {
    be16(packet, TAG.start) == Some(0x8100)
}

/// Where the DNS message is.
fn message(packet: &[u8]) -> Option<Range<usize>> {
    let ip = if is_tagged(packet) { L3 + 4 } else { L3 };
    let udp = match ethertype(packet) {
        0x0800 => ip + usize::from(packet.get(ip)? & 15) * 4,
        0x86dd => ip + 40,
        _ => return None,
    };
    let end = udp + usize::from(be16(packet, udp + 4)?);
    (udp + 8 <= end && end <= packet.len()).then_some(udp + 8..end)
}

/// The packet, turned round and with another message.
fn turned(packet: &[u8], dns: usize, message: &[u8]) -> Vec<u8> {
    let mut turned = packet[..dns].to_vec();
    let tag: Vec<u8> = if is_tagged(packet) {
        turned.drain(TAG).collect()
    } else {
        Vec::new()
    };
    turned.extend_from_slice(message);
    let swap = |bytes: &mut [u8]| bytes.rotate_left(bytes.len() / 2);
    let length =
        |bytes: &[u8]| (u16::try_from(bytes.len()).expect("a message of a test")).to_be_bytes();
    swap(&mut turned[..12]);
    let udp = if ethertype(packet) == 0x0800 {
        let total = length(&turned[L3..]);
        turned[L3 + 2..L3 + 4].copy_from_slice(&total);
        turned[L3 + 8] = 64;
        swap(&mut turned[L3 + 12..L3 + 20]);
        fix_v4_checksum(&mut turned);
        L3 + 20
    } else {
        let payload = length(&turned[L3 + 40..]);
        turned[L3 + 4..L3 + 6].copy_from_slice(&payload);
        turned[L3 + 7] = 64;
        swap(&mut turned[L3 + 8..L3 + 40]);
        L3 + 40
    };
    swap(&mut turned[udp..udp + 4]);
    let bytes = length(&turned[udp..]);
    turned[udp + 4..udp + 6].copy_from_slice(&bytes);
    turned[udp + 6..udp + 8].fill(0);
    if udp == L3 + 40 {
        let checksum = udp_v6_checksum(&turned);
        turned[udp + 6..udp + 8].copy_from_slice(&checksum.to_be_bytes());
    }
    turned.splice(TAG.start..TAG.start, tag);
    turned
}

/// The reply is one to the query, and a DNS library accepts it.
fn answers(query: &[u8], reply: &[u8]) -> Result<(), String> {
    let ensure = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    let end = question_end(query).ok_or("the question has no end")?;
    ensure(query.len() >= end, "the question is cut")?;
    ensure(query[..2] == reply[..2], "another ID")?;
    ensure(
        reply.get(12..end) == Some(&query[12..end]),
        "another question",
    )?;
    let has_opt = query.len() > end;
    let client = match be16(query, end + 3) {
        Some(size) if has_opt => usize::from(size).clamp(ANSWER_BYTES_PLAIN, ANSWER_BYTES_MAX),
        _ => ANSWER_BYTES_PLAIN,
    };
    ensure(reply.len() <= client, "more than the client takes")?;
    let read = Message::from_vec(reply).map_err(|error| format!("unreadable: {error}"))?;
    let head = &read.metadata;
    ensure(
        head.message_type == MessageType::Response && head.op_code == OpCode::Query,
        "not a response",
    )?;
    ensure(head.authoritative, "not authoritative")?;
    ensure(
        matches!(
            head.response_code,
            ResponseCode::NoError | ResponseCode::NXDomain
        ),
        "an error",
    )?;
    ensure(read.queries.len() == 1, "not one question")?;
    ensure(read.edns.is_some() == has_opt, "OPT to no OPT, or none")?;
    let (answers, soa) = (read.answers.len(), read.authorities.len() == 1);
    let aliases = (read.answers.iter())
        .filter(|record| record.record_type() == RecordType::CNAME)
        .count();
    ensure(
        if head.truncation || head.response_code == ResponseCode::NXDomain {
            answers == 0 && soa != head.truncation
        } else {
            // A CNAME alone answers only who asked for one (RFC 2308 section 2.2).
            let is_asked = be16(query, end - 4) == Some(CNAME);
            (answers == 0 || (answers == aliases && !is_asked)) == soa
        },
        "answers and a SOA, or neither",
    )
}

/// Where the question ends; it may be beyond the end of the message.
fn question_end(message: &[u8]) -> Option<usize> {
    Some(name_end(message, 12)? + 4)
}

fn name_end(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            0xc0.. => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

/// The message, with the addresses of each RR set in the answer section sorted.
fn in_order(message: &[u8]) -> Option<Vec<u8>> {
    let mut sets: BTreeMap<&[u8], Vec<Range<usize>>> = BTreeMap::new();
    let mut at = question_end(message)?;
    for _ in 0..be16(message, 6)? {
        let owner = name_end(message, at)?;
        let rdata = owner + 10..owner + 10 + usize::from(be16(message, owner + 8)?);
        if matches!(be16(message, owner)?, A | AAAA) {
            // Owner, type, class, TTL and length.
            sets.entry(&message[at..rdata.start])
                .or_default()
                .push(rdata.clone());
        }
        at = rdata.end;
    }
    let mut sorted = message.to_vec();
    for places in sets.values() {
        let mut addresses: Vec<&[u8]> = Vec::new();
        for place in places {
            addresses.push(message.get(place.clone())?);
        }
        addresses.sort_unstable();
        for (place, address) in places.iter().zip(addresses) {
            sorted[place.clone()].copy_from_slice(address);
        }
    }
    Some(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::{build, host::Host, world};

    /// An answer, and what the oracle says to it with one byte changed.
    #[test]
    fn a_change_of_any_byte_is_seen() {
        let (host, oracle) = (Host::new(&world::zone()), Oracle::new(world::zone()));
        for message in [
            build::message("db.shop.svc.cluster.local", A),
            build::with_opt(
                build::message("nothing.cluster.local", AAAA),
                900,
                true,
                &[],
            ),
        ] {
            for packet in [build::v4(&message), build::v6(&message)] {
                let right = host.run(&packet);
                assert!(right.answered);
                assert_eq!(oracle.judge(&packet, &right), Ok(()));
                for at in 0..right.packet.len() {
                    let mut wrong = right.clone();
                    wrong.packet[at] ^= 4;
                    assert!(oracle.judge(&packet, &wrong).is_err(), "byte {at}");
                }
                let passed = Outcome {
                    answered: false,
                    ..right
                };
                assert!(oracle.judge(&packet, &passed).is_err());
            }
        }
    }

    #[test]
    fn addresses_may_come_in_any_order_and_nothing_else() {
        let record =
            |last: &[u8]| [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0], last].concat();
        let of = |order: [u8; 3]| {
            let mut message = build::message("db.shop.svc.cluster.local", A);
            message[7] = 3;
            message.extend(order.iter().flat_map(|last| record(&[*last])));
            in_order(&message).expect("three records")
        };
        assert_eq!(of([1, 2, 3]), of([3, 1, 2]));
        assert_ne!(of([1, 2, 3]), of([1, 2, 2]));
        assert_ne!(of([1, 2, 3]), of([1, 2, 4]));
    }

    #[test]
    fn a_packet_is_turned_as_the_table_s_are() {
        for (packet, client, server) in [
            (
                build::v4(&[7; 40]),
                build::CLIENT_V4.into(),
                build::SERVER_V4.into(),
            ),
            (
                build::v6(&[7; 40]),
                build::CLIENT_V6.into(),
                build::SERVER_V6.into(),
            ),
        ] {
            let answer = build::answer(client, server, build::CLIENT_PORT, &[9; 90]);
            let dns = message(&packet).expect("a message").start;
            assert_eq!(turned(&packet, dns, &[9; 90]), answer);
        }
    }
}

//! What becomes of an answer over the limit.

use super::{
    Case, Expect,
    build::{
        self, A, CLIENT_PORT, CLIENT_V4, CLIENT_V6, SERVER_V4, SERVER_V6, dns_of, emptied, message,
        v4, v6,
    },
};

/// The case as it is over the limit: TC=1 alone, if its answer is one that counts.
#[must_use]
pub fn limited(case: &Case) -> Case {
    let expect = match &case.expect {
        Expect::Answer(answer) if counts(&case.packet, answer) => {
            Expect::Limited(over(&case.packet, answer))
        }
        as_ever => as_ever.clone(),
    };
    Case {
        name: format!("{}, over the limit", case.name),
        packet: case.packet.clone(),
        expect,
    }
}

/// It denies, or is more than twice as long as the query.
fn counts(query: &[u8], answer: &[u8]) -> bool {
    let (query, answer) = (message_of(query), &answer[dns_of(answer)..]);
    answer[9] != 0 || answer.len() > 2 * query.len()
}

/// The message, without what pads the frame.
fn message_of(packet: &[u8]) -> &[u8] {
    let dns = dns_of(packet);
    let udp_len = u16::from_be_bytes([packet[dns - 4], packet[dns - 3]]);
    &packet[dns..dns - 8 + usize::from(udp_len)]
}

fn over(query: &[u8], answer: &[u8]) -> Vec<u8> {
    let reply = emptied(message_of(query), &answer[dns_of(answer)..]);
    if answer[12] == 0x08 {
        build::answer(CLIENT_V4.into(), SERVER_V4.into(), CLIENT_PORT, &reply)
    } else {
        build::answer(CLIENT_V6.into(), SERVER_V6.into(), CLIENT_PORT, &reply)
    }
}

/// Queries of another network and of another host of the same one, whose answers count.
#[must_use]
pub fn denied() -> Denied {
    let message = message("nothing.shop.svc.cluster.local", A);
    let (v4, v6) = (v4(&message), v6(&message));
    let source = |packet: &[u8], at: usize, byte: u8| {
        let mut packet = packet.to_vec();
        packet[at] ^= byte;
        packet
    };
    Denied {
        // The last octet of 10.244.0.2, the last but one; bits 57 and 56 of fd00:10:244::2.
        neighbours: [source(&v4, 29, 0x40), source(&v6, 29, 0x01)],
        strangers: [source(&v4, 28, 0x01), source(&v6, 28, 0x01)],
        queries: [v4, v6],
    }
}

/// The same query from several sources, over IPv4 and over IPv6.
pub struct Denied {
    /// From the client.
    pub queries: [Vec<u8>; 2],
    /// From another address of its network.
    pub neighbours: [Vec<u8>; 2],
    /// From the network next to it.
    pub strangers: [Vec<u8>; 2],
}

//! What holds for every message, well-formed or not.

use hopzero::socket::{Transport, respond};
use proptest::prelude::*;

use crate::{
    message::{A, SRV, header, opt, query, query_with, question},
    zone::lookup,
};

/// A query of the table, with bytes changed, cut off and appended.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let base = prop_oneof![
        Just(query("web.shop.svc.cluster.local", A)),
        Just(query("many.shop.svc.cluster.local", A)),
        Just(query_with(
            "_http._tcp.web.shop.svc.cluster.local",
            SRV,
            &opt(1400, 0, 0x8000, &[0, 10, 0, 2, 1, 2])
        )),
        Just(
            [
                header([1, 0], [1, 0, 0, 2]),
                question("no.cluster.local", A),
                opt(512, 0, 0, &[]),
                vec![0xc0, 12, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0],
            ]
            .concat()
        ),
    ];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let tail = prop::collection::vec(any::<u8>(), 0..8);
    (
        base,
        changes,
        any::<prop::sample::Index>(),
        any::<bool>(),
        tail,
    )
        .prop_map(|(mut bytes, changes, cut, is_cut, tail)| {
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if is_cut {
                bytes.truncate(cut.index(bytes.len()));
                bytes.extend(tail);
            }
            bytes
        })
}

fn check(message: &[u8]) -> Result<(), TestCaseError> {
    for transport in [Transport::Udp, Transport::Tcp] {
        let Some(reply) = respond(message, transport, &lookup) else {
            prop_assert!(message.len() < 12 || message[2] & 0x80 != 0);
            continue;
        };
        prop_assert!(message.len() >= 12 && message[2] & 0x80 == 0);
        prop_assert!(reply.len() >= 12);
        if transport == Transport::Udp {
            prop_assert!(reply.len() <= 1232);
        }
        prop_assert_eq!(&reply[..2], &message[..2], "ID");
        // QR set, OPCODE and RD copied; RA, Z and AD clear, CD copied.
        prop_assert_eq!(reply[2] & 0xf9, message[2] & 0x79 | 0x80);
        prop_assert_eq!(reply[3] & 0xf0, message[3] & 0x10);
        // Whatever we send, we can be sent back without an answer, and anyone can read it.
        prop_assert!(respond(&reply, transport, &lookup).is_none());
        prop_assert!(hickory_proto::op::Message::from_vec(&reply).is_ok());
        if reply.len() > 12 {
            let asked = &message[12..];
            let end = asked.len().min(reply.len() - 12).min(5);
            prop_assert_eq!(&reply[12..][..end], &asked[..end], "question");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn mutated_queries(message in mutated()) {
        check(&message)?;
    }

    #[test]
    fn arbitrary_bytes(message in prop::collection::vec(any::<u8>(), 0..600)) {
        check(&message)?;
    }

    #[test]
    fn arbitrary_bytes_after_a_queries_header(rest in prop::collection::vec(any::<u8>(), 0..600)) {
        check(&[header([1, 0], [1, 0, 0, 1]), rest].concat())?;
    }

    #[test]
    fn plain_udp_is_at_most_512(name in "[a-z]{1,9}(\\.[a-z]{1,9}){0,4}", rtype: u16) {
        for name in [format!("{name}.cluster.local"), "many.shop.svc.cluster.local".to_owned()] {
            let reply = respond(&query(&name, rtype), Transport::Udp, &lookup).unwrap();
            prop_assert!(reply.len() <= 512);
        }
    }
}

#[test]
fn a_worst_case_message_costs_bounded_time() {
    // A long chain of pointers, each to the one before, and an owner at its end.
    let mut message = [
        header([1, 0], [1, 0, 0, 2]),
        question("a.cluster.local", A),
        vec![0, 0, 16, 0, 1, 0, 0, 0, 0],
    ]
    .concat();
    let chain = u16::try_from(16_000 - message.len()).unwrap() / 2 * 2;
    message.extend_from_slice(&chain.to_be_bytes());
    let mut previous = 12u16;
    for _ in 0..chain / 2 {
        let here = u16::try_from(message.len()).unwrap();
        message.extend_from_slice(&(0xc000 | previous).to_be_bytes());
        previous = here;
    }
    message.extend_from_slice(&(0xc000 | previous).to_be_bytes());
    message.extend_from_slice(&[0, 16, 0, 1, 0, 0, 0, 0, 0, 0]);
    let start = std::time::Instant::now();
    let reply = respond(&message, Transport::Tcp, &lookup).unwrap();
    assert_eq!(reply[3] & 0x0f, 1, "FORMERR");
    assert!(start.elapsed() < std::time::Duration::from_millis(50));
}

//! Answers that are equal but for the rotation of their addresses.

use std::ops::Range;

use super::build::{A, AAAA, DNS_V4, DNS_V6};

/// Offset of a record's type behind an owner that is a pointer.
const POINTER_BYTES: usize = 2;
/// Type, class and TTL.
const FIXED_BYTES: usize = 8;

/// The addresses of an answer: a run of records of one size at the end of its answer section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Their bytes in the packet.
    pub bytes: Range<usize>,
    /// Bytes of one record.
    pub record: usize,
}

impl Addresses {
    /// The addresses in the packet of an answer; none if it has none.
    ///
    /// # Panics
    /// The packet is no answer, or ends within a record.
    pub fn of(packet: &[u8]) -> Option<Self> {
        // A VLAN's tag is 81 00 and two bytes more.
        let tag = if packet[12] == 0x81 { 4 } else { 0 };
        let dns = tag
            + if packet[12 + tag] == 0x08 {
                DNS_V4
            } else {
                DNS_V6
            };
        let u16_at = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let mut at = dns + 12;
        while packet[at] != 0 {
            at += 1 + usize::from(packet[at]);
        }
        at += 5;
        let mut start = None;
        for _ in 0..u16_at(dns + 6) {
            assert_eq!(packet[at] & 0xc0, 0xc0, "an owner is a pointer");
            let data = at + POINTER_BYTES + FIXED_BYTES + 2;
            if [A, AAAA].contains(&u16_at(at + POINTER_BYTES)) {
                start = start.or(Some(at));
            }
            at = data + usize::from(u16_at(data - 2));
        }
        let start = start?;
        let record = if u16_at(start + POINTER_BYTES) == A {
            16
        } else {
            28
        };
        assert_eq!((at - start) % record, 0, "addresses of one family");
        Some(Addresses {
            bytes: start..at,
            record,
        })
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.bytes.len() / self.record
    }
}

/// Which address of `expected` is the first of `packet`, if the packets are equal but for the rotation.
pub fn first(expected: &[u8], packet: &[u8]) -> Option<usize> {
    let Some(addresses) = Addresses::of(expected) else {
        return (expected == packet).then_some(0);
    };
    let Addresses { bytes, record } = addresses;
    let head = packet.get(bytes.start..bytes.start + record)?;
    let first = expected[bytes.clone()]
        .chunks(record)
        .position(|address| address == head)?;
    let mut rotated = expected.to_vec();
    rotated[bytes].rotate_left(first * record);
    (rotated == packet).then_some(first)
}

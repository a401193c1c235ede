//! The query of a test, in a frame that no stack would take.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::{Name, RecordType};
use hopzero_common::frame::{DNS_V4, DNS_V6};

use crate::zone::Zone;

/// Names of a zone that are tried.
const NAMES_MAX: usize = 32;
/// Documentation's own (RFC 5737, RFC 3849): nobody's.
const FROM_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const FROM_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// A port of no service.
const FROM_PORT: u16 = 49_152;
const UDP: usize = 8;

/// What is asked.
#[derive(Clone, Debug, Default)]
pub(in crate::kernel) struct Questions(pub(super) Vec<Vec<u8>>);

impl Questions {
    /// Names of a zone that the kernel may well answer.
    pub(in crate::kernel) fn of(zone: &Zone) -> Self {
        let version = crate::zone::below(&zone.config().origin, &["dns-version"]);
        let version = version.map(|name| (name, RecordType::TXT));
        let names = zone.names().take(NAMES_MAX);
        let all = (version.into_iter()).chain(names.map(|name| (name, RecordType::A)));
        Questions(all.map(|(name, rtype)| question(&name, rtype)).collect())
    }
}

/// A question as on the wire (RFC 1035 section 4.1.2).
fn question(name: &Name, rtype: RecordType) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name {
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend(label);
    }
    bytes.push(0);
    bytes.extend(u16::from(rtype).to_be_bytes());
    bytes.extend([0, 1]); // class IN
    bytes
}

/// Where the message begins in a frame.
pub(super) const fn message_at(to: IpAddr) -> usize {
    match to {
        IpAddr::V4(_) => DNS_V4,
        IpAddr::V6(_) => DNS_V6,
    }
}

/// A query in its frame.
pub(super) struct Frame(pub(super) Vec<u8>);

impl Frame {
    /// To the address of loopback, as whose device a program is run that is not attached.
    pub(super) fn new(from: [u8; 6], to: IpAddr, id: u16, question: &[u8]) -> Self {
        let mut message = id.to_be_bytes().to_vec();
        message.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        message.extend(question);
        let udp_length = u16::try_from(UDP + message.len()).unwrap_or(u16::MAX);
        let mut bytes = vec![0; 6];
        bytes.extend(from);
        match to {
            IpAddr::V4(to) => {
                bytes.extend([0x08, 0x00, 0x45, 0]);
                bytes.extend((20 + udp_length).to_be_bytes());
                // No fragment, 64 hops, UDP, and no checksum: a wrong one.
                bytes.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
                bytes.extend(FROM_V4.octets());
                bytes.extend(to.octets());
            }
            IpAddr::V6(to) => {
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                bytes.extend(udp_length.to_be_bytes());
                bytes.extend([17, 64]);
                bytes.extend(FROM_V6.octets());
                bytes.extend(to.octets());
            }
        }
        bytes.extend(FROM_PORT.to_be_bytes());
        bytes.extend(53u16.to_be_bytes());
        bytes.extend(udp_length.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(message);
        Frame(bytes)
    }

    /// To another device.
    pub(super) fn to(mut self, mac: [u8; 6]) -> Vec<u8> {
        self.0[..6].copy_from_slice(&mac);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_query_that_no_stack_would_take() {
        let name = Name::from_ascii("dns-version.cluster.local.").unwrap();
        let question = question(&name, RecordType::TXT);
        for (to, message) in [("10.96.0.10", 42), ("fd00::a", 62)] {
            let to = to.parse().unwrap();
            let frame = Frame::new([2; 6], to, 0x4711, &question).to([4; 6]);
            assert_eq!(message_at(to), message);
            assert_eq!(frame[..12], [4, 4, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2]);
            assert_eq!(frame[message..message + 2], [0x47, 0x11]);
            let parsed = hickory_proto::op::Message::from_vec(&frame[message..]).unwrap();
            assert_eq!(parsed.queries[0].name(), &name);
            assert_eq!(parsed.queries[0].query_type(), RecordType::TXT);
        }
        let v4 = Frame::new([2; 6], "10.96.0.10".parse().unwrap(), 1, &question);
        let sum: u32 = (v4.0[14..34].chunks(2))
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        assert_ne!((sum & 0xffff) + (sum >> 16), 0xffff, "a right checksum");
    }
}

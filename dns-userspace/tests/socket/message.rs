//! Messages written by hand, so that malformed ones can be.

use hickory_proto::op::Message;

/// TYPE values that the tests use.
pub const A: u16 = 1;
pub const SOA: u16 = 6;
pub const TXT: u16 = 16;
pub const AAAA: u16 = 28;
pub const SRV: u16 = 33;
pub const OPT: u16 = 41;

/// A name on the wire; the text's dots separate labels.
pub fn name(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The name that most tests ask.
pub const WEB: &str = "web.shop.svc.cluster.local";

/// A question of class IN.
pub fn question(text: &str, rtype: u16) -> Vec<u8> {
    let mut bytes = name(text);
    bytes.extend_from_slice(&rtype.to_be_bytes());
    bytes.extend_from_slice(&1u16.to_be_bytes());
    bytes
}

/// ID 0x1234 with the two bytes of flags and four counts.
pub fn header(flags: [u8; 2], counts: [u16; 4]) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, flags[0], flags[1]];
    for count in counts {
        bytes.extend_from_slice(&count.to_be_bytes());
    }
    bytes
}

/// An OPT record of the root.
pub fn opt(size: u16, version: u8, flags: u16, options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&OPT.to_be_bytes());
    bytes.extend_from_slice(&size.to_be_bytes());
    bytes.extend_from_slice(&[0, version]);
    bytes.extend_from_slice(&flags.to_be_bytes());
    bytes.extend_from_slice(&u16::try_from(options.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(options);
    bytes
}

/// A plain query with RD.
pub fn query(text: &str, rtype: u16) -> Vec<u8> {
    [header([0x01, 0x00], [1, 0, 0, 0]), question(text, rtype)].concat()
}

/// A query with RD and this record in the additional section.
pub fn query_with(text: &str, rtype: u16, additional: &[u8]) -> Vec<u8> {
    [
        header([0x01, 0x00], [1, 0, 0, 1]),
        question(text, rtype),
        additional.to_vec(),
    ]
    .concat()
}

/// Hickory's view of a reply: an independent check that it is well-formed.
pub fn decode(bytes: &[u8]) -> Message {
    Message::from_vec(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"))
}

/// A record: owner, type, class IN, TTL 5, data.
pub fn record(owner: &[u8], rtype: u16, rdata: &[u8]) -> Vec<u8> {
    [
        owner,
        &rtype.to_be_bytes(),
        &[0, 1, 0, 0, 0, 5],
        &u16::try_from(rdata.len()).unwrap().to_be_bytes(),
        rdata,
    ]
    .concat()
}

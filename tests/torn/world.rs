//! Questions, and what is true of them in each version.

use hopzero_tests::packets::build::{DNS_V4, DNS_V6, message_of, v4, v6, wire_name, with_opt};

/// Record types.
pub const TXT: u16 = 16;
/// Record types.
pub const SRV: u16 = 33;
/// The zone.
pub const ZONE: &str = "cluster.local";
/// The client's size in its OPT record.
pub const SIZE: u16 = 1232;
/// A pointer to the question's name.
const POINTER: [u8; 2] = [0xc0, 0x0c];
/// Header, and the tail of a question.
const AROUND_NAME: usize = 12 + 4;

/// What is true of a question in a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// There is no such name.
    Absent,
    /// There is, without records of this type.
    NoData,
    /// There are records, in the answer and in the additional section.
    Records(u8, u8),
}

/// What the writer writes, and a reader asks.
pub trait World: Sync {
    /// All that is asked.
    fn questions(&self) -> Vec<Question>;
    /// What is true of a question in a version other than 0; appends the records in wire form.
    fn truth(&self, question: &Question, version: u32, records: &mut Vec<u8>) -> Truth;
    /// Whether all that is asked changes at once: after a version has been seen, no older one may be, whatever is asked.
    fn is_one_step(&self) -> bool {
        false
    }
}

/// A query.
pub struct Question {
    /// What changes together with the answer.
    pub unit: usize,
    /// Which of the unit's names, as the world counts them.
    pub place: u32,
    pub qtype: u16,
    pub name: String,
    pub packet: Vec<u8>,
    /// Offset of the message.
    pub dns: usize,
    /// Bytes of the message up to the end of the question.
    pub asked_end: usize,
    /// Whether the zone is complete: else a name that is absent passes.
    pub is_deniable: bool,
}

impl Question {
    /// A question over IPv4, or over IPv6 for every other type.
    pub fn new(unit: usize, place: u32, name: &str, qtype: u16) -> Self {
        let wire = wire_name(name);
        let message = with_opt(message_of(&wire, qtype), SIZE, false, &[]);
        let is_v6 = (unit + qtype as usize).is_multiple_of(2);
        Question {
            unit,
            place,
            qtype,
            name: name.to_owned(),
            packet: if is_v6 { v6(&message) } else { v4(&message) },
            dns: if is_v6 { DNS_V6 } else { DNS_V4 },
            asked_end: AROUND_NAME + wire.len(),
            is_deniable: name.ends_with(ZONE),
        }
    }
}

/// Appends a record; its owner is the question's name unless one is given.
pub fn record(records: &mut Vec<u8>, owner: Option<&[u8]>, rtype: u16, ttl: u32, rdata: &[u8]) {
    records.extend_from_slice(owner.unwrap_or(&POINTER));
    records.extend_from_slice(&rtype.to_be_bytes());
    records.extend_from_slice(&[0, 1]);
    records.extend_from_slice(&ttl.to_be_bytes());
    let len = u16::try_from(rdata.len()).expect("small");
    records.extend_from_slice(&len.to_be_bytes());
    records.extend_from_slice(rdata);
}

/// An address of 128 bits that says the unit, the version and the place, so that an answer of two versions, or of
/// another unit, cannot look like one that is right. In the order of the places.
pub fn address6(unit: usize, version: u32, place: u32) -> [u8; 16] {
    let unit = u32::try_from(unit).expect("small");
    let words = [
        0xfd00_0000 | unit << 8 | place,
        version,
        !version,
        mix32(version ^ place),
    ];
    let mut bytes = [0; 16];
    for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
        chunk.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

/// Splitmix64's finisher.
pub fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// Odd multiplier: two versions differ.
pub fn mix32(value: u32) -> u32 {
    value.wrapping_mul(0x9e37_79b1).rotate_left(7)
}

/// Names whose hashes lead to one bucket of the index, so that some stand in the next ones: `made` from numbers,
/// `first` of them for the bucket and `second` for the one after it.
pub fn crowded(
    made: impl Fn(u32) -> String,
    (seed, buckets): (u64, u32),
    bucket: u32,
    (first, second): (usize, usize),
) -> Vec<(u32, String)> {
    use hopzero_common::{layout::bucket_of, limits::NAME_WORDS_MAX, name};
    let mut words = [0; NAME_WORDS_MAX];
    let mut into = |target: u32, count: usize| -> Vec<(u32, String)> {
        (0..)
            .map(|number| (number, made(number)))
            .filter(|(_, name)| {
                let count = name::words_of(&wire_name(name), &mut words);
                bucket_of(name::hash_of(&words[..count], seed), buckets) == target
            })
            .take(count)
            .collect()
    };
    let mut names = into(bucket, first);
    names.extend(into((bucket + 1) % buckets, second));
    names
}

//! Every limit of the data plane, with its unit last.

/// Longest owner name in wire form, root label included (RFC 1035 section 2.3.4).
pub const NAME_BYTES_MAX: usize = 255;
/// The same in eight-byte words.
pub const NAME_WORDS_MAX: usize = 32;
/// Largest UDP answer, whatever the client offers (DNS flag day 2020, RFC 9210).
pub const ANSWER_BYTES_MAX: usize = 1232;
/// What a client without EDNS takes (RFC 1035 section 2.3.4), and the least that one with EDNS does
/// (RFC 6891 section 6.2.3).
pub const ANSWER_BYTES_PLAIN: usize = 512;
/// DNS header.
pub const HEADER_BYTES: usize = 12;
/// Type and class after the name.
pub const QUESTION_TAIL_BYTES: usize = 4;
/// An OPT record without options.
pub const OPT_BYTES: usize = 11;
/// EDNS options that are looked at; a query with more passes.
pub const EDNS_OPTIONS_MAX: usize = 4;
/// An A record whose owner is a pointer to the question.
pub const A_RECORD_BYTES: usize = 16;
/// An AAAA record whose owner is a pointer to the question.
pub const AAAA_RECORD_BYTES: usize = 28;
/// A addresses that fit an answer of [`ANSWER_BYTES_MAX`] to the shortest question.
pub const A_MAX: usize = (ANSWER_BYTES_MAX - HEADER_BYTES - 5) / A_RECORD_BYTES;
/// AAAA addresses that fit an answer of [`ANSWER_BYTES_MAX`] to the shortest question.
pub const AAAA_MAX: usize = (ANSWER_BYTES_MAX - HEADER_BYTES - 5) / AAAA_RECORD_BYTES;
/// Pre-encoded records of one other type that fit an answer.
pub const OTHER_BYTES_MAX: usize = ANSWER_BYTES_MAX - HEADER_BYTES - 5;
/// From the owner of a record, a pointer, to its data.
pub const OWNER_TO_DATA_BYTES: usize = 12;
/// A CNAME record, in words.
pub const ALIAS_WORDS_MAX: usize = (OWNER_TO_DATA_BYTES + NAME_BYTES_MAX).div_ceil(8);
/// A cell of record memory: one cache line.
pub const CELL_BYTES: usize = 64;
/// The same in eight-byte words.
pub const CELL_WORDS: usize = 8;
/// Words of the largest record: header, name, addresses, other records and their header.
pub const RECORD_WORDS_MAX: usize =
    2 + NAME_WORDS_MAX + A_MAX.div_ceil(2) + 2 * AAAA_MAX + 1 + OTHER_BYTES_MAX.div_ceil(8);
/// Cells of the largest record.
pub const RECORD_CELLS_MAX: usize = RECORD_WORDS_MAX.div_ceil(CELL_WORDS);
/// Entries of an index bucket: one cache line.
pub const BUCKET_ENTRIES: usize = 8;
/// Buckets that a lookup visits before it gives up, which only happens in a table that is far too full.
pub const PROBE_BUCKETS_MAX: usize = 4;
/// Addresses of each family that one node answers for.
pub const ADDRESSES_MAX: usize = 8;
/// Network cards with XDP on one node.
pub const MACS_MAX: usize = 16;
/// VLANs whose queries are answered.
pub const VLANS_MAX: usize = 8;
/// Networks whose answers are counted at a time; the one that has asked least recently makes room.
pub const NETWORKS_MAX: usize = 65536;
/// Zones, and names below which only the socket may answer, that the programs know.
pub const ZONES_MAX: usize = 8;
/// Zones among them: the domains, and reverse zones.
pub const ZONES_OURS_MAX: usize = 5;
/// Labels of the longest name, root label not included.
pub const LABELS_MAX: usize = 127;
/// Longest packet that is looked at; no query is longer, and no answer.
pub const PACKET_BYTES_MAX: usize = 2047;

const _: () = assert!(
    RECORD_CELLS_MAX < 63,
    "an index entry has six bits for the number of cells"
);
const _: () = assert!(RECORD_CELLS_MAX == 39);
const _: () = assert!(A_MAX < 256 && AAAA_MAX < 256, "the counts are bytes");

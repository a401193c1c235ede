//! The encoder of a record, and its check. See [`crate::layout`] for the form.

use crate::{
    layout::{
        FLAG_A_TOO_LARGE, FLAG_AAAA_TOO_LARGE, FLAG_ALIAS, FLAG_OTHER_ELSEWHERE, FLAG_SOA,
        FLAG_SOCKET_ONLY, FLAG_SRV_ELSEWHERE, Scratch,
    },
    limits::{A_MAX, AAAA_MAX, CELL_WORDS, OTHER_BYTES_MAX},
};

/// Odd constants, one for each word of a cell: a change of any bit of any word changes the check, and
/// words cannot trade places.
const LANES: [u64; CELL_WORDS] = [
    0x9e37_79b9_7f4a_7c15,
    0xbf58_476d_1ce4_e5b9,
    0x94d0_49bb_1331_11eb,
    0xd6e8_feb8_6659_fd93,
    0xe703_7ed1_a0b4_28db,
    0x8ebc_6af0_9c88_c6e3,
    0x5895_58cf_6d1e_ae65,
    0xa076_1d64_78bd_642f,
];
const TYPE_CNAME: u16 = 5;
/// The check field among the bits of the first word.
const CHECK_FIELD: u64 = 0xffff_ffff;

/// The state before the first cell. Not zero: a cell of zeros has no valid check.
pub const CHECK_START: u64 = LANES[7];

/// Adds a cell to the check.
#[inline(always)]
pub fn check_cell(state: u64, words: &[u64; CELL_WORDS]) -> u64 {
    // The products do not wait for each other; only the last line is a chain from cell to cell.
    let mut sum = 0u64;
    let mut lane = 0;
    while lane < CELL_WORDS {
        sum = sum.wrapping_add(words[lane].wrapping_mul(LANES[lane]));
        lane += 1;
    }
    (state.rotate_left(23) ^ sum).wrapping_mul(LANES[0])
}

/// Folds the state to the 32 bits that are stored.
#[inline(always)]
pub const fn check_finish(state: u64) -> u32 {
    (state >> 32) as u32 ^ state as u32
}

/// The check of a record as it is stored, its own field taken as zero.
pub fn check(record: &[u64]) -> u32 {
    let mut state = CHECK_START;
    for (index, cell) in record.chunks_exact(CELL_WORDS).enumerate() {
        let mut words = [0; CELL_WORDS];
        words.copy_from_slice(cell);
        if index == 0 {
            words[0] &= !CHECK_FIELD;
        }
        state = check_cell(state, &words);
    }
    check_finish(state)
}

/// The header words of a record, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    word0: u64,
    word1: u64,
}

impl Header {
    /// The header of the record in `scratch`.
    #[inline(always)]
    pub fn of(scratch: &Scratch) -> Self {
        Header {
            word0: scratch.record[0],
            word1: scratch.record[1],
        }
    }
    /// [`crate::layout::Cell::check`]
    #[inline(always)]
    pub fn check(self) -> u32 {
        self.word0 as u32
    }
    /// Seconds.
    #[inline(always)]
    pub fn ttl(self) -> u32 {
        (self.word0 >> 32) as u32
    }
    /// Bytes.
    #[inline(always)]
    pub fn name_len(self) -> usize {
        self.word1 as u8 as usize
    }
    /// Index of the zone.
    #[inline(always)]
    pub fn zone(self) -> u8 {
        (self.word1 >> 8) as u8
    }
    /// Flags.
    #[inline(always)]
    pub fn flags(self) -> u8 {
        (self.word1 >> 16) as u8
    }
    /// Number of A addresses.
    #[inline(always)]
    pub fn a_count(self) -> usize {
        (self.word1 >> 24) as u8 as usize
    }
    /// Number of AAAA addresses.
    #[inline(always)]
    pub fn aaaa_count(self) -> usize {
        (self.word1 >> 32) as u8 as usize
    }
    /// Bytes of records of another type.
    #[inline(always)]
    pub fn other_len(self) -> usize {
        (self.word1 >> 48) as u16 as usize
    }
    /// First word of the A addresses.
    #[inline(always)]
    pub fn a_word(self) -> usize {
        2 + self.name_len().div_ceil(8)
    }
    /// First word of the AAAA addresses.
    #[inline(always)]
    pub fn aaaa_word(self) -> usize {
        self.a_word() + self.a_count().div_ceil(2)
    }
    /// The word with the [`crate::layout::Other`] header.
    #[inline(always)]
    pub fn other_word(self) -> usize {
        self.aaaa_word() + 2 * self.aaaa_count()
    }
}

/// What is to be encoded.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Contents<'a> {
    /// Owner name in wire form, folded, root label included.
    pub name: &'a [u8],
    /// Index of the zone.
    pub zone: u8,
    /// It is the SOA of the zone of that name, not what the name has.
    pub soa: bool,
    /// Only the socket may answer: nothing but the name is stored.
    pub socket_only: bool,
    /// TTL of the addresses, seconds.
    pub ttl: u32,
    /// A addresses.
    pub a: &'a [[u8; 4]],
    /// AAAA addresses.
    pub aaaa: &'a [[u8; 16]],
    /// Records of another type. Beside a CNAME record the addresses are those of its target.
    pub other: Option<OtherRecords<'a>>,
    /// There are records of further types, which the kernel does not hold.
    pub other_elsewhere: bool,
    /// There are SRV records, which the kernel does not hold.
    pub srv_elsewhere: bool,
}

/// Pre-encoded records of one type.
#[derive(Clone, Copy, Debug)]
pub struct OtherRecords<'a> {
    /// Their type.
    pub rtype: u16,
    /// Records in the answer section.
    pub answers: u16,
    /// Records in the additional section.
    pub additionals: u16,
    /// Wire form: the answer section, then the additional section.
    pub wire: &'a [u8],
}

/// The name cannot be held: empty, longer than 255 bytes, or with a zero byte in a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unencodable;

/// Encodes a record; RR sets that fit no answer leave a flag instead, so that the kernel passes
/// them. Returns the number of cells, all of whose words are written.
///
/// # Errors
/// [`Unencodable`] for a name that no query can ask for in the kernel.
pub fn encode(contents: &Contents, record: &mut Record) -> Result<usize, Unencodable> {
    let Some((0, labels)) = contents.name.split_last() else {
        return Err(Unencodable);
    };
    if labels.contains(&0) || contents.name.len() > crate::limits::NAME_BYTES_MAX {
        return Err(Unencodable);
    }
    let words = &mut record.0;
    let mut next = 2;
    next += put_bytes(&mut words[next..], contents.name);
    let mut flags = if contents.soa { FLAG_SOA } else { 0 };
    let (mut a_count, mut aaaa_count, mut other_len) = (0, 0, 0);
    if contents.socket_only {
        flags |= FLAG_SOCKET_ONLY;
    } else {
        if contents.a.len() > A_MAX {
            flags |= FLAG_A_TOO_LARGE;
        } else {
            a_count = contents.a.len();
            for (word, pair) in words[next..].iter_mut().zip(contents.a.chunks(2)) {
                let mut bytes = [0; 8];
                bytes[..4].copy_from_slice(&pair[0]);
                if let Some(second) = pair.get(1) {
                    bytes[4..].copy_from_slice(second);
                }
                *word = u64::from_le_bytes(bytes);
            }
            next += a_count.div_ceil(2);
        }
        if contents.aaaa.len() > AAAA_MAX {
            flags |= FLAG_AAAA_TOO_LARGE;
        } else {
            aaaa_count = contents.aaaa.len();
            for address in contents.aaaa {
                next += put_bytes(&mut words[next..], address);
            }
        }
        if contents.other_elsewhere {
            flags |= FLAG_OTHER_ELSEWHERE;
        }
        if contents.srv_elsewhere {
            flags |= FLAG_SRV_ELSEWHERE;
        }
        match contents.other {
            Some(other) if other.wire.len() <= OTHER_BYTES_MAX => {
                if other.rtype == TYPE_CNAME {
                    flags |= FLAG_ALIAS;
                }
                other_len = other.wire.len();
                words[next] = u64::from(other.rtype)
                    | u64::from(other.answers) << 16
                    | u64::from(other.additionals) << 32;
                next += 1;
                next += put_bytes(&mut words[next..], other.wire);
            }
            Some(_) => flags |= FLAG_OTHER_ELSEWHERE,
            None => {}
        }
    }
    words[1] = contents.name.len() as u64
        | u64::from(contents.zone) << 8
        | u64::from(flags) << 16
        | (a_count as u64) << 24
        | (aaaa_count as u64) << 32
        | (other_len as u64) << 48;
    let cells = next.div_ceil(CELL_WORDS);
    words[next..cells * CELL_WORDS].fill(0);
    words[0] = u64::from(contents.ttl) << 32;
    words[0] |= u64::from(check(&words[..cells * CELL_WORDS]));
    Ok(cells)
}

/// Writes bytes as words, zero-padded; returns the number of words.
fn put_bytes(words: &mut [u64], bytes: &[u8]) -> usize {
    for (word, chunk) in words.iter_mut().zip(bytes.chunks(8)) {
        let mut padded = [0; 8];
        padded[..chunk.len()].copy_from_slice(chunk);
        *word = u64::from_le_bytes(padded);
    }
    bytes.len().div_ceil(8)
}

/// Room for the largest record.
#[derive(Clone)]
pub struct Record(pub [u64; crate::limits::RECORD_CELLS_MAX * CELL_WORDS]);

impl Default for Record {
    fn default() -> Self {
        Record([0; crate::limits::RECORD_CELLS_MAX * CELL_WORDS])
    }
}

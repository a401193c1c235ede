//! The types in the maps. All of them are read by the programs and written by the daemon through
//! shared memory (`BPF_F_MMAPABLE` arrays): no record is ever copied by a system call.
//!
//! # From a name to its record
//!
//! ```text
//! hash(name) ─┬─ high 32 bits → bucket          INDEX: array of 64-byte buckets, 8 entries each
//!             ├─ low 28 bits  → tag                │
//!             └─ low 32 bits  → home cell          │
//!                                                  ▼
//!   entry  63        35 34  29 28         1   0    CELLS: array of 64-byte cells
//!         ├─ tag (29) ─┼cells┼─ cell (28) ─┼ovf┤─────▶ a record is a run of cells
//! ```
//!
//! A record holds *everything* that is known of an owner name, so that each question needs one
//! lookup, and a type that the record lacks is NODATA:
//!
//! ```text
//!  0      4      8  9 10 11 12 13  14   16
//! ├check──┼─ttl──┼nl┼zo┼fl┼ a┼4a┼──┼other┤ name, folded, zero-padded to 8 │ A: 4 bytes each,
//!                                           padded to 8 │ AAAA: 16 bytes each │ other records
//! ```
//!
//! Addresses are stored bare; their records are written by the program. Records of one other type
//! (PTR, SRV, TXT, CNAME) are stored as they go on the wire behind an [`Other`] header: everything after
//! the question is the same bytes for every query of that name, compression pointers included,
//! because the owner name has one length.
//!
//! The record of an alias (an `ExternalName` service) has the addresses of its target behind its own CNAME: one
//! lookup answers, and one check holds the whole chain together. A change of the target is published as a change
//! of its aliases too.
//!
//! # Why not a BPF hash map
//!
//! * **One lookup, any size.** A hash map has one value size. For 1,232-byte answers that is 1.4 KB a
//!   name; for 450,000 names 630 MB, where these records take 64 to 192 bytes each (a cluster IP
//!   64, its PTR 128, a dual-stack endpoint 128, an `ip6.arpa` PTR 192).
//! * **Overhead.** A hash element costs 48 bytes beside key and value, and its bucket 8 to 16 more; an
//!   entry here is 8 bytes at a load of about two thirds, and there are two generations: 24 bytes a name.
//! * **A miss means something.** Replacing a key in a kernel hash adds the new element and then
//!   removes the old one: a reader can straddle that and miss a key that is always present (measured: 3 in
//!   244 million), or read the value of another key (542). Here an entry never moves while its
//!   name exists and is replaced by one 64-bit store: a reader that scans a bucket sees the
//!   old entry or the new one, never neither.
//! * **Cost.** Array lookups are inlined (0–1 ns); a hash lookup of an 8-byte key is 5 ns, of a 64-byte
//!   key 19 ns and of a 256-byte key 97 ns.
//! * **Updates** are stores to memory instead of a 640 ns system call a record.
//!
//! A cluster of 10,000 services and 100,000 dual-stack endpoints has 346,000 names, and takes 171
//! bytes a name, index included (`cargo xtask bench kernel`, `names.bytes`).
//!
//! # Where a record stands
//!
//! A name that is not in the caches costs a miss for its bucket and then one for its record, 115 to
//! 170 ns each on the machine that this was measured on (pointers chased through 8 MB and more;
//! huge pages take off 15). So a record is placed at a *home* that its hash names ([`home_of`])
//! while that is free, and the program loads the home's line before it looks at the bucket: the two
//! misses become one. Names with addresses are placed first. The program's time for random names out
//! of 100,000 services, over an empty program's, with and without homes in turns: 261 ns against 350
//! (means of two runs each of `R2.hit40_random`); a name that is in the caches takes 60 to 110 either way.
//!
//! # Rejected as well
//!
//! * Arrays by size class: each class is a separate capacity to run out of, and each is a separate
//!   copy of the program's read loop.
//! * 32-byte cells: 16 bytes less a name, but twice the lookups a record, and most records would
//!   straddle two cache lines.
//! * Records in place of entries (open addressing of records): a miss would have to walk 64 bytes a
//!   name instead of 8, and half of the memory would have to be empty.
//! * Records ready for the wire, instead of bare addresses: 12 bytes more for each, and dual-stack
//!   names of 40 bytes would need a third cell.
//!
//! # What protects a reader
//!
//! A record is never changed in place: a new version goes to free cells, then the entry is
//! swapped, then the old cells are freed. Freed cells are reused, so a reader that is late may
//! see another record, or a mixture: it copies the cells first, and verifies [`Cell::check`] and
//! the full name on the copy. What does not verify passes to the socket.
//!
//! # Two generations of the index
//!
//! A large batch (a resync) becomes visible as one step. INDEX has room for two generations, and
//! [`Control::generation`] says in one word which is in use: a program loads it once for a packet. The daemon
//! copies the one in use to the other, changes it there, with all new records in free cells, and then stores
//! that word: who loaded it before answers as of before the batch, who loads it after, as of after it.
//! Small batches are written into the generation in use, one store a name.
//!
//! A program that loaded the word before the flip may still scan the old generation, and may follow it to old
//! records. Until all of these have ended (an RCU grace period) the old generation is not written, and no cell
//! that it leads to is free. Only then is the next flip possible.
//!
//! # What protects from a daemon that hangs
//!
//! [`Control::lease_until`], a tick of the kernel from which on every packet passes. The daemon moves it
//! on while it applies changes; one that hangs, or is stopped, no longer does, and the queries go where they
//! would go without us. The clock is jiffies: `bpf_jiffies64` is inlined into one load, where
//! `bpf_ktime_get_ns` costs 25 to 31 ns and `bpf_ktime_get_boot_ns` 38, as much as the whole lookup.
//!
//! Jiffies stand still while the machine is suspended, so that a lease survives it: after the resume,
//! programs answer as of before the suspension until the daemon notices, which looks once a second and
//! then takes the lease away, or, if it does not run, until the rest of the lease is over. A program
//! cannot see the suspension for free.

use crate::limits::{
    ADDRESSES_MAX, ALIAS_WORDS_MAX, BUCKET_ENTRIES, CELL_BYTES, CELL_WORDS, HEADER_BYTES, MACS_MAX,
    NAME_WORDS_MAX, RECORD_CELLS_MAX, VLANS_MAX, ZONES_MAX,
};

/// Version of everything in this module. What is pinned is called by it, for those who look; no daemon uses another one's maps.
pub const LAYOUT_VERSION: u32 = 5;

/// A bucket of the index: eight entries, one cache line. An empty entry is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Bucket {
    /// See [`Entry`].
    pub entries: [u64; BUCKET_ENTRIES],
}

/// A cell of record memory. The first cell of a record has these fields; the cells after it continue
/// `data` over their whole 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Cell {
    /// [`crate::record::check`] over all cells of the record, this field taken as zero.
    pub check: u32,
    /// TTL of the A and AAAA records, seconds.
    pub ttl: u32,
    /// Length of the owner name in wire form, bytes.
    pub name_len: u8,
    /// Index of the zone that the name belongs to.
    pub zone: u8,
    /// [`FLAG_SOCKET_ONLY`] and others.
    pub flags: u8,
    /// Number of A addresses.
    pub a_count: u8,
    /// Number of AAAA addresses.
    pub aaaa_count: u8,
    /// Zero.
    pub reserved: u8,
    /// Bytes of the records of another type; 0 if there are none, and no [`Other`] header.
    pub other_len: u16,
    /// Name, addresses, other records.
    pub data: [u8; CELL_BYTES - 16],
}

/// Only the socket may answer for the name.
pub const FLAG_SOCKET_ONLY: u8 = 1;
/// No name's: the record of a zone's SOA, which is of the apex's name, but not what the apex has.
pub const FLAG_SOA: u8 = 64;
/// The name has more A addresses than fit any answer: they are not stored.
pub const FLAG_A_TOO_LARGE: u8 = 2;
/// The name has more AAAA addresses than fit any answer: they are not stored.
pub const FLAG_AAAA_TOO_LARGE: u8 = 4;
/// The name has records of other types that are not stored.
pub const FLAG_OTHER_ELSEWHERE: u8 = 8;
/// The name has SRV records that are not stored. A service's name has them (all its ports at once) beside its
/// addresses, which fit one cell without them; whoever asks for SRV asks for one port.
pub const FLAG_SRV_ELSEWHERE: u8 = 16;

/// The name is an alias of a name of the same zone: its other record is a CNAME, and the addresses are those of the
/// target. A question for addresses is answered with the CNAME and the addresses behind it, or the SOA if the target
/// has none of that family; one for another type passes.
pub const FLAG_ALIAS: u8 = 32;

/// The eight bytes before the pre-encoded records of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Other {
    /// Their type, host order.
    pub rtype: u16,
    /// Records for the answer section, host order.
    pub answers: u16,
    /// Records for the additional section, which follow, host order.
    pub additionals: u16,
    /// Zero.
    pub reserved: u16,
}

/// An index entry; see the module docs for its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Entry(pub u64);

impl Entry {
    /// Bit 0, in the last entry of a bucket only: names of this bucket may stand in the next one.
    /// Set before the first of them is written, and never cleared within a generation.
    pub const OVERFLOW: u64 = 1;
    /// Largest number of a cell.
    pub const CELL_MAX: u32 = (1 << 28) - 1;
    const TAG_SHIFT: u32 = 35;
    const CELLS_SHIFT: u32 = 29;
    /// The highest bit of every tag, so that an empty entry has the tag of no hash.
    const TAG_SET: u64 = 1 << 28;

    /// The 29 bits of a hash that an entry holds.
    #[inline(always)]
    pub const fn tag(hash: u64) -> u64 {
        hash & (Self::TAG_SET - 1) | Self::TAG_SET
    }

    /// An entry for the record of `cells` cells from `cell` on.
    #[inline(always)]
    pub const fn new(hash: u64, cell: u32, cells: u32) -> Self {
        Entry(
            Self::tag(hash) << Self::TAG_SHIFT
                | (cells as u64) << Self::CELLS_SHIFT
                | (cell as u64) << 1,
        )
    }

    /// Whether a name whose hash has this tag may be behind the entry.
    #[inline(always)]
    pub const fn has_tag(self, tag: u64) -> bool {
        self.0 >> Self::TAG_SHIFT == tag
    }

    /// First cell of the record.
    #[inline(always)]
    pub const fn cell(self) -> u32 {
        (self.0 >> 1) as u32 & Self::CELL_MAX
    }

    /// Number of cells of the record; 0 means that the entry is empty.
    #[inline(always)]
    pub const fn cells(self) -> u32 {
        (self.0 >> Self::CELLS_SHIFT) as u32 & 63
    }
}

/// The bucket of a hash among `buckets`: multiply and shift, so that any number will do.
#[inline(always)]
pub const fn bucket_of(hash: u64, buckets: u32) -> u32 {
    (((hash >> 32) * buckets as u64) >> 32) as u32
}

/// The cell that the record of a hash stands at if it was free: of other bits than its bucket.
#[inline(always)]
pub const fn home_of(hash: u64, cells: u32) -> u32 {
    bucket_of(hash << 32, cells)
}

/// Where one generation of the index lies: all of it in one word, so that a flip is one store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// `buckets` buckets from `base` on.
    #[inline(always)]
    pub const fn new(base: u32, buckets: u32) -> Self {
        Generation(base as u64 | (buckets as u64) << 32)
    }

    /// Its first bucket in INDEX.
    #[inline(always)]
    pub const fn base(self) -> u32 {
        self.0 as u32
    }

    /// Its number of buckets.
    #[inline(always)]
    pub const fn buckets(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// [`Control::flags`]: the table is complete, and packets may be answered.
pub const CONTROL_ANSWERING: u32 = 1;
/// [`Control::flags`]: the deployment forwards, so answers carry RA.
pub const CONTROL_RECURSION_AVAILABLE: u32 = 2;
/// [`Control::flags`]: the addresses of an answer are rotated from query to query.
pub const CONTROL_ROTATE: u32 = 4;
/// [`Control::flags`]: XDP is switched off.
pub const CONTROL_XDP_OFF: u32 = 8;
/// [`Control::flags`]: tc is switched off.
pub const CONTROL_TC_OFF: u32 = 16;
/// [`Control::flags`]: from this bit on one for each of [`Control::zones`], that it is switched off. They
/// stand here and not with the zone: a switch is one store whatever else is written meanwhile, and
/// a program has read this word already.
pub const CONTROL_ZONES_OFF_SHIFT: u32 = 16;

/// An element of [`Control::macs`]: what comes in there is limited ([`crate::limit`]).
pub const MAC_LIMITED: u64 = 1 << 48;

/// What the daemon tells the programs: the only element of the map CONTROL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Control {
    /// [`LAYOUT_VERSION`]
    pub layout_version: u32,
    /// [`CONTROL_ANSWERING`] and others; zero passes every packet.
    pub flags: u32,
    /// The generation in use, a [`Generation`]: loaded once for a packet, since it changes meanwhile.
    pub generation: u64,
    /// Seed of the name hash, random at start.
    pub seed: u64,
    /// Used elements of `v4`.
    pub v4_count: u32,
    /// Used elements of `v6`.
    pub v6_count: u32,
    /// Used elements of `macs`.
    pub macs_count: u32,
    /// Cells of record memory.
    pub cells: u32,
    /// IPv4 addresses that we answer for, network order.
    pub v4: [u32; ADDRESSES_MAX],
    /// IPv6 addresses that we answer for, network order.
    pub v6: [[u64; 2]; ADDRESSES_MAX],
    /// MAC addresses of the devices with XDP: six bytes, then [`MAC_LIMITED`] or zero.
    pub macs: [u64; MACS_MAX],
    /// Answers a second that one network may be sent: what its bucket gains with each tick.
    pub limit_rate: u32,
    /// What an answer takes from the bucket: ticks a second.
    pub limit_cost: u32,
    /// VLANs whose queries are answered, host order; 0 is none.
    pub vlans: [u16; VLANS_MAX],
    /// The lease: from this tick on (jiffies) every packet passes. See the module docs.
    pub lease_until: u64,
    /// Names below which nothing is denied, then zones, the longer names first; the first that a name lies in decides.
    pub zones: [ZoneEntry; ZONES_MAX],
}

/// A zone, or a name below which only the socket may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ZoneEntry {
    /// An [`Entry`] without a tag: a record of the same name whose other records are the zone's SOA
    /// without its owner, as negative answers carry it. 0 if there is none.
    pub entry: u64,
    /// The last eight bytes of the name.
    pub tail: u64,
    /// Length of the name in wire form, bytes; 0: there is none at this place.
    pub name_len: u32,
    /// [`ZONE_COMPLETE`]
    pub flags: u32,
    /// The name in wire form, folded, zero-padded.
    pub name: [u64; NAME_WORDS_MAX],
}

/// [`ZoneEntry::flags`]: every name that exists in the zone has a record, so that a name without one
/// does not exist.
pub const ZONE_COMPLETE: u32 = 1;
/// Shortest zone that the programs know, bytes: its last eight are compared first.
pub const ZONE_BYTES_MIN: usize = 8;

impl ZoneEntry {
    /// No zone.
    pub const NONE: Self = ZoneEntry {
        entry: 0,
        tail: 0,
        name_len: 0,
        flags: 0,
        name: [0; NAME_WORDS_MAX],
    };
}

impl Control {
    /// Nothing to answer, for nobody.
    pub const fn zeroed() -> Self {
        Control {
            layout_version: LAYOUT_VERSION,
            flags: 0,
            generation: 0,
            seed: 0,
            v4_count: 0,
            v6_count: 0,
            macs_count: 0,
            cells: 0,
            v4: [0; ADDRESSES_MAX],
            v6: [[0; 2]; ADDRESSES_MAX],
            macs: [0; MACS_MAX],
            limit_rate: 0,
            limit_cost: 0,
            vlans: [0; VLANS_MAX],
            lease_until: 0,
            zones: [ZoneEntry::NONE; ZONES_MAX],
        }
    }
}

/// Working memory of a program run: one element of a per-CPU map. Steps hand each other their
/// results here, in plain integers: what is read back from a map is unknown to the verifier, so that it
/// looks at each step once, and not once for every way through the steps before.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Scratch {
    /// The question name, folded and zero-padded.
    pub name: [u64; NAME_WORDS_MAX],
    /// The copy of the record.
    pub record: [u64; RECORD_CELLS_MAX * CELL_WORDS],
    /// Where the message is.
    pub frame: Frame,
    /// What is asked.
    pub query: Query,
    /// What is answered.
    pub selection: Selection,
    /// A value on its detour; see [`crate::packet::launder`].
    pub laundry: u64,
    /// State of the random numbers that answers are rotated by; see [`crate::answer`].
    pub random: u64,
    /// The CNAME of an alias whose target lacks what is asked for, while `record` has the SOA.
    pub alias: [u64; ALIAS_WORDS_MAX],
}

impl Scratch {
    /// All zero.
    pub const fn new() -> Self {
        Scratch {
            name: [0; NAME_WORDS_MAX],
            record: [0; RECORD_CELLS_MAX * CELL_WORDS],
            frame: Frame {
                dns: 0,
                message_len: 0,
                v6: 0,
                limit: 0,
            },
            query: Query {
                hash: 0,
                name_len: 0,
                name_words: 0,
                qtype: 0,
                edns_size: 0,
                has_opt: 0,
                dnssec_ok: 0,
                flags2: 0,
                flags3: 0,
            },
            selection: Selection::NONE,
            laundry: 0,
            random: 0,
            alias: [0; ALIAS_WORDS_MAX],
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// A UDP packet to port 53 of an address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Frame {
    /// Offset of the DNS message in the packet, bytes.
    pub dns: u32,
    /// Length of the DNS message, bytes.
    pub message_len: u32,
    /// 1 for IPv6, 0 for IPv4.
    pub v6: u32,
    /// [`LIMIT_NONE`], [`LIMIT_APPLIES`] or [`LIMIT_EXCEEDED`].
    pub limit: u32,
}

/// [`Frame::limit`]: the device is not limited.
pub const LIMIT_NONE: u32 = 0;
/// [`Frame::limit`]: it is.
pub const LIMIT_APPLIES: u32 = 1;
/// [`Frame::limit`]: and this answer is one too many.
pub const LIMIT_EXCEEDED: u32 = 2;

/// A query that may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Query {
    /// Hash of the folded question name.
    pub hash: u64,
    /// Length of the question name in wire form, bytes: 1 to 255.
    pub name_len: u32,
    /// The same in words of [`Scratch::name`].
    pub name_words: u32,
    /// The type asked for.
    pub qtype: u16,
    /// Size that the client takes, as its OPT says; meaningless without one.
    pub edns_size: u16,
    /// 1 if there is an OPT record.
    pub has_opt: u8,
    /// 1 if there is one, and its DO bit is set (RFC 3225).
    pub dnssec_ok: u8,
    /// Byte 2 of the header: opcode is QUERY, QR and TC are zero.
    pub flags2: u8,
    /// Byte 3 of the header.
    pub flags3: u8,
}

/// What is put behind the question: encoded records, then addresses, either of which may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Selection {
    /// First word of the encoded records in the record.
    pub other_word: u32,
    /// Their bytes, without the owner of a SOA, which is not always the question's name.
    pub other_len: u32,
    /// First word of the addresses in the record.
    pub address_word: u32,
    /// Offset of the addresses in the message, bytes.
    pub address_offset: u32,
    /// Number of addresses, of the type that was asked for.
    pub addresses: u32,
    /// The address that comes first; the others follow, and after the last one those before it.
    pub first: u32,
    /// Bytes of all records in the message.
    pub records_len: u32,
    /// Bytes of the whole answer.
    pub message_len: u32,
    /// Offset in the message of the owner of the addresses, or of the SOA, bytes.
    pub owner: u32,
    /// Records in the answer section.
    pub answers: u16,
    /// Records in the additional section, without OPT.
    pub additionals: u16,
    /// Records in the authority section: 1 in negative answers, the SOA.
    pub authority: u16,
    /// NOERROR or NXDOMAIN.
    pub rcode: u8,
    /// 1 if the answer is larger than the client takes: no record is written, and TC is set.
    pub truncated: u8,
    /// Of a negative answer: bytes of the CNAME before the SOA, in [`Scratch::alias`].
    pub alias_len: u32,
}

impl Selection {
    /// Nothing.
    pub const NONE: Self = Selection {
        other_word: 0,
        other_len: 0,
        address_word: 0,
        address_offset: 0,
        addresses: 0,
        first: 0,
        records_len: 0,
        message_len: 0,
        owner: HEADER_BYTES as u32,
        answers: 0,
        additionals: 0,
        authority: 0,
        rcode: 0,
        truncated: 0,
        alias_len: 0,
    };

    /// Encoded records, of the answer or of other sections, and no addresses.
    ///
    /// Nothing more than needed is stored: of a longer run of zeros LLVM makes a loop over bytes, and who then loads words
    /// waits for all of it.
    #[inline(always)]
    pub fn set_encoded(&mut self, word: u32, len: u32, records_len: u32, owner: u32) {
        self.other_word = word;
        self.other_len = len;
        self.addresses = 0;
        self.records_len = records_len;
        self.owner = owner;
        self.answers = 0;
        self.additionals = 0;
        self.authority = 0;
        self.rcode = 0;
        self.truncated = 0;
    }
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<Bucket>() == 64);
    assert!(size_of::<Cell>() == CELL_BYTES);
    assert!(offset_of!(Cell, ttl) == 4);
    assert!(offset_of!(Cell, name_len) == 8);
    assert!(offset_of!(Cell, aaaa_count) == 12);
    assert!(offset_of!(Cell, other_len) == 14);
    assert!(offset_of!(Cell, data) == 16);
    assert!(size_of::<Other>() == 8);
    assert!(size_of::<Entry>() == 8);
    assert!(size_of::<Generation>() == 8);
    // An aligned word: stored and loaded whole.
    assert!(offset_of!(Control, generation) == 8);
    assert!(offset_of!(Control, seed) == 16);
    assert!(offset_of!(Control, v4) == 40);
    assert!(offset_of!(Control, v6) == 40 + 4 * ADDRESSES_MAX);
    assert!(offset_of!(Control, limit_rate) == 40 + 20 * ADDRESSES_MAX + 8 * MACS_MAX);
    assert!(offset_of!(Control, vlans) == 48 + 20 * ADDRESSES_MAX + 8 * MACS_MAX);
    assert!(VLANS_MAX.is_multiple_of(4) && ZONES_MAX <= 16);
    assert!(
        offset_of!(Control, lease_until) == 48 + 20 * ADDRESSES_MAX + 8 * MACS_MAX + 2 * VLANS_MAX
    );
    assert!(offset_of!(Control, zones) == 56 + 20 * ADDRESSES_MAX + 8 * MACS_MAX + 2 * VLANS_MAX);
    assert!(size_of::<ZoneEntry>() == 24 + 8 * NAME_WORDS_MAX);
    assert!(
        size_of::<Control>()
            == 56
                + 20 * ADDRESSES_MAX
                + 8 * MACS_MAX
                + 2 * VLANS_MAX
                + (24 + 8 * NAME_WORDS_MAX) * ZONES_MAX
    );
    assert!(size_of::<Frame>() == 16 && size_of::<Query>() == 24 && size_of::<Selection>() == 48);
    assert!(
        size_of::<Scratch>() <= 32 * 1024,
        "the kernel's limit for a per-CPU element"
    );
};

#[cfg(feature = "user")]
// SAFETY: repr(C), every bit pattern is valid, no padding (asserted above: sizes are the sums of the fields).
unsafe impl bytemuck::Zeroable for Cell {}
#[cfg(feature = "user")]
// SAFETY: as above.
unsafe impl bytemuck::Pod for Cell {}
#[cfg(feature = "user")]
// SAFETY: as above.
unsafe impl bytemuck::Zeroable for Control {}
#[cfg(feature = "user")]
// SAFETY: as above.
unsafe impl bytemuck::Pod for Control {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_keeps_its_parts() {
        let entry = Entry::new(0xdead_beef_cafe_f00d, Entry::CELL_MAX, 39);
        assert!(entry.has_tag(Entry::tag(0xdead_beef_cafe_f00d)));
        assert!(!entry.has_tag(Entry::tag(0xdead_beef_cafe_f00e)));
        assert_eq!((entry.cell(), entry.cells()), (Entry::CELL_MAX, 39));
        assert!(!Entry(0).has_tag(Entry::tag(0)));
        assert!(!Entry(Entry::OVERFLOW).has_tag(Entry::tag(0)));
    }

    #[test]
    fn generation_keeps_its_parts() {
        let generation = Generation::new(7, u32::MAX);
        assert_eq!((generation.base(), generation.buckets()), (7, u32::MAX));
        let generation = Generation::new(u32::MAX, 7);
        assert_eq!((generation.base(), generation.buckets()), (u32::MAX, 7));
    }

    #[test]
    fn buckets_are_in_range_and_spread() {
        for buckets in [1, 3, 1000] {
            assert_eq!(bucket_of(0, buckets), 0);
            assert_eq!(bucket_of(u64::MAX, buckets), buckets - 1);
        }
    }
}

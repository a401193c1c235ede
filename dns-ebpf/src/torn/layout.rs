//! What the reading programs and the test that runs them share: plain words in mmapable maps.

/// Queries that can be asked.
pub const QUERIES_MAX: usize = 512;
/// Units of change, the SOA among them.
pub const UNITS_MAX: usize = 64;
/// Reads of one run.
pub const READS_MAX: usize = 256;
/// Longest query, bytes of the packet.
pub const QUERY_BYTES_MAX: usize = 240;
/// Longest answer, bytes of the packet: IPv6, and 1,232 bytes of message.
pub const ANSWER_BYTES_MAX: usize = 1304;
/// The unit whose versions are those of the SOA.
pub const SOA: usize = UNITS_MAX - 1;

/// A query to ask.
#[repr(C)]
pub struct Query {
    /// Bytes of the packet.
    pub len: u32,
    /// The unit that the answer follows from, and the SOA.
    pub unit: u32,
    /// The packet.
    pub packet: [u8; QUERY_BYTES_MAX],
}

/// How far the writer is with what changes together. One cache line.
#[repr(C)]
pub struct Unit {
    /// The version that was written last.
    pub finished: u64,
    /// The version that is being written, or was last.
    pub started: u64,
    /// Zero.
    pub reserved: [u64; 6],
}

/// What was read, and the versions that were true meanwhile.
#[repr(C)]
pub struct Read {
    /// What to ask: set before the run.
    pub query: u64,
    /// Why it was answered, or passed.
    pub reason: u32,
    /// Bytes of the packet.
    pub len: u32,
    /// [`Unit::finished`] before.
    pub oldest: u64,
    /// [`Unit::started`] after.
    pub newest: u64,
    /// The same of [`SOA`].
    pub soa_oldest: u64,
    /// The same of [`SOA`].
    pub soa_newest: u64,
    /// The packet as it came out.
    pub packet: [u8; ANSWER_BYTES_MAX],
}

/// How far a run is.
#[repr(C)]
pub struct Cursor {
    /// The number of the next read; the run begins with 0.
    pub next: u64,
    /// How many reads it makes.
    pub count: u64,
    /// Swapped where loads must not pass each other.
    pub barrier: u64,
}

/// Words of an element.
pub const QUERY_WORDS: usize = size_of::<Query>() / 8;
/// Words of an element.
pub const UNIT_WORDS: usize = size_of::<Unit>() / 8;
/// Words of an element.
pub const READ_WORDS: usize = size_of::<Read>() / 8;
/// Words of an element.
pub const CURSOR_WORDS: usize = size_of::<Cursor>() / 8;

const _: () = {
    assert!(size_of::<Query>().is_multiple_of(8) && size_of::<Read>().is_multiple_of(8));
    assert!(size_of::<Unit>() == 64);
    assert!(core::mem::offset_of!(Read, packet) == 48);
};

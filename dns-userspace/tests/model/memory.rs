//! What writer and reader share.

use std::sync::Arc;

use hopzero_common::{
    limits::{BUCKET_ENTRIES, CELL_WORDS},
    word::AtomicU64,
};
use loom::sync::Mutex;

/// Two generations, and the word that says which of them is read.
pub struct Memory {
    /// Which one is read.
    pub generation: AtomicU64,
    /// Both.
    pub generations: [Generation; 2],
    /// The entry of the zone's SOA.
    pub soa: AtomicU64,
    /// What [`crate::writer::Op::Grace`] waits for: the reader, while it is within its program.
    pub section: Mutex<()>,
}

/// An index and its records.
pub struct Generation {
    /// Buckets.
    pub buckets: u32,
    /// Their words.
    pub index: Arc<[AtomicU64]>,
    /// The words of the cells.
    pub cells: Arc<[AtomicU64]>,
}

impl Memory {
    /// All zero.
    pub fn new(buckets: u32, cells: u32) -> Self {
        let words = |elements: u32, size: usize| {
            let words = elements as usize * size;
            (0..words).map(|_| AtomicU64::new(0)).collect()
        };
        let generation = || Generation {
            buckets,
            index: words(buckets, BUCKET_ENTRIES),
            cells: words(cells, CELL_WORDS),
        };
        Memory {
            generation: AtomicU64::new(0),
            generations: [generation(), generation()],
            soa: AtomicU64::new(0),
            section: Mutex::new(()),
        }
    }
}

//! The writer: the daemon's own [`Table`], and what it must not do.

use std::sync::Arc;

use hopzero::publisher::{
    memory::Words,
    table::{Capacity, Table},
};
use hopzero_common::{limits::CELL_WORDS, word::AtomicU64};
use loom::sync::atomic::Ordering::{Relaxed, Release};

use crate::{
    memory::Memory,
    records::{Record, SEED},
};

/// Something that the writer does.
pub enum Op {
    /// Writes a version.
    Put(Record),
    /// Removes the name of a record.
    Remove(Record),
    /// Renews the zone's SOA, a record beside the index.
    Soa(Record),
    /// From now on writes to the other generation, which is emptied.
    Rebuild,
    /// The generation that is written is the one that is read.
    Flip,
    /// Waits until no reader is left that began before.
    Grace,
    /// Puts a record in a way that the daemon never does.
    Wrong(fn(&mut Writer, Record), Record),
}

/// What the writer has.
pub struct Writer {
    /// What it shares with readers.
    pub memory: Arc<Memory>,
    /// The tables of both generations.
    tables: [Table; 2],
    /// The one that is written.
    written: usize,
}

impl Writer {
    /// A writer of empty memory.
    pub fn new(memory: &Arc<Memory>) -> Self {
        Writer {
            memory: Arc::clone(memory),
            tables: [0, 1].map(|generation| table(memory, generation)),
            written: 0,
        }
    }

    /// The table that is written.
    pub fn table(&mut self) -> &mut Table {
        &mut self.tables[self.written]
    }

    /// The words of the index that is written.
    pub fn index(&self) -> &[AtomicU64] {
        &self.memory.generations[self.written].index
    }

    /// Does it.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Put(record) => {
                self.table().put(&record.encoded);
            }
            Op::Remove(record) => self.table().remove(record.name_words()),
            Op::Soa(record) => {
                let new = self.table().put_detached(&record.encoded).unwrap_or(0);
                let old = self.memory.soa.load(Relaxed);
                self.memory.soa.store(new, Release);
                self.table().give_detached(old);
            }
            Op::Rebuild => {
                self.written = 1 - self.written;
                for word in self.index() {
                    if word.load(Relaxed) != 0 {
                        word.store(0, Relaxed);
                    }
                }
                self.tables[self.written] = table(&self.memory, self.written);
            }
            Op::Flip => self.memory.generation.store(self.written as u64, Release),
            Op::Grace => drop(self.memory.section.lock()),
            Op::Wrong(put, record) => put(self, record),
        }
    }
}

fn table(memory: &Memory, generation: usize) -> Table {
    let generation = &memory.generations[generation];
    let capacity = Capacity {
        names: 0,
        buckets: generation.buckets,
        cells: u32::try_from(generation.cells.len() / CELL_WORDS).expect("a few"),
    };
    let shared = |words: &Arc<[AtomicU64]>| Words::shared(Arc::clone(words));
    let (index, cells) = (shared(&generation.index), shared(&generation.cells));
    Table::new(index, cells, capacity, SEED)
}

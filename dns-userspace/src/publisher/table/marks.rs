//! Marks of buckets that have overflowed.
//!
//! A mark says that names of a bucket may stand in the next one. While a generation is read it stays, also when these names
//! are gone: a reader that had passed the bucket before the mark went away would not look for what has come since. So where
//! names come and go for ever, as those of pods do, more and more buckets are marked, a miss has ever more to scan, and at
//! last says nothing. A build makes the marks anew, in the copy that nobody reads yet.

use hopzero_common::{
    layout::{Entry, bucket_of},
    limits::{BUCKET_ENTRIES, CELL_WORDS, NAME_WORDS_MAX},
    name,
};

use super::{PROBES, Table};

/// Marks of overflow that are not worth a look at every name: one bucket in so many.
const MARKS_SPARED_ONE_IN: u32 = 64;
/// Marked buckets, one in so many, from which on misses are worth a build. Of those that are scanned then, one in
/// thousands meets as many marked buckets in a row as make it say nothing.
const MARKED_UP_ONE_IN: u32 = 8;

/// Buckets that are marked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    /// Now.
    pub(super) count: u32,
    /// When they were last made anew: those that names need.
    pub(super) needed: u32,
}

impl Table {
    /// Buckets that are marked as overflowed.
    pub fn marks(&self) -> u32 {
        self.marks.count
    }

    /// Whether a build is due although nothing has changed: so many buckets are marked that misses get dear, most of
    /// them for names that are gone.
    pub fn is_marked_up(&self) -> bool {
        self.has_stale_marks() && self.marks.count > self.capacity.buckets / MARKED_UP_ONE_IN
    }

    pub(super) fn has_stale_marks(&self) -> bool {
        self.marks.count > 2 * self.marks.needed + self.capacity.buckets / MARKS_SPARED_ONE_IN
    }

    /// Marks in the copy, which nobody reads yet, the buckets that names are beyond, and no others.
    pub(super) fn renew_marks(&mut self) {
        let buckets = self.capacity.buckets;
        self.generations.changes_all();
        for bucket in 0..buckets {
            let last = self.last_word(bucket);
            self.index
                .store(last, self.index.load(last) & !Entry::OVERFLOW);
        }
        self.marks.count = 0;
        for bucket in 0..buckets {
            let first = self.last_word(bucket) + 1 - BUCKET_ENTRIES;
            for word in first..first + BUCKET_ENTRIES {
                let entry = Entry(self.index.load(word));
                let steps = if entry.cells() == 0 {
                    0
                } else if entry.cell() == self.tombstone {
                    // It does not say whose it is.
                    PROBES - 1
                } else {
                    let home = bucket_of(self.hash_of(entry), buckets);
                    (bucket + buckets - home) % buckets
                };
                for step in 1..=steps {
                    self.mark(self.last_word((bucket + PROBES * buckets - step) % buckets));
                }
            }
        }
        self.marks.needed = self.marks.count;
    }

    /// Says that names of a bucket may stand in the next one.
    pub(super) fn mark(&mut self, last: usize) {
        let word = self.index.load(last);
        if word & Entry::OVERFLOW == 0 {
            self.generations.changes(last);
            self.index.publish(last, word | Entry::OVERFLOW);
            self.marks.count += 1;
        }
    }

    /// The last word of a bucket in the generation that is written: the one with the mark.
    pub(super) fn last_word(&self, bucket: u32) -> usize {
        let base = self.generations.written().base();
        (base + bucket) as usize * BUCKET_ENTRIES + BUCKET_ENTRIES - 1
    }

    /// The hash of the name whose record an entry leads to.
    fn hash_of(&self, entry: Entry) -> u64 {
        let first = entry.cell() as usize * CELL_WORDS;
        let name_len = self.cells.load(first + 1) & 0xff;
        let words = usize::try_from(name_len.div_ceil(8)).unwrap_or(0);
        let mut name = [0; NAME_WORDS_MAX];
        for (place, word) in name[..words].iter_mut().zip(first + 2..) {
            *place = self.cells.load(word);
        }
        name::hash_of(&name[..words], self.seed)
    }
}

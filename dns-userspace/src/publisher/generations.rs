//! The two generations of the index: one is in use, a large batch is built in the other.
//!
//! ```text
//!            begin            finish               release
//!  written ───┬─▶ the other ────┬───── small changes ──┬───▶
//!             │  made the same, │ told to programs     │
//!             │  changed        │ (the flip)           │ all who began before the flip have ended:
//!             └─ abandon: back  │                      │ replaced cells are free, and the next
//!                                                      │ build may write the old generation
//! ```

use hopzero_common::{
    layout::{Entry, Generation},
    limits::BUCKET_ENTRIES,
};

use super::memory::Words;

/// Which generation is written, and what must stay for those who read the other one.
#[derive(Debug)]
pub struct Generations {
    buckets: u32,
    written: Generation,
    build: Option<Build>,
    /// Records that only the generation before leads to.
    retired: Vec<Entry>,
    /// The generation before may still be read.
    draining: bool,
    difference: Difference,
}

/// Where the two differ: who copies one to the other need not copy what is there already.
#[derive(Debug)]
enum Difference {
    /// Words of a generation, some of them more than once.
    Words(Vec<u32>),
    /// Too many to be counted.
    All,
}

/// Words of a generation for each that is remembered as different: a list that is longer takes longer than a copy of all,
/// which goes straight through memory.
const WORDS_PER_DIFFERENCE: usize = 16;

/// What a build has done so far.
#[derive(Debug)]
struct Build {
    /// Names when it began.
    names: u32,
    /// Records that it has stored.
    stored: Vec<Entry>,
    /// Records that it no longer leads to.
    replaced: Vec<Entry>,
}

impl Generations {
    /// The first generation, of so many buckets, is written and read.
    pub fn new(buckets: u32) -> Self {
        Generations {
            buckets,
            written: Generation::new(0, buckets),
            build: None,
            retired: Vec::new(),
            draining: false,
            // Neither has anything.
            difference: Difference::Words(Vec::new()),
        }
    }

    /// Where changes go.
    pub fn written(&self) -> Generation {
        self.written
    }

    /// Whether the generation before may still be read.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Makes the other generation a copy of the one in use, which has `names` names, and turns to it. False if
    /// what would be overwritten may still be read.
    pub fn begin(&mut self, index: &Words, names: u32) -> bool {
        if self.draining || self.build.is_some() {
            return false;
        }
        let from = first_word(self.written);
        self.turn();
        let to = first_word(self.written);
        let copy = |offset: usize| index.store(to + offset, index.load(from + offset));
        match &self.difference {
            Difference::Words(words) => words.iter().for_each(|word| copy(*word as usize)),
            Difference::All => (0..self.words()).for_each(copy),
        }
        self.difference = Difference::Words(Vec::new());
        self.build = Some(Build {
            names,
            stored: Vec::new(),
            replaced: Vec::new(),
        });
        true
    }

    /// A word of the index is changed in the generation that is written, and not in the other.
    pub fn changes(&mut self, word: usize) {
        let (first, most) = (
            first_word(self.written),
            self.words() / WORDS_PER_DIFFERENCE,
        );
        if let Difference::Words(words) = &mut self.difference {
            match u32::try_from(word - first) {
                Ok(word) if words.len() < most => words.push(word),
                _ => self.difference = Difference::All,
            }
        }
    }

    /// So is any of them.
    pub fn changes_all(&mut self) {
        self.difference = Difference::All;
    }

    /// A record is stored in cells that were free.
    pub fn stores(&mut self, entry: Entry) {
        if let Some(build) = &mut self.build {
            build.stored.push(entry);
        }
    }

    /// Whether a record that is replaced has to stay for now.
    pub fn retires(&mut self, entry: Entry) -> bool {
        match &mut self.build {
            Some(build) => {
                build.replaced.push(entry);
                true
            }
            None => false,
        }
    }

    /// Turns back; returns the records that the build has stored, and the names before.
    pub fn abandon(&mut self) -> Option<(Vec<Entry>, u32)> {
        let build = self.build.take()?;
        self.turn();
        Some((build.stored, build.names))
    }

    /// The build is complete.
    pub fn finish(&mut self) {
        if let Some(build) = self.build.take() {
            self.retired = build.replaced;
            self.draining = true;
        }
    }

    /// Nobody reads the generation before any more; returns the records that only it led to.
    pub fn release(&mut self) -> Vec<Entry> {
        self.draining = false;
        std::mem::take(&mut self.retired)
    }

    /// Words of one generation.
    fn words(&self) -> usize {
        self.buckets as usize * BUCKET_ENTRIES
    }

    fn turn(&mut self) {
        let base = if self.written.base() == 0 {
            self.buckets
        } else {
            0
        };
        self.written = Generation::new(base, self.buckets);
    }
}

fn first_word(generation: Generation) -> usize {
    generation.base() as usize * BUCKET_ENTRIES
}

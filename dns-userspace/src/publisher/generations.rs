//! The two generations of the index: one is in use, a large batch is built in the other.
//!
//! ```text
//!            begin            finish             release
//!  written ───┬─▶ the other ────┬──────────────────┬───────▶ small changes, name by name
//!             │  copied, changed │ told to programs │
//!             │                  │ (the flip)       │ all who began before the flip have ended:
//!             └─ abandon: back   │                  │ replaced cells are free, and the next
//!                                                   │ build may write the old generation
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
}

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

    /// Copies the generation in use, which has `names` names, and turns to the copy. False if
    /// what would be overwritten may still be read.
    pub fn begin(&mut self, index: &Words, names: u32) -> bool {
        if self.draining || self.build.is_some() {
            return false;
        }
        let from = self.written;
        self.turn();
        let word = |generation: Generation| generation.base() as usize * BUCKET_ENTRIES;
        let (from, to) = (word(from), word(self.written));
        for offset in 0..self.buckets as usize * BUCKET_ENTRIES {
            index.store(to + offset, index.load(from + offset));
        }
        self.build = Some(Build {
            names,
            stored: Vec::new(),
            replaced: Vec::new(),
        });
        true
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

    fn turn(&mut self) {
        let base = if self.written.base() == 0 {
            self.buckets
        } else {
            0
        };
        self.written = Generation::new(base, self.buckets);
    }
}

//! What the writer has said: which versions may be true now.
//!
//! What changes together is a *unit*. It goes through versions 1, 2, 3 …; 0 is the time before the first. The
//! writer says that it begins with a version, writes it into the maps, and says that it is done. A reader looks at
//! what is done, then reads the maps, then looks at what was begun.
//!
//! * Who sees that a version is done sees all that was stored before: the old cannot be read any more.
//! * Who reads what was stored for a version sees that it was begun: a store to the index, and to the zones, is a
//!   release ([`Words::publish`]), which what was stored before does not pass.
//!
//! So what is read must be of one of the versions in between.
//! The reader's side needs its loads in order: here they are `SeqCst`, in the kernel there is a full barrier.

use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, SeqCst},
};

use hopzero::publisher::memory::Words;

use crate::layout::{SOA, UNIT_WORDS, UNITS_MAX};

/// Versions of the SOA whose fate is remembered; no read takes so long that more begin.
const REMEMBERED: usize = 1 << 20;
/// The words of a unit, as [`crate::layout::Unit`] has them.
const FINISHED: usize = 0;
const STARTED: usize = 1;

/// Versions that may have been true during a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub oldest: u32,
    pub newest: u32,
}

impl Window {
    /// Each of them, the newest first.
    pub fn versions(self) -> impl Iterator<Item = u32> {
        (self.oldest..=self.newest).rev()
    }

    pub fn holds(self, version: u32) -> bool {
        (self.oldest..=self.newest).contains(&version)
    }
}

/// What the writer has said, unit by unit.
pub struct Board {
    units: Words,
    /// Whether a version of the SOA found no room, by its number.
    full: Vec<AtomicBool>,
}

impl Board {
    /// A board in the memory that the reader looks at.
    pub fn new(units: Words) -> Self {
        Board {
            units,
            full: (0..REMEMBERED).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// A board for a reader in this process.
    pub fn here() -> Self {
        Self::new(Words::heap(UNITS_MAX * UNIT_WORDS))
    }

    /// The writer begins with the next version; returns its number.
    pub fn start(&self, unit: usize) -> u32 {
        let started = &self.units.get()[unit * UNIT_WORDS + STARTED];
        version(started.fetch_add(1, SeqCst) + 1)
    }

    /// The version is what is true now.
    pub fn finish(&self, unit: usize, version: u32) {
        self.units.get()[unit * UNIT_WORDS + FINISHED].store(version.into(), SeqCst);
    }

    /// The same of the SOA, for which there may have been no room.
    pub fn finish_soa(&self, version: u32, full: bool) {
        self.full[version as usize % REMEMBERED].store(full, SeqCst);
        self.finish(SOA, version);
    }

    /// The oldest version that may be seen from now on.
    pub fn oldest(&self, unit: usize) -> u32 {
        version(self.units.get()[unit * UNIT_WORDS + FINISHED].load(SeqCst))
    }

    /// The newest version that may have been seen until now.
    pub fn newest(&self, unit: usize) -> u32 {
        version(self.units.get()[unit * UNIT_WORDS + STARTED].load(SeqCst))
    }

    /// Whether there was no SOA at some moment while these versions were true.
    pub fn was_without_soa(&self, window: Window) -> bool {
        // Whether the newest found room is known once it is written.
        let finished = &self.units.get()[SOA * UNIT_WORDS + FINISHED];
        while finished.load(Acquire) < window.newest.into() {
            std::hint::spin_loop();
        }
        (window.versions())
            .any(|version| version == 0 || self.full[version as usize % REMEMBERED].load(SeqCst))
    }
}

fn version(word: u64) -> u32 {
    u32::try_from(word).expect("a version")
}

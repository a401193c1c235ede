//! The reader: the programs' own lookup, over loom's atomics.

use hopzero_common::{
    layout::{self, Control, Scratch},
    limits::{BUCKET_ENTRIES, CELL_WORDS},
    lookup::{self, Table},
    name::hash_of,
    negative::{self, Denial},
    reason::Reason,
    word::AtomicU64,
};
use loom::sync::atomic::{
    Ordering::{Acquire, Relaxed},
    fence,
};

use crate::{
    memory::{Generation, Memory},
    records::{Record, SEED},
};

/// What a reader is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// What the index has of the name.
    Name,
    /// The SOA of the zone of this name.
    Soa,
}

/// What keeps a reader from a wrong answer.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a guard, there or broken"
)]
pub struct Reader {
    /// What it is after.
    pub asks: Asks,
    /// What an address was made of was loaded before what is there: the address dependency.
    pub follows: bool,
    /// The copy's check is verified.
    pub verifies: bool,
    /// The copy's name is compared.
    pub compares: bool,
    /// The line of the name's home is loaded first.
    pub looks_home: bool,
    /// The writer knows while it reads.
    pub is_seen: bool,
}

impl Reader {
    /// All that the programs do, but for the load of the home, which is explored on its own.
    pub const PROGRAM: Self = Reader {
        asks: Asks::Name,
        follows: true,
        verifies: true,
        compares: true,
        looks_home: false,
        is_seen: false,
    };
    /// The same on a machine that orders no loads, not even along an address.
    pub const WEAK: Self = Reader {
        follows: false,
        ..Self::PROGRAM
    };

    /// Looks the name of a record up; returns the words of what it found.
    pub fn read(self, memory: &Memory, asked: Record) -> Result<Vec<u64>, Reason> {
        let _section = self.is_seen.then(|| memory.section.lock());
        let order = if self.follows { Acquire } else { Relaxed };
        let generation = usize::from(memory.generation.load(order) != 0);
        let generation = &memory.generations[generation];
        let soa = memory.soa.load(Relaxed);
        if self.verifies {
            self.find::<true>(generation, soa, asked)
        } else {
            self.find::<false>(generation, soa, asked)
        }
    }

    fn find<const VERIFIES: bool>(
        self,
        generation: &Generation,
        soa: u64,
        asked: Record,
    ) -> Result<Vec<u64>, Reason> {
        let view = View::<VERIFIES> {
            generation,
            follows: self.follows,
        };
        let mut control = Box::new(Control::zeroed());
        control.generation = layout::Generation::new(0, generation.buckets).0;
        // With one cell, every home is the tombstone, which never changes.
        control.cells = 1;
        if self.looks_home {
            control.cells = u32::try_from(generation.cells.len() / CELL_WORDS).expect("a few");
        }
        let mut scratch = Box::new(Scratch::new());
        scratch.record.fill(u64::MAX);
        let name = asked.name_words();
        scratch.name[..name.len()].copy_from_slice(name);
        scratch.query.hash = hash_of(name, SEED);
        if self.compares {
            scratch.query.name_words = u32::try_from(name.len()).expect("at most 32");
        }
        match self.asks {
            Asks::Name => lookup::find(&view, &control, &mut scratch)?,
            Asks::Soa => {
                let zone = &mut control.zones[0];
                zone.entry = soa;
                zone.name_len = asked.name_len();
                zone.name[..name.len()].copy_from_slice(name);
                scratch.query.name_len = zone.name_len;
                let denial = Denial { zone: 0, rcode: 3 };
                negative::select(&view, &control, denial, &mut scratch)?;
            }
        }
        Ok(scratch.record.to_vec())
    }
}

/// The maps, as the program has them.
struct View<'a, const VERIFIES: bool> {
    generation: &'a Generation,
    follows: bool,
}

impl<const VERIFIES: bool> Table for View<'_, VERIFIES> {
    const VERIFIES: bool = VERIFIES;

    fn bucket(&self, index: u32) -> Option<&[AtomicU64; BUCKET_ENTRIES]> {
        let first = index as usize * BUCKET_ENTRIES;
        self.generation.index.get(first..)?.first_chunk()
    }

    fn cell(&self, index: u32) -> Option<&[AtomicU64; CELL_WORDS]> {
        if self.follows {
            // Loom knows no dependencies. The entry is what the address was made of, and
            // what is loaded from here on are the cells.
            fence(Acquire);
        }
        let first = index as usize * CELL_WORDS;
        self.generation.cells.get(first..)?.first_chunk()
    }
}

//! Tests of what programs see while the publisher works: readers run the programs' own lookup, on their own
//! mapping of the same memory.

mod full;
mod marks;
mod steps;
mod world;

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    sync::{
        Arc, Mutex, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use hickory_proto::rr::Name;
use hopzero_common::{
    layout::{Control, Generation, Scratch, ZoneEntry},
    limits::{BUCKET_ENTRIES, CELL_WORDS},
    lookup, name,
    reason::Reason,
    record::Header,
};

use super::{
    Publisher,
    encode::Encoder,
    memory::Words,
    programs::Programs,
    table::{Capacity, Table},
};

const SEED: u64 = 0x5eed;

/// What the programs were told, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Zone { entry: u64, flags: u32 },
    Generation(Generation),
    Waited,
}

/// How waiting goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// As in the kernel.
    ForRuns,
    /// It says that it has waited, and has not.
    Not,
    /// It cannot.
    Fails,
}

/// The programs' side: runs hold `running`, so that waiting for them is waiting for its write lock.
struct Kernel {
    generation: AtomicU64,
    running: RwLock<()>,
    told: Mutex<Vec<Told>>,
    wait: Wait,
    index: Words,
    cells: Words,
    capacity: Capacity,
}

#[derive(Clone)]
struct Handle(Arc<Kernel>);

impl Programs for Handle {
    fn set_zone(&mut self, _index: usize, zone: &ZoneEntry) {
        self.tell(Told::Zone {
            entry: zone.entry,
            flags: zone.flags,
        });
    }

    fn set_generation(&mut self, generation: Generation) {
        self.0.generation.store(generation.0, Ordering::Release);
        self.tell(Told::Generation(generation));
    }

    fn wait(&mut self) -> io::Result<()> {
        match self.0.wait {
            Wait::ForRuns => drop(self.0.running.write().expect("no reader has panicked")),
            Wait::Not => {}
            Wait::Fails => return Err(io::Error::other("not today")),
        }
        self.tell(Told::Waited);
        Ok(())
    }
}

/// A publisher and the kernel that reads what it writes.
fn publisher(capacity: Capacity, wait: Wait) -> (Publisher, Handle) {
    let words = |elements: u32| elements as usize * CELL_WORDS;
    let memory = |elements| {
        let file = tempfile::tempfile().expect("a temporary file");
        file.set_len(words(elements) as u64 * 8).expect("room");
        file
    };
    let map =
        |file: &File, elements| Words::map(&file.as_fd(), words(elements)).expect("a mapping");
    let (index, cells) = (memory(capacity.index_buckets()), memory(capacity.cells));
    let handle = Handle(Arc::new(Kernel {
        generation: AtomicU64::new(0),
        running: RwLock::new(()),
        told: Mutex::new(Vec::new()),
        wait,
        index: map(&index, capacity.index_buckets()),
        cells: map(&cells, capacity.cells),
        capacity,
    }));
    let table = Table::new(
        map(&index, capacity.index_buckets()),
        map(&cells, capacity.cells),
        capacity,
        SEED,
    );
    (Publisher::new(table, Box::new(handle.clone())), handle)
}

impl Handle {
    fn tell(&self, told: Told) {
        self.0.told.lock().expect("nobody panics").push(told);
    }

    fn told(&self) -> Vec<Told> {
        std::mem::take(&mut self.0.told.lock().expect("nobody panics"))
    }

    /// A program begins.
    fn run(&self) -> Run<'_> {
        let running = self.0.running.read().expect("no writer has panicked");
        let mut control = Control::zeroed();
        control.generation = self.0.generation.load(Ordering::Relaxed);
        control.cells = self.0.capacity.cells;
        control.seed = SEED;
        Run {
            kernel: &self.0,
            control,
            _running: running,
        }
    }
}

/// A program that runs, and has loaded the generation.
struct Run<'a> {
    kernel: &'a Kernel,
    control: Control,
    _running: RwLockReadGuard<'a, ()>,
}

impl Run<'_> {
    /// The first A address of a name, or why there is none.
    fn address(&self, owner: &Name) -> Result<[u8; 4], Reason> {
        let mut scratch = Scratch::new();
        let mut encoder = Encoder::default();
        let words = encoder.words_of(owner);
        scratch.name[..words.len()].copy_from_slice(words);
        scratch.query.hash = name::hash_of(words, SEED);
        scratch.query.name_words = u32::try_from(words.len()).expect("small");
        lookup::find(self, &self.control, &mut scratch)?;
        let [a, b, c, d, ..] = scratch.record[Header::of(&scratch).a_word()].to_le_bytes();
        Ok([a, b, c, d])
    }
}

impl lookup::Table for Run<'_> {
    fn bucket(&self, index: u32) -> Option<&[AtomicU64; BUCKET_ENTRIES]> {
        let first = index as usize * BUCKET_ENTRIES;
        self.kernel.index.get().get(first..)?.first_chunk()
    }

    fn cell(&self, index: u32) -> Option<&[AtomicU64; CELL_WORDS]> {
        let first = index as usize * CELL_WORDS;
        self.kernel.cells.get().get(first..)?.first_chunk()
    }
}

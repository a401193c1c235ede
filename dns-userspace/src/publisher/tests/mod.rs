//! Tests of what programs see while the publisher works: readers run the programs' own lookup, on their own
//! mapping of the same memory.

mod full;
mod kept;
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
    layout::{Control, FLAG_SOCKET_ONLY, Generation, Scratch, ZoneEntry},
    limits::{BUCKET_ENTRIES, CELL_WORDS, ZONES_MAX},
    lookup, name, negative,
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
    zones: Mutex<[ZoneEntry; ZONES_MAX]>,
    /// Names that nobody may deny, and those that somebody would have.
    watched: Mutex<(Vec<Name>, Vec<Name>)>,
    wait: Wait,
    index: Words,
    cells: Words,
    capacity: Capacity,
}

#[derive(Clone)]
struct Handle(Arc<Kernel>);

impl Programs for Handle {
    fn set_zone(&mut self, index: usize, zone: &ZoneEntry) {
        self.0.zones.lock().expect("nobody panics")[index] = *zone;
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
        zones: Mutex::new([ZoneEntry::NONE; ZONES_MAX]),
        watched: Mutex::default(),
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
        let mut watched = self.0.watched.lock().expect("nobody panics");
        let (names, denied) = &mut *watched;
        if !names.is_empty() {
            let run = self.run_unwaited();
            denied.extend(names.iter().filter(|name| run.denies(name)).cloned());
        }
    }

    /// Names that are looked at whenever the programs are told something, from now on; returns which of those before
    /// were denied then.
    fn watch(&self, names: Vec<Name>) -> Vec<Name> {
        let watched = &mut *self.0.watched.lock().expect("nobody panics");
        std::mem::replace(watched, (names, Vec::new())).1
    }

    fn told(&self) -> Vec<Told> {
        std::mem::take(&mut self.0.told.lock().expect("nobody panics"))
    }

    /// A program begins.
    fn run(&self) -> Run<'_> {
        let running = self.0.running.read().expect("no writer has panicked");
        Run {
            _running: Some(running),
            ..self.run_unwaited()
        }
    }

    /// One that nobody waits for: it ends before anything else happens.
    fn run_unwaited(&self) -> Run<'_> {
        let mut control = Control::zeroed();
        control.generation = self.0.generation.load(Ordering::Relaxed);
        control.zones = *self.0.zones.lock().expect("nobody panics");
        control.cells = self.0.capacity.cells;
        control.seed = SEED;
        Run {
            kernel: &self.0,
            control,
            _running: None,
        }
    }
}

/// A program that runs, and has loaded the generation.
struct Run<'a> {
    kernel: &'a Kernel,
    control: Control,
    _running: Option<RwLockReadGuard<'a, ()>>,
}

impl Run<'_> {
    fn asked(owner: &Name) -> Scratch {
        let mut scratch = Scratch::new();
        let mut encoder = Encoder::default();
        scratch.query.name_len = u32::try_from(encoder.wire_of(owner).len()).expect("small");
        let words = encoder.words_of(owner);
        scratch.name[..words.len()].copy_from_slice(words);
        scratch.query.hash = name::hash_of(words, SEED);
        scratch.query.name_words = u32::try_from(words.len()).expect("small");
        scratch
    }

    /// Whether it says that a name does not exist.
    fn denies(&self, owner: &Name) -> bool {
        let mut scratch = Run::asked(owner);
        let found = lookup::find(self, &self.control, &mut scratch);
        found == Err(Reason::UnknownName) && negative::no_name(&self.control, &mut scratch).is_ok()
    }

    /// The first A address of a name, or why there is none.
    fn address(&self, owner: &Name) -> Result<[u8; 4], Reason> {
        let mut scratch = Run::asked(owner);
        lookup::find(self, &self.control, &mut scratch)?;
        let header = Header::of(&scratch);
        if header.flags() & FLAG_SOCKET_ONLY != 0 {
            return Err(Reason::SocketOnly);
        }
        let [a, b, c, d, ..] = scratch.record[header.a_word()].to_le_bytes();
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

//! Index and records, written so that a program may read them at any moment.
//!
//! The order of a change: the record goes to free cells; then one store to the index makes it
//! visible; then the cells of the version before are free. An entry never moves while its name exists, and
//! a bucket that overflowed says so before the first name stands in the next one: who
//! scans the buckets in order sees every name that is there all along.
//!
//! Many changes can become visible as one, see [`generations`](super::generations).

mod marks;

use std::hint::black_box;

use hopzero_common::{
    layout::{Entry, Generation, bucket_of, home_of},
    limits::{BUCKET_ENTRIES, CELL_WORDS, NAME_WORDS_MAX, PROBE_BUCKETS_MAX, RECORD_CELLS_MAX},
    lookup, name,
    word::AtomicU64,
};

use marks::Marks;

use super::{encode::EncodedRecord, generations::Generations, heap::Heap, memory::Words};

/// Load at which a table is full. A table is made half as large again as is needed: then one bucket in 570 overflows, and of
/// 420,000 names none finds its four buckets full, but once in two hundred tables. (At 66 it was more than every second one.)
const LOAD_PERCENT_MAX: u32 = 50;

/// The largest record fits.
#[expect(clippy::cast_possible_truncation, reason = "39")]
const CELLS_MIN: u32 = RECORD_CELLS_MAX as u32;
#[expect(clippy::cast_possible_truncation, reason = "4")]
const PROBES: u32 = PROBE_BUCKETS_MAX as u32;

/// Size of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Names that it is made for.
    pub names: u32,
    /// Buckets of one generation of the index.
    pub buckets: u32,
    /// Cells of record memory.
    pub cells: u32,
}

impl Capacity {
    /// Room for `names` names in `cells` cells.
    pub fn new(names: u32, cells: u32) -> Self {
        let entries = u64::from(names) * 100 / u64::from(LOAD_PERCENT_MAX);
        let buckets = entries.div_ceil(BUCKET_ENTRIES as u64).max(1);
        Capacity {
            names,
            buckets: u32::try_from(buckets).unwrap_or(u32::MAX / 2),
            cells: cells.clamp(CELLS_MIN, Entry::CELL_MAX),
        }
    }

    /// Buckets of both generations.
    pub fn index_buckets(self) -> u32 {
        2 * self.buckets
    }

    /// Bytes of the maps.
    pub fn bytes(self) -> u64 {
        64 * (u64::from(self.index_buckets()) + u64::from(self.cells))
    }
}

/// The writer's side of INDEX and CELLS.
#[derive(Debug)]
pub struct Table {
    index: Words,
    cells: Words,
    capacity: Capacity,
    seed: u64,
    heap: Heap,
    generations: Generations,
    names: u32,
    /// The cell of a record that is no name's: an entry that points there passes, and is not missed.
    tombstone: u32,
    marks: Marks,
}

/// What came of a [`Table::put`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The record is visible.
    Written,
    /// It was there already.
    Unchanged,
    /// There is no room: the name has no record now, and passes.
    Full,
}

/// Where an entry stands.
struct Place {
    /// Its word in the index.
    word: usize,
    entry: Entry,
}

impl Table {
    /// An empty table over zeroed memory.
    pub fn new(index: Words, cells: Words, capacity: Capacity, seed: u64) -> Self {
        let mut table = Table {
            index,
            cells,
            capacity,
            seed,
            heap: Heap::new(capacity.cells),
            generations: Generations::new(capacity.buckets),
            names: 0,
            tombstone: 0,
            marks: Marks::default(),
        };
        // The first cell: it stays zero, and zero has no valid check.
        table.tombstone = table.heap.take(1, 0).unwrap_or(0);
        table
    }

    /// A table in memory of this process.
    pub fn heap(capacity: Capacity, seed: u64) -> Self {
        let words = |elements: u32| Words::heap(elements as usize * CELL_WORDS);
        Table::new(
            words(capacity.index_buckets()),
            words(capacity.cells),
            capacity,
            seed,
        )
    }

    /// Names with an entry.
    pub fn names(&self) -> u32 {
        self.names
    }

    /// Its size.
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// Cells in use.
    pub fn cells_used(&self) -> u32 {
        self.heap.used()
    }

    /// The generation that is in use, or that a build is to put in use.
    pub fn generation(&self) -> Generation {
        self.generations.written()
    }

    /// Begins a build: what follows goes to the other generation, which nobody reads until it is told.
    /// False if somebody may still read it.
    pub fn begin(&mut self) -> bool {
        let begins = self.generations.begin(&self.index, self.names);
        if begins && self.has_stale_marks() {
            self.renew_marks();
        }
        begins
    }

    /// Ends a build that failed: everything is as it was before.
    pub fn abandon(&mut self) {
        if let Some((stored, names)) = self.generations.abandon() {
            for entry in stored {
                self.heap.give(entry.cell(), entry.cells());
            }
            self.names = names;
            // Those of the generation that is written again.
            let last =
                (0..self.capacity.buckets).map(|bucket| self.index.load(self.last_word(bucket)));
            let marked = last.filter(|word| word & Entry::OVERFLOW != 0).count();
            self.marks.count = u32::try_from(marked).unwrap_or(u32::MAX);
        }
    }

    /// Ends a build: its generation is to be put in use now. What is replaced stays until [`Self::release`].
    pub fn finish(&mut self) -> Generation {
        self.generations.finish();
        self.generations.written()
    }

    /// Nobody reads the generation before any more.
    pub fn release(&mut self) {
        for entry in self.generations.release() {
            self.heap.give(entry.cell(), entry.cells());
        }
    }

    /// Whether the generation before may still be read.
    pub fn is_draining(&self) -> bool {
        self.generations.is_draining()
    }

    /// The seed of the name hash.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Writes the record of a name, or replaces it.
    pub fn put(&mut self, record: &EncodedRecord) -> Put {
        self.put_hashed(name::hash_of(record.name_words(), self.seed), record)
    }

    /// The same for who knows the name's hash ([`Self::meet`]).
    pub fn put_hashed(&mut self, hash: u64, record: &EncodedRecord) -> Put {
        let name = record.name_words();
        let old = self.find(hash, name);
        if let Some(old) = &old
            && self.holds(old.entry, record.words())
        {
            return Put::Unchanged;
        }
        // In the place of the old entry, which never moves, or in a free one.
        let place = old.as_ref().map(|old| old.word);
        let Some(word) = place.or_else(|| self.free_place(hash)) else {
            return Put::Full;
        };
        let home = home_of(hash, self.capacity.cells);
        let stored = self.store(record, home);
        // Without room the name is not missing all the same, lest the programs deny it.
        self.point(
            word,
            stored.map_or(Entry::new(hash, self.tombstone, 1), |cell| {
                Entry::new(hash, cell, record.cells)
            }),
        );
        match old {
            Some(old) => self.give(old.entry),
            None => self.names += 1,
        }
        if stored.is_some() {
            Put::Written
        } else {
            Put::Full
        }
    }

    /// Writes a record that no name leads to, and returns the entry that does.
    pub fn put_detached(&mut self, record: &EncodedRecord) -> Option<u64> {
        let cell = self.store(record, 0)?;
        Some(Entry::new(0, cell, record.cells).0)
    }

    /// Gives the cells of [`Self::put_detached`] back.
    pub fn give_detached(&mut self, entry: u64) {
        self.give(Entry(entry));
    }

    /// Gives the cells of an entry back, if it has any of its own; in a build, once nobody reads it.
    fn give(&mut self, entry: Entry) {
        if entry.cells() != 0 && entry.cell() != self.tombstone && !self.generations.retires(entry)
        {
            self.heap.give(entry.cell(), entry.cells());
        }
    }

    /// Writes a record to free cells.
    fn store(&mut self, record: &EncodedRecord, home: u32) -> Option<u32> {
        let cell = self.heap.take(record.cells, home)?;
        (self.generations).stores(Entry::new(0, cell, record.cells));
        let first = cell as usize * CELL_WORDS;
        for (offset, value) in record.words().iter().enumerate() {
            self.cells.store(first + offset, *value);
        }
        Some(cell)
    }

    /// Makes an entry visible, after all that was stored before.
    fn point(&mut self, word: usize, entry: Entry) {
        let overflow = self.index.load(word) & Entry::OVERFLOW;
        self.generations.changes(word);
        self.index.publish(word, entry.0 | overflow);
    }

    /// Removes the record of a name, if there is one.
    pub fn remove(&mut self, name: &[u64]) {
        self.remove_hashed(name::hash_of(name, self.seed), name);
    }

    /// The hash of a folded name in wire form, for what is done to it next. Asks for the lines of memory that this will
    /// look at: of many names these come all at once, not one after the other.
    pub fn meet(&self, wire: &[u8]) -> u64 {
        let hash = name::hash_of_wire(wire, self.seed);
        let home = home_of(hash, self.capacity.cells) as usize * CELL_WORDS;
        // It is only a hint, as the programs' is: what is read is thrown away.
        black_box(self.cells.load(home));
        black_box((self.buckets(hash).next()).map(|bucket| self.index.load(bucket)));
        hash
    }

    /// [`Self::remove`] for who knows the name's hash.
    pub fn remove_hashed(&mut self, hash: u64, name: &[u64]) {
        if let Some(old) = self.find(hash, name) {
            self.point(old.word, Entry(0));
            self.give(old.entry);
            self.names -= 1;
        }
    }

    /// The words of the buckets that a hash may stand in, in the order in which they are probed.
    fn buckets(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let generation = self.generations.written();
        let (base, buckets) = (generation.base(), generation.buckets());
        let first = bucket_of(hash, buckets);
        (0..PROBES).map(move |step| (base + (first + step) % buckets) as usize * BUCKET_ENTRIES)
    }

    fn find(&self, hash: u64, name: &[u64]) -> Option<Place> {
        for bucket in self.buckets(hash) {
            for word in bucket..bucket + BUCKET_ENTRIES {
                let entry = Entry(self.index.load(word));
                if entry.has_tag(Entry::tag(hash)) && self.is_named(entry, name) {
                    return Some(Place { word, entry });
                }
            }
            if self.index.load(bucket + BUCKET_ENTRIES - 1) & Entry::OVERFLOW == 0 {
                break;
            }
        }
        None
    }

    fn is_named(&self, entry: Entry, name: &[u64]) -> bool {
        // A tombstone has no name of its own: the tag must do.
        if entry.cell() == self.tombstone {
            return true;
        }
        let first = entry.cell() as usize * CELL_WORDS + 2;
        name.len() <= entry.cells() as usize * CELL_WORDS - 2
            && (name.iter().enumerate())
                .all(|(word, value)| self.cells.load(first + word) == *value)
    }

    fn holds(&self, entry: Entry, words: &[u64]) -> bool {
        let first = entry.cell() as usize * CELL_WORDS;
        entry.cells() as usize * CELL_WORDS == words.len()
            && (words.iter().enumerate())
                .all(|(word, value)| self.cells.load(first + word) == *value)
    }

    /// A free entry for a hash; buckets before it are marked as overflowed first.
    fn free_place(&mut self, hash: u64) -> Option<usize> {
        let free = self.buckets(hash).find_map(|bucket| {
            (bucket..bucket + BUCKET_ENTRIES)
                .find(|word| Entry(self.index.load(*word)).cells() == 0)
        })?;
        for bucket in self.buckets(hash) {
            if (bucket..bucket + BUCKET_ENTRIES).contains(&free) {
                break;
            }
            self.mark(bucket + BUCKET_ENTRIES - 1);
        }
        Some(free)
    }
}

/// The program's view, on the host.
impl lookup::Table for Table {
    fn bucket(&self, index: u32) -> Option<&[AtomicU64; BUCKET_ENTRIES]> {
        let first = index as usize * BUCKET_ENTRIES;
        self.index.get().get(first..)?.first_chunk()
    }

    fn cell(&self, index: u32) -> Option<&[AtomicU64; CELL_WORDS]> {
        let first = index as usize * CELL_WORDS;
        self.cells.get().get(first..)?.first_chunk()
    }
}

const _: () = assert!(NAME_WORDS_MAX + 2 <= RECORD_CELLS_MAX * CELL_WORDS);

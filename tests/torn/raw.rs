//! The fastest writer: the daemon's own encoder, table and list of zones, over the maps of the loaded programs. It
//! changes one name at a time, within one microsecond.
//!
//! There are hardly more cells than the names need, so that what is freed is used again at once. And hardly more
//! entries: most names belong into one bucket of the index, so that many stand in the ones behind it.

use std::{
    io,
    mem::offset_of,
    net::{Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::Result;
use hickory_proto::rr::{
    Name, RData, RecordType,
    rdata::{A, AAAA},
};
use hopzero::{
    kernel::Kernel,
    publisher::{
        encode::Encoder,
        memory::Words,
        programs::Programs,
        table::{Capacity, Put, Table},
        zones::Zones,
    },
    source::Change,
    zone::{Node, RrSet, Zone},
};
use hopzero_common::{
    layout::{Control, Entry, Generation, ZoneEntry, bucket_of},
    limits::{BUCKET_ENTRIES, CELL_WORDS},
    name,
};
use hopzero_tests::packets::{
    build::{A as TYPE_A, AAAA as TYPE_AAAA},
    world,
};

use crate::{
    Written,
    board::Board,
    layout::SOA,
    map_words,
    world::{Question, TXT, Truth, World, ZONE, address6, crowded, mix, mix32, record},
};

/// Names whose bucket is the crowded one, and names of the one behind it.
const CROWD: (usize, usize) = (16, 4);
const NAMES: usize = CROWD.0 + CROWD.1;
const CROWDED: u32 = 1;
/// Names that are changed and asked most: what is torn is read while it is rewritten.
const HOT: usize = 4;
/// All but one change in so many are of those.
const COLD_ONE_IN: u64 = 4;
/// How often their questions are asked for one of the others.
const HOT_ASKED: usize = 6;
const CELLS: u32 = 104;
/// AAAA records of the largest version: a record of eleven cells.
const AAAA_COUNT_MAX: u64 = 34;
const A_COUNT_MAX: u64 = 8;
/// One version in so many is an absent name; as many have no A records, and no AAAA records.
const ABSENT_ONE_IN: u64 = 6;
/// One change in so many is the SOA's.
const SOA_ONE_IN: u64 = 8;

/// What the writer does wrong on purpose, so that the judge has something to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It says that a version is true before it is written: what is answered is stale.
    ClaimsEarly,
    /// It takes the old version away before it writes the new one: the name is denied.
    RemovesFirst,
    /// It says that a bucket has overflowed only after a name stands in the next one: the name is denied.
    MarksLate,
}

/// The size of the table.
pub fn capacity() -> Capacity {
    Capacity::new(u32::try_from(NAMES).expect("small"), CELLS)
}

/// The names, and what they are in each version.
pub struct Raw {
    names: Vec<String>,
}

impl Raw {
    /// The names that crowd a bucket of this table.
    pub fn new(table: &Table) -> Self {
        let spread = (table.seed(), table.capacity().buckets);
        let names = crowded(name_of, spread, CROWDED, CROWD);
        Raw {
            names: names.into_iter().map(|(_, name)| name).collect(),
        }
    }
}

fn name_of(number: u32) -> String {
    format!("n{number}.torn.svc.{ZONE}")
}

impl World for Raw {
    fn questions(&self) -> Vec<Question> {
        (self.names.iter().enumerate())
            .flat_map(|(unit, name)| {
                // TXT is NODATA, and is asked less.
                let types = [TYPE_A, TYPE_A, TYPE_AAAA, TYPE_AAAA, TXT];
                let times = if unit < HOT { HOT_ASKED } else { 1 };
                (types.repeat(times).into_iter())
                    .map(move |qtype| Question::new(unit, 0, name, qtype))
            })
            .collect()
    }

    fn truth(&self, question: &Question, version: u32, records: &mut Vec<u8>) -> Truth {
        let state = State::of(question.unit, version);
        if state.is_absent() {
            return Truth::Absent;
        }
        let count = match question.qtype {
            TYPE_A => state.a_count,
            TYPE_AAAA => state.aaaa_count,
            _ => 0,
        };
        for place in 0..count {
            if question.qtype == TYPE_A {
                record(records, None, TYPE_A, version, &state.a(place));
            } else {
                record(records, None, TYPE_AAAA, version, &state.aaaa(place));
            }
        }
        if count == 0 {
            Truth::NoData
        } else {
            Truth::Records(u8::try_from(count).expect("small"), 0)
        }
    }
}

/// What a version of a name looks like: it follows from its number alone.
#[derive(Clone, Copy, Debug)]
struct State {
    unit: usize,
    /// Also the TTL.
    version: u32,
    a_count: u32,
    aaaa_count: u32,
}

impl State {
    fn of(unit: usize, version: u32) -> Self {
        let random = mix((unit as u64) << 32 | u64::from(version));
        let count = |bits: u64, max: u64| u32::try_from(1 + bits % max).expect("small");
        let (mut a_count, mut aaaa_count) = (
            count(random >> 16, A_COUNT_MAX),
            count(random >> 32, AAAA_COUNT_MAX),
        );
        let which = random % ABSENT_ONE_IN;
        if which == 0 || which == 1 {
            a_count = 0;
        }
        if which == 0 || which == 2 {
            aaaa_count = 0;
        }
        State {
            unit,
            version,
            a_count,
            aaaa_count,
        }
    }

    fn is_absent(self) -> bool {
        self.a_count + self.aaaa_count == 0
    }

    fn a(self, place: u32) -> [u8; 4] {
        let unit = u32::try_from(self.unit).expect("small");
        (mix32(self.version) ^ unit << 8 ^ place).to_be_bytes()
    }

    fn aaaa(self, place: u32) -> [u8; 16] {
        address6(self.unit, self.version, place)
    }

    fn node(self) -> Node {
        if self.is_absent() {
            return Node::Absent;
        }
        let a = (0..self.a_count).map(|place| RData::A(A(Ipv4Addr::from(self.a(place)))));
        let aaaa =
            (0..self.aaaa_count).map(|place| RData::AAAA(AAAA(Ipv6Addr::from(self.aaaa(place)))));
        let rrset = |rtype, rdata: Vec<RData>| {
            (!rdata.is_empty()).then_some(RrSet {
                rtype,
                ttl: self.version,
                rdata,
                additionals: Vec::new(),
            })
        };
        let sets = [
            rrset(RecordType::A, a.collect()),
            rrset(RecordType::AAAA, aaaa.collect()),
        ];
        Node::Records(sets.into_iter().flatten().collect())
    }
}

/// The writer.
pub struct Writer {
    table: Table,
    /// The index once more, to break it.
    index: Words,
    /// CONTROL once more, to see whether there is a SOA.
    control: Words,
    zones: Zones,
    programs: Told,
    zone: Zone,
    /// Changes of the zone that move its serial, in turns.
    flips: [Change; 2],
    encoder: Encoder,
    names: Vec<Name>,
}

impl Writer {
    /// A table of its own over the programs' maps; the publisher's stays empty.
    pub fn new(kernel: &mut Kernel) -> Result<Self> {
        let (capacity, seed) = {
            let table = kernel.publisher.table();
            (table.capacity(), table.seed())
        };
        let index_words = capacity.index_buckets() as usize * CELL_WORDS;
        let index = map_words(kernel, "INDEX", index_words)?;
        let cells = map_words(kernel, "CELLS", capacity.cells as usize * CELL_WORDS)?;
        let table = Table::new(index, cells, capacity, seed);
        let names = (Raw::new(&table).names.iter())
            .map(|name| Name::from_ascii(format!("{name}.")))
            .collect::<Result<_, _>>()?;
        let mut control = || map_words(kernel, "CONTROL", size_of::<Control>() / 8);
        let mut encoder = Encoder::default();
        let mut programs = Told(control()?);
        let mut zones = Zones::default();
        let zone = world::zone();
        zones.list(&zone, &mut encoder, &mut programs);
        let yaml = "{apiVersion: v1, kind: Namespace, metadata: {name: elsewhere}}";
        Ok(Writer {
            control: control()?,
            index: map_words(kernel, "INDEX", index_words)?,
            table,
            zones,
            programs,
            zone,
            flips: [world::delete(yaml), world::upsert(yaml)],
            encoder,
            names,
        })
    }

    /// What it writes.
    pub fn world(&self) -> Raw {
        Raw::new(&self.table)
    }

    /// Writes until `stop`.
    pub fn hammer(&mut self, board: &Board, fault: Fault, stop: &AtomicBool) -> Written {
        let mut written = Written::default();
        if fault == Fault::MarksLate {
            self.fill_bucket(board);
        }
        while !stop.load(Ordering::Relaxed) {
            let random = mix(written.updates);
            if random.is_multiple_of(SOA_ONE_IN) || written.updates == 0 {
                written.full += u64::from(!self.renew_soa(board));
            } else if fault == Fault::MarksLate {
                self.overflow(board, BUCKET_ENTRIES);
            } else {
                let among = if (random >> 4).is_multiple_of(COLD_ONE_IN) {
                    NAMES
                } else {
                    HOT
                };
                let unit = usize::try_from((random >> 8) % among as u64).expect("small");
                written.full += u64::from(!self.next(board, unit, fault));
            }
            written.updates += 1;
        }
        written
    }

    /// Brings the next version of a name; returns whether there was room.
    fn next(&mut self, board: &Board, unit: usize, fault: Fault) -> bool {
        // Made before it starts, so that the time in which two versions are right is short.
        let next = State::of(unit, board.newest(unit) + 1);
        let node = next.node();
        let name = &self.names[unit];
        let zone_index = self.zones.index_of(&self.zone, name);
        let record = self.encoder.encode(&self.zone, zone_index, name, &node);
        let version = board.start(unit);
        if fault == Fault::ClaimsEarly {
            board.finish(unit, version);
        }
        let has_room = if let Some(record) = record {
            if fault == Fault::RemovesFirst {
                self.table.remove(record.name_words());
            }
            self.table.put(&record) != Put::Full
        } else {
            self.table.remove(self.encoder.words_of(name));
            true
        };
        board.finish(unit, version);
        has_room
    }

    /// Moves the serial on; returns whether there was room for the SOA.
    fn renew_soa(&mut self, board: &Board) -> bool {
        let serial = board.newest(SOA) + 1;
        let flip = self.flips[serial as usize % 2].clone();
        self.zone.apply(vec![flip], serial);
        let apex = self.zone.config().origin.clone();
        let place = self.zones.index_of(&self.zone, &apex);
        board.start(SOA);
        self.zones.renew(
            &self.zone,
            &apex,
            true,
            &mut self.table,
            &mut self.encoder,
            &mut self.programs,
        );
        let has_room = self.control.load(entry_word(place.into())) != 0;
        board.finish_soa(serial, !has_room);
        has_room
    }

    /// As many names as a bucket has entries, all of them there.
    fn fill_bucket(&mut self, board: &Board) {
        for unit in 0..BUCKET_ENTRIES {
            while board.newest(unit) == 0 || State::of(unit, board.newest(unit)).is_absent() {
                self.next(board, unit, Fault::None);
            }
        }
    }

    /// The next version of the name for which its bucket has no room, with the mark of its bucket set too late.
    fn overflow(&mut self, board: &Board, unit: usize) {
        let name = &self.names[unit];
        let hash = name::hash_of(self.encoder.words_of(name), self.table.seed());
        let bucket = bucket_of(hash, self.table.capacity().buckets) as usize;
        let last = bucket * BUCKET_ENTRIES + BUCKET_ENTRIES - 1;
        self.next(board, unit, Fault::None);
        // The mark as it was before: nothing stood in the next bucket.
        let marked = self.index.load(last);
        self.index.publish(last, marked & !Entry::OVERFLOW);
        let version = board.newest(unit);
        if !State::of(unit, version).is_absent() {
            thread::sleep(Duration::from_micros(1));
            self.index.publish(last, marked | Entry::OVERFLOW);
        }
    }
}

/// CONTROL's list of zones, written as the daemon does.
struct Told(Words);

impl Programs for Told {
    fn set_zone(&mut self, index: usize, zone: &ZoneEntry) {
        let first = entry_word(index);
        let head = [
            zone.tail,
            u64::from(zone.name_len) | u64::from(zone.flags) << 32,
        ];
        for (offset, word) in head.iter().chain(&zone.name).enumerate() {
            self.0.store(first + 1 + offset, *word);
        }
        self.0.publish(first, zone.entry);
    }

    /// The first is in use from the start.
    fn set_generation(&mut self, _generation: Generation) {}

    /// No generation is left.
    fn wait(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The word of CONTROL that leads to a zone's SOA.
fn entry_word(index: usize) -> usize {
    (offset_of!(Control, zones) + index * size_of::<ZoneEntry>()) / 8
}

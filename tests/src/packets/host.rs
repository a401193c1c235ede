//! The program, run on the host: over a packet with guards around it, and a table in memory.

use std::{
    cell::Cell,
    io,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use hopzero::publisher::{
    Publisher,
    programs::Programs,
    table::{Capacity, Table},
};
use hopzero_common::{
    counter::{self, Counted, Hook},
    frame::{LinkLayer, Tag},
    layout::{CONTROL_ANSWERING, Control, Generation, Scratch, ZoneEntry},
    limit::Buckets,
    limits::{BUCKET_ENTRIES, CELL_WORDS},
    lookup,
    packet::Packet,
    respond::{Environment, NoRoom, respond},
};

use super::{
    Outcome,
    build::{DEVICE_MAC, SERVER_V4, SERVER_V6, VLAN},
    world,
};
use hopzero::zone::{OwnerName, Zone};

/// The longest packet that can be made.
const ROOM: usize = 2048;
/// Bytes before and after the packet that nobody may touch.
const GUARD: usize = 64;
const GUARD_BYTE: u8 = 0xa5;
/// Any tick.
const NOW: u64 = 1 << 32;

/// A table with a zone, and what CONTROL says.
pub struct Host {
    /// Writes into the table.
    pub publisher: Publisher,
    /// What the programs are told.
    pub control: Control,
    told: Told,
    /// What networks may still be sent.
    pub networks: Networks,
    /// The tick at which it runs.
    pub now: u64,
    /// What the rotation of the next answers is made of.
    pub random: u64,
}

impl Host {
    /// The zone, published.
    pub fn new(zone: &Zone) -> Self {
        let size = Publisher::measure(zone);
        let host = Self::with_capacity(zone, Capacity::new(size.names * 2, size.cells * 2));
        assert_eq!(host.publisher.rejected(), 0, "the world fits");
        host
    }

    /// The zone, published as far as there is room.
    pub fn with_capacity(zone: &Zone, capacity: Capacity) -> Self {
        Self::with_seed(zone, capacity, 0x5eed)
    }

    /// The same with another seed of the hash.
    pub fn with_seed(zone: &Zone, capacity: Capacity, seed: u64) -> Self {
        let told = Told::default();
        let programs = Box::new(told.clone());
        let mut publisher = Publisher::new(Table::heap(capacity, seed), programs);
        world::publish(&mut publisher, zone);
        let mut control = control(publisher.table());
        control.zones = told.lock().zones;
        Host {
            now: NOW,
            random: 0,
            publisher,
            control,
            told,
            networks: Networks::default(),
        }
    }

    /// Publishes a change.
    pub fn publish(&mut self, zone: &Zone, touched: &[OwnerName]) {
        self.publisher.publish(zone, touched);
        let told = self.told.lock();
        self.control.zones = told.zones;
        self.control.generation = told.generation;
    }

    /// Runs the program over a packet.
    pub fn run(&self, packet: &[u8]) -> Outcome {
        self.run_on(packet, LinkLayer::Unknown, None)
    }

    /// The same with what is known of the link layer.
    pub fn run_on(&self, packet: &[u8], link: LinkLayer, tag: Option<Tag>) -> Outcome {
        self.run_between(packet, link, tag, GUARD_BYTE)
    }

    /// The same with other bytes around the packet: what comes out must not depend on them.
    pub fn run_between(
        &self,
        packet: &[u8],
        link: LinkLayer,
        tag: Option<Tag>,
        guard: u8,
    ) -> Outcome {
        let memory = vec![Cell::new(guard); GUARD + ROOM + GUARD];
        for (cell, byte) in memory[GUARD..].iter().zip(packet) {
            cell.set(*byte);
        }
        let mut environment = Run {
            host: self,
            memory,
            len: packet.len(),
            link,
            tag,
            guard,
        };
        // What a run before has left in the working memory must not matter.
        let mut scratch = Scratch::new();
        scratch.name.fill(u64::MAX);
        scratch.record.fill(u64::MAX);
        scratch.random = self.random;
        let reason = respond(&mut environment, &self.control, &mut scratch);
        let counted = Counted::at(counter::place(Hook::Xdp, reason, &scratch));
        let memory: Vec<u8> = environment.memory.iter().map(Cell::get).collect();
        let (before, rest) = memory.split_at(GUARD);
        let (packet, after) = rest.split_at(environment.len);
        assert!(
            before.iter().chain(after).all(|byte| *byte == guard),
            "wrote outside of the packet"
        );
        Outcome {
            answered: reason.is_answer(),
            reason,
            counted: counted.expect("a place"),
            packet: packet.to_vec(),
        }
    }
}

/// What the publisher has told the programs: zones and generation.
#[derive(Clone)]
struct Told(Arc<Mutex<Control>>);

impl Default for Told {
    fn default() -> Self {
        Told(Arc::new(Mutex::new(Control::zeroed())))
    }
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Control> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl Programs for Told {
    fn set_zone(&mut self, index: usize, zone: &ZoneEntry) {
        self.lock().zones[index] = *zone;
    }

    fn set_generation(&mut self, generation: Generation) {
        self.lock().generation = generation.0;
    }

    /// Nothing runs while something is published.
    fn wait(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the programs are told for [`super::build`]'s addresses.
fn control(table: &Table) -> Control {
    let mut control = Control::zeroed();
    control.flags = CONTROL_ANSWERING;
    control.generation = table.generation().0;
    control.cells = table.capacity().cells;
    control.seed = table.seed();
    control.v4[0] = u32::from_le_bytes(SERVER_V4.octets());
    control.v4_count = 1;
    let v6 = SERVER_V6.octets();
    let half =
        |from: usize| u64::from_le_bytes(v6[from..from + 8].try_into().expect("eight bytes"));
    control.v6[0] = [half(0), half(8)];
    control.v6_count = 1;
    let mut mac = [0; 8];
    mac[..6].copy_from_slice(&DEVICE_MAC);
    control.macs[0] = u64::from_le_bytes(mac);
    control.macs_count = 1;
    control.vlans[3] = VLAN;
    control.lease_until = NOW + 1;
    control
}

/// Room for a few networks.
#[derive(Default)]
pub struct Networks([(Cell<u64>, AtomicU64); 8]);

impl Buckets for Run<'_> {
    fn of(&self, network: u64) -> Option<&AtomicU64> {
        let mut networks = self.host.networks.0.iter();
        let found = networks.find(|(key, _)| key.get() == network);
        found.map(|(_, bucket)| bucket)
    }

    fn add(&self, network: u64, bucket: u64) -> bool {
        let mut networks = self.host.networks.0.iter();
        let free = networks.find(|(key, _)| key.get() == 0);
        free.is_some_and(|(key, word)| {
            key.set(network);
            word.store(bucket, Ordering::Relaxed);
            true
        })
    }
}

struct Run<'a> {
    host: &'a Host,
    // Cells, since the program writes through a pointer while this is borrowed.
    memory: Vec<Cell<u8>>,
    len: usize,
    link: LinkLayer,
    tag: Option<Tag>,
    guard: u8,
}

impl Run<'_> {
    fn fill(&self, range: Range<usize>, byte: u8) {
        for cell in &self.memory[GUARD + range.start..GUARD + range.end] {
            cell.set(byte);
        }
    }
}

impl Environment for Run<'_> {
    const HOOK: Hook = Hook::Xdp;

    fn packet(&self) -> Packet {
        let start = self.memory[GUARD..].as_ptr().cast_mut().cast::<u8>();
        // SAFETY: within `memory`, whose cells may be written through shared references, and which
        // nobody else looks at while the program runs.
        unsafe { Packet::new(start, start.add(self.len)) }
    }

    fn resize(&mut self, bytes: usize) -> Result<(), NoRoom> {
        if bytes > ROOM {
            return Err(NoRoom);
        }
        // As the kernel does: what is grown is zero, what is cut is gone.
        if bytes > self.len {
            self.fill(self.len..bytes, 0);
        } else {
            self.fill(bytes..self.len, self.guard);
        }
        self.len = bytes;
        Ok(())
    }

    fn link_layer(&self) -> LinkLayer {
        self.link
    }

    fn tag(&self) -> Option<Tag> {
        self.tag
    }

    fn now(&self) -> u64 {
        self.host.now
    }
}

impl lookup::Table for Run<'_> {
    fn bucket(&self, index: u32) -> Option<&[AtomicU64; BUCKET_ENTRIES]> {
        self.host.publisher.table().bucket(index)
    }

    fn cell(&self, index: u32) -> Option<&[AtomicU64; CELL_WORDS]> {
        self.host.publisher.table().cell(index)
    }
}

//! What is true of each name at each moment, said by the writer and held against answers by readers.
//!
//! A name goes through versions 1, 2, 3 … What a version looks like follows from its number alone: how
//! many addresses, or that the name is absent. Each address says the name, the version and its place,
//! so an answer of two versions, or of another name, cannot look like one that is right.

use std::sync::atomic::{
    AtomicBool, AtomicU32,
    Ordering::{Acquire, SeqCst},
};

/// Names that are changed and asked.
pub const NAMES: usize = 4;
/// AAAA records of the largest version: a record of eleven cells.
const AAAA_COUNT_MAX: u64 = 34;
const A_COUNT_MAX: u64 = 8;
/// One version in so many is an absent name.
const ABSENT_ONE_IN: u64 = 16;
/// Versions whose fate is remembered; no query takes so long that more begin.
const REMEMBERED: usize = 1 << 16;

/// The owner name.
pub fn name_of(name: usize) -> String {
    format!("n{name}.torn.svc.cluster.local")
}

/// What a version of a name looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Which name.
    pub name: usize,
    /// Which version; also its TTL.
    pub version: u32,
    /// A records, or 0 if the name is absent.
    pub a_count: u32,
    /// AAAA records, or 0 if the name is absent.
    pub aaaa_count: u32,
}

impl State {
    pub fn of(name: usize, version: u32) -> Self {
        let random = mix((name as u64) << 32 | u64::from(version));
        let (mut a_count, mut aaaa_count) = (0, 0);
        if !random.is_multiple_of(ABSENT_ONE_IN) {
            let count = |bits: u64, max: u64| u32::try_from(1 + bits % max).expect("small");
            a_count = count(random >> 16, A_COUNT_MAX);
            aaaa_count = count(random >> 32, AAAA_COUNT_MAX);
        }
        State {
            name,
            version,
            a_count,
            aaaa_count,
        }
    }

    pub fn is_absent(self) -> bool {
        self.a_count == 0
    }

    pub fn a(self, place: u32) -> [u8; 4] {
        let name = u32::try_from(self.name).expect("small");
        (mix32(self.version) ^ name << 8 ^ place).to_be_bytes()
    }

    pub fn aaaa(self, place: u32) -> [u8; 16] {
        let words = [
            0xfd00_0000 | u32::try_from(self.name).expect("small") << 8 | place,
            self.version,
            !self.version,
            mix32(self.version ^ place),
        ];
        let mut bytes = [0; 16];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
            chunk.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }
}

/// What the writer has said, name by name.
pub struct Board {
    names: Vec<Progress>,
}

struct Progress {
    /// The version that is being written, or was last.
    started: AtomicU32,
    /// The version that was written last.
    finished: AtomicU32,
    /// Whether a version found no room, by its number: the name is absent then.
    full: Vec<AtomicBool>,
}

impl Board {
    pub fn new() -> Self {
        let progress = |_| Progress {
            started: AtomicU32::new(0),
            finished: AtomicU32::new(0),
            full: (0..REMEMBERED).map(|_| AtomicBool::new(false)).collect(),
        };
        Board {
            names: (0..NAMES).map(progress).collect(),
        }
    }

    /// The writer begins with the next version; returns its number.
    pub fn start(&self, name: usize) -> u32 {
        self.names[name].started.fetch_add(1, SeqCst) + 1
    }

    /// The version is what is true now; `full` if there was no room for it.
    pub fn finish(&self, name: usize, version: u32, full: bool) {
        self.names[name].full[version as usize % REMEMBERED].store(full, SeqCst);
        self.names[name].finished.store(version, SeqCst);
    }

    /// The oldest version that may be seen from now on.
    pub fn oldest(&self, name: usize) -> u32 {
        self.names[name].finished.load(SeqCst)
    }

    /// The newest version that may have been seen until now.
    pub fn newest(&self, name: usize) -> u32 {
        self.names[name].started.load(SeqCst)
    }

    /// Whether the name was absent at some moment while these versions were true.
    pub fn was_absent(&self, name: usize, oldest: u32, newest: u32) -> bool {
        let progress = &self.names[name];
        // Whether the newest found room is known once it is written.
        while progress.finished.load(Acquire) < newest {
            std::hint::spin_loop();
        }
        (oldest..=newest).any(|version| {
            // Version 0 is the time before the first.
            version == 0
                || State::of(name, version).is_absent()
                || progress.full[version as usize % REMEMBERED].load(SeqCst)
        })
    }
}

/// Splitmix64's finisher.
pub fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// Odd multiplier: two versions differ.
fn mix32(value: u32) -> u32 {
    value.wrapping_mul(0x9e37_79b1).rotate_left(7)
}

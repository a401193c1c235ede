//! Where entries are kept: a bounded number of them, in parts that are locked one by one.
//!
//! As in `CoreDNS` there are 256 parts, each for its share of the capacity and never for fewer than 4. Where a part is
//! full, a random entry of it makes room. In addition a part has at most [`BYTES_PER_ENTRY`] for each entry that it
//! may have, so that long answers cannot take more memory than a capacity looks like.

use std::{
    hash::{BuildHasherDefault, Hasher},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use indexmap::IndexMap;

use super::entry::Entry;

const PARTS: usize = 256;
const PART_ENTRIES_MIN: usize = 4;
/// Most answers have a tenth of it.
const BYTES_PER_ENTRY: usize = 4096;

/// All entries of one kind.
pub struct Shelves {
    parts: Box<[RwLock<Part>]>,
    entries_max: usize,
    length: AtomicUsize,
}

#[derive(Default)]
struct Part {
    entries: IndexMap<u64, Arc<Entry>, BuildHasherDefault<Hashed>>,
    bytes: usize,
}

impl Shelves {
    /// Room for so many entries, rounded down to the same number in each part.
    pub fn new(capacity: usize) -> Self {
        Shelves {
            parts: (0..PARTS).map(|_| RwLock::default()).collect(),
            entries_max: (capacity / PARTS).max(PART_ENTRIES_MIN),
            length: AtomicUsize::new(0),
        }
    }

    /// Lets `look` see what is kept under a hash.
    pub fn with<T>(&self, hash: u64, look: impl FnOnce(&Arc<Entry>) -> T) -> Option<T> {
        let part = self.part(hash).read();
        let part = part.unwrap_or_else(PoisonError::into_inner);
        part.entries.get(&hash).map(look)
    }

    /// Keeps an entry; how many others had to make room.
    pub fn insert(&self, hash: u64, entry: Arc<Entry>) -> u64 {
        let part = self.part(hash).write();
        let mut part = part.unwrap_or_else(PoisonError::into_inner);
        let before = part.entries.len();
        part.bytes += entry.bytes();
        if let Some(replaced) = part.entries.insert(hash, entry) {
            part.bytes -= replaced.bytes();
        }
        let mut evicted = 0;
        while part.entries.len() > self.entries_max
            || (part.bytes > self.entries_max * BYTES_PER_ENTRY && part.entries.len() > 1)
        {
            // Any but the new one: it is the last, or replaced another and stands in its place.
            let at = fastrand::usize(..part.entries.len());
            let is_new = part.entries.get_index_of(&hash) == Some(at);
            if !is_new && let Some((_, gone)) = part.entries.swap_remove_index(at) {
                part.bytes -= gone.bytes();
                evicted += 1;
            }
        }
        let after = part.entries.len();
        self.length.fetch_add(after.wrapping_sub(before), Relaxed);
        evicted
    }

    /// Keeps nothing under a hash any more.
    pub fn remove(&self, hash: u64) {
        let part = self.part(hash).write();
        let mut part = part.unwrap_or_else(PoisonError::into_inner);
        if let Some(gone) = part.entries.swap_remove(&hash) {
            part.bytes -= gone.bytes();
            self.length.fetch_sub(1, Relaxed);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.length.load(Relaxed)
    }

    /// Not by the bits that choose a place within a part.
    fn part(&self, hash: u64) -> &RwLock<Part> {
        &self.parts[hash.to_be_bytes()[2] as usize]
    }
}

/// Keys are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        unreachable!("{bytes:?} is no hash");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::ResponseCode,
        rr::{
            Name, RData, Record,
            rdata::{A, NULL},
        },
    };
    use tokio::time::Instant;

    use super::{
        super::{
            super::Reply,
            classify::Kind,
            key::{Key, Lowered},
        },
        *,
    };

    fn entry(data: RData) -> Arc<Entry> {
        let name = [1, b'a', 0];
        let question = Lowered::new(&name, &[1, b'A', 0, 0, 1, 0, 1]);
        let key = Key {
            question: question.bytes().into(),
            dnssec_ok: false,
            checking_disabled: false,
        };
        let reply = Reply {
            answers: vec![Record::from_rdata(Name::root(), 60, data)],
            ..Reply::bare(ResponseCode::NoError)
        };
        Arc::new(
            Entry::new(
                key,
                &Name::from_ascii("a.").unwrap(),
                Kind::Success,
                true,
                &reply,
                Instant::now(),
                60,
            )
            .unwrap(),
        )
    }

    fn short() -> Arc<Entry> {
        entry(RData::A(A::new(192, 0, 2, 1)))
    }

    #[test]
    fn there_are_never_more_than_the_capacity() {
        let shelves = Shelves::new(2048);
        let mut evicted = 0;
        for number in 0..100_000 {
            let hash = fastrand::u64(..);
            evicted += shelves.insert(hash, short());
            assert!(shelves.with(hash, |_| ()).is_some(), "{number}");
        }
        assert_eq!(shelves.len(), 2048);
        assert_eq!(evicted, 100_000 - 2048);
    }

    #[test]
    fn nor_more_bytes_than_it_looks_like() {
        let shelves = Shelves::new(2048);
        let long = entry(RData::Unknown {
            code: 65280.into(),
            rdata: NULL::with(vec![1; 60_000]),
        });
        for _ in 0..10_000 {
            shelves.insert(fastrand::u64(..), Arc::clone(&long));
        }
        // One in each part: that much one may always be.
        assert_eq!(shelves.len(), PARTS);
        for part in &shelves.parts {
            assert!(part.read().unwrap().bytes < 2 * 60_000);
        }
    }

    #[test]
    fn what_is_replaced_or_removed_takes_no_room() {
        let shelves = Shelves::new(0);
        for _ in 0..10 {
            assert_eq!(shelves.insert(7, short()), 0);
        }
        assert_eq!(shelves.len(), 1);
        let bytes = || shelves.part(7).read().unwrap().bytes;
        assert_eq!(bytes(), short().bytes());
        shelves.remove(7);
        shelves.remove(7);
        assert_eq!((shelves.len(), bytes()), (0, 0));
    }

    #[test]
    fn all_parts_are_used() {
        let shelves = Shelves::new(0);
        for _ in 0..100_000 {
            shelves.insert(fastrand::u64(..), short());
        }
        assert_eq!(shelves.len(), PARTS * PART_ENTRIES_MIN);
    }
}

//! Words that the programs read while the daemon writes them.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
    slice,
    sync::{Arc, atomic::Ordering},
};

use hopzero_common::word::AtomicU64;
use memmap2::{MmapOptions, MmapRaw};

/// A region of shared words: an mmapable map, or memory of the process in tests.
#[derive(Debug)]
pub struct Words(Backing);

#[derive(Debug)]
enum Backing {
    Map { memory: MmapRaw, words: usize },
    Heap(Arc<[AtomicU64]>),
}

impl Words {
    /// Words of this process alone, all zero.
    pub fn heap(words: usize) -> Self {
        Words::shared((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    /// Words of this process that others read: the readers of the model check.
    pub fn shared(words: Arc<[AtomicU64]>) -> Self {
        Words(Backing::Heap(words))
    }

    /// The memory of an array map that was made with `BPF_F_MMAPABLE` (kernel 5.5), whose elements are `words` words in all.
    ///
    /// # Errors
    /// What mmap says.
    pub fn map(fd: &impl AsFd, words: usize) -> io::Result<Self> {
        assert!(size_of::<AtomicU64>() == size_of::<u64>(), "not loom's");
        let memory = MmapOptions::new()
            .len(words * size_of::<u64>())
            .map_raw(fd.as_fd().as_raw_fd())?;
        Ok(Words(Backing::Map { memory, words }))
    }

    /// All words.
    pub fn get(&self) -> &[AtomicU64] {
        match &self.0 {
            Backing::Heap(words) => words,
            Backing::Map { memory, words } => {
                // SAFETY: the mapping is page-aligned, `words` words long by construction, and lives
                // as long as `self`. It is only ever read and written as atomic words, here and by the programs.
                unsafe { slice::from_raw_parts(memory.as_mut_ptr().cast(), *words) }
            }
        }
    }

    /// A word.
    pub fn load(&self, index: usize) -> u64 {
        self.get()[index].load(Ordering::Relaxed)
    }

    /// Stores a word after all that was stored before: who sees it, and follows it, sees that too.
    /// (Programs have no acquire loads; they follow an address that they loaded, and
    /// such loads are ordered on every architecture that Linux runs on but Alpha.)
    pub fn publish(&self, index: usize, word: u64) {
        self.get()[index].store(word, Ordering::Release);
    }

    /// Stores a word in no order.
    pub fn store(&self, index: usize, word: u64) {
        // Nobody else stores, so that a reader cannot tell whether the same value is stored again; but the
        // model check would look at both cases, for each word of each record.
        #[cfg(feature = "loom")]
        if self.load(index) == word {
            return;
        }
        self.get()[index].store(word, Ordering::Relaxed);
    }
}

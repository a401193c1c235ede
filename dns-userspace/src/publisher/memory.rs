//! Words that the programs read while the daemon writes them.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
    slice,
    sync::atomic::{AtomicU64, Ordering},
};

use memmap2::{MmapOptions, MmapRaw};

/// A region of shared words: an mmapable map, or memory of the process in tests.
#[derive(Debug)]
pub struct Words(Backing);

#[derive(Debug)]
enum Backing {
    Map { memory: MmapRaw, words: usize },
    Heap(Box<[AtomicU64]>),
}

impl Words {
    /// Words of this process alone, all zero.
    pub fn heap(words: usize) -> Self {
        Words(Backing::Heap(
            (0..words).map(|_| AtomicU64::new(0)).collect(),
        ))
    }

    /// The memory of an array map that was made with `BPF_F_MMAPABLE` (kernel 5.5), whose elements are `words` words in all.
    ///
    /// # Errors
    /// What mmap says.
    pub fn map(fd: &impl AsFd, words: usize) -> io::Result<Self> {
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
        self.get()[index].store(word, Ordering::Relaxed);
    }
}

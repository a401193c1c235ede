//! Words that others store to while they are read: each access is of one whole 64-bit value.
//!
//! LLVM 22 selects no instruction for a relaxed atomic access below BPF v4. A volatile one of an
//! aligned word is one `ldxdw` or `stxdw`, which is what an atomic one would be.

// The model check (`cargo xtask test model`) runs this same code over atomics that show a reader every
// value that memory may show it.
#[cfg(not(feature = "loom"))]
pub use core::sync::atomic::AtomicU64;
#[cfg(feature = "loom")]
pub use loom::sync::atomic::AtomicU64;

/// The word, as it was stored.
#[inline(always)]
pub(crate) fn load(word: &AtomicU64) -> u64 {
    #[cfg(target_arch = "bpf")]
    // SAFETY: a reference to an atomic is a valid, aligned pointer.
    unsafe {
        word.as_ptr().read_volatile()
    }
    #[cfg(not(target_arch = "bpf"))]
    word.load(core::sync::atomic::Ordering::Relaxed)
}

/// Stores the word, in no order.
#[inline(always)]
pub(crate) fn store(word: &AtomicU64, value: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: as in `load`, and an atomic may be written through a shared reference.
    unsafe {
        word.as_ptr().write_volatile(value);
    }
    #[cfg(not(target_arch = "bpf"))]
    word.store(value, core::sync::atomic::Ordering::Relaxed);
}

//! The maps. INDEX, CELLS and NETWORKS get their sizes when they are loaded; the daemon
//! writes INDEX, CELLS and CONTROL through shared memory.

use core::sync::atomic::AtomicU64;

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_F_MMAPABLE},
    btf_maps::{Array, ArrayOfMaps, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use hopzero_common::{
    counter::Counters,
    layout::{Bucket, Cell, Control, Scratch},
    limits::{BUCKET_ENTRIES, CELL_WORDS, NETWORKS_MAX},
    packet::opaque,
    probe::Probe,
};

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

/// Buckets: from the hash of a name to its record.
#[btf_map]
static INDEX: Array<Bucket, 1, MMAPABLE> = Array::new();

/// Record memory.
#[btf_map]
static CELLS: Array<Cell, 1, MMAPABLE> = Array::new();

/// What the daemon tells the programs.
#[btf_map]
static CONTROL: Array<Control, 1, MMAPABLE> = Array::new();

/// The tick of the last run of `hopzero_clock`.
#[btf_map]
static CLOCK: Array<u64, 1, MMAPABLE> = Array::new();

/// For the daemon alone, which waits for the programs by updating it.
#[btf_map]
static GRACE: ArrayOfMaps<Array<u64, 1>, 1> = ArrayOfMaps::new();

/// The self-test of a device.
#[btf_map]
static PROBE: Array<Probe, 1, MMAPABLE> = Array::new();

/// Packets by their place ([`hopzero_common::counter`]).
#[btf_map]
static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();

/// Working memory; too large for the stack.
#[btf_map]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

/// Networks by what they may still be sent (`hopzero_common::limit`): the only map whose keys come
/// from packets.
#[btf_map]
static NETWORKS: LruHashMap<u64, u64, NETWORKS_MAX> = LruHashMap::new();

#[inline(always)]
pub fn network(network: u64) -> Option<&'static AtomicU64> {
    // SAFETY: an aligned word, read and written whole. Elements of such a map are never freed: at worst the
    // word is by then another network's, which then is let through, or limited, one answer too early.
    (NETWORKS.get_ptr_mut(network)).map(|bucket| unsafe { AtomicU64::from_ptr(bucket) })
}

#[inline(always)]
pub fn add_network(network: u64, bucket: u64) -> bool {
    const ANY: u64 = BPF_ANY as u64;
    NETWORKS.insert(network, bucket, ANY).is_ok()
}

#[inline(always)]
pub fn control() -> Option<&'static Control> {
    CONTROL.get(0)
}

#[inline(always)]
pub fn set_clock(jiffies: u64) {
    if let Some(clock) = CLOCK.get_ptr_mut(0) {
        // SAFETY: an aligned word of a map, stored whole. (LLVM 22 has no atomic store for BPF.)
        unsafe { clock.write_volatile(jiffies) };
    }
}

#[inline(always)]
pub fn probe() -> Option<*mut Probe> {
    PROBE.get_ptr_mut(0)
}

#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: an element of this CPU; a program runs with migration and softirqs off, and is not
    // entered again on the same CPU while it runs, so this is the only reference.
    SCRATCH
        .get_ptr_mut(0)
        .map(|scratch| unsafe { &mut *scratch })
}

#[inline(always)]
pub fn count(place: usize) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: an element of this CPU, as in `scratch`.
        let counters = unsafe { &mut *counters };
        if let Some(counter) = counters.get_mut(opaque(place)) {
            *counter += 1;
        }
    }
}

#[inline(always)]
pub fn bucket(index: u32) -> Option<&'static [AtomicU64; BUCKET_ENTRIES]> {
    // SAFETY: map memory outlives the program; a bucket is eight aligned words, which the daemon stores whole.
    INDEX
        .get_ptr(index)
        .map(|bucket| unsafe { &*bucket.cast() })
}

#[inline(always)]
pub fn cell(index: u32) -> Option<&'static [AtomicU64; CELL_WORDS]> {
    // SAFETY: as in `bucket`; a cell is eight aligned words.
    CELLS.get_ptr(index).map(|cell| unsafe { &*cell.cast() })
}

//! From a name to a verified copy of its record.
//!
//! The argument that a hit is never another name's record, and never a mixture: everything that is
//! used comes from the copy in [`Scratch::record`], the copy's check was made over all of its cells by the
//! writer of one record, and the whole name was compared. The argument needs no memory order between
//! the loads, so it holds on x86-64 and arm64 alike.
//!
//! That a hit is not older than what was there when the lookup began needs more: cells that are used again
//! for the same name may look as they did two versions before, and that version is whole. The cells'
//! address is made of the entry, so both machines load them after it, and the entry is stored after
//! them. `cargo xtask test model` runs this code and the writer's in every order, with and without that.

use crate::{
    layout::{Control, Entry, FLAG_SOA, Generation, Scratch, bucket_of, home_of},
    limits::{BUCKET_ENTRIES, CELL_WORDS, NAME_WORDS_MAX, PROBE_BUCKETS_MAX, RECORD_CELLS_MAX},
    reason::Reason,
    record,
    word::{AtomicU64, load},
};

/// The maps of the programs, or memory of the host in tests.
///
/// Words are atomics because the daemon stores to them while they are read: each load sees one whole
/// 64-bit value that was stored. In the kernel a relaxed load is a plain one.
pub trait Table {
    /// Whether a copy must agree with its check. False only where a test shows what the check is for.
    const VERIFIES: bool = true;
    /// A bucket of the index.
    fn bucket(&self, index: u32) -> Option<&[AtomicU64; BUCKET_ENTRIES]>;
    /// A cell of record memory.
    fn cell(&self, index: u32) -> Option<&[AtomicU64; CELL_WORDS]>;
}

/// The generation in use. To be loaded once for a packet: what a scan finds must be of one.
#[inline(always)]
fn generation(control: &Control) -> Generation {
    let word = &raw const control.generation;
    // SAFETY: a field of a reference is valid and aligned. Volatile, since the daemon stores this word while
    // programs run: one load, neither split nor made again.
    Generation(unsafe { word.read_volatile() })
}

/// Copies the record of the name in `scratch` into `scratch.record` and verifies it.
///
/// # Errors
/// Why there is no record that the kernel can use.
#[inline(always)]
pub fn find<T: Table>(table: &T, control: &Control, scratch: &mut Scratch) -> Result<(), Reason> {
    let entry = find_entry(table, control, scratch.query.hash)?;
    copy(table, entry, scratch)?;
    let words = scratch.query.name_words as usize;
    // The SOA of a zone is of the apex's name: it may stand where the apex's record was.
    let mut difference = scratch.record[1] & u64::from(FLAG_SOA) << 16;
    for index in (0..NAME_WORDS_MAX).step_by(4) {
        if index >= words {
            break;
        }
        for index in index..index + 4 {
            if index < words {
                difference |= scratch.name[index] ^ scratch.record[2 + index];
            }
        }
    }
    if difference == 0 {
        Ok(())
    } else {
        Err(Reason::Collision)
    }
}

#[inline(always)]
fn find_entry<T: Table>(table: &T, control: &Control, hash: u64) -> Result<Entry, Reason> {
    let tag = Entry::tag(hash);
    let generation = generation(control);
    let mut bucket = bucket_of(hash, generation.buckets());
    // Most records stand where their hash says (see `home_of`). Loaded now, that line comes while
    // the bucket's line is waited for, which saves one of the two cache misses of a cold name. It
    // is only a hint: what is read is thrown away.
    if let Some([first, ..]) = table.cell(home_of(hash, control.cells)) {
        core::hint::black_box(load(first));
    }
    for _ in 0..PROBE_BUCKETS_MAX {
        let entries = table
            .bucket(generation.base() + bucket)
            .ok_or(Reason::Internal)?;
        let mut last = 0;
        for entry in entries {
            last = load(entry);
            if Entry(last).has_tag(tag) {
                return Ok(Entry(last));
            }
        }
        if last & Entry::OVERFLOW == 0 {
            return Err(Reason::UnknownName);
        }
        bucket += 1;
        if bucket >= generation.buckets() {
            bucket = 0;
        }
    }
    // There may be more: this miss says nothing.
    Err(Reason::Internal)
}

/// Copies the record's cells, and checks the copy.
///
/// # Errors
/// [`Reason::Inconsistent`] if the cells are not those of one record.
#[inline(always)]
pub fn copy<T: Table>(table: &T, entry: Entry, scratch: &mut Scratch) -> Result<(), Reason> {
    let (first, cells) = (entry.cell(), entry.cells());
    let mut state = record::CHECK_START;
    let mut stored = 0;
    for index in 0..RECORD_CELLS_MAX {
        if index as u32 >= cells {
            break;
        }
        let cell = table.cell(first + index as u32).ok_or(Reason::Internal)?;
        let mut words = [0; CELL_WORDS];
        for lane in 0..CELL_WORDS {
            words[lane] = load(&cell[lane]);
            scratch.record[index * CELL_WORDS + lane] = words[lane];
        }
        if index == 0 {
            stored = words[0] as u32;
            words[0] &= !0xffff_ffff;
        }
        state = record::check_cell(state, &words);
    }
    if T::VERIFIES && record::check_finish(state) != stored {
        return Err(Reason::Inconsistent);
    }
    Ok(())
}

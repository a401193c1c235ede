//! NODATA and NXDOMAIN, with the SOA of the zone (RFC 2308).
//!
//! # When a miss is a proof
//!
//! "This name does not exist" is said only if all of these hold:
//!
//! 1. The index was scanned, and no entry had the name's tag ([`crate::lookup`]). An entry never moves while its
//!    name exists, and a new version of a record replaces it by one 64-bit store to the same place. So
//!    if the name existed all through the scan, the scan loaded its entry at that place: some
//!    version of it, since loads of one location never go back (coherence, which x86-64 and arm64
//!    both have without any barrier). It saw none, so at some moment of the scan the name did not
//!    exist.
//! 2. Buckets after an overflow are scanned too. The mark is set before the first entry goes to the next bucket,
//!    and stays.
//! 3. The name lies in a zone that the daemon has declared complete, label by label, and in nothing longer
//!    that only the socket may answer for. A name for which there was no room is never missing from
//!    the index: its entry stays, or the zone stops to be complete.
//!
//! # Across a flip
//!
//! A large batch becomes visible by a flip from one generation of the index to the other
//! ([`crate::layout`]). The program loads [`Control::generation`] once, so each scan is of one generation:
//!
//! * **The old one.** It was in use when the word was loaded, and is not written from the flip on, until this program has
//!   ended: the daemon waits for an RCU grace period, and programs run inside RCU read-side sections. So point 1 holds
//!   as if there were no flip: what is answered was true when the packet came, or later.
//! * **The new one.** Every entry of it, and every record that it leads to, was stored before the word (a release store).
//!   The address of the bucket is computed from the word, and that of the record from the entry: loads that depend on
//!   each other by address are in order on arm64, as all loads are on x86-64. So it is seen whole.
//!
//! That the old generation is written again, by the build after, races with nobody: `synchronize_rcu()` orders all that a
//! program did before it ended before what the daemon does after it, by full barriers on every architecture.
//! A late program may meet a small change of the new generation nonetheless: cells that the old generation leads to as
//! well are used again. Then the copy does not verify, and the packet passes.
//!
//! The list of zones is no part of a generation. A program may combine an index of one moment with a
//! [`ZoneEntry`] of another, in either order, and on arm64 the loads may trade places. So it must
//! be harmless:
//!
//! * [`ZONE_COMPLETE`] is *set* only when no program reads an index any more in which a name of the zone was missing: after
//!   the flip and the wait. It is *cleared* before the change with the missing name counts as published; who loaded it
//!   earlier answers as of earlier. And a build that lacks room for a name is not put in use at all.
//! * The SOA is renewed last. A denial may carry the serial of the moment before or after its index's for as long as the
//!   wait takes. Nothing is derived from it: there are no transfers of the zone, and TTL and minimum, by
//!   which a denial is cached, are the same in all.
//!
//! What is only unclear (a tag without the name, a record that does not verify, too many buckets)
//! passes.

use crate::{
    layout::{Control, Entry, FLAG_ALIAS, Scratch, ZONE_BYTES_MIN, ZONE_COMPLETE, ZoneEntry},
    limits::{ALIAS_WORDS_MAX, HEADER_BYTES, LABELS_MAX, NAME_BYTES_MAX, NAME_WORDS_MAX},
    lookup::{self, Table},
    packet::{launder, opaque},
    reason::Reason,
    record::Header,
};

const NOERROR: u8 = 0;
const NXDOMAIN: u8 = 3;
const TYPE_SOA: u16 = 6;
/// A compression pointer, the SOA's owner.
const POINTER_BYTES: u32 = 2;

/// The zone of the record in `scratch`, which has no records of the type: NODATA. If the name is an alias, the answer
/// begins with its CNAME (RFC 2308 section 2.2), which is put aside: the SOA is copied to where it stands.
#[inline(always)]
pub fn no_data(scratch: &mut Scratch) -> Denial {
    let header = Header::of(scratch);
    scratch.selection.alias_len = 0;
    if header.flags() & FLAG_ALIAS != 0 {
        put_alias_aside(header, scratch);
    }
    Denial {
        zone: header.zone() as usize,
        rcode: NOERROR,
    }
}

/// The bytes of the CNAME in the record, and their number. (Carried by [`Denial`] it would take the stack of all answers.)
#[inline(always)]
fn put_alias_aside(header: Header, scratch: &mut Scratch) {
    let (word, len) = (header.other_word() + 1, header.other_len());
    for index in 0..ALIAS_WORDS_MAX {
        if index * 8 >= len {
            break;
        }
        let record = scratch.record.get(opaque(word + index));
        scratch.alias[index] = record.copied().unwrap_or(0);
    }
    scratch.selection.alias_len = len as u32;
}

/// The zone that denies the name in `scratch`, which the index does not have: NXDOMAIN.
///
/// # Errors
/// There is none that may.
#[inline(always)]
pub fn no_name(control: &Control, scratch: &mut Scratch) -> Result<Denial, Reason> {
    scratch.selection.alias_len = 0;
    let name_len = scratch.query.name_len as usize;
    let tail = bytes_at(scratch, name_len.wrapping_sub(8)).ok_or(Reason::UnknownName)?;
    for (index, zone) in control.zones.iter().enumerate() {
        let zone_len = zone.name_len as usize;
        if zone.tail != tail || zone_len > name_len || zone_len < ZONE_BYTES_MIN {
            continue;
        }
        // They stand in this order: the first that the name ends with decides.
        let start = name_len - zone_len;
        if !continues(scratch, start, zone) {
            continue;
        }
        if zone.flags & ZONE_COMPLETE == 0 || !is_label_start(scratch, start) {
            break;
        }
        return Ok(Denial {
            zone: index,
            rcode: NXDOMAIN,
        });
    }
    Err(Reason::UnknownName)
}

/// What is denied, and by which zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Index in [`Control::zones`].
    pub zone: usize,
    /// NOERROR or NXDOMAIN.
    pub rcode: u8,
}

/// Selects the SOA of the zone that denies.
///
/// # Errors
/// Why the kernel does not have it.
#[inline(always)]
pub fn select<T: Table>(
    table: &T,
    control: &Control,
    denial: Denial,
    scratch: &mut Scratch,
) -> Result<(), Reason> {
    let zone = launder(&mut scratch.laundry, denial.zone as u64) as usize;
    let rcode = launder(&mut scratch.laundry, u64::from(denial.rcode)) as u8;
    let zone = (control.zones.get(opaque(zone))).ok_or(Reason::Internal)?;
    let owner = scratch.query.name_len.wrapping_sub(zone.name_len);
    let entry = Entry(zone.entry);
    if entry.cells() == 0 || owner as usize > NAME_BYTES_MAX {
        return Err(Reason::UnknownName);
    }
    lookup::copy(table, entry, scratch)?;
    // Its cells may have been used again since the entry was loaded: for another name, or another
    // record of this one.
    let header = Header::of(scratch);
    let mut difference = (zone.name_len as usize ^ header.name_len()) as u64;
    for index in 0..NAME_WORDS_MAX {
        if index * 8 >= zone.name_len as usize {
            break;
        }
        difference |= zone.name[index] ^ scratch.record[2 + index];
    }
    let word = header.other_word();
    let other = scratch.record.get(opaque(word)).copied().unwrap_or(0);
    if difference != 0 || other as u16 != TYPE_SOA {
        return Err(Reason::Inconsistent);
    }
    let len = header.other_len() as u32;
    let selection = &mut scratch.selection;
    let owner = HEADER_BYTES as u32 + owner;
    let alias_len = selection.alias_len;
    let records_len = alias_len + POINTER_BYTES + len;
    selection.set_encoded(word as u32 + 1, len, records_len, owner);
    selection.answers = u16::from(alias_len != 0);
    selection.authority = 1;
    selection.rcode = rcode;
    Ok(())
}

/// Whether the name goes on with the zone's at `start`; its last eight bytes do.
#[inline(always)]
fn continues(scratch: &Scratch, start: usize, zone: &ZoneEntry) -> bool {
    let mut difference = 0;
    for index in 0..NAME_WORDS_MAX - 1 {
        if index * 8 + 8 > zone.name_len as usize {
            break;
        }
        match bytes_at(scratch, start + index * 8) {
            Some(bytes) => difference |= bytes ^ zone.name[index],
            None => return false,
        }
    }
    difference == 0
}

/// Whether a label begins at `start`, and every one before it is well-formed.
#[inline(always)]
fn is_label_start(scratch: &Scratch, start: usize) -> bool {
    let mut offset = 0;
    for _ in 0..=LABELS_MAX {
        if offset >= start {
            return offset == start;
        }
        let Some(bytes) = bytes_at(scratch, offset) else {
            return false;
        };
        let label_len = bytes as u8 as usize;
        if label_len == 0 || label_len > 63 {
            return false;
        }
        offset += 1 + label_len;
    }
    false
}

/// Eight bytes of the question's name.
#[inline(always)]
fn bytes_at(scratch: &Scratch, offset: usize) -> Option<u64> {
    let offset = opaque(offset);
    if offset > (NAME_WORDS_MAX - 1) * 8 {
        return None;
    }
    let name = scratch.name.as_ptr().cast::<u8>();
    // SAFETY: eight bytes from an offset of at most 248 lie within the 256 bytes of the name.
    Some(unsafe { name.add(offset).cast::<u64>().read_unaligned() })
}

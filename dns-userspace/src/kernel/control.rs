//! The map CONTROL: what the programs are told. [`super::lease`] says for how long they believe it.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    net::IpAddr,
};

use hopzero_common::{
    layout::{CONTROL_ANSWERING, CONTROL_ROTATE, Control, Generation, ZoneEntry},
    limits::{ADDRESSES_MAX, MACS_MAX},
};

use super::KernelError;
use crate::publisher::{memory::Words, table::Capacity};

/// CONTROL in shared memory. Only the daemon writes it; a copy here says what is there.
#[derive(Debug)]
pub(super) struct ControlBlock {
    memory: Words,
}

/// The word with the version and the flags.
const FLAGS_WORD: usize = 0;
const GENERATION_WORD: usize = std::mem::offset_of!(Control, generation) / 8;
const LEASE_WORD: usize = std::mem::offset_of!(Control, lease_until) / 8;
const MACS_WORD: usize = std::mem::offset_of!(Control, macs) / 8;
const ZONES_WORD: usize = std::mem::offset_of!(Control, zones) / 8;
/// The word with `macs_count` in its lower half and `cells` in its upper one.
const MACS_COUNT_WORD: usize = std::mem::offset_of!(Control, macs_count) / 8;

impl ControlBlock {
    /// Writes everything but what the publisher says, and the permission to answer.
    pub(super) fn new(memory: Words, capacity: Capacity, seed: u64, addresses: &[IpAddr]) -> Self {
        let mut control = Control::zeroed();
        control.cells = capacity.cells;
        control.seed = seed;
        for address in addresses {
            match address {
                IpAddr::V4(v4) => {
                    control.v4[control.v4_count as usize] = u32::from_le_bytes(v4.octets());
                    control.v4_count += 1;
                }
                IpAddr::V6(v6) => {
                    control.v6[control.v6_count as usize] = bytemuck::cast(v6.octets());
                    control.v6_count += 1;
                }
            }
        }
        let words: [u64; size_of::<Control>() / 8] = bytemuck::cast(control);
        for (index, word) in words.into_iter().enumerate() {
            memory.store(index, word);
        }
        ControlBlock { memory }
    }

    /// Adds the address of a device with XDP.
    pub(super) fn add_mac(&self, mac: [u8; 6]) -> Result<(), KernelError> {
        let counts = self.memory.load(MACS_COUNT_WORD);
        let macs = (counts & 0xffff_ffff) as usize;
        if macs == MACS_MAX {
            return Err(KernelError::Devices { max: MACS_MAX });
        }
        let mut bytes = [0; 8];
        bytes[..6].copy_from_slice(&mac);
        self.memory
            .store(MACS_WORD + macs, u64::from_le_bytes(bytes));
        self.memory.publish(MACS_COUNT_WORD, counts + 1);
        Ok(())
    }

    /// Adds the addresses of another one.
    pub(super) fn add_macs_of(&self, other: &ControlBlock) {
        let macs = other.memory.load(MACS_COUNT_WORD) & 0xffff_ffff;
        for word in MACS_WORD..MACS_WORD + usize::try_from(macs).unwrap_or(0) {
            self.memory.store(word, other.memory.load(word));
        }
        let cells = self.memory.load(MACS_COUNT_WORD) & !0xffff_ffff;
        self.memory.publish(MACS_COUNT_WORD, cells | macs);
    }

    /// One store, after all that was published before: until this tick the programs may answer. 0 makes
    /// them pass everything.
    pub(super) fn lease_until(&self, tick: u64) {
        self.memory.publish(LEASE_WORD, tick);
    }

    /// Whether programs answer.
    pub(super) fn answer(&self, on: bool) {
        self.set_flag(CONTROL_ANSWERING, on);
    }

    /// Whether the addresses of an answer are rotated.
    pub(super) fn rotate(&self, on: bool) {
        self.set_flag(CONTROL_ROTATE, on);
    }

    /// One store: every program that starts after it obeys.
    fn set_flag(&self, flag: u32, on: bool) {
        let (word, flag) = (self.memory.load(FLAGS_WORD), u64::from(flag) << 32);
        let word = if on { word | flag } else { word & !flag };
        self.memory.publish(FLAGS_WORD, word);
    }

    /// One store, after all that was published before: every program that starts after it reads this
    /// generation.
    pub(super) fn set_generation(&self, generation: Generation) {
        self.memory.publish(GENERATION_WORD, generation.0);
    }

    /// Puts a zone at a place of the list.
    pub(super) fn set_zone(&self, index: usize, zone: &ZoneEntry) {
        let first = ZONES_WORD + index * size_of::<ZoneEntry>() / 8;
        let mut words = [0; size_of::<ZoneEntry>() / 8];
        words[1] = zone.tail;
        words[2] = u64::from(zone.name_len) | u64::from(zone.flags) << 32;
        words[3..].copy_from_slice(&zone.name);
        for (offset, word) in words.into_iter().enumerate().skip(1) {
            self.memory.store(first + offset, word);
        }
        self.memory.publish(first, zone.entry);
    }
}

/// More addresses than the programs can be told.
pub(super) fn check_addresses(addresses: &[IpAddr]) -> Result<(), KernelError> {
    let v4 = addresses.iter().filter(|address| address.is_ipv4()).count();
    for (count, family) in [(v4, "IPv4"), (addresses.len() - v4, "IPv6")] {
        if count > ADDRESSES_MAX {
            return Err(KernelError::Addresses {
                count,
                family,
                max: ADDRESSES_MAX,
            });
        }
    }
    Ok(())
}

/// A seed from the standard library's source of hash seeds, which is the system's random numbers.
pub(super) fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

//! The map CONTROL: what the programs are told. [`super::lease`] says for how long they believe it.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    io,
    net::IpAddr,
    ops::Range,
    sync::{Mutex, PoisonError},
};

use hopzero_common::{
    layout::{
        CONTROL_ANSWERING, CONTROL_ROTATE, Control, Generation, LAYOUT_VERSION, MAC_LIMITED,
        ZoneEntry,
    },
    limits::{ADDRESSES_MAX, MACS_MAX},
};

use super::{KernelError, Options};
use crate::publisher::{memory::Words, table::Capacity};

/// CONTROL in shared memory. Only the daemon writes it; a copy here says what is there.
#[derive(Debug)]
pub(super) struct ControlBlock {
    memory: Words,
    /// [`Control::flags`]. Two threads change them: who applies changes lets the programs answer, and who listens
    /// on the control socket switches.
    flags: Mutex<u32>,
}

/// The word with the version and the flags.
const FLAGS_WORD: usize = 0;
const GENERATION_WORD: usize = std::mem::offset_of!(Control, generation) / 8;
const LEASE_WORD: usize = std::mem::offset_of!(Control, lease_until) / 8;
const MACS_WORD: usize = std::mem::offset_of!(Control, macs) / 8;
const LIMIT_WORD: usize = std::mem::offset_of!(Control, limit_rate) / 8;
const V4_WORD: usize = std::mem::offset_of!(Control, v4) / 8;
/// The word with `v4_count` and `v6_count`.
const ADDRESS_COUNTS_WORD: usize = std::mem::offset_of!(Control, v4_count) / 8;
const ZONES_WORD: usize = std::mem::offset_of!(Control, zones) / 8;
/// The word with `macs_count` in its lower half and `cells` in its upper one.
const MACS_COUNT_WORD: usize = std::mem::offset_of!(Control, macs_count) / 8;

impl ControlBlock {
    /// Writes everything but what the publisher says, and the permission to answer.
    pub(super) fn new(memory: Words, capacity: Capacity, seed: u64, options: &Options) -> Self {
        let mut control = Control::zeroed();
        control.cells = capacity.cells;
        control.seed = seed;
        for (place, vlan) in control.vlans.iter_mut().zip(&options.vlans) {
            *place = *vlan;
        }
        put_addresses(&mut control, &options.answer_for);
        let words: [u64; size_of::<Control>() / 8] = bytemuck::cast(control);
        for (index, word) in words.into_iter().enumerate() {
            memory.store(index, word);
        }
        ControlBlock {
            memory,
            flags: Mutex::new(0),
        }
    }

    /// Destinations of the queries to answer. Those at the beginning of the list that were there before are answered all
    /// the time; the others only once no program can see half of an address: `wait` returns when all that run now have ended.
    ///
    /// # Errors
    /// There are too many, and nothing has changed.
    pub(super) fn set_addresses(
        &self,
        before: &[IpAddr],
        now: &[IpAddr],
        wait: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), KernelError> {
        check_addresses(now)?;
        let same = before.iter().zip(now).take_while(|(a, b)| a == b).count();
        self.put_words(&now[..same], ADDRESS_COUNTS_WORD..ADDRESS_COUNTS_WORD + 1);
        wait().map_err(|source| KernelError::Grace { source })?;
        self.put_words(now, V4_WORD..MACS_WORD);
        self.put_words(now, ADDRESS_COUNTS_WORD..ADDRESS_COUNTS_WORD + 1);
        Ok(())
    }

    /// Stores words of a block with these addresses.
    fn put_words(&self, addresses: &[IpAddr], which: Range<usize>) {
        let mut control = Control::zeroed();
        put_addresses(&mut control, addresses);
        let words: [u64; size_of::<Control>() / 8] = bytemuck::cast(control);
        for word in which {
            self.memory.publish(word, words[word]);
        }
    }

    /// The link-layer addresses that are ours beyond the devices' own: those of devices with XDP, and of bridges. Of two
    /// devices with one address (bridges and VLANs have their card's) both are limited if one is: programs cannot
    /// tell them apart.
    pub(super) fn set_macs(&self, macs: &[([u8; 6], bool)]) -> Result<(), KernelError> {
        let mut words: Vec<u64> = Vec::new();
        for (mac, limited) in macs {
            let mut bytes = [0; 8];
            bytes[..6].copy_from_slice(mac);
            let address = u64::from_le_bytes(bytes);
            let flag = if *limited { MAC_LIMITED } else { 0 };
            match words
                .iter_mut()
                .find(|word| **word & !MAC_LIMITED == address)
            {
                Some(word) => *word |= flag,
                None => words.push(address | flag),
            }
        }
        if words.len() > MACS_MAX {
            return Err(KernelError::Devices { max: MACS_MAX });
        }
        // While this goes on an address may be missing, and its packets pass; none is there that is not ours.
        let upper = self.memory.load(MACS_COUNT_WORD) & !0xffff_ffff;
        let before = self.memory.load(MACS_COUNT_WORD) & 0xffff_ffff;
        let count = words.len() as u64;
        self.memory
            .publish(MACS_COUNT_WORD, upper | before.min(count));
        for (offset, word) in words.into_iter().enumerate() {
            self.memory.publish(MACS_WORD + offset, word);
        }
        self.memory.publish(MACS_COUNT_WORD, upper | count);
        Ok(())
    }

    /// One store: so many answers a second to each network, at so many ticks a second.
    pub(super) fn limit(&self, rate: u32, ticks: u32) {
        // A full bucket is their product, for which there are 32 bits.
        let cost = ticks.min(u32::MAX / rate.max(1));
        self.memory
            .publish(LIMIT_WORD, u64::from(rate) | u64::from(cost) << 32);
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

    fn set_flag(&self, flag: u32, on: bool) {
        let (set, clear) = if on { (flag, 0) } else { (0, flag) };
        self.change_flags(set, clear);
    }

    /// One store: every program that starts after it obeys.
    pub(super) fn change_flags(&self, set: u32, clear: u32) {
        let mut flags = self.flags.lock().unwrap_or_else(PoisonError::into_inner);
        *flags = *flags & !clear | set;
        self.memory.publish(
            FLAGS_WORD,
            u64::from(LAYOUT_VERSION) | u64::from(*flags) << 32,
        );
    }

    /// What they are now.
    pub(super) fn flags(&self) -> u32 {
        *self.flags.lock().unwrap_or_else(PoisonError::into_inner)
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

fn put_addresses(control: &mut Control, addresses: &[IpAddr]) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn block(options: &Options) -> ControlBlock {
        let memory = Words::heap(size_of::<Control>() / 8);
        ControlBlock::new(memory, Capacity::new(1, 1), 1, options)
    }

    fn control(block: &ControlBlock) -> Control {
        let words: Vec<u64> = (0..size_of::<Control>() / 8)
            .map(|word| block.memory.load(word))
            .collect();
        bytemuck::pod_read_unaligned(bytemuck::cast_slice(&words))
    }

    #[test]
    fn addresses_that_stay_are_answered_for_all_the_time() {
        let list = |texts: &[&str]| -> Vec<IpAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let before = list(&["10.96.0.10", "fd00::a", "10.244.0.5"]);
        let block = block(&Options {
            answer_for: before.clone(),
            ..Options::default()
        });
        let counts = |block: &ControlBlock| {
            let control = control(block);
            (control.v4_count, control.v6_count)
        };
        assert_eq!(counts(&block), (2, 1));
        let now = list(&["10.96.0.10", "fd00::a", "10.244.0.6", "10.244.0.7"]);
        let wait = || {
            assert_eq!(counts(&block), (1, 1));
            Ok(())
        };
        block.set_addresses(&before, &now, wait).unwrap();
        let found = control(&block);
        assert_eq!((found.v4_count, found.v6_count), (3, 1));
        assert_eq!(found.v4[2].to_le_bytes(), [10, 244, 0, 7]);
        assert_eq!(found.v6[0][0].to_le_bytes()[..2], [0xfd, 0]);
        let many = vec![now[0]; 9];
        block.set_addresses(&now, &many, || Ok(())).unwrap_err();
        assert_eq!(control(&block), found);
        block.set_addresses(&now, &[], || Ok(())).unwrap();
        assert_eq!(counts(&block), (0, 0));
    }

    #[test]
    fn one_address_is_limited_if_a_device_of_it_is() {
        let block = block(&Options::default());
        let (one, two) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let macs = [(one, false), (two, true), (one, true), (two, false)];
        block.set_macs(&macs).unwrap();
        let found = control(&block);
        assert_eq!(found.macs_count, 2);
        assert_eq!(
            found.macs[..3],
            [
                0x0100_0000_0002 | MAC_LIMITED,
                0x0200_0000_0002 | MAC_LIMITED,
                0
            ]
        );
        // What is gone is forgotten.
        block.set_macs(&macs[3..]).unwrap();
        let found = control(&block);
        assert_eq!((found.macs_count, found.macs[0]), (1, 0x0200_0000_0002));
        assert_eq!(found.cells, Capacity::new(1, 1).cells, "the other half");
        let many: Vec<_> = (0..=16)
            .map(|last| ([2, 0, 0, 0, 0, last], false))
            .collect();
        assert!(block.set_macs(&many).is_err());
    }

    #[test]
    fn a_full_bucket_fits_its_word() {
        let block = block(&Options::default());
        for (rate, ticks, cost) in [(200, 250, 250), (0, 1000, 1000), (1_000_000, 10_000, 4294)] {
            block.limit(rate, ticks);
            let control = control(&block);
            assert_eq!((control.limit_rate, control.limit_cost), (rate, cost));
            assert!(control.limit_rate.checked_mul(control.limit_cost).is_some());
        }
    }

    #[test]
    fn flags_and_vlans_stand_where_programs_look() {
        let block = block(&Options {
            vlans: vec![1, 4094],
            ..Options::default()
        });
        block.change_flags(8, 0);
        block.answer(true);
        block.change_flags(4, 8);
        let control = control(&block);
        assert_eq!(
            (control.layout_version, control.flags),
            (LAYOUT_VERSION, 1 | 4)
        );
        assert_eq!(control.vlans, [1, 4094, 0, 0, 0, 0, 0, 0]);
    }
}

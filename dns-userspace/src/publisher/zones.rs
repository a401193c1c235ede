//! The zones that the programs know: where a name that has no record is denied, and with which SOA.
//!
//! ```text
//! place  0 … 7     names below which nothing is denied, as the zone says │ our zones, the longer names first
//! ```
//!
//! The first that a name lies in decides. Our zones keep their places, since records say to which they belong; what
//! stands before them changes with the configuration ([`Zone::undenied_below`]). While it does, nothing is
//! denied at all: a program reads the list without a lock.

use hickory_proto::rr::{Name, Record as DnsRecord};
use hopzero_common::{
    layout::{ZONE_BYTES_MIN, ZONE_COMPLETE, ZoneEntry},
    limits::{ZONES_MAX, ZONES_OURS_MAX},
};

use super::{encode::Encoder, programs::Programs, table::Table};
use crate::zone::Zone;

/// Reverse zones in the list beside so many domains: they are never complete, so what counts is that the domains and what
/// stands before them (the names of pods of each) have places.
fn reverse_zones_max(domains: usize) -> usize {
    let beside = ZONES_OURS_MAX.saturating_sub(domains);
    beside.min(ZONES_MAX.saturating_sub(2 * domains))
}

/// The list, and what stands in it now.
#[derive(Default)]
pub struct Zones {
    /// At the last places.
    ours: Vec<Listed>,
    /// At the first places, if there are as many.
    undenied: Vec<Name>,
    /// Every program that runs reads the list as it is.
    settled: bool,
}

struct Listed {
    name: Name,
    /// [`Zone::number_of`]
    number: Option<usize>,
    current: ZoneEntry,
}

impl Zones {
    /// The place of the zone that a name lies in, as records have it.
    pub fn index_of(&self, zone: &Zone, name: &Name) -> u8 {
        self.place_of(zone.zone_of(name).and_then(|of| zone.number_of(of)))
    }

    /// The place of a zone by its number ([`Zone::number_of`]).
    pub fn place_of(&self, number: Option<usize>) -> u8 {
        let found = number.and_then(|number| {
            let index = (self.ours.iter()).position(|listed| listed.number == Some(number))?;
            u8::try_from(self.first_place() + index).ok()
        });
        // Beyond the list: the programs find no zone there, and pass.
        found.unwrap_or(u8::MAX)
    }

    /// Makes the list, before anybody reads it. A zone that there is no room for, or that is too short to be told
    /// apart, has no negative answers in the kernel.
    pub fn list(&mut self, zone: &Zone, encoder: &mut Encoder, programs: &mut dyn Programs) {
        if !self.ours.is_empty() {
            return;
        }
        let config = zone.config();
        let domains: Vec<&Name> = config.domains().take(ZONES_OURS_MAX).collect();
        let reverse = config.reverse.iter().take(reverse_zones_max(domains.len()));
        self.ours = (reverse.chain(domains))
            .filter_map(|name| {
                Some(Listed {
                    current: entry_of(name, encoder)?,
                    name: name.clone(),
                    number: zone.number_of(name),
                })
            })
            .collect();
        self.ours
            .sort_by_key(|listed| std::cmp::Reverse(listed.name.len()));
        for (index, listed) in self.ours.iter().enumerate() {
            programs.set_zone(self.first_place() + index, &listed.current);
        }
        self.relist(zone, encoder, programs);
        self.settled = true;
    }

    /// Whether what stands before our zones is what the zone says now.
    pub fn is_current(&self, zone: &Zone) -> bool {
        self.ours.is_empty() || self.undenied == self.undenied_in(zone)
    }

    /// Nothing is denied from now on, until [`Self::settle`].
    pub fn unsettle(&mut self, programs: &mut dyn Programs) {
        self.settled = false;
        self.incomplete(programs);
    }

    /// Puts before our zones what the zone says. No program may deny anything meanwhile.
    pub fn relist(&mut self, zone: &Zone, encoder: &mut Encoder, programs: &mut dyn Programs) {
        self.undenied = self.undenied_in(zone);
        let entries = self.undenied.iter().map(|name| entry_of(name, encoder));
        let mut entries = entries.flatten();
        for place in 0..self.first_place() {
            programs.set_zone(place, &entries.next().unwrap_or(ZoneEntry::NONE));
        }
    }

    /// What the zone says, and the domains that there is no room for: a domain that they lie in does not deny their names.
    fn undenied_in(&self, zone: &Zone) -> Vec<Name> {
        let mut undenied = zone.undenied_below();
        let config = zone.config();
        let is_listed = |name: &Name| self.ours.iter().any(|listed| listed.name == *name);
        let lies_in_another = |name: &Name| {
            let mut outer = config.domains().filter(|outer| *outer != name);
            outer.any(|outer| outer.zone_of(name))
        };
        let unlisted = config.domains().filter(|name| !is_listed(name));
        undenied.extend(unlisted.filter(|name| lies_in_another(name)).cloned());
        undenied
    }

    /// Every program that runs reads the list as it is.
    pub fn settle(&mut self) {
        self.settled = true;
    }

    /// Whether that is so.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Renews a zone's SOA, and says whether every name of it has a record. Reverse zones are not
    /// complete: their empty names have none.
    pub fn renew(
        &mut self,
        zone: &Zone,
        apex: &Name,
        complete: bool,
        table: &mut Table,
        encoder: &mut Encoder,
        programs: &mut dyn Programs,
    ) {
        let denies = zone.config().domains().any(|domain| domain == apex)
            && self.settled
            && self.undenied.len() <= self.first_place()
            && !self.undenied.contains(apex);
        let first = self.first_place();
        let found = (self.ours.iter_mut().enumerate()).find(|(_, listed)| listed.name == *apex);
        let (Some((index, listed)), Some(soa)) = (found, zone.soa(apex)) else {
            return;
        };
        let before = listed.current.entry;
        listed.current.entry = write(apex, first + index, &soa, table, encoder).unwrap_or(0);
        listed.current.flags = if complete && denies { ZONE_COMPLETE } else { 0 };
        programs.set_zone(first + index, &listed.current);
        table.give_detached(before);
    }

    /// Our zones, by their places.
    pub fn listed(&self) -> impl Iterator<Item = (usize, &Name)> {
        (self.ours.iter().enumerate())
            .map(|(index, listed)| (self.first_place() + index, &listed.name))
    }

    /// A name has no record although it exists: nothing is denied any more.
    pub fn incomplete(&mut self, programs: &mut dyn Programs) {
        let first = self.first_place();
        for (index, listed) in self.ours.iter_mut().enumerate() {
            if listed.current.flags & ZONE_COMPLETE != 0 {
                listed.current.flags &= !ZONE_COMPLETE;
                programs.set_zone(first + index, &listed.current);
            }
        }
    }

    /// The place of our first zone.
    fn first_place(&self) -> usize {
        ZONES_MAX - self.ours.len()
    }
}

/// A name in the list; `None` if it is too short.
fn entry_of(name: &Name, encoder: &mut Encoder) -> Option<ZoneEntry> {
    let wire = encoder.wire_of(name);
    let (wire_len, tail) = (wire.len(), *wire.last_chunk::<ZONE_BYTES_MIN>()?);
    let mut entry = ZoneEntry::NONE;
    entry.name_len = u32::try_from(wire_len).ok()?;
    entry.tail = u64::from_le_bytes(tail);
    let words = encoder.words_of(name);
    entry.name[..words.len()].copy_from_slice(words);
    Some(entry)
}

fn write(
    apex: &Name,
    place: usize,
    soa: &DnsRecord,
    table: &mut Table,
    encoder: &mut Encoder,
) -> Option<u64> {
    let record = encoder.encode_soa(apex, u8::try_from(place).ok()?, soa)?;
    table.put_detached(&record)
}

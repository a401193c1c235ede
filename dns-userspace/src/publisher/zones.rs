//! The zones that the programs know: where a name that has no record is denied, and with which SOA.

use hickory_proto::rr::{Name, Record as DnsRecord};
use hopzero_common::{
    layout::{ZONE_BYTES_MIN, ZONE_COMPLETE, ZoneEntry},
    limits::ZONES_MAX,
};

use super::{encode::Encoder, programs::Programs, table::Table};
use crate::zone::Zone;

/// The list, and what stands in it now.
#[derive(Default)]
pub struct Zones {
    list: Vec<Listed>,
}

struct Listed {
    name: Name,
    /// A zone of ours, not a name below which only the socket may answer.
    is_zone: bool,
    current: ZoneEntry,
}

impl Zones {
    /// The index of the zone that a name lies in, as records have it.
    pub fn index_of(&self, zone: &Zone, name: &Name) -> u8 {
        let of = zone.zone_of(name);
        let found = (self.list.iter())
            .position(|listed| listed.is_zone && Some(&listed.name) == of)
            .and_then(|index| u8::try_from(index).ok());
        // Beyond the list: the programs find no zone there, and pass.
        found.unwrap_or(u8::MAX)
    }

    /// Makes the list, the longer names first. What there is no room for, or is too short to be
    /// told apart, has no negative answers in the kernel.
    pub fn list(&mut self, zone: &Zone, encoder: &mut Encoder, programs: &mut dyn Programs) {
        if !self.list.is_empty() {
            return;
        }
        let config = zone.config();
        let zones = std::iter::once(&config.origin).chain(&config.reverse);
        let mut names: Vec<(Name, bool)> = (zones.cloned().map(|name| (name, true)))
            .chain((zone.socket_only_below().into_iter()).map(|name| (name, false)))
            .collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        for (name, is_zone) in names {
            let wire_len = encoder.wire_of(&name).len();
            if wire_len < ZONE_BYTES_MIN || self.list.len() == ZONES_MAX {
                continue;
            }
            let mut current = ZoneEntry::NONE;
            current.name_len = u32::try_from(wire_len).unwrap_or(0);
            let tail = encoder.wire_of(&name)[wire_len - 8..].try_into();
            current.tail = u64::from_le_bytes(tail.unwrap_or_default());
            let words = encoder.words_of(&name);
            current.name[..words.len()].copy_from_slice(words);
            self.list.push(Listed {
                name,
                is_zone,
                current,
            });
        }
        for (index, listed) in self.list.iter().enumerate() {
            programs.set_zone(index, &listed.current);
        }
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
        let is_origin = *apex == zone.config().origin;
        let found = (self.list.iter_mut().enumerate())
            .find(|(_, listed)| listed.is_zone && listed.name == *apex);
        let (Some((index, listed)), Some(soa)) = (found, zone.soa(apex)) else {
            return;
        };
        let before = listed.current.entry;
        listed.current.entry = write(apex, &soa, table, encoder).unwrap_or(0);
        listed.current.flags = if complete && is_origin {
            ZONE_COMPLETE
        } else {
            0
        };
        programs.set_zone(index, &listed.current);
        table.give_detached(before);
    }

    /// The zones of the list, by their places.
    pub fn listed(&self) -> impl Iterator<Item = (usize, &Name)> {
        (self.list.iter().enumerate())
            .filter(|(_, listed)| listed.is_zone)
            .map(|(index, listed)| (index, &listed.name))
    }

    /// A name has no record although it exists: nothing is denied any more.
    pub fn incomplete(&mut self, programs: &mut dyn Programs) {
        for (index, listed) in self.list.iter_mut().enumerate() {
            if listed.current.flags & ZONE_COMPLETE != 0 {
                listed.current.flags &= !ZONE_COMPLETE;
                programs.set_zone(index, &listed.current);
            }
        }
    }
}

fn write(apex: &Name, soa: &DnsRecord, table: &mut Table, encoder: &mut Encoder) -> Option<u64> {
    let record = encoder.encode_soa(apex, soa)?;
    table.put_detached(&record)
}

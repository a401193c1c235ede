//! From what the zone has of a name to its record.

use hickory_proto::rr::{Name, RData, Record as DnsRecord, RecordType};
use hopzero_common::{
    limits::{CELL_WORDS, NAME_WORDS_MAX},
    name,
    record::{self, Contents, OtherRecords, Record},
};

use super::is_kept;
use crate::{
    wire::{pointer_to_question, write_record},
    zone::{Alias, Node, RrSet, Zone},
};

/// Encodes records; keeps its buffers from one to the next.
#[derive(Default)]
pub struct Encoder {
    record: Record,
    name: Vec<u8>,
    name_words: [u64; NAME_WORDS_MAX],
    a: Vec<[u8; 4]>,
    aaaa: Vec<[u8; 16]>,
    wire: Vec<u8>,
}

/// A record, as it goes to memory.
pub struct EncodedRecord<'a> {
    record: &'a Record,
    name_words: &'a [u64],
    /// Cells that it takes.
    pub cells: u32,
}

impl EncodedRecord<'_> {
    /// All words, a whole number of cells.
    pub fn words(&self) -> &[u64] {
        &self.record.0[..self.cells as usize * CELL_WORDS]
    }

    /// The words of the owner name.
    pub fn name_words(&self) -> &[u64] {
        self.name_words
    }
}

/// Bytes of a pointer, the owner of a record at the question's name.
const POINTER_BYTES: usize = 2;

/// Types whose records the kernel holds beside A and AAAA, one of them at a name.
fn is_held(rtype: RecordType) -> bool {
    matches!(rtype, RecordType::PTR | RecordType::SRV | RecordType::TXT)
}

impl Encoder {
    /// The words of a name, as the programs compare them.
    pub fn words_of(&mut self, owner: &Name) -> &[u64] {
        fold(owner, &mut self.name);
        let words = name::words_of(&self.name, &mut self.name_words);
        &self.name_words[..words]
    }

    /// A name in wire form, folded.
    pub fn wire_of(&mut self, owner: &Name) -> &[u8] {
        fold(owner, &mut self.name);
        &self.name
    }

    /// A record with nothing but a SOA without its owner, which is not always the question's name.
    pub fn encode_soa(
        &mut self,
        apex: &Name,
        zone_index: u8,
        soa: &DnsRecord,
    ) -> Option<EncodedRecord<'_>> {
        let name_words = self.words_of(apex).len();
        self.wire.clear();
        write_record(&mut self.wire, pointer_to_question(apex, &soa.name), soa).ok()?;
        let contents = Contents {
            name: &self.name,
            zone: zone_index,
            soa: true,
            other: Some(OtherRecords {
                rtype: soa.record_type().into(),
                answers: 0,
                additionals: 0,
                wire: self.wire.get(POINTER_BYTES..)?,
            }),
            ..Contents::default()
        };
        let cells = record::encode(&contents, &mut self.record).ok()?;
        Some(EncodedRecord {
            record: &self.record,
            name_words: &self.name_words[..name_words],
            cells: u32::try_from(cells).ok()?,
        })
    }

    /// The record of a name; `None` if the kernel keeps none. `zone_index` is its zone's in the programs' list.
    pub fn encode(
        &mut self,
        zone: &Zone,
        zone_index: u8,
        owner: &Name,
        node: &Node,
    ) -> Option<EncodedRecord<'_>> {
        if !is_kept(zone, owner, node) {
            return None;
        }
        let name_words = self.words_of(owner).len();
        self.a.clear();
        self.aaaa.clear();
        let mut contents = Contents::default();
        let mut other = None;
        match node {
            Node::Records(rrsets) => {
                for rrset in rrsets {
                    match rrset.rtype {
                        RecordType::A | RecordType::AAAA => {
                            contents.ttl = rrset.ttl;
                            self.take_addresses(rrset);
                        }
                        rtype if is_held(rtype) && other.is_none() => other = Some(rrset),
                        _ => contents.other_elsewhere = true,
                    }
                }
            }
            Node::Alias(Alias { cname, addresses }) => {
                other = Some(cname);
                for rrset in addresses {
                    contents.ttl = rrset.ttl;
                    self.take_addresses(rrset);
                }
            }
            Node::SocketOnly | Node::Absent => contents.socket_only = true,
        }
        let has_addresses = !self.a.is_empty() || !self.aaaa.is_empty();
        if has_addresses && other.is_some_and(|rrset| rrset.rtype == RecordType::SRV) {
            other = None;
            contents.srv_elsewhere = true;
        }
        self.wire.clear();
        if let Some(rrset) = other {
            match other_records(owner, rrset, &mut self.wire) {
                Some((answers, additionals)) => {
                    contents.other = Some(OtherRecords {
                        rtype: rrset.rtype.into(),
                        answers,
                        additionals,
                        wire: &self.wire,
                    });
                }
                None => contents.other_elsewhere = true,
            }
        }
        contents.name = &self.name;
        contents.zone = zone_index;
        contents.a = &self.a;
        contents.aaaa = &self.aaaa;
        let cells = record::encode(&contents, &mut self.record).ok()?;
        Some(EncodedRecord {
            record: &self.record,
            name_words: &self.name_words[..name_words],
            cells: u32::try_from(cells).ok()?,
        })
    }

    fn take_addresses(&mut self, rrset: &RrSet) {
        for rdata in &rrset.rdata {
            match rdata {
                RData::A(address) => self.a.push(address.0.octets()),
                RData::AAAA(address) => self.aaaa.push(address.0.octets()),
                _ => {}
            }
        }
    }
}

/// The records of an RRset in wire form and their numbers, or `None` if they have none.
fn other_records(owner: &Name, rrset: &RrSet, wire: &mut Vec<u8>) -> Option<(u16, u16)> {
    for rdata in &rrset.rdata {
        let record = DnsRecord::from_rdata(owner.clone(), rrset.ttl, rdata.clone());
        write_record(wire, pointer_to_question(owner, owner), &record).ok()?;
    }
    for record in &rrset.additionals {
        write_record(wire, pointer_to_question(owner, &record.name), record).ok()?;
    }
    Some((
        u16::try_from(rrset.rdata.len()).ok()?,
        u16::try_from(rrset.additionals.len()).ok()?,
    ))
}

/// A name in wire form and lower case.
fn fold(owner: &Name, wire: &mut Vec<u8>) {
    wire.clear();
    for label in owner {
        // A label is at most 63 bytes by construction of the type.
        wire.push(u8::try_from(label.len()).unwrap_or(0));
        wire.extend(label.iter().map(u8::to_ascii_lowercase));
    }
    wire.push(0);
}

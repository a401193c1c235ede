//! From what the zone has of a name to its record.

use std::net::IpAddr;

use hickory_proto::rr::{Name, RData, Record as DnsRecord, RecordType};
use hopzero_common::{
    limits::{CELL_WORDS, NAME_WORDS_MAX},
    name,
    record::{self, Contents, OtherRecords, Record},
};

use super::is_kept;
use crate::{
    wire::{lower_name, pointer_to_question, suffixes, write_head, write_record},
    zone::{Alias, Held, Node, OwnerName, Port, RrSet, Target, Zone},
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
    name_len: usize,
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
        &self.record.0[HEADER_WORDS..][..self.name_len.div_ceil(8)]
    }
}

/// Words of a record before its name.
const HEADER_WORDS: usize = 2;

/// The question's name: a pointer to it, behind the header (RFC 1035 section 4.1.4).
const QUESTION: &[u8] = &[0xc0, 12];
/// Labels of a port's name before its service's: `_port._proto`.
const PORT_LABELS: usize = 2;
/// Bytes of a pointer, the owner of a record at the question's name.
const POINTER_BYTES: usize = 2;

/// Types whose records the kernel holds beside A and AAAA, one of them at a name.
fn is_held(rtype: RecordType) -> bool {
    matches!(rtype, RecordType::PTR | RecordType::SRV | RecordType::TXT)
}

impl Encoder {
    /// The words of a name, as the programs compare them.
    pub fn words_of(&mut self, owner: &Name) -> &[u64] {
        self.name = lower_name(owner);
        let words = name::words_of(&self.name, &mut self.name_words);
        &self.name_words[..words]
    }

    /// The same of a name in wire form.
    pub fn words_of_owner(&mut self, owner: &OwnerName) -> &[u64] {
        let words = name::words_of(owner.wire(), &mut self.name_words);
        &self.name_words[..words]
    }

    /// A name in wire form, folded.
    pub fn wire_of(&mut self, owner: &Name) -> &[u8] {
        self.name = lower_name(owner);
        &self.name
    }

    /// A record with nothing but a SOA without its owner, which is not always the question's name.
    pub fn encode_soa(
        &mut self,
        apex: &Name,
        zone_index: u8,
        soa: &DnsRecord,
    ) -> Option<EncodedRecord<'_>> {
        self.name = lower_name(apex);
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
        encoded(&contents, &mut self.record)
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
        self.name = lower_name(owner);
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
        encoded(&contents, &mut self.record)
    }

    /// The record of a name by what the zone holds; the same as of its node.
    pub fn encode_held(
        &mut self,
        zone: &Zone,
        zone_index: u8,
        owner: &OwnerName,
        held: &Held<'_>,
    ) -> Option<EncodedRecord<'_>> {
        let ttl = zone.config().ttl;
        let mut contents = Contents {
            name: owner.wire(),
            zone: zone_index,
            ..Contents::default()
        };
        self.a.clear();
        self.aaaa.clear();
        self.wire.clear();
        match held {
            Held::Nothing => return None,
            Held::Node(node) => return self.encode(zone, zone_index, &owner.name(), node),
            Held::Empty => {}
            Held::Addresses(addresses) => {
                addresses.each(|address| match address {
                    IpAddr::V4(address) => self.a.push(address.octets()),
                    IpAddr::V6(address) => self.aaaa.push(address.octets()),
                });
                self.a.sort_unstable();
                self.a.dedup();
                self.aaaa.sort_unstable();
                self.aaaa.dedup();
                contents.ttl = ttl;
                contents.srv_elsewhere = addresses.has_services();
            }
            Held::Port(port) => {
                write_port(&mut self.wire, owner, port, ttl)?;
                contents.other = Some(OtherRecords {
                    rtype: RecordType::SRV.into(),
                    answers: u16::try_from(port.numbers.len()).ok()?,
                    additionals: u16::try_from(port.addresses.len()).ok()?,
                    wire: &self.wire,
                });
            }
            Held::Pointer(Target(target)) => {
                write_head(
                    &mut self.wire,
                    QUESTION,
                    RecordType::PTR,
                    ttl,
                    target.wire().len(),
                )?;
                self.wire.extend_from_slice(target.wire());
                contents.other = Some(OtherRecords {
                    rtype: RecordType::PTR.into(),
                    answers: 1,
                    additionals: 0,
                    wire: &self.wire,
                });
            }
        }
        contents.a = &self.a;
        contents.aaaa = &self.aaaa;
        encoded(&contents, &mut self.record)
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

/// The SRV records of a port and the addresses of their target.
fn write_port(wire: &mut Vec<u8>, owner: &OwnerName, port: &Port<'_>, ttl: u32) -> Option<()> {
    const FIXED_BYTES: usize = 6;
    let target = suffixes(owner.wire()).nth(PORT_LABELS)?;
    for number in &port.numbers {
        write_head(
            wire,
            QUESTION,
            RecordType::SRV,
            ttl,
            FIXED_BYTES + target.len(),
        )?;
        for field in [0, port.weight, *number] {
            wire.extend_from_slice(&field.to_be_bytes());
        }
        wire.extend_from_slice(target);
    }
    for address in port.addresses {
        match address {
            IpAddr::V4(address) => {
                write_head(wire, target, RecordType::A, ttl, 4)?;
                wire.extend_from_slice(&address.octets());
            }
            IpAddr::V6(address) => {
                write_head(wire, target, RecordType::AAAA, ttl, 16)?;
                wire.extend_from_slice(&address.octets());
            }
        }
    }
    Some(())
}

/// A record is encoded over the one before.
fn encoded<'r>(contents: &Contents, record: &'r mut Record) -> Option<EncodedRecord<'r>> {
    let cells = record::encode(contents, record).ok()?;
    Some(EncodedRecord {
        record,
        name_len: contents.name.len(),
        cells: u32::try_from(cells).ok()?,
    })
}

//! The records of a zone, by name and type.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

use hickory_proto::rr::{Name, RData, Record, RecordType};

/// A zone with its SOA record.
pub(super) struct Zone {
    pub origin: Name,
    /// Of the SOA record.
    pub serial: u32,
    /// In the order of RFC 4034 section 6.1: what is below a name stands right behind it.
    nodes: BTreeMap<Name, Node>,
}

/// The records of one name.
pub(super) type Node = BTreeMap<RecordType, Vec<Record>>;

impl Zone {
    /// Puts records in order.
    ///
    /// # Errors
    ///
    /// There is no SOA record, or there are NSEC3 records.
    pub(super) fn new(origin: Name, records: Vec<Record>) -> Result<Self, String> {
        let mut nodes: BTreeMap<Name, Node> = BTreeMap::new();
        for mut record in records {
            let rtype = record.record_type();
            if matches!(rtype, RecordType::NSEC3 | RecordType::NSEC3PARAM) {
                return Err(format!("NSEC3 zone is not supported: {}", record.name));
            }
            record.name = record.name.to_lowercase();
            if !origin.zone_of(&record.name) {
                continue;
            }
            let set = nodes
                .entry(record.name.clone())
                .or_default()
                .entry(rtype)
                .or_default();
            // The same twice is once (RFC 2181 section 5).
            if !set.contains(&record) {
                set.push(record);
            }
        }
        let soa = nodes
            .get(&origin)
            .and_then(|node| node.get(&RecordType::SOA));
        let serial = soa.and_then(|soa| soa.iter().find_map(serial_of));
        let serial = serial.ok_or_else(|| format!("no SOA record for origin {origin}"))?;
        Ok(Zone {
            origin,
            serial,
            nodes,
        })
    }

    /// All records, from SOA to SOA (RFC 5936 section 2.2).
    pub(super) fn all(&self) -> Vec<Record> {
        let is_soa = |record: &&Record| record.record_type() == RecordType::SOA;
        let (soa, others): (Vec<_>, Vec<_>) = (self.nodes.values())
            .flat_map(BTreeMap::values)
            .flatten()
            .partition(|record| is_soa(record) && record.name == self.origin);
        let soa = soa.first().copied();
        let all = soa.into_iter().chain(others).chain(soa);
        all.cloned().collect()
    }

    /// The records of a name.
    pub(super) fn node(&self, name: &Name) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// The name before, in the order of NSEC records.
    pub(super) fn before(&self, name: &Name) -> Option<&Node> {
        self.nodes.range(..name).next_back().map(|(_, node)| node)
    }

    /// Whether names below this one exist.
    pub(super) fn has_below(&self, name: &Name) -> bool {
        let mut behind = self.nodes.range((Excluded(name), Unbounded));
        behind.next().is_some_and(|(next, _)| name.zone_of(next))
    }

    /// The SOA record, for denials.
    pub(super) fn soa(&self, signed: bool) -> Vec<Record> {
        self.apex(RecordType::SOA, signed)
    }

    /// The NS records, which stand behind every answer.
    pub(super) fn ns(&self, signed: bool) -> Vec<Record> {
        self.apex(RecordType::NS, signed)
    }

    fn apex(&self, rtype: RecordType, signed: bool) -> Vec<Record> {
        let apex = self.nodes.get(&self.origin);
        apex.map(|node| set(node, rtype, signed))
            .unwrap_or_default()
    }

    /// The addresses of names that records lead to, each once.
    pub(super) fn addresses_of(&self, records: &[Record], signed: bool) -> Vec<Record> {
        let mut names: Vec<&Name> = Vec::new();
        for record in records {
            let target = match &record.data {
                RData::SRV(data) => &data.target,
                RData::MX(data) => &data.exchange,
                RData::SVCB(data) => &data.target_name,
                RData::HTTPS(data) => &data.0.target_name,
                RData::NS(data) => &data.0,
                _ => continue,
            };
            if !names.contains(&target) {
                names.push(target);
            }
        }
        let nodes = names.into_iter().filter_map(|name| self.nodes.get(name));
        let types = [RecordType::A, RecordType::AAAA];
        nodes
            .flat_map(|node| types.map(|rtype| set(node, rtype, signed)))
            .flatten()
            .collect()
    }
}

/// The records of one type, with their signatures if wanted.
pub(super) fn set(node: &Node, rtype: RecordType, signed: bool) -> Vec<Record> {
    let mut records = node.get(&rtype).cloned().unwrap_or_default();
    if signed && !records.is_empty() {
        let signatures = node.get(&RecordType::RRSIG).into_iter().flatten();
        records.extend(
            signatures
                .filter(|signature| covers(signature, rtype))
                .cloned(),
        );
    }
    records
}

/// Whether a signature is one of records of this type (RFC 4034 section 3.1).
fn covers(signature: &Record, rtype: RecordType) -> bool {
    match &signature.data {
        RData::Unknown { rdata, .. } => {
            rdata.anything.get(..2) == Some(&u16::from(rtype).to_be_bytes()[..])
        }
        _ => false,
    }
}

fn serial_of(record: &Record) -> Option<u32> {
    match &record.data {
        RData::SOA(soa) => Some(soa.serial),
        _ => None,
    }
}

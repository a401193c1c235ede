//! Names and the versions of their records, made once by the daemon's own encoder.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::{
    Name, RData, RecordType,
    rdata::{A, AAAA},
};
use hopzero::{
    publisher::encode::{EncodedRecord, Encoder},
    zone::{Node, RrSet, Zone, ZoneConfig},
};
use hopzero_common::{layout::bucket_of, name::hash_of};

/// The seed of the name hash.
pub const SEED: u64 = 1;

/// A record that lives as long as the process: each execution writes it anew.
pub type Record = &'static EncodedRecord<'static>;

/// How large a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// One cell.
    One,
    /// Two cells, both of which say the version.
    Two,
}

/// The `nth` of the names whose first bucket is `bucket` of `buckets`.
pub fn name_in(bucket: u32, buckets: u32, nth: usize) -> String {
    (0..)
        .map(|number| format!("n{number}."))
        .filter(|name| {
            let words = record(name, 0, Size::One).name_words();
            bucket_of(hash_of(words, SEED), buckets) == bucket
        })
        .nth(nth)
        .expect("names without end")
}

/// A version of a name's record. TTL and addresses say the version, so that a mixture of two looks
/// like neither.
pub fn record(name: &str, version: u32, size: Size) -> Record {
    let rrset = |rtype, rdata| RrSet {
        rtype,
        ttl: version,
        rdata,
        additionals: Vec::new(),
    };
    let address = RData::A(A(Ipv4Addr::from(0x0a00_0000 | version)));
    let mut rrsets = vec![rrset(RecordType::A, vec![address.clone(), address])];
    if size == Size::Two {
        // The first cell ends within the second of them.
        let last_words = [0, 0, version];
        let addresses = last_words.map(|last| {
            RData::AAAA(AAAA(Ipv6Addr::from(0xfd << 120 | u128::from(last))))
        });
        rrsets.push(rrset(RecordType::AAAA, addresses.to_vec()));
    }
    encode(|encoder| {
        encoder.encode(&zone(), 0, &parse(name), &Node::Records(rrsets))
    })
}

/// The SOA of a zone, as the programs find it beside the index.
pub fn soa(apex: &str) -> Record {
    let zone = zone();
    let soa = zone.soa(&parse(apex)).expect("the zone's own");
    encode(|encoder| encoder.encode_soa(&parse(apex), &soa))
}

fn encode(
    with: impl FnOnce(&'static mut Encoder) -> Option<EncodedRecord<'static>>,
) -> Record {
    let encoder = Box::leak(Box::<Encoder>::default());
    Box::leak(Box::new(with(encoder).expect("a record that can be kept")))
}

fn zone() -> Zone {
    Zone::new(ZoneConfig {
        origin: parse("cluster.local."),
        reverse: Vec::new(),
        ttl: 5,
    })
}

fn parse(name: &str) -> Name {
    Name::from_ascii(name).expect("a name")
}

/// Whether two records are of one name.
pub fn is_of(record: Record, other: Record) -> bool {
    record.name_words() == other.name_words()
}

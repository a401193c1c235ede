//! Names and the versions of their records, made once by the daemon's own encoder.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::{
    Name, RData, Record as DnsRecord, RecordType,
    rdata::{A, AAAA, SOA},
};
use hopzero::{
    publisher::encode::{EncodedRecord, Encoder},
    zone::{Node, RrSet, Zone, ZoneConfig},
};
use hopzero_common::{layout::bucket_of, name::hash_of};

/// The seed of the name hash.
pub const SEED: u64 = 1;

/// A version of a name's record, or of a zone's SOA.
pub struct Version {
    /// Which version of its name; also its TTL, or the SOA's serial.
    pub number: u32,
    /// As it goes to memory.
    pub encoded: EncodedRecord<'static>,
}

impl Version {
    /// The words of the owner name.
    pub fn name_words(&self) -> &[u64] {
        self.encoded.name_words()
    }

    /// Bytes of the owner name.
    pub fn name_len(&self) -> u32 {
        let second_word = self.encoded.words()[1];
        u32::try_from(second_word & 0xff).expect("a byte")
    }

    /// Whether two are of one name.
    pub fn is_of_name(&self, other: &Version) -> bool {
        self.name_words() == other.name_words()
    }
}

/// A version lives as long as the process: each execution writes it anew.
pub type Record = &'static Version;

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
        let addresses = last_words
            .map(|last| RData::AAAA(AAAA(Ipv6Addr::from(0xfd << 120 | u128::from(last)))));
        rrsets.push(rrset(RecordType::AAAA, addresses.to_vec()));
    }
    encode(version, |encoder| {
        encoder.encode(&zone(), 0, &parse(name), &Node::Records(rrsets))
    })
}

/// A version of a zone's SOA, as the programs find it beside the index.
pub fn soa(apex: &str, version: u32) -> Record {
    let rdata = SOA::new(Name::root(), Name::root(), version, 1, 1, 1, 1);
    let record = DnsRecord::from_rdata(parse(apex), 5, RData::SOA(rdata));
    encode(version, |encoder| {
        encoder.encode_soa(&parse(apex), 0, &record)
    })
}

fn encode(
    number: u32,
    with: impl FnOnce(&'static mut Encoder) -> Option<EncodedRecord<'static>>,
) -> Record {
    let encoded = with(Box::leak(Box::<Encoder>::default()));
    let encoded = encoded.expect("a record that can be kept");
    Box::leak(Box::new(Version { number, encoded }))
}

fn zone() -> Zone {
    Zone::new(ZoneConfig {
        origin: parse("cluster.local."),
        reverse: Vec::new(),
        ttl: 5,
        ..ZoneConfig::default()
    })
}

fn parse(name: &str) -> Name {
    Name::from_ascii(name).expect("a name")
}

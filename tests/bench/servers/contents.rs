//! The zone as a file, and what is asked of it.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use hickory_proto::rr::{Record, RecordType};
use hopzero::zone::{Node, Zone};
use hopzero_tests::client::{Query, rtype};

use crate::world;

/// The zone file's name.
pub const ZONE: &str = "cluster.local.zone";
/// Queries, which are asked again and again.
const COUNT: u32 = 100_000;

/// Writes it.
pub fn write(zone: &Zone, directory: &Path) -> Result<()> {
    let mut file = BufWriter::new(File::create(directory.join(ZONE))?);
    let origin = zone.config().origin.clone();
    // The SOA comes first (RFC 1035 section 5.2 leaves it open; not every server does).
    writeln!(file, "{}", zone.soa(&origin).context("no SOA")?)?;
    // Outside it are the reverse zones, which nobody asks here.
    for name in zone.names().filter(|name| origin.zone_of(name)) {
        let Node::Records(rrsets) = zone.node(&name) else {
            continue;
        };
        for rrset in rrsets.iter().filter(|rrset| rrset.rtype != RecordType::SOA) {
            for rdata in &rrset.rdata {
                let record = Record::from_rdata(name.clone(), rrset.ttl, rdata.clone());
                if rrset.rtype == RecordType::TXT {
                    writeln!(file, "{name} {} IN TXT \"{rdata}\"", rrset.ttl)?;
                } else {
                    writeln!(file, "{record}")?;
                }
            }
        }
    }
    Ok(file.flush()?)
}

/// What is asked.
pub fn queries(services: u32) -> Vec<Vec<u8>> {
    (0..COUNT)
        .map(|query| {
            let id = u16::try_from(query % (1 << 16)).unwrap_or(0);
            question(query, services).id(id).bytes()
        })
        .collect()
}

/// Of ten queries six are for an address that is there, two for one of the family that is not (NODATA), and two
/// for a name that a search path made (NXDOMAIN).
fn question(query: u32, services: u32) -> Query {
    // A Weyl sequence: every service is as likely as any other, and neighbours are far apart.
    let random = u64::from(query.wrapping_mul(0x9e37_79b9));
    let number = u32::try_from((random * u64::from(services)) >> 32).unwrap_or(0);
    match query % 10 {
        0..6 => Query::new(world::name40(number), rtype::A),
        6..8 => Query::new(world::name40(number), rtype::AAAA),
        _ => Query::new(denied(number), rtype::A),
    }
}

/// What a pod asks first for `<label>.example.com`.
pub fn denied(number: u32) -> String {
    let (host, zone) = (world::name40(number), "example.com");
    let (label, search) = host.split_once('.').unwrap_or((&host, ""));
    format!("{label}.{zone}.{search}")
}

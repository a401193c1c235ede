//! Tests of the zone: transcripts of questions and answers, and properties of change.

mod changes;
mod kept;
mod model;
mod properties;
mod transcript;

use hickory_proto::rr::Name;

use super::{Zone, ZoneConfig};
use crate::source::{Change, manifests};

/// Unix time of the tests' changes.
const NOW: u32 = 1_700_000_000;

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

fn empty_zone() -> Zone {
    Zone::new(ZoneConfig {
        origin: name("cluster.local."),
        reverse: vec![name("in-addr.arpa."), name("ip6.arpa.")],
        ttl: 5,
    })
}

/// The changes that bring what a text of manifests holds.
fn upserts(text: &str) -> Vec<Change> {
    let objects = manifests::yaml(text).expect("manifests parse");
    let upsert = |mut object| {
        manifests::normalise(&mut object).expect("named");
        Change::Upsert(object)
    };
    objects.into_iter().map(upsert).collect()
}

fn zone_of(text: &str) -> Zone {
    let mut zone = empty_zone();
    let mut batch = upserts(text);
    batch.push(Change::Synchronised);
    zone.apply(batch, NOW);
    zone
}

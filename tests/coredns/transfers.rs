//! Whole zones of `file`, and what has changed in them: the same questions to both.

use std::path::Path;

use anyhow::{Context as _, Result};
use hopzero_tests::beside::{
    comparison::Comparison,
    peer::{Client, Peer, Software},
    question::Asked,
};

const SOA: u16 = 6;
const IXFR: u16 = 251;
const AXFR: u16 = 252;
/// Of `transfer/example.org.zone`.
const SERIAL: u32 = 2_024_010_101;

pub fn run(coredns: &Path) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("coredns/transfer");
    let theirs = Peer::start(Software::CoreDns(coredns), &folder, &[])?;
    let ours = Peer::start(Software::Hopzero, &folder, &[])?;
    let client = Client::new()?;
    let mut comparison = Comparison::default();
    for asked in questions() {
        let (theirs, ours) = (theirs.ask(&client, &asked)?, ours.ask(&client, &asked)?);
        comparison.note(&asked, &theirs, &ours);
    }
    println!("transfers: {}", comparison.summary());
    let logs = || format!("ours:\n{}\ntheirs:\n{}", ours.log(), theirs.log());
    comparison.end().with_context(logs)
}

fn questions() -> Vec<Asked> {
    let names = [
        "example.org",
        "Example.ORG",
        "www.example.org",
        "sub.example.org",
        "private.example",
        "closed.example",
        "elsewhere.example",
    ];
    let mut all = Vec::new();
    for name in names {
        for is_over_tcp in [true, false] {
            let plain = |rtype| Asked {
                is_over_tcp,
                ..Asked::plain(name, rtype)
            };
            all.extend([plain(AXFR), plain(IXFR)]);
            for serial in [0, 1, SERIAL - 1, SERIAL, SERIAL + 1] {
                all.push(with_serial(plain(IXFR), serial));
                all.push(with_serial(plain(AXFR), serial));
            }
        }
    }
    // The reply to NOTIFY may be silence, which takes its time.
    let mut notify = Asked::plain("example.org", SOA);
    notify.bytes[2] = 4 << 3 | 4;
    all.push(notify);
    all
}

/// With a SOA record in its authority section (RFC 1995 section 3): its owner a pointer to the question's name.
fn with_serial(mut asked: Asked, serial: u32) -> Asked {
    let (nscount, soa) = (9, [0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 0, 0, 22, 0, 0]);
    asked.bytes[nscount] = 1;
    asked.bytes.extend(soa);
    asked.bytes.extend(serial.to_be_bytes());
    asked.bytes.extend([0; 16]);
    asked
}

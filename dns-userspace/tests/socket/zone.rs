//! A small zone, written out as answers.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT},
    },
};
use hopzero::{
    socket::{Transport, respond},
    zone::Answer,
};

pub const TTL: u32 = 5;
pub const SERIAL: u32 = 0x0102_0304;

/// The zone's reply over UDP to a query that must get one.
pub fn udp(query: &[u8]) -> Vec<u8> {
    respond(query, Transport::Udp, &lookup).expect("a reply")
}

pub fn parse(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// What the tests ask:
///
/// | name | holds |
/// |---|---|
/// | `web.shop.svc.cluster.local.` | A 10.96.0.10, AAAA fd00::a |
/// | `many.shop.svc.cluster.local.` | 40 A |
/// | `_http._tcp.web.shop.svc.cluster.local.` | SRV, with A and AAAA of its target |
/// | `out.shop.svc.cluster.local.` | CNAME web, chased |
/// | `10.0.96.10.in-addr.arpa.` | PTR web |
/// | `dns-version.cluster.local.` | TXT |
/// | `cluster.local.` | SOA |
/// | `starting.cluster.local.` | SERVFAIL |
/// | other names below `cluster.local.` | NXDOMAIN |
pub fn lookup(name: &Name, rtype: RecordType) -> Option<Answer> {
    let origin = parse("cluster.local.");
    let reverse = parse("in-addr.arpa.");
    let zone = [origin, reverse]
        .into_iter()
        .find(|zone| zone.zone_of(name))?;
    let text = name.to_lowercase().to_ascii();
    if text == "starting.cluster.local." {
        return Some(Answer {
            authoritative: false,
            ..answer(ResponseCode::ServFail)
        });
    }
    let Some(sets) = records(&text) else {
        return Some(negative(&zone, ResponseCode::NXDomain));
    };
    let mut found = answer(ResponseCode::NoError);
    found.answers = sets
        .into_iter()
        .filter(|data| data.record_type() == rtype || data.record_type() == RecordType::CNAME)
        .map(|data| Record::from_rdata(name.to_lowercase(), TTL, data))
        .collect();
    if text.starts_with("out.") {
        let target = parse("web.shop.svc.cluster.local.");
        found.answers.extend(lookup(&target, rtype)?.answers);
    }
    if rtype == RecordType::SRV {
        for rtype in [RecordType::A, RecordType::AAAA] {
            let target = parse("web.shop.svc.cluster.local.");
            found.additionals.extend(lookup(&target, rtype)?.answers);
        }
    }
    if found.answers.is_empty() {
        return Some(negative(&zone, ResponseCode::NoError));
    }
    Some(found)
}

fn records(text: &str) -> Option<Vec<RData>> {
    let web = || parse("web.shop.svc.cluster.local.");
    Some(match text {
        "web.shop.svc.cluster.local." => vec![
            RData::A(A(Ipv4Addr::new(10, 96, 0, 10))),
            RData::AAAA(AAAA(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xa))),
        ],
        "many.shop.svc.cluster.local." => (1..=40)
            .map(|last| RData::A(A(Ipv4Addr::new(10, 244, 0, last))))
            .collect(),
        "_http._tcp.web.shop.svc.cluster.local." => vec![RData::SRV(SRV::new(0, 100, 80, web()))],
        "out.shop.svc.cluster.local." => vec![RData::CNAME(CNAME(web()))],
        "10.0.96.10.in-addr.arpa." => vec![RData::PTR(PTR(web()))],
        "dns-version.cluster.local." => vec![RData::TXT(TXT::new(vec!["1.1.0".to_owned()]))],
        "cluster.local." => vec![soa()],
        _ => return None,
    })
}

fn soa() -> RData {
    RData::SOA(SOA::new(
        parse("ns.dns.cluster.local."),
        parse("hostmaster.cluster.local."),
        SERIAL,
        7200,
        1800,
        86400,
        TTL,
    ))
}

fn negative(zone: &Name, rcode: ResponseCode) -> Answer {
    Answer {
        authority: vec![Record::from_rdata(zone.clone(), TTL, soa())],
        ..answer(rcode)
    }
}

fn answer(rcode: ResponseCode) -> Answer {
    Answer {
        rcode,
        authoritative: true,
        answers: Vec::new(),
        authority: Vec::new(),
        additionals: Vec::new(),
    }
}

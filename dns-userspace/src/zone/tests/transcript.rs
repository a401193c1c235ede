//! Questions and answers as a person writes them.
//!
//! ```text
//! web.shop.svc.cluster.local. A -> NOERROR
//!   answer     ^ 5 A 10.96.0.10
//! ```
//!
//! A transcript is a file of such entries, each answer complete and in order: what the zone says is
//! printed in the same form and compared as text. `^` in an answer stands for the question's name
//! as asked; the contents of a SOA record are always the same, and checked, but not written.

use std::fmt::Write as _;

use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::{NOW, Zone, empty_zone, name, zone_of};

/// Asks what each entry of a transcript asks, and compares.
fn check(zone: &Zone, transcript: &str) {
    let questions = transcript.lines().filter_map(|line| {
        let line = line.trim_end();
        let (question, _) = line.split_once(" -> ")?;
        question.split_once(' ')
    });
    let mut said = String::new();
    for (owner, rtype) in questions {
        say(zone, owner, rtype, &mut said);
    }
    let written: Vec<&str> = transcript
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim_end())
        .filter(|line| !line.is_empty())
        .collect();
    pretty(&said, &written.join("\n"));
}

fn pretty(said: &str, written: &str) {
    let (said, written): (Vec<_>, Vec<_>) = (said.lines().collect(), written.lines().collect());
    let at = said
        .iter()
        .zip(&written)
        .position(|(said, written)| said != written);
    let at = at.unwrap_or(said.len().min(written.len()));
    assert!(
        said == written,
        "from line {at} the zone says\n{}\nwhere is written\n{}",
        said[at..]
            .iter()
            .take(8)
            .copied()
            .collect::<Vec<_>>()
            .join("\n"),
        written[at..]
            .iter()
            .take(8)
            .copied()
            .collect::<Vec<_>>()
            .join("\n"),
    );
}

fn say(zone: &Zone, owner: &str, rtype: &str, said: &mut String) {
    let question = name(owner);
    let rtype: RecordType = rtype.parse().expect("a type");
    let Some(answer) = zone.lookup(&question, rtype) else {
        writeln!(said, "{owner} {rtype} -> REFUSED").expect("written");
        return;
    };
    let rcode = match answer.rcode.low() {
        0 => "NOERROR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        _ => "?",
    };
    assert_eq!(answer.authoritative, rcode != "SERVFAIL");
    writeln!(said, "{owner} {rtype} -> {rcode}").expect("written");
    for (section, records) in [
        ("answer", &answer.answers),
        ("authority", &answer.authority),
        ("additional", &answer.additionals),
    ] {
        for record in records {
            writeln!(said, "  {section:<10} {}", show(section, &question, record))
                .expect("written");
        }
    }
}

fn show(section: &str, question: &Name, record: &Record) -> String {
    let owner = if section == "answer" && record.name.eq_case(question) {
        "^".to_owned()
    } else {
        record.name.to_string()
    };
    let ttl = record.ttl;
    if let RData::SOA(soa) = &record.data {
        assert_eq!(
            (soa.serial, soa.refresh, soa.retry, soa.expire),
            (NOW, 7200, 1800, 86_400)
        );
        assert_eq!((soa.minimum, ttl), (5, 5));
        // Only the owner is spelt as the question spells it; the data is the same for all.
        let zone = record.name.to_lowercase();
        assert_eq!(soa.mname.to_string(), format!("ns.dns.{zone}"));
        assert_eq!(soa.rname.to_string(), format!("hostmaster.{zone}"));
        return format!("{owner} SOA");
    }
    format!("{owner} {ttl} {} {}", record.record_type(), record.data)
}

#[test]
fn cluster_ip_services() {
    check(
        &zone_of(include_str!("cluster-ip.yaml")),
        include_str!("cluster-ip.txt"),
    );
}

#[test]
fn headless_services() {
    check(
        &zone_of(include_str!("headless.yaml")),
        include_str!("headless.txt"),
    );
}

#[test]
fn external_names() {
    check(
        &zone_of(include_str!("external.yaml")),
        include_str!("external.txt"),
    );
}

#[test]
fn a_cluster_with_nothing_in_it() {
    check(&empty_cluster(), include_str!("empty.txt"));
}

#[test]
fn before_synchronisation_nothing_is_known() {
    let zone = empty_zone();
    assert!(!zone.is_synchronised());
    check(
        &zone,
        "cluster.local. SOA -> SERVFAIL\n\
         web.shop.svc.cluster.local. A -> SERVFAIL\n\
         example.com. A -> REFUSED\n",
    );
}

/// Nothing but one namespace: without any change there is no serial.
fn empty_cluster() -> Zone {
    zone_of("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}")
}

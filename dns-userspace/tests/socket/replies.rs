//! Query → reply, byte for byte where the form is fixed, and by RCODE for malformed queries.

use std::sync::{Arc, RwLock};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType, rdata::CNAME},
};
use hopzero::{
    socket::{Only, Path, Transport, answer, respond},
    zone::{Answer, Zone, ZoneConfig},
};

use crate::{
    message::{
        A, AAAA, SOA, SRV, TXT, WEB, decode, header, name, opt, query, query_with, question, record,
    },
    zone::{lookup, parse, udp},
};

fn soa_rdata() -> Vec<u8> {
    [
        name("ns.dns.cluster.local"),
        name("hostmaster.cluster.local"),
        [0x0102_0304u32, 7200, 1800, 86400, 5]
            .into_iter()
            .flat_map(u32::to_be_bytes)
            .collect(),
    ]
    .concat()
}

#[test]
fn a_hit_is_header_question_and_pointer_records() {
    let expected = [
        header([0x85, 0x00], [1, 1, 0, 0]),
        question(WEB, A),
        record(&[0xc0, 12], A, &[10, 96, 0, 10]),
    ];
    assert_eq!(udp(&query(WEB, A)), expected.concat());
}

#[test]
fn the_case_of_the_question_is_kept() {
    let asked = "wEb.ShOp.svc.CLUSTER.local";
    let expected = [
        header([0x85, 0x00], [1, 1, 0, 0]),
        question(asked, A),
        record(&[0xc0, 12], A, &[10, 96, 0, 10]),
    ];
    assert_eq!(udp(&query(asked, A)), expected.concat());
}

#[test]
fn edns_adds_one_opt_at_the_end() {
    let asked = query_with(WEB, A, &opt(4096, 0, 0, &[]));
    let expected = [
        header([0x85, 0x00], [1, 1, 0, 1]),
        question(WEB, A),
        record(&[0xc0, 12], A, &[10, 96, 0, 10]),
        opt(1232, 0, 0, &[]),
    ];
    assert_eq!(udp(&asked), expected.concat());
}

#[test]
fn dnssec_ok_is_copied_other_flags_and_options_are_not() {
    let cookie_and_unknown = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0xfd, 0xe9, 0, 1, 0xff];
    let asked = query_with(WEB, A, &opt(1232, 0, 0xffff, &cookie_and_unknown));
    let reply = udp(&asked);
    assert!(reply.ends_with(&opt(1232, 0, 0x8000, &[])), "{reply:02x?}");
}

#[test]
fn negative_answers_point_at_the_zone_in_the_question() {
    // `no.` is 3 bytes, so the zone's name begins at 12 + 3.
    let expected = [
        header([0x85, 0x03], [1, 0, 1, 0]),
        question("nO.Cluster.Local", A),
        record(&[0xc0, 15], SOA, &soa_rdata()),
    ];
    assert_eq!(udp(&query("nO.Cluster.Local", A)), expected.concat());

    // NODATA at a name, and at the apex, where the suffix is the whole name.
    let expected = [
        header([0x85, 0x00], [1, 0, 1, 0]),
        question(WEB, TXT),
        record(&[0xc0, 12 + 13], SOA, &soa_rdata()),
    ];
    assert_eq!(udp(&query(WEB, TXT)), expected.concat());
    let expected = [
        header([0x85, 0x00], [1, 0, 1, 0]),
        question("cluster.local", TXT),
        record(&[0xc0, 12], SOA, &soa_rdata()),
    ];
    assert_eq!(udp(&query("cluster.local", TXT)), expected.concat());
}

#[test]
fn names_in_record_data_and_of_additionals_are_written_out() {
    let asked = format!("_http._tcp.{WEB}");
    let v6 = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a];
    let expected = [
        header([0x85, 0x00], [1, 1, 0, 2]),
        question(&asked, SRV),
        record(
            &[0xc0, 12],
            SRV,
            &[&[0, 0, 0, 100, 0, 80], &*name(WEB)].concat(),
        ),
        // A suffix of the question's name, and still written out.
        record(&name(WEB), A, &[10, 96, 0, 10]),
        record(&name(WEB), AAAA, &v6),
    ];
    assert_eq!(udp(&query(&asked, SRV)), expected.concat());

    let expected = [
        header([0x85, 0x00], [1, 1, 0, 0]),
        question("10.0.96.10.in-addr.arpa", 12),
        record(&[0xc0, 12], 12, &name(WEB)),
    ];
    assert_eq!(
        udp(&query("10.0.96.10.in-addr.arpa", 12)),
        expected.concat()
    );
}

#[test]
fn the_target_of_a_cname_is_a_pointer_to_its_data() {
    let out = "out.shop.svc.cluster.local";
    let data = 12 + name(out).len() + 4 + 12;
    let expected = [
        header([0x85, 0x00], [1, 2, 0, 0]),
        question(out, A),
        // The case of the data is the zone's.
        record(&[0xc0, 12], 5, &name("Web.shop.svc.cluster.local")),
        record(&pointer(data), A, &[10, 96, 0, 10]),
    ];
    assert_eq!(udp(&query(out, A)), expected.concat());

    // A chain, link by link.
    let link = |owner: &str, target: &str| {
        Record::from_rdata(parse(owner), 5, RData::CNAME(CNAME(parse(target))))
    };
    let resolver = move |_: &Name, _| {
        Some(Answer {
            rcode: ResponseCode::NoError,
            authoritative: true,
            answers: vec![link("a.x.", "b.x."), link("b.x.", "a.x.")],
            authority: Vec::new(),
            additionals: Vec::new(),
        })
    };
    let reply = respond(&query("a.x", A), Transport::Udp, &resolver).expect("a reply");
    let data = 12 + 5 + 4 + 12;
    let expected = [
        header([0x85, 0x00], [1, 2, 0, 0]),
        question("a.x", A),
        record(&[0xc0, 12], 5, &name("b.x")),
        record(&pointer(data), 5, &name("a.x")),
    ];
    assert_eq!(reply, expected.concat());
}

fn pointer(offset: usize) -> [u8; 2] {
    (0xc000 | u16::try_from(offset).expect("near")).to_be_bytes()
}

/// What a resolver alone replies, with its addresses rotated.
async fn rotated(message: &[u8]) -> Vec<u8> {
    let service = Only {
        resolver: Arc::new(lookup),
        rotate: true,
    };
    let address = "192.0.2.1:53".parse().expect("an address");
    let path = Path {
        client: address,
        local: address,
        transport: Transport::Udp,
    };
    let reply = answer(message, path, &service).await;
    reply.expect("a reply").bytes
}

#[tokio::test]
async fn addresses_begin_with_each_of_them_when_rotated() {
    let many = query_with("many.shop.svc.cluster.local", A, &opt(1232, 0, 0, &[]));
    let plain = udp(&many);
    let (start, bytes) = (12 + name("many.shop.svc.cluster.local").len() + 4, 40 * 16);
    let mut seen = [0; 40];
    for _ in 0..4000 {
        let reply = rotated(&many).await;
        let first = (0..40)
            .find(|first| {
                let mut expected = plain.clone();
                expected[start..start + bytes].rotate_left(first * 16);
                expected == reply
            })
            .expect("the same but for the rotation");
        seen[first] += 1;
    }
    // 100 each on average: 40 is six standard deviations away.
    assert!(seen.iter().all(|&times| times > 40), "{seen:?}");

    // What is one, or no address, stays where it is.
    for (asked, rtype) in [
        (WEB.to_owned(), A),
        ("out.shop.svc.cluster.local".to_owned(), A),
        (format!("_http._tcp.{WEB}"), SRV),
        ("no.cluster.local".to_owned(), A),
    ] {
        let asked = query(&asked, rtype);
        for _ in 0..20 {
            assert_eq!(rotated(&asked).await, udp(&asked));
        }
    }
}

#[test]
fn header_bits() {
    let flags = |flags: [u8; 2]| {
        let asked = [header(flags, [1, 0, 0, 0]), question(WEB, A)].concat();
        let reply = udp(&asked);
        [reply[2], reply[3]]
    };
    assert_eq!(flags([0x00, 0x00]), [0x84, 0x00], "AA alone");
    assert_eq!(flags([0x01, 0x00]), [0x85, 0x00], "RD copied");
    assert_eq!(flags([0x00, 0x10]), [0x84, 0x10], "CD copied");
    assert_eq!(
        flags([0x06, 0xef]),
        [0x84, 0x00],
        "AA, TC, RA, Z, AD and RCODE of a query mean nothing"
    );
}

#[test]
fn too_large_is_truncated_to_question_and_opt() {
    let asked = "many.shop.svc.cluster.local";
    let empty = [header([0x87, 0x00], [1, 0, 0, 0]), question(asked, A)].concat();
    assert_eq!(udp(&query(asked, A)), empty);

    let with_opt = [
        header([0x87, 0x00], [1, 0, 0, 1]),
        question(asked, A),
        opt(1232, 0, 0, &[]),
    ]
    .concat();
    for size in [0, 511, 512, 600] {
        let reply = udp(&query_with(asked, A, &opt(size, 0, 0, &[])));
        assert_eq!(reply, with_opt, "client's size {size}");
    }
    // 12 + 33 + 40 × 16 + 11
    let whole = 12 + question(asked, A).len() + 40 * 16 + 11;
    for (size, fits) in [(whole - 1, false), (whole, true), (4096, true)] {
        let size = u16::try_from(size).unwrap();
        let reply = udp(&query_with(asked, A, &opt(size, 0, 0, &[])));
        assert_eq!(reply.len() == whole, fits, "client's size {size}");
        assert_eq!(decode(&reply).metadata.truncation, !fits);
    }
    // Our own limit, whatever the client would take.
    let huge = query_with("huge.shop.svc.cluster.local", A, &opt(u16::MAX, 0, 0, &[]));
    assert!(decode(&udp(&huge)).metadata.truncation);

    let tcp = respond(&query(asked, A), Transport::Tcp, &lookup).unwrap();
    assert_eq!(decode(&tcp).answers.len(), 40);
}

#[test]
fn a_size_below_512_counts_as_512() {
    for size in [0, 12, 511] {
        let reply = udp(&query_with(WEB, A, &opt(size, 0, 0, &[])));
        assert_eq!(decode(&reply).answers.len(), 1, "client's size {size}");
    }
}

#[test]
fn rcodes_of_well_formed_queries() {
    let class = |class: u16| {
        let mut asked = query(WEB, A);
        let end = asked.len();
        asked[end - 2..].copy_from_slice(&class.to_be_bytes());
        asked
    };
    let table = [
        (
            "outside our zones",
            query("example.com", A),
            ResponseCode::Refused,
        ),
        ("the root", query("", A), ResponseCode::Refused),
        (
            "absent",
            query("no.cluster.local", A),
            ResponseCode::NXDomain,
        ),
        (
            "starting",
            query("starting.cluster.local", A),
            ResponseCode::ServFail,
        ),
        ("unknown type", query(WEB, 0xfffe), ResponseCode::NoError),
        ("AXFR", query("cluster.local", 252), ResponseCode::Refused),
        ("IXFR", query("cluster.local", 251), ResponseCode::Refused),
        ("class CH", class(3), ResponseCode::Refused),
        ("class ANY", class(255), ResponseCode::Refused),
        ("class NONE", class(254), ResponseCode::Refused),
        ("class 0", class(0), ResponseCode::Refused),
        (
            "EDNS version 1",
            query_with(WEB, A, &opt(1232, 1, 0, &[])),
            ResponseCode::BADVERS,
        ),
        (
            "EDNS version 255",
            query_with("example.com", A, &opt(0, 255, 0, &[])),
            ResponseCode::BADVERS,
        ),
    ];
    for (case, asked, rcode) in table {
        let reply = udp(&asked);
        let message = decode(&reply);
        // As numbers: BADVERS and BADSIG are both 16, and hickory decodes it as the other.
        let got = u16::from(message.metadata.response_code);
        assert_eq!(got, u16::from(rcode), "{case}");
        assert_eq!(message.metadata.id, 0x1234, "{case}");
        assert!(message.answers.is_empty(), "{case}");
        let opt_bytes = if message.edns.is_some() { 11 } else { 0 };
        let question = &asked[12..asked.len() - opt_bytes];
        assert!(reply[12..].starts_with(question), "{case}");
    }
}

#[test]
fn badvers_answers_with_version_0() {
    let asked = query_with(WEB, A, &opt(1232, 7, 0x8000, &[]));
    let expected = [
        header([0x81, 0x00], [1, 0, 0, 1]),
        question(WEB, A),
        // The extended RCODE's high bits: 16 = 1 << 4.
        vec![0, 0, 41, 0x04, 0xd0, 1, 0, 0x80, 0, 0, 0],
    ];
    assert_eq!(udp(&asked), expected.concat());
}

#[test]
fn other_opcodes_are_not_implemented_by_a_bare_header() {
    for opcode in 1..=15u8 {
        let flags = [opcode << 3 | 1, 0x10];
        let expected = header([0x80 | flags[0], 0x14], [0; 4]);
        for asked in [
            header(flags, [0; 4]),
            header(flags, [9, 9, 9, 9]),
            [header(flags, [1, 0, 0, 0]), question(WEB, A)].concat(),
        ] {
            assert_eq!(udp(&asked), expected, "opcode {opcode}");
        }
    }
}

#[test]
fn silence() {
    let table = [
        ("empty", vec![]),
        ("11 bytes", vec![0; 11]),
        ("a bare response", header([0x80, 0], [0; 4])),
        ("a response to a query of ours", udp(&query(WEB, A))),
        ("a FORMERR", udp(&[0; 12])),
        ("a NOTIMP", udp(&header([0x28, 0], [0; 4]))),
        ("a REFUSED", udp(&query("example.com", A))),
    ];
    for (case, asked) in table {
        for transport in [Transport::Udp, Transport::Tcp] {
            assert_eq!(respond(&asked, transport, &lookup), None, "{case}");
        }
    }
}

#[test]
fn the_resolver_is_asked_in_the_case_of_the_question() {
    let asked = respond(&query("A.b", A), Transport::Udp, &|name: &_, rtype| {
        assert_eq!(format!("{name}"), "A.b.");
        assert_eq!(rtype, RecordType::A);
        None
    });
    assert!(asked.is_some());
}

#[test]
fn before_the_first_synchronisation_our_zones_are_servfail() {
    let zone = RwLock::new(Zone::new(ZoneConfig {
        origin: parse("cluster.local."),
        reverse: vec![parse("in-addr.arpa.")],
        ttl: 5,
        ..ZoneConfig::default()
    }));
    let rcode = |text| {
        let reply = respond(&query(text, A), Transport::Udp, &zone).unwrap();
        decode(&reply).metadata.response_code
    };
    assert_eq!(rcode(WEB), ResponseCode::ServFail);
    assert_eq!(rcode("1.0.96.10.in-addr.arpa"), ResponseCode::ServFail);
    assert_eq!(rcode("example.com"), ResponseCode::Refused);
}

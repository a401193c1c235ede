//! Malformed queries, and odd ones that are not.

use hickory_proto::op::ResponseCode;
use hopzero::socket::{Transport, respond};

use crate::{
    message::{
        A, AAAA, OPT, SOA, TXT, WEB, decode, header, name, opt, query, query_with, question, record,
    },
    zone::{lookup, udp},
};

const ANY_OPT: [u8; 11] = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0];

/// Each is answered by a bare header: ID and RD copied, FORMERR.
fn assert_formerr<const N: usize>(table: [(&str, Vec<u8>); N]) {
    let expected = header([0x81, 0x01], [0; 4]);
    for (case, asked) in table {
        for transport in [Transport::Udp, Transport::Tcp] {
            let reply = respond(&asked, transport, &lookup);
            assert_eq!(reply.as_deref(), Some(&*expected), "{case}");
        }
    }
}

/// Where the records of a query for [`WEB`] begin.
fn records_at() -> usize {
    12 + question(WEB, A).len()
}

fn pointer(to: usize) -> [u8; 2] {
    (0xc000 | u16::try_from(to).unwrap()).to_be_bytes()
}

fn with_owner(owner: &[u8]) -> Vec<u8> {
    with_records([1, 0, 0, 1], &record(owner, TXT, &[]))
}

/// A name of three labels of 63 bytes and one of `last`: 194 + `last` bytes in all.
fn long_name(last: u8) -> Vec<u8> {
    let mut name = [&[63][..], &[b'a'; 63]].concat().repeat(3);
    name.push(last);
    name.extend(vec![b'a'; last.into()]);
    name.push(0);
    name
}

/// A query whose additional (or other) records follow the question as given.
fn with_records(counts: [u16; 4], records: &[u8]) -> Vec<u8> {
    [
        header([0x01, 0x00], counts),
        question(WEB, A),
        records.to_vec(),
    ]
    .concat()
}

fn with_name(name: &[u8]) -> Vec<u8> {
    [
        header([0x01, 0x00], [1, 0, 0, 0]),
        name.to_vec(),
        vec![0, 1, 0, 1],
    ]
    .concat()
}

#[test]
fn counts_and_lengths() {
    assert_formerr([
        ("QDCOUNT 0", header([0x01, 0], [0; 4])),
        (
            "QDCOUNT 0 with OPT",
            [header([0x01, 0], [0, 0, 0, 1]), ANY_OPT.to_vec()].concat(),
        ),
        (
            "QDCOUNT 2",
            [
                header([0x01, 0], [2, 0, 0, 0]),
                question(WEB, A),
                question(WEB, AAAA),
            ]
            .concat(),
        ),
        ("QDCOUNT 1, no question", header([0x01, 0], [1, 0, 0, 0])),
        ("name cut in a label", query(WEB, A)[..14].to_vec()),
        ("name without end", query(WEB, A)[..12 + 13].to_vec()),
        (
            "no type",
            with_name(&name(WEB))[..records_at() - 4].to_vec(),
        ),
        ("half a class", query(WEB, A)[..records_at() - 1].to_vec()),
        (
            "one byte after the question",
            [query(WEB, A), vec![0]].concat(),
        ),
        (
            "a second question after the counts",
            [query(WEB, A), question(WEB, A)].concat(),
        ),
        (
            "OPT after the counts",
            [query(WEB, A), ANY_OPT.to_vec()].concat(),
        ),
        (
            "one byte after OPT",
            [query_with(WEB, A, &ANY_OPT), vec![0]].concat(),
        ),
    ]);
}

#[test]
fn counts_and_records() {
    assert_formerr([
        ("ARCOUNT without a record", with_records([1, 0, 0, 1], &[])),
        ("ANCOUNT without a record", with_records([1, 1, 0, 0], &[])),
        (
            "ANCOUNT 2",
            with_records([1, 2, 0, 0], &record(&[0], A, &[1, 2, 3, 4]).repeat(2)),
        ),
        (
            "NSCOUNT 2",
            with_records([1, 0, 2, 0], &record(&[0], A, &[1, 2, 3, 4]).repeat(2)),
        ),
        (
            "ARCOUNT 3",
            with_records([1, 0, 0, 3], &record(&[0], TXT, &[]).repeat(3)),
        ),
        (
            "counts of 65535",
            with_records([1, 65535, 65535, 65535], &[]),
        ),
    ]);
}

#[test]
fn names_of_questions() {
    assert_formerr([
        ("pointer to itself", with_name(&pointer(12))),
        ("pointer into the header", with_name(&pointer(0))),
        ("pointer forward", with_name(&pointer(14))),
        (
            "label, then a pointer to it",
            with_name(&[&[1, b'a'][..], &pointer(12)].concat()),
        ),
        (
            "half a pointer",
            [header([0x01, 0], [1, 0, 0, 0]), vec![0xc0]].concat(),
        ),
        ("label type 0x40", with_name(&[0x41, b'a', 0])),
        ("label type 0x80", with_name(&[0x81, b'a', 0])),
        ("name of 256 bytes", with_name(&long_name(62))),
    ]);
}

#[test]
fn owner_names() {
    assert_formerr([
        (
            "owner: pointer to itself",
            with_owner(&pointer(records_at())),
        ),
        (
            "owner: pointer forward",
            with_owner(&pointer(records_at() + 4)),
        ),
        ("owner: pointer into the header", with_owner(&pointer(4))),
        (
            "owner: label and pointer to it",
            with_owner(&[&[1, b'a'][..], &pointer(records_at())].concat()),
        ),
        ("owner: name of 256 bytes", with_owner(&long_name(62))),
        ("owner: label type 0x40", with_owner(&[0x40, 0])),
        (
            "record data cut",
            with_records([1, 0, 0, 1], &[0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3]),
        ),
        (
            "record header cut",
            with_records([1, 0, 0, 1], &ANY_OPT[..10]),
        ),
    ]);
}

#[test]
fn edns() {
    assert_formerr([
        ("two OPTs", with_records([1, 0, 0, 2], &ANY_OPT.repeat(2))),
        (
            "OPT not of the root",
            with_records([1, 0, 0, 1], &record(&name("a"), OPT, &[])),
        ),
        (
            "OPT of a pointer to the root",
            with_records([1, 0, 0, 1], &record(&pointer(records_at() - 5), OPT, &[])),
        ),
        (
            "OPT in the answer section",
            with_records([1, 1, 0, 0], &ANY_OPT),
        ),
        (
            "OPT in the authority section",
            with_records([1, 0, 1, 0], &ANY_OPT),
        ),
        (
            "option cut in its code",
            query_with(WEB, A, &opt(1232, 0, 0, &[0])),
        ),
        (
            "option without length",
            query_with(WEB, A, &opt(1232, 0, 0, &[0, 10])),
        ),
        (
            "option cut in its data",
            query_with(WEB, A, &opt(1232, 0, 0, &[0, 10, 0, 8, 1])),
        ),
    ]);
}

#[test]
fn odd_and_well_formed() {
    let to_question = [0xc0, 12];
    let table = [
        (
            "a signature is ignored",
            with_records([1, 0, 0, 1], &record(&name("key"), 250, &[1; 20])),
        ),
        (
            "OPT and a signature",
            with_records(
                [1, 0, 0, 2],
                &[&ANY_OPT[..], &record(&name("key"), 250, &[1])].concat(),
            ),
        ),
        (
            "an answer is ignored",
            with_records([1, 1, 0, 0], &record(&to_question, A, &[1, 2, 3, 4])),
        ),
        (
            "an authority is ignored",
            with_records([1, 0, 1, 0], &record(&to_question, SOA, &[])),
        ),
        (
            "a pointer backward",
            with_records(
                [1, 0, 0, 1],
                &record(&[&[1, b'a'][..], &to_question].concat(), TXT, &[]),
            ),
        ),
        (
            "TC in a query",
            [header([0x03, 0], [1, 0, 0, 0]), question(WEB, A)].concat(),
        ),
    ];
    for (case, asked) in table {
        let message = decode(&udp(&asked));
        assert_eq!(
            message.metadata.response_code,
            ResponseCode::NoError,
            "{case}"
        );
        assert_eq!(message.answers.len(), 1, "{case}");
        assert_eq!(
            message.edns.is_some(),
            asked[records_at()..].starts_with(&ANY_OPT),
            "{case}"
        );
    }
    let longest = long_name(61);
    assert_eq!(longest.len(), 255);
    let asked = with_name(&longest);
    assert_eq!(udp(&asked)[12..], asked[12..], "REFUSED with the question");
    let ones = with_name(&[[1, 0xff].repeat(127), vec![0]].concat());
    assert_eq!(udp(&ones)[12..], ones[12..], "127 labels of any byte");
}

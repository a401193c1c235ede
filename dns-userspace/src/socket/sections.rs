//! The sections of a reply, kept as bytes that fit behind every spelling of the question.
//!
//! ```text
//! | header | question | answers  authority  additional | OPT |
//!                     └────────── kept ───────────────┘
//! ```
//!
//! A name with other capitals is as long, so that every compression pointer stays right. To send them again is to
//! write a header, copy question and sections, and put the TTL where it is noted that one stands.

use hickory_proto::{op::ResponseCode, rr::Name};

use super::{
    Query,
    query::HEADER_BYTES,
    writer::{write_header, write_opt, write_sections},
};
use crate::{
    plugin::{Reply, reply::Flags},
    wire::write_name,
};

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const TYPE_AND_CLASS_BYTES: usize = 4;
/// Type, class, TTL, length of the data.
const FIXED_BYTES: usize = 10;
/// The two high bits of a compression pointer (RFC 1035 section 4.1.4).
const POINTER: u8 = 0xc0;
/// An OPT record without options.
const OPT_BYTES: usize = 11;

/// Answers, authority and additional section.
#[derive(Debug)]
pub struct Sections {
    bytes: Box<[u8]>,
    counts: [u16; 3],
    /// Where in `bytes` the TTLs stand.
    ttls: Box<[u16]>,
    addresses: Option<Addresses>,
}

/// The addresses of an answer section: records of one length, side by side, in any order that one likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Where the first begins.
    pub start: usize,
    /// Bytes of one record.
    pub record_bytes: usize,
    /// At least two.
    pub count: usize,
}

/// What stands in a header besides what is the query's.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// RCODE, without extended bits.
    pub rcode: ResponseCode,
    /// AA, RA and AD.
    pub flags: Flags,
}

impl Sections {
    /// The sections of a reply to a question with this name; `None` where they have no wire form, or are too long.
    pub fn new(name: &Name, reply: &Reply) -> Option<Self> {
        let mut message = vec![0; HEADER_BYTES];
        write_name(&mut message, name);
        message.resize(message.len() + TYPE_AND_CLASS_BYTES, 0);
        let begin = message.len();
        let room = usize::from(u16::MAX) - OPT_BYTES;
        let counts = write_sections(&mut message, name, reply, room).ok()??;
        let (mut ttls, mut addresses) = (Vec::new(), None);
        let mut at = begin;
        for number in 0..counts.iter().copied().sum() {
            let fixed = skip_name(&message, at)?;
            let [t0, t1, _, _, _, _, _, _, l0, l1] =
                *message.get(fixed..fixed + FIXED_BYTES)?.first_chunk()?;
            ttls.push(u16::try_from(fixed + 4 - begin).ok()?);
            let end = fixed + FIXED_BYTES + usize::from(u16::from_be_bytes([l0, l1]));
            if number < counts[0] {
                let is_address = matches!(u16::from_be_bytes([t0, t1]), TYPE_A | TYPE_AAAA);
                let is_pointer = message[at] >= POINTER;
                grow(&mut addresses, at..end, is_address && is_pointer);
            }
            at = end;
        }
        Some(Sections {
            bytes: message[begin..].into(),
            counts,
            ttls: ttls.into(),
            addresses: addresses.filter(|addresses: &Addresses| addresses.count > 1),
        })
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.bytes.len() + 2 * self.ttls.len()
    }

    /// The addresses, where there are several.
    pub fn addresses(&self) -> Option<Addresses> {
        self.addresses
    }

    /// Writes the reply to a query for the same name, every record with this TTL.
    pub fn write(&self, query: &Query<'_>, status: Status, ttl: u32, message: &mut Vec<u8>) {
        message.clear();
        message.resize(HEADER_BYTES, 0);
        message.extend_from_slice(query.question);
        let begin = message.len();
        message.extend_from_slice(&self.bytes);
        for at in &self.ttls {
            let at = begin + usize::from(*at);
            message[at..at + 4].copy_from_slice(&ttl.to_be_bytes());
        }
        let [answers, authority, mut additionals] = self.counts;
        if let Some(opt) = &query.edns {
            write_opt(message, opt.dnssec_ok, status.rcode, &[]);
            additionals += 1;
        }
        let counts = [1, answers, authority, additionals];
        write_header(message, query.header, status.flags, status.rcode, counts);
    }

    /// How long that is.
    pub fn message_bytes(&self, query: &Query<'_>) -> usize {
        let opt = query.edns.map_or(0, |_| OPT_BYTES);
        HEADER_BYTES + query.question.len() + self.bytes.len() + opt
    }
}

/// The first run of addresses becomes longer; a record that is none, or of another length, ends it.
fn grow(addresses: &mut Option<Addresses>, record: std::ops::Range<usize>, fits: bool) {
    match addresses {
        None if fits => {
            *addresses = Some(Addresses {
                start: record.start,
                record_bytes: record.len(),
                count: 1,
            });
        }
        Some(run)
            if fits
                && run.record_bytes == record.len()
                && run.start + run.count * run.record_bytes == record.start =>
        {
            run.count += 1;
        }
        _ => {}
    }
}

/// Where a name of ours ends.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            POINTER.. => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::rr::{
        RData, Record,
        rdata::{A, CNAME, TXT},
    };

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn address(owner: &str, last: u8) -> Record {
        let data = RData::A(A(Ipv4Addr::new(192, 0, 2, last)));
        Record::from_rdata(name(owner), 300, data)
    }

    #[test]
    fn ttls_are_where_they_are_noted() {
        let reply = Reply {
            answers: vec![
                Record::from_rdata(
                    name("www.example.org."),
                    300,
                    RData::CNAME(CNAME(name("a.example.net."))),
                ),
                address("a.example.net.", 1),
                address("a.example.net.", 2),
                address("a.example.net.", 3),
            ],
            additionals: vec![Record::from_rdata(
                name("elsewhere."),
                300,
                RData::TXT(TXT::new(vec!["text".to_owned()])),
            )],
            ..Reply::bare(ResponseCode::NoError)
        };
        let sections = Sections::new(&name("www.example.org."), &reply).unwrap();
        assert_eq!(sections.counts, [4, 0, 1]);
        for at in &sections.ttls {
            let at = usize::from(*at);
            assert_eq!(sections.bytes[at..at + 4], 300u32.to_be_bytes());
        }
        let addresses = sections.addresses.unwrap();
        assert_eq!((addresses.record_bytes, addresses.count), (16, 3));
        let question = HEADER_BYTES + 17 + TYPE_AND_CLASS_BYTES;
        let first = &sections.bytes[addresses.start - question..][..16];
        assert_eq!(first[12..], [192, 0, 2, 1]);
    }

    #[test]
    fn one_address_is_no_choice() {
        let reply = Reply {
            answers: vec![address("example.org.", 1)],
            ..Reply::bare(ResponseCode::NoError)
        };
        let sections = Sections::new(&name("example.org."), &reply).unwrap();
        assert_eq!(sections.addresses(), None);
    }
}

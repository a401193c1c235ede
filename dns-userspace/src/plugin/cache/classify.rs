//! What a reply is to the cache, and for how long it is kept.
//!
//! | | kept | for |
//! |---|---|---|
//! | NOERROR that answers the question | as a success | the lowest TTL in it |
//! | NOERROR without records, or with some in the additional section only | as a success | the same; 5 s without records |
//! | NOERROR with NS in the authority section and no answer | as a success | 5 s |
//! | NXDOMAIN with SOA | as a denial | the lowest TTL in it (RFC 2308 section 5) |
//! | NOERROR with SOA and no answer, at the end of a chain of CNAMEs too | as a denial | the same |
//! | SERVFAIL, NOTIMP | as a denial | `servfail` |
//! | truncated, NXDOMAIN without SOA or with answers, a chain without an end, REFUSED and all else | no | |
//!
//! The least and the most of that are the directive's. Who answers a denial gives its SOA the lower of its TTL and its
//! MINIMUM (RFC 2308 section 3), so that MINIMUM is not looked at, as in `CoreDNS`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType},
};

use super::super::Reply;

const TTL_UNCERTAIN: Duration = Duration::from_secs(5);
const CLASS_ANY: u16 = 255;

/// What a reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// NOERROR, mostly with an answer.
    Success,
    /// NOERROR with other name servers.
    Delegation,
    /// NXDOMAIN
    NoName,
    /// NOERROR, but no records of this type.
    NoData,
    /// SERVFAIL, NOTIMP
    ServerError,
    /// Nothing to keep.
    Other,
}

/// What was asked, as far as a reply is judged by it.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Its name.
    pub name: &'a Name,
    /// Its type.
    pub rtype: RecordType,
    /// Its class.
    pub class: u16,
}

impl Kind {
    /// Of a reply. Where DNSSEC is asked for (`dnssec_ok`), a signature that is not valid now spoils it.
    pub fn of(reply: &Reply, question: Question<'_>, dnssec_ok: bool) -> Self {
        match Self::at_first_sight(reply, question, dnssec_ok) {
            Kind::Success if has_soa(reply) && is_beside_the_point(reply, question) => Kind::NoData,
            kind => kind,
        }
    }

    /// Without a look at whether its answers are for the question.
    pub fn at_first_sight(reply: &Reply, question: Question<'_>, dnssec_ok: bool) -> Self {
        if matches!(question.rtype, RecordType::AXFR | RecordType::IXFR)
            || (dnssec_ok && records(reply).any(is_invalid_now))
        {
            return Kind::Other;
        }
        let has_ns = (reply.authority.iter()).any(|record| record.record_type() == RecordType::NS);
        let has_answers = !reply.answers.is_empty();
        match reply.rcode {
            ResponseCode::NoError if !has_answers && has_soa(reply) => Kind::NoData,
            ResponseCode::NoError if !has_answers && has_ns => Kind::Delegation,
            ResponseCode::NoError => Kind::Success,
            ResponseCode::NXDomain if !has_answers => Kind::NoName,
            ResponseCode::ServFail | ResponseCode::NotImp => Kind::ServerError,
            _ => Kind::Other,
        }
    }

    /// Whether a reply of this kind can be kept.
    pub fn is_kept(self, reply: &Reply, question: Question<'_>) -> bool {
        !reply.flags.truncated
            && match self {
                Kind::Other => false,
                Kind::NoName => has_soa(reply),
                Kind::Success => !is_beside_the_point(reply, question),
                Kind::Delegation | Kind::NoData | Kind::ServerError => true,
            }
    }

    /// The lowest TTL of its records, at most so much.
    pub fn ttl(self, reply: &Reply, at_most: Duration) -> Duration {
        let is_certain = matches!(self, Kind::Success | Kind::NoName | Kind::NoData);
        let lowest = records(reply).map(|record| record.ttl).min();
        match lowest {
            Some(lowest) if is_certain => at_most.min(Duration::from_secs(lowest.into())),
            _ => TTL_UNCERTAIN,
        }
    }
}

fn records(reply: &Reply) -> impl Iterator<Item = &Record> {
    let sections = [&reply.answers, &reply.authority, &reply.additionals];
    sections.into_iter().flatten()
}

fn has_soa(reply: &Reply) -> bool {
    (reply.authority.iter()).any(|record| record.record_type() == RecordType::SOA)
}

/// It has answers, and none to the question: a chain of CNAMEs that ends before a record of the type that is asked.
fn is_beside_the_point(reply: &Reply, question: Question<'_>) -> bool {
    !reply.answers.is_empty() && !answers(reply, question)
}

/// Whether a record of the type that is asked stands at the end of the chain of CNAMEs that begins at the name
/// that is asked (RFC 1034 section 3.6.2). Nothing does at the end of a chain that forks or goes round.
pub fn answers(reply: &Reply, question: Question<'_>) -> bool {
    if reply.rcode != ResponseCode::NoError {
        return false;
    }
    let of_class = |record: &&Record| {
        question.class == CLASS_ANY || u16::from(record.dns_class) == question.class
    };
    let at = |name: &Name, rtype| {
        let mut all = reply.answers.iter().filter(of_class);
        all.any(|record| record.record_type() == rtype && record.name == *name)
    };
    match question.rtype {
        RecordType::ANY => {
            let mut all = reply.answers.iter().filter(of_class);
            all.any(|record| record.name == *question.name)
        }
        RecordType::CNAME => matches!(target(reply, question.name, of_class), Ok(Some(_))),
        rtype => {
            let mut name = question.name;
            // A longer chain goes round.
            for _ in 0..=reply.answers.len() {
                match target(reply, name, of_class) {
                    Ok(None) => return at(name, rtype),
                    Ok(Some(next)) => name = next,
                    Err(Fork) => return false,
                }
            }
            false
        }
    }
}

/// An alias of two names (RFC 2181 section 10.1).
struct Fork;

/// What a name is an alias of.
fn target<'r>(
    reply: &'r Reply,
    owner: &Name,
    of_class: impl Fn(&&Record) -> bool,
) -> Result<Option<&'r Name>, Fork> {
    let mut found: Option<&Name> = None;
    for record in reply.answers.iter().filter(|record| of_class(record)) {
        if let RData::CNAME(cname) = &record.data
            && record.name == *owner
        {
            if found.is_some_and(|other| *other != cname.0) {
                return Err(Fork);
            }
            found = Some(&cname.0);
        }
    }
    Ok(found)
}

/// A signature before or after its time: its data has the end at byte 8 and the beginning behind it (RFC 4034
/// section 3.1), as numbers that go round (section 3.1.5).
fn is_invalid_now(record: &Record) -> bool {
    let RData::Unknown { code, rdata } = &record.data else {
        return false;
    };
    if *code != RecordType::RRSIG {
        return false;
    }
    let Some([e0, e1, e2, e3, b0, b1, b2, b3]) =
        rdata.anything.get(8..16).and_then(<[u8]>::first_chunk)
    else {
        return true;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs()) & u64::from(u32::MAX);
    let now = u32::try_from(now).unwrap_or(0);
    let is_before = |one: u32, other: u32| other.wrapping_sub(one).cast_signed() > 0;
    is_before(now, u32::from_be_bytes([*b0, *b1, *b2, *b3]))
        || is_before(u32::from_be_bytes([*e0, *e1, *e2, *e3]), now)
}

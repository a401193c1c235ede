//! From a query's bytes to the reply's bytes: the protocol duties, in their order.

use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Record, RecordType},
};

use super::{
    DropReason, Resolver, TCP_ANSWER_BYTES_MAX, Transport, UDP_ANSWER_BYTES_MAX,
    UDP_ANSWER_BYTES_PLAIN,
    query::{self, Query, Rejected},
    writer,
};
use crate::zone::Answer;

/// A reply that is ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The message, without TCP's length prefix.
    pub bytes: Vec<u8>,
    /// Its RCODE, the extended bits included.
    pub rcode: ResponseCode,
    /// TC
    pub truncated: bool,
}

/// Answers queries; holds what replies depend on besides query and zone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Responder {
    recursion_available: bool,
    rotates: bool,
}

impl Responder {
    /// `recursion_available` is RA: true in a deployment that forwards.
    pub fn new(recursion_available: bool) -> Self {
        Self {
            recursion_available,
            rotates: false,
        }
    }

    /// The same, which rotates the addresses of its answers, or does not.
    #[must_use]
    pub fn rotating(self, rotates: bool) -> Self {
        Self { rotates, ..self }
    }

    /// The reply to one message, or why nothing may be sent.
    ///
    /// # Errors
    ///
    /// The message is a response, or too short to have a header.
    pub fn respond(
        self,
        message: &[u8],
        transport: Transport,
        resolver: &dyn Resolver,
    ) -> Result<Reply, DropReason> {
        let query = match query::parse(message) {
            Ok(query) => query,
            Err(Rejected::Silence(reason)) => return Err(reason),
            Err(Rejected::Error(header, rcode)) => {
                return Ok(writer::bare(header, rcode, self.recursion_available));
            }
        };
        let mut answer = answer(&query, resolver);
        if self.rotates {
            rotate(&mut answer.answers);
        }
        Ok(writer::reply(
            &query,
            &answer,
            answer_bytes_max(&query, transport),
            self.recursion_available,
        ))
    }
}

/// [`Responder::respond`] of a server that does not recurse: the reply's bytes, or `None` where
/// nothing may be sent.
pub fn respond(message: &[u8], transport: Transport, resolver: &dyn Resolver) -> Option<Vec<u8>> {
    Responder::default()
        .respond(message, transport, resolver)
        .ok()
        .map(|reply| reply.bytes)
}

/// Lets a random one of the addresses be the first, as the kernel does. CNAME records stay before them, and
/// the additional section as it is: whoever reads that chooses by the SRV records.
fn rotate(answers: &mut [Record]) {
    let is_address =
        |record: &Record| matches!(record.record_type(), RecordType::A | RecordType::AAAA);
    let first = answers.iter().position(is_address);
    // They are one RRset, the last of the section.
    if let Some(addresses) = first.map(|first| &mut answers[first..])
        && addresses.len() > 1
    {
        addresses.rotate_left(fastrand::usize(..addresses.len()));
    }
}

fn answer(query: &Query<'_>, resolver: &dyn Resolver) -> Answer {
    if query.edns.is_some_and(|edns| edns.version > 0) {
        return error(ResponseCode::BADVERS);
    }
    if query.class != u16::from(DNSClass::IN)
        || matches!(query.rtype, RecordType::AXFR | RecordType::IXFR)
    {
        return error(ResponseCode::Refused);
    }
    resolver
        .lookup(&query.name, query.rtype)
        .unwrap_or_else(|| error(ResponseCode::Refused))
}

/// An answer that is nothing but its RCODE.
pub(super) fn error(rcode: ResponseCode) -> Answer {
    Answer {
        rcode,
        authoritative: false,
        answers: Vec::new(),
        authority: Vec::new(),
        additionals: Vec::new(),
    }
}

fn answer_bytes_max(query: &Query<'_>, transport: Transport) -> usize {
    let bytes = match transport {
        Transport::Tcp => TCP_ANSWER_BYTES_MAX,
        Transport::Udp => query
            .edns
            .map_or(UDP_ANSWER_BYTES_PLAIN, |edns| edns.udp_bytes)
            .min(UDP_ANSWER_BYTES_MAX),
    };
    bytes.into()
}

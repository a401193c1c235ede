//! From a query's bytes to the reply's bytes: the protocol duties, in their order.

use std::net::SocketAddr;

use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, Record, RecordType},
};

use super::{
    DropReason, Resolver, Service, TCP_ANSWER_BYTES_MAX, Transport, UDP_ANSWER_BYTES_MAX,
    UDP_ANSWER_BYTES_PLAIN,
    query::{self, Query, Rejected},
    writer::{self, Asked},
};
use crate::plugin::{Reply, Request, request::Edns};

/// A reply that is ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The message, without TCP's length prefix.
    pub bytes: Vec<u8>,
    /// Its RCODE, the extended bits included.
    pub rcode: ResponseCode,
    /// TC
    pub truncated: bool,
    /// Messages that follow it, of a zone transfer.
    pub further: Vec<Vec<u8>>,
}

/// What is counted of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its RCODE, the extended bits included.
    pub rcode: ResponseCode,
    /// TC
    pub truncated: bool,
}

/// Where a message came in.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Who sent it.
    pub client: SocketAddr,
    /// The address that it was sent to.
    pub local: SocketAddr,
    /// How.
    pub transport: Transport,
}

impl Encoded {
    /// What is counted of it.
    pub fn sent(&self) -> Sent {
        Sent {
            rcode: self.rcode,
            truncated: self.truncated,
        }
    }
}

impl Path {
    /// On a socket of both families an IPv4 address comes mapped into IPv6.
    fn canonical(self) -> Self {
        let canonical =
            |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Path {
            client: canonical(self.client),
            local: canonical(self.local),
            transport: self.transport,
        }
    }
}

/// The reply to one message, or why nothing may be sent.
///
/// # Errors
///
/// The message is a response, or too short to have a header; or the service keeps silent.
pub async fn answer(
    message: &[u8],
    path: Path,
    service: &dyn Service,
) -> Result<Encoded, DropReason> {
    let query = match query::parse(message) {
        Ok(query) => query,
        Err(rejected) => return refuse(&rejected),
    };
    let mut request = request(&query, message.len(), path);
    match unreadable(request.edns.as_ref()) {
        Some(reply) => Ok(encode(&request, &reply)),
        None => (service.answer(&mut request).await).ok_or(DropReason::Silenced),
    }
}

/// A reply as the client of a query gets it.
pub fn encode(request: &Request, reply: &Reply) -> Encoded {
    let asked = Asked {
        header: request.header,
        question: &request.question,
        name: &request.asked,
        edns: request.edns.as_ref(),
    };
    let udp_bytes = request.edns.as_ref().map(|edns| edns.udp_bytes);
    let bytes_max = answer_bytes_max(udp_bytes, request.transport);
    let mut encoded = writer::reply(asked, reply, bytes_max);
    for answers in &reply.further {
        let message = Reply {
            answers: answers.clone(),
            further: Vec::new(),
            ..reply.clone()
        };
        encoded
            .further
            .push(writer::reply(asked, &message, bytes_max).bytes);
    }
    encoded
}

/// The same into memory of the caller, if the service knows the reply at once; else nothing is done, and [`answer`]
/// will.
pub fn glance(
    message: &[u8],
    path: Path,
    service: &dyn Service,
    reply: &mut Vec<u8>,
) -> Option<Sent> {
    let query = query::parse(message).ok()?;
    if query.edns.is_some_and(|opt| opt.version > 0) {
        return None;
    }
    let mut name = [0; query::NAME_BYTES_MAX];
    let name = &mut name[..query.name_bytes().len()];
    name.copy_from_slice(query.name_bytes());
    // Lengths of labels are no letters.
    name.make_ascii_lowercase();
    let asked = super::Asked {
        answer_bytes_max: answer_bytes_max(query.edns.map(|opt| opt.udp_bytes), path.transport),
        query,
        name,
        path: path.canonical(),
        bytes: message.len(),
    };
    let rcode = service.glance(&asked, reply)?;
    Some(Sent {
        rcode,
        truncated: false,
    })
}

/// The same from a resolver, which knows at once: the reply's bytes, or `None` where nothing may be sent.
pub fn respond(message: &[u8], transport: Transport, resolver: &dyn Resolver) -> Option<Vec<u8>> {
    let query = match query::parse(message) {
        Ok(query) => query,
        Err(rejected) => return refuse(&rejected).ok().map(|reply| reply.bytes),
    };
    let (name, edns) = (query.name(), query.edns());
    let reply = unreadable(edns.as_ref())
        .unwrap_or_else(|| resolve(resolver, &name, query.rtype, query.class));
    let asked = Asked {
        header: query.header,
        question: query.question,
        name: &name,
        edns: edns.as_ref(),
    };
    let bytes_max = answer_bytes_max(query.edns.map(|opt| opt.udp_bytes), transport);
    Some(writer::reply(asked, &reply, bytes_max).bytes)
}

/// Lets a random one of the addresses be the first, as the kernel does. CNAME records stay before them, and
/// the additional section as it is: whoever reads that chooses by the SRV records.
pub(super) fn rotate(answers: &mut [Record]) {
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

/// What is replied to a version of EDNS that we do not know, whatever is asked (RFC 6891 section 6.1.3).
fn unreadable(edns: Option<&Edns>) -> Option<Reply> {
    edns.filter(|edns| edns.version > 0)
        .map(|_| Reply::bare(ResponseCode::BADVERS))
}

/// What a server that has nothing but a resolver replies.
pub(super) fn resolve(
    resolver: &dyn Resolver,
    name: &Name,
    rtype: RecordType,
    class: u16,
) -> Reply {
    if class != u16::from(DNSClass::IN) || matches!(rtype, RecordType::AXFR | RecordType::IXFR) {
        return Reply::bare(ResponseCode::Refused);
    }
    (resolver.lookup(name, rtype)).map_or_else(|| Reply::bare(ResponseCode::Refused), Reply::from)
}

fn refuse(rejected: &Rejected) -> Result<Encoded, DropReason> {
    match *rejected {
        Rejected::Silence(reason) => Err(reason),
        Rejected::Error(header, rcode) => Ok(writer::bare(header, rcode)),
    }
}

fn request(query: &Query<'_>, bytes: usize, path: Path) -> Request {
    let (name, edns) = (query.name(), query.edns());
    let &Query {
        header,
        question,
        rtype,
        class,
        serial,
        ..
    } = query;
    let Path {
        client,
        local,
        transport,
    } = path.canonical();
    Request {
        client,
        local,
        transport,
        header,
        asked: name.clone(),
        name,
        rtype,
        class,
        edns,
        question: question.into(),
        bytes,
        zone: Name::root(),
        server: "".into(),
        view: "".into(),
        serial,
        lookups: 0,
    }
}

/// `udp_bytes` as in the query's OPT.
fn answer_bytes_max(udp_bytes: Option<u16>, transport: Transport) -> usize {
    let bytes = match transport {
        Transport::Tcp => TCP_ANSWER_BYTES_MAX,
        Transport::Udp => udp_bytes
            .unwrap_or(UDP_ANSWER_BYTES_PLAIN)
            .min(UDP_ANSWER_BYTES_MAX),
    };
    bytes.into()
}

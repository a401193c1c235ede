//! The socket server: the same zone as the kernel's, over UDP and TCP, for what the kernel passes.
//!
//! [`respond`] is the whole of the protocol: bytes in, bytes out, and pure but for the rotation. The servers
//! ([`Server`]) only move bytes.
//!
//! # Wire form of an answer
//!
//! The kernel's answer to a query must equal this one byte for byte, so the form is fixed, and kept
//! simple enough to be written by a BPF program:
//!
//! ```text
//!         0        1        2        3
//!    0 +--------+--------+--------+--------+
//!      |   ID (copied)   | flags           |  QR=1, OPCODE copied, AA from the zone, TC, RD copied
//!    4 +--------+--------+--------+--------+  RA as configured, Z=0, AD=0, CD copied, RCODE
//!      | QDCOUNT = 1     | ANCOUNT         |
//!    8 +--------+--------+--------+--------+
//!      | NSCOUNT         | ARCOUNT         |  ARCOUNT includes OPT
//!   12 +--------+--------+--------+--------+
//!      | question, the bytes as asked      |  0x20 case included (RFC 4343)
//!      +-----------------------------------+
//!      | answer records                    |  owner: C0 0C when it is the question's name, a pointer
//!      |                                   |         to the data of the CNAME before it when it is
//!      +-----------------------------------+         the name there, else written out
//!      | authority records                 |  owner: pointer to the suffix of the question's name
//!      +-----------------------------------+         that it is, else written out
//!      | additional records                |  owner: C0 0C, else written out
//!      +-----------------------------------+
//!      | OPT, 11 bytes, iff the query had  |  00 | 0029 | 04D0 | extended RCODE, version 0,
//!      | one                               |  DO copied, other flags 0 | RDLEN 0
//!      +-----------------------------------+
//! ```
//!
//! - Names compare without case; a pointer makes the owner follow the case of the question.
//! - Names inside record data are never compressed.
//! - An answer is whole or it is not there: over the limit (UDP: min(client's size, 1232), without
//!   EDNS 512; TCP: 65535), the reply is TC=1 with RCODE and AA kept, the question, and OPT. No
//!   partial `RRset` is ever sent, and no glue is left out silently.
//! - Without a Corefile, the addresses of the answer section begin with a random one and go round from there, as in the
//!   kernel; nothing else is moved. With a Corefile the order is that of the plugin `loadbalance`, or stays.
//! - FORMERR and NOTIMP are a bare header: ID, OPCODE, RD and CD copied, all counts zero. So much
//!   is readable in every query; OPT is not, where the rest is malformed.
//!
//! # Decisions where the standards leave room
//!
//! | query | reply | as |
//! |---|---|---|
//! | ANCOUNT or NSCOUNT > 1, ARCOUNT > 2 | FORMERR | `CoreDNS` |
//! | ANCOUNT or NSCOUNT = 1 | the record is checked for form and ignored | `CoreDNS` |
//! | bytes after the last record | FORMERR | the counts and the length contradict each other; `CoreDNS` ignores them |
//! | a compression pointer in the question's name | FORMERR | before it there is only the header to point at |
//! | EDNS version > 0 and class other than IN | BADVERS | RFC 6891 section 6.1.3 has a MUST; `CoreDNS` says REFUSED |
//! | OPCODE other than QUERY, NOTIFY included | NOTIMP | before anything else is looked at, so a bare header is enough |
//! | AXFR, IXFR | REFUSED | RFC 5936 section 2.2.1 |
//! | TSIG or another record in the additional section | ignored | `CoreDNS` without the `tsig` plugin |

mod bind;
mod channel;
mod connection;
mod counters;
mod outbox;
mod query;
mod respond;
mod sections;
mod server;
mod tcp;
mod udp;
mod writer;

use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
};

pub use counters::{DropReason, SocketCounters, SocketSnapshot};
pub use query::{Opt, Query};
pub use respond::{Encoded, Path, Sent, answer, encode, glance, respond};
pub use sections::{Addresses, Sections, Status};
pub use server::{BindError, Server, ServerConfig};
pub use tcp::TcpLimits;

use crate::{
    plugin::{Reply, Request},
    zone::{Answer, Zone},
};

/// The largest UDP reply, and the UDP payload size in our OPT: what crosses any path without
/// fragments (DNS flag day 2020, RFC 9715).
pub const UDP_ANSWER_BYTES_MAX: u16 = 1232;
/// What a client without EDNS takes over UDP (RFC 1035 section 2.3.4), and the least that any
/// EDNS size counts as (RFC 6891 section 6.2.5).
pub const UDP_ANSWER_BYTES_PLAIN: u16 = 512;
/// The largest message that TCP's length prefix can announce.
pub const TCP_ANSWER_BYTES_MAX: u16 = u16::MAX;

/// How a query came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// One length-prefixed message of a stream.
    Tcp,
}

/// What the server asks for replies.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// The reply to a well-formed query, as [`encode`] makes it; `None` is silence.
    async fn answer(&self, request: &mut Request) -> Option<Encoded>;

    /// The same for a plugin that asks for another name: no client's query.
    async fn resolve(&self, _request: &mut Request) -> Option<Reply> {
        None
    }

    /// Itself, for a task that outlives the query.
    fn handle(&self) -> Option<Arc<dyn Service>> {
        None
    }

    /// How the sessions of connections that come from now on are made; `None`: queries come in plain.
    fn tls(&self) -> Option<Arc<rustls::ServerConfig>> {
        None
    }

    /// What connections that come from now on may take; `None`: as it was when the sockets were bound.
    fn limits(&self) -> Option<TcpLimits> {
        None
    }

    /// The reply without a wait and without memory, if it is known at once; `None`: it has to be asked for.
    fn glance(&self, _asked: &Asked<'_>, _message: &mut Vec<u8>) -> Option<ResponseCode> {
        None
    }
}

/// A query before anything is made of it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// As it stands in the message.
    pub query: Query<'a>,
    /// Its name in lower case.
    pub name: &'a [u8],
    /// Where it came in.
    pub path: Path,
    /// Bytes of the message.
    pub bytes: usize,
    /// What the client takes.
    pub answer_bytes_max: usize,
}

/// A source of answers that knows at once.
pub trait Resolver: Send + Sync + 'static {
    /// The answer to a question of class IN; `None` where the name is in none of our zones.
    fn lookup(&self, name: &Name, rtype: RecordType) -> Option<Answer>;
}

/// A resolver alone, without plugins: what is in none of its zones is refused.
pub struct Only<R> {
    /// It.
    pub resolver: Arc<R>,
    /// The addresses of an answer are rotated from query to query.
    pub rotate: bool,
}

#[async_trait]
impl<R: Resolver> Service for Only<R> {
    async fn answer(&self, request: &mut Request) -> Option<Encoded> {
        let Request {
            name, rtype, class, ..
        } = request;
        let mut reply = respond::resolve(&*self.resolver, name, *rtype, *class);
        if self.rotate {
            respond::rotate(&mut reply.answers);
        }
        Some(encode(request, &reply))
    }
}

/// Any function of the right shape is a resolver: tests, and wrappers around another resolver.
impl<F> Resolver for F
where
    F: Fn(&Name, RecordType) -> Option<Answer> + Send + Sync + 'static,
{
    fn lookup(&self, name: &Name, rtype: RecordType) -> Option<Answer> {
        self(name, rtype)
    }
}

/// The zone, while somebody else changes it.
impl Resolver for RwLock<Zone> {
    fn lookup(&self, name: &Name, rtype: RecordType) -> Option<Answer> {
        match self.read() {
            Ok(zone) => zone.lookup(name, rtype),
            // A change was left half done: nothing in it can be trusted, not even whose name it is.
            Err(_poisoned) => Some(Answer {
                rcode: ResponseCode::ServFail,
                authoritative: false,
                answers: Vec::new(),
                authority: Vec::new(),
                additionals: Vec::new(),
            }),
        }
    }
}

//! A query and what came of it, for plugins that count or log.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
};

use super::{
    Plugin, Reply, Request, metadata,
    reply::Flags,
    request::{Edns, Header},
};
use crate::socket::{Encoded, Transport};

/// A query that is done with. It stands here as it was asked, whatever a plugin made of it.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// Who asked.
    pub client: SocketAddr,
    /// The address that was asked.
    pub local: SocketAddr,
    /// How it came in.
    pub transport: Transport,
    /// The query's header.
    pub header: Header,
    /// What was asked, in the case of the client.
    pub name: &'a Name,
    /// The type that was asked.
    pub rtype: RecordType,
    /// The class that was asked.
    pub class: u16,
    /// The query's OPT record.
    pub edns: Option<&'a Edns>,
    /// Bytes of the query.
    pub query_bytes: usize,
    /// The server, as metrics name it.
    pub server: &'a Arc<str>,
    /// The zone of the server block.
    pub zone: &'a Name,
    /// The view of the server block.
    pub view: &'a Arc<str>,
    /// What was replied.
    pub reply: Replied,
    /// Those of the server block.
    pub plugins: Plugins<'a>,
    /// From the query's arrival on.
    pub duration: Duration,
}

/// The plugins of a server block.
#[derive(Clone, Copy)]
pub struct Plugins<'a>(pub &'a [Box<dyn Plugin>]);

impl fmt::Debug for Plugins<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|plugin| plugin.name());
        formatter.debug_list().entries(names).finish()
    }
}

/// What is known of a reply.
#[derive(Clone, Copy, Debug)]
pub struct Replied {
    /// Its RCODE; `None` where nothing was sent.
    pub rcode: Option<ResponseCode>,
    /// The bits of its header.
    pub flags: Flags,
    /// What kind of answer it is.
    pub class: ReplyClass,
    /// The plugin that wrote it, if one did.
    pub plugin: Option<&'static str>,
    /// The upstream that it is from.
    pub upstream: Option<SocketAddr>,
    /// Bytes of the message as it is sent.
    pub bytes: usize,
}

/// Kinds of answers, as `log` knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyClass {
    /// Records, or a referral.
    Success,
    /// NXDOMAIN or NODATA.
    Denial,
    /// Neither.
    Error,
}

impl<'a> Sent<'a> {
    /// The query, and what was replied to it.
    pub fn new(request: &'a Request, reply: Replied, duration: Duration) -> Self {
        // A plugin may have rewritten type and class; these are the client's.
        let asked = request.question.last_chunk::<4>();
        let (rtype, class) = asked.map_or((request.rtype, request.class), |[t0, t1, c0, c1]| {
            let rtype = u16::from_be_bytes([*t0, *t1]);
            (RecordType::from(rtype), u16::from_be_bytes([*c0, *c1]))
        });
        Sent {
            client: request.client,
            local: request.local,
            transport: request.transport,
            header: request.header,
            name: &request.asked,
            rtype,
            class,
            edns: request.edns.as_ref(),
            query_bytes: request.bytes,
            server: &request.server,
            zone: &request.zone,
            view: &request.view,
            reply,
            plugins: Plugins(&[]),
            duration,
        }
    }

    /// The same, of a server block with these plugins.
    #[must_use]
    pub fn of(self, plugins: &'a [Box<dyn Plugin>]) -> Self {
        Sent {
            plugins: Plugins(plugins),
            ..self
        }
    }

    /// What a plugin knows of it, by its label; `None` if none does, or without `metadata`.
    pub fn metadata(&self, label: &str) -> Option<String> {
        let mut plugins = self.plugins.0.iter();
        let metadata = plugins.find(|plugin| plugin.name() == metadata::NAME)?;
        metadata.metadata(self, label)
    }
}

impl Replied {
    /// Nothing was sent, on purpose.
    pub const NOTHING: Replied = Replied {
        rcode: None,
        flags: Flags::NONE,
        class: ReplyClass::Error,
        plugin: None,
        upstream: None,
        bytes: 0,
    };

    /// A reply, as it was encoded.
    pub fn new(reply: &Reply, encoded: &Encoded) -> Self {
        Replied {
            rcode: Some(encoded.rcode),
            flags: Flags {
                truncated: encoded.truncated,
                ..reply.flags
            },
            class: ReplyClass::of(reply),
            plugin: reply.plugin,
            upstream: reply.upstream,
            bytes: encoded.bytes.len(),
        }
    }
}

impl ReplyClass {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Success, Self::Denial, Self::Error];

    /// As `log` names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denial => "denial",
            Self::Error => "error",
        }
    }

    /// As in `CoreDNS`, but that signatures are not looked at: one that has expired makes an answer an error there.
    pub fn of(reply: &Reply) -> Self {
        let is_denial = || {
            let mut types = reply
                .authority
                .iter()
                .map(hickory_proto::rr::Record::record_type);
            types.any(|rtype| rtype == RecordType::SOA)
        };
        match (reply.rcode, reply.answers.is_empty()) {
            (ResponseCode::NXDomain, true) => ReplyClass::Denial,
            (ResponseCode::NoError, true) if is_denial() => ReplyClass::Denial,
            (ResponseCode::NoError, _) => ReplyClass::Success,
            _ => ReplyClass::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{
        RData, Record,
        rdata::{A, NS, SOA},
    };

    use super::*;

    #[test]
    fn replies_have_a_class() {
        let name = Name::from_ascii("example.org.").unwrap();
        let record = |data| vec![Record::from_rdata(name.clone(), 1, data)];
        let address = record(RData::A(A::new(192, 0, 2, 1)));
        let soa = SOA::new(name.clone(), name.clone(), 1, 1, 1, 1, 1);
        let soa = record(RData::SOA(soa));
        let referral = record(RData::NS(NS(name.clone())));
        let none = Vec::new();
        for (rcode, answers, authority, class) in [
            (ResponseCode::NoError, &address, &none, ReplyClass::Success),
            (ResponseCode::NoError, &address, &soa, ReplyClass::Success),
            (ResponseCode::NoError, &none, &none, ReplyClass::Success),
            (ResponseCode::NoError, &none, &referral, ReplyClass::Success),
            (ResponseCode::NoError, &none, &soa, ReplyClass::Denial),
            (ResponseCode::NXDomain, &none, &none, ReplyClass::Denial),
            (ResponseCode::NXDomain, &address, &soa, ReplyClass::Error),
            (ResponseCode::ServFail, &none, &none, ReplyClass::Error),
            (ResponseCode::Refused, &none, &soa, ReplyClass::Error),
        ] {
            let mut reply = Reply::bare(rcode);
            reply.answers.clone_from(answers);
            reply.authority.clone_from(authority);
            assert_eq!(ReplyClass::of(&reply), class, "{reply:?}");
        }
    }
}

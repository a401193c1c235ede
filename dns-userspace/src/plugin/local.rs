//! `local`: answers for names that must not leave the host (RFC 6303, RFC 6761).
//!
//! ```text
//! local {
//!     localhost_prefix on|off           names that begin with `localhost` too; on unless given
//! }
//! ```
//!
//! | name | is |
//! |---|---|
//! | `localhost`, and below it | the loopback addresses |
//! | `localhost.` and any domain behind it | the same: what a resolver makes with its search domains |
//! | `1.0.0.127.in-addr.arpa` | `localhost` |
//! | others in 0, 127 and 255`.in-addr.arpa` | nothing |

use std::net::{Ipv4Addr, Ipv6Addr};

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, NS, PTR, SOA},
    },
};
use prometheus_client::{metrics::counter::Counter, registry::Registry};

use super::{
    Builder, Next, Outcome, Plugin, Reply, Request, Touch, args, builder::longest,
    metrics::Families,
};
use crate::corefile::{Directive, Fault};

/// A week.
const TTL: u32 = 604_800;

struct Local {
    localhost: Name,
    /// Of which `localhost` is the first.
    zones: Vec<Name>,
    prefix: bool,
    metrics: LocalMetrics,
}

#[derive(Clone, Default)]
struct LocalMetrics {
    localhost_requests: Counter,
}

impl Families for LocalMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "coredns_local_localhost_requests",
            "Queries for names below `localhost`, or that begin with it",
            self.localhost_requests.clone(),
        );
    }
}

/// Reads `local`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    directive.exactly::<0>("no arguments")?;
    let mut prefix = true;
    for property in directive.properties() {
        if property.name.text != "localhost_prefix" {
            return Err(property.unknown_property("local", &["localhost_prefix"]));
        }
        let [word] = property.exactly("on or off")?;
        prefix = match word.text.as_str() {
            "on" => true,
            "off" => false,
            _ => return Err(word.not("on or off")),
        };
    }
    let name = |labels: &[&str]| {
        let name = labels
            .iter()
            .try_fold(Name::root(), |name, label| name.prepend_label(*label));
        // Short labels of letters and digits.
        name.unwrap_or_default()
    };
    let localhost = name(&["localhost"]);
    let reverse = ["0", "127", "255"].map(|label| name(&["arpa", "in-addr", label]));
    builder.plugins.push(Box::new(Local {
        zones: std::iter::once(localhost.clone()).chain(reverse).collect(),
        localhost,
        prefix,
        metrics: builder.environment.metrics.of(),
    }));
    Ok(())
}

#[async_trait]
impl Plugin for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        let name = request.lower_name();
        let labels: Vec<&[u8]> = name.iter().collect();
        let is_localhost = match labels.as_slice() {
            [.., last] if labels.len() > 1 && *last == b"localhost" => true,
            [first, _, ..] => self.prefix && *first == b"localhost",
            _ => false,
        };
        if is_localhost {
            self.metrics.localhost_requests.inc();
            return Ok(self.localhost(request).into());
        }
        match longest(&self.zones, &name) {
            None => next.run(request).await,
            Some(zone) => Ok(self.in_zone(request, &name, zone).into()),
        }
    }

    fn touches(&self) -> Vec<Touch> {
        let mut touches: Vec<Touch> = self.zones.iter().cloned().map(Touch::Below).collect();
        if self.prefix {
            touches.push(Touch::Matching(r"^localhost\.".to_owned()));
        }
        touches
    }
}

impl Local {
    /// The addresses of this host, and nothing else.
    fn localhost(&self, request: &Request) -> Reply {
        let owner = &request.name;
        match request.rtype {
            RecordType::A => answer(owner, RData::A(A(Ipv4Addr::LOCALHOST))),
            RecordType::AAAA => answer(owner, RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))),
            _ => self.nothing(owner, ResponseCode::NoError),
        }
    }

    fn in_zone(&self, request: &Request, name: &Name, zone: &Name) -> Reply {
        let owner = &request.name;
        // The zone in the case of the question.
        let apex = owner.trim_to(zone.iter().len());
        if name == zone {
            return match request.rtype {
                RecordType::A | RecordType::AAAA if *zone == self.localhost => {
                    self.localhost(request)
                }
                RecordType::SOA => answer(owner, self.soa()),
                RecordType::NS => answer(owner, RData::NS(NS(self.localhost.clone()))),
                _ => self.nothing(&apex, ResponseCode::NoError),
            };
        }
        let loopback: Vec<&[u8]> = vec![b"1", b"0", b"0", b"127", b"in-addr", b"arpa"];
        if name.iter().collect::<Vec<_>>() != loopback {
            return self.nothing(&apex, ResponseCode::NXDomain);
        }
        match request.rtype {
            RecordType::PTR => answer(owner, RData::PTR(PTR(self.localhost.clone()))),
            _ => self.nothing(&apex, ResponseCode::NoError),
        }
    }

    fn nothing(&self, zone: &Name, rcode: ResponseCode) -> Reply {
        Reply {
            authority: vec![Record::from_rdata(zone.clone(), TTL, self.soa())],
            ..Reply::bare(rcode)
        }
    }

    fn soa(&self) -> RData {
        let root = self.localhost.prepend_label("root");
        let root = root.unwrap_or_else(|_| self.localhost.clone());
        RData::SOA(SOA::new(self.localhost.clone(), root, 1, 0, 0, 0, TTL))
    }
}

fn answer(owner: &Name, data: RData) -> Reply {
    Reply {
        answers: vec![Record::from_rdata(owner.clone(), TTL, data)],
        ..Reply::bare(ResponseCode::NoError)
    }
}

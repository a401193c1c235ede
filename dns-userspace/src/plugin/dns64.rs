//! `dns64`: AAAA records for names that have A records only (RFC 6147), for clients that have IPv6 only.
//!
//! ```text
//! dns64 [PREFIX] {
//!     prefix PREFIX     what the addresses begin with; 64:ff9b::/96 unless given
//!     translate_all     also where there are AAAA records
//!     allow_ipv4        also for clients that ask over IPv4
//! }
//! ```
//!
//! A PREFIX has 32, 40, 48, 56, 64 or 96 bits, or another multiple of 8 between them, as in `CoreDNS`. The IPv4 address
//! stands behind it, around the byte of bits 64 to 71, which is zero (RFC 6052 section 2.2).
//!
//! The A records are asked of the server, as if the client had asked for them.

use std::net::{Ipv4Addr, Ipv6Addr};

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, RData, Record, RecordType, rdata::AAAA},
};
use ipnet::Ipv6Net;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::{
    Builder, Failure, Next, Outcome, Plugin, Reply, Request, Served, Touch, args,
    metrics::Families, reply::Flags,
};
use crate::corefile::{Directive, Fault, Word};

/// The well-known prefix (RFC 6052 section 2.1).
const PREFIX_DEFAULT: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);
const PREFIX_BITS_DEFAULT: u8 = 96;
/// The longest TTL where no SOA record says how long there is no AAAA record (RFC 6147 section 5.1.7).
const TTL_MAX: u32 = 600;

struct Dns64 {
    prefix: Ipv6Net,
    translate_all: bool,
    allow_ipv4: bool,
    /// The server block's.
    zones: Vec<Name>,
    counters: Counters,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    server: String,
}

#[derive(Clone, Default)]
struct Counters(Family<Labels, Counter>);

impl Families for Counters {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "coredns_dns64_requests_translated",
            "Counter of DNS requests translated by dns64",
            self.0.clone(),
        );
    }
}

/// Reads `dns64`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    let default = Ipv6Net::new_assert(PREFIX_DEFAULT, PREFIX_BITS_DEFAULT);
    let mut dns64 = Dns64 {
        prefix: match directive.at_most_one("PREFIX at most")? {
            Some(word) => prefix(word)?,
            None => default,
        },
        translate_all: false,
        allow_ipv4: false,
        zones: builder.zones(&[])?,
        counters: builder.environment.metrics.of::<Counters>(),
    };
    for property in directive.properties() {
        match property.name.text.as_str() {
            "prefix" => {
                let [word] = property.exactly("PREFIX")?;
                dns64.prefix = prefix(word)?;
            }
            "translate_all" => {
                property.exactly::<0>("no arguments")?;
                dns64.translate_all = true;
            }
            "allow_ipv4" => {
                property.exactly::<0>("no arguments")?;
                dns64.allow_ipv4 = true;
            }
            _ => {
                let known = ["prefix", "translate_all", "allow_ipv4"];
                return Err(property.unknown_property("dns64", &known));
            }
        }
    }
    builder.plugins.push(Box::new(dns64));
    Ok(())
}

fn prefix(word: &Word) -> Result<Ipv6Net, Fault> {
    let expected = "an IPv6 network of 32 to 96 bits, a multiple of 8, such as 64:ff9b::/96";
    let prefix: Ipv6Net = word.parse(expected)?;
    let bits = prefix.prefix_len();
    if (32..=96).contains(&bits) && bits.is_multiple_of(8) {
        Ok(prefix.trunc())
    } else {
        Err(word.not(expected))
    }
}

#[async_trait]
impl Plugin for Dns64 {
    fn name(&self) -> &'static str {
        "dns64"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        let is_for_us = request.rtype == RecordType::AAAA
            && request.class == u16::from(DNSClass::IN)
            && (self.allow_ipv4 || request.client.is_ipv6());
        let outcome = next.run(request).await;
        let Ok(Served::Reply(reply)) = &outcome else {
            return outcome;
        };
        if !is_for_us || !self.is_wanting(reply) {
            return outcome;
        }
        let found = next.lookup(request, request.name.clone(), RecordType::A);
        let found = found
            .await
            .ok_or_else(|| Failure::new("plugin/dns64: no A records"))?;
        let server = request.server.to_string();
        self.counters.0.get_or_create(&Labels { server }).inc();
        Ok(self.translate(reply, found).into())
    }

    fn touches(&self) -> Vec<Touch> {
        // Names that do not exist stay so.
        self.zones.iter().cloned().map(Touch::Present).collect()
    }
}

impl Dns64 {
    /// An error counts as no record (RFC 6147 section 5.1.2), but for NXDOMAIN.
    fn is_wanting(&self, reply: &Reply) -> bool {
        let has_one = || {
            let mut answers = reply.answers.iter();
            answers.any(|record| record.record_type() == RecordType::AAAA)
        };
        reply.rcode != ResponseCode::NXDomain && (self.translate_all || !has_one())
    }

    fn translate(&self, without: &Reply, found: Reply) -> Reply {
        let mut authority = without.authority.iter();
        let soa = authority.find(|record| record.record_type() == RecordType::SOA);
        let ttl_max = soa.map_or(TTL_MAX, |soa| soa.ttl);
        let translated = |record: Record| match record.data {
            RData::A(address) => Record::from_rdata(
                record.name,
                record.ttl.min(ttl_max),
                RData::AAAA(AAAA(embed(self.prefix, address.0))),
            ),
            _ => record,
        };
        Reply {
            flags: Flags {
                truncated: found.flags.truncated,
                ..Flags::default()
            },
            answers: found.answers.into_iter().map(translated).collect(),
            authority: found.authority,
            additionals: found.additionals,
            ..Reply::bare(found.rcode)
        }
    }
}

/// The address behind the prefix, around byte 8.
fn embed(prefix: Ipv6Net, address: Ipv4Addr) -> Ipv6Addr {
    let mut bytes = prefix.network().octets();
    let start = usize::from(prefix.prefix_len() / 8);
    let places = (start..).filter(|place| *place != 8);
    for (place, octet) in places.zip(address.octets()) {
        bytes[place] = octet;
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_embedded_as_in_rfc_6052() {
        for (prefix, expected) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ] {
            let prefix: Ipv6Net = prefix.parse().expect("a prefix");
            let expected: Ipv6Addr = expected.parse().expect("an address");
            assert_eq!(
                embed(prefix, Ipv4Addr::new(192, 0, 2, 33)),
                expected,
                "{prefix}"
            );
        }
    }
}

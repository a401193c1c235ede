//! `transfer`: gives whole zones to others (AXFR, RFC 5936).
//!
//! ```text
//! transfer [ZONES...] {
//!     to ADDRESS...       who may have them: addresses, with or without a port, or * for everybody
//!     source ADDRESS      from where others are told of changes
//! }
//! ```
//!
//! The records are those of a plugin behind it: of `kubernetes` or of `file`. Those who may have a zone of `file`, and are
//! named, are told at the start and when it has changed ([`notify`]).
//!
//! IXFR is answered with a SOA record alone where the client has the zone's serial, else like AXFR (RFC 1995 section 4).
//! Over UDP both are refused.

mod notify;

use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType},
    serialize::binary::BinEncodable as _,
};

use super::{
    Builder, Next, Outcome, Plugin, Reply, Request, Touch, builder::PORT_DEFAULT, reply::Flags,
};
use crate::{
    corefile::{Directive, Fault, Word},
    socket::Transport,
};

/// Records of one message, written out; a message has 65535 bytes, of which header and question take some.
const PART_BYTES_MAX: usize = 63_000;

struct Transfer {
    rules: Vec<Rule>,
}

/// One directive.
struct Rule {
    zones: Vec<Name>,
    to: Vec<To>,
    /// Where others are told from.
    source: Option<IpAddr>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Everybody,
    /// The port is where it is told.
    Address(SocketAddr),
}

/// Reads every `transfer` of a server block.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let mut rules = Vec::new();
    for directive in directives {
        let mut rule = Rule {
            zones: builder.zones(&directive.args)?,
            to: Vec::new(),
            source: None,
        };
        for property in directive.properties() {
            match property.name.text.as_str() {
                "to" if property.args.is_empty() => {
                    return Err(property.wrong_arguments("ADDRESS..."));
                }
                "to" => {
                    let to = property.args.iter().map(to);
                    rule.to.extend(to.collect::<Result<Vec<_>, _>>()?);
                }
                "source" => {
                    let [address] = property.exactly("an address")?;
                    let source = address.parse("an address")?;
                    if rule.source.replace(source).is_some() {
                        return Err(address.not("one source"));
                    }
                }
                _ => return Err(property.unknown_property("transfer", &["to", "source"])),
            }
        }
        if rule.to.is_empty() {
            return Err(Fault::new(
                directive.span(),
                "`transfer` to nobody",
                "`to ADDRESS...` in its block",
            ));
        }
        rules.push(rule);
    }
    builder.plugins.push(Box::new(Transfer { rules }));
    Ok(())
}

fn to(word: &Word) -> Result<To, Fault> {
    if word.text == "*" {
        return Ok(To::Everybody);
    }
    let with_port = word.text.parse::<SocketAddr>();
    let address = with_port.or_else(|_| {
        let address: IpAddr = word.parse("an address, or *")?;
        Ok(SocketAddr::new(address, PORT_DEFAULT))
    });
    address.map(To::Address)
}

impl Transfer {
    /// The rule with the longest zone that the name lies in.
    fn rule(&self, name: &Name) -> Option<&Rule> {
        let zones = |rule: &Rule| {
            let zones = rule.zones.iter().filter(|zone| zone.zone_of(name));
            zones.map(Name::num_labels).max()
        };
        let rules = self.rules.iter().filter(|rule| zones(rule).is_some());
        rules.max_by_key(|rule| zones(rule))
    }
}

#[async_trait]
impl Plugin for Transfer {
    fn name(&self) -> &'static str {
        "transfer"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        if !matches!(request.rtype, RecordType::AXFR | RecordType::IXFR) {
            return next.run(request).await;
        }
        if request.transport != Transport::Tcp {
            return Ok(Reply::bare(ResponseCode::Refused).into());
        }
        let name = request.lower_name();
        let Some(rule) = self.rule(&name) else {
            return next.run(request).await;
        };
        let client = request.client.ip();
        let is_allowed = rule.to.iter().any(|to| match to {
            To::Everybody => true,
            To::Address(address) => address.ip() == client,
        });
        if !is_allowed {
            return Ok(Reply::bare(ResponseCode::Refused).into());
        }
        let is_incremental = request.rtype == RecordType::IXFR;
        // It says which zone the client has (RFC 1995 section 3).
        if is_incremental && request.serial.is_none() {
            return Ok(Reply::bare(ResponseCode::ServFail).into());
        }
        let mut records = match next.transfer(&name) {
            Some(records) => records?,
            None => return next.run(request).await,
        };
        let serial = match records.first().map(|record| &record.data) {
            Some(RData::SOA(soa)) => soa.serial,
            _ => 0,
        };
        // 0 is no zone's, as in `CoreDNS`.
        if is_incremental && serial != 0 && request.serial == Some(serial) {
            tracing::info!(
                target: "plugin/transfer",
                "Outgoing noop, incremental transfer for up to date zone \"{}\" to {client} for {serial} SOA serial",
                request.name
            );
            records.truncate(1);
            return Ok(reply(records).into());
        }
        tracing::info!(
            target: "plugin/transfer",
            "Outgoing transfer of {} records of zone \"{}\" to {client} for {serial} SOA serial",
            records.len(),
            request.name
        );
        Ok(reply(records).into())
    }

    fn changed(&self, zone: &Name) {
        let Some(rule) = self.rule(zone) else { return };
        for to in &rule.to {
            if let To::Address(address) = *to {
                let (zone, source) = (zone.clone(), rule.source);
                tokio::spawn(async move {
                    if let Err(error) = notify::notify(&zone, address, source).await {
                        tracing::warn!(target: "plugin/file", "Failed sending notifies: {error}");
                    }
                });
            }
        }
    }

    fn touches(&self) -> Vec<Touch> {
        // The kernel answers no zone transfers.
        Vec::new()
    }
}

fn reply(records: Vec<Record>) -> Reply {
    let mut parts = parts(records).into_iter();
    Reply {
        flags: Flags {
            authoritative: true,
            ..Flags::default()
        },
        answers: parts.next().unwrap_or_default(),
        further: parts.collect(),
        ..Reply::bare(ResponseCode::NoError)
    }
}

/// As many records in each message as fit for certain.
fn parts(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = 0;
    for record in records {
        // What cannot be written is told where it is written.
        let length = record.to_bytes().map_or(0, |bytes| bytes.len());
        if bytes + length > PART_BYTES_MAX {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += length;
        if let Some(part) = parts.last_mut() {
            part.push(record);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::A;

    use super::*;

    #[test]
    fn parts_are_as_long_as_they_may_be() {
        let name = Name::from_ascii("web.shop.svc.cluster.local.").expect("a name");
        let record = Record::from_rdata(name, 5, RData::A(A::new(10, 0, 0, 1)));
        let each = record.to_bytes().expect("a record").len();
        let all = vec![record; 10_000];
        let parts = parts(all);
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), 10_000);
        let (last, full) = parts.split_last().expect("several");
        assert!(!last.is_empty() && full.len() > 5);
        for part in full {
            assert_eq!(part.len(), PART_BYTES_MAX / each);
        }
    }
}

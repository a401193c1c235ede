//! `transfer`: gives whole zones to others (AXFR, RFC 5936).
//!
//! ```text
//! transfer [ZONES...] {
//!     to ADDRESS...       who may have them: addresses, with or without a port, or * for everybody
//!     source ADDRESS      from where others are told of changes
//! }
//! ```
//!
//! The records are those of a plugin behind it: of `kubernetes`. It tells nobody of changes, so `source` and the ports
//! are without effect so far.
//!
//! IXFR is answered like AXFR (RFC 1995 section 4). Over UDP both are refused.

use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType},
    serialize::binary::BinEncodable as _,
};

use super::{Builder, Next, Outcome, Plugin, Reply, Request, Touch, reply::Flags};
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
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Everybody,
    Address(IpAddr),
}

/// Reads every `transfer` of a server block.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let mut rules = Vec::new();
    for directive in directives {
        let mut rule = Rule {
            zones: builder.zones(&directive.args)?,
            to: Vec::new(),
        };
        let mut has_source = false;
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
                    address.parse::<IpAddr>("an address")?;
                    if std::mem::replace(&mut has_source, true) {
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
    let with_port = word.text.parse().map(|address: SocketAddr| address.ip());
    let address = with_port.or_else(|_| word.parse("an address, or *"));
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
        if !rule.to.contains(&To::Everybody) && !rule.to.contains(&To::Address(client)) {
            return Ok(Reply::bare(ResponseCode::Refused).into());
        }
        let Some(records) = next.transfer(&name) else {
            return next.run(request).await;
        };
        let serial = match records.first().map(|record| &record.data) {
            Some(RData::SOA(soa)) => soa.serial,
            _ => 0,
        };
        tracing::info!(
            target: "plugin/transfer",
            "Outgoing transfer of {} records of zone \"{}\" to {client} for {serial} SOA serial",
            records.len(),
            request.name
        );
        let mut parts = parts(records).into_iter();
        Ok(Reply {
            flags: Flags {
                authoritative: true,
                ..Flags::default()
            },
            answers: parts.next().unwrap_or_default(),
            further: parts.collect(),
            ..Reply::bare(ResponseCode::NoError)
        }
        .into())
    }

    fn touches(&self) -> Vec<Touch> {
        // The kernel answers no zone transfers.
        Vec::new()
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

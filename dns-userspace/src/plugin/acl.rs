//! `acl`: who may ask what.
//!
//! ```text
//! acl [ZONES...] {
//!     ACTION [type QTYPE...] [net SOURCE...]
//! }
//!
//! ACTION  allow    goes on with the next plugin, without a look at further rules
//!         block    REFUSED
//!         filter   NOERROR without records
//!         drop     no reply
//! QTYPE   A, AAAA, …; * or nothing: all
//! SOURCE  an address or a network of clients; * or nothing: all
//! ```
//!
//! The first line that fits decides; what fits none is allowed. Of several `acl` each that has the name in its zones is
//! looked at, until one decides. Replies of `block` and `filter` say why (extended DNS errors, RFC 8914), where the
//! query has EDNS; `CoreDNS` says it to all.

use std::net::IpAddr;

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
};
use ipnet::IpNet;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::{
    Builder, Next, Outcome, Plugin, Reply, Request, Served, Touch, builder::longest,
    metrics::Families,
};
use crate::corefile::{Directive, Fault, Word};

/// The EDNS option of extended errors (RFC 8914).
const EXTENDED_ERROR: u16 = 15;
const BLOCKED: u16 = 15;
const FILTERED: u16 = 17;

struct Acl {
    rules: Vec<Rule>,
    counters: Counters,
}

/// One directive.
struct Rule {
    zones: Vec<Name>,
    policies: Vec<Policy>,
}

/// One line.
struct Policy {
    action: Action,
    /// `None`: all.
    types: Option<Vec<RecordType>>,
    /// `None`: all.
    networks: Option<Vec<IpNet>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Allow,
    Block,
    Filter,
    Drop,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    server: String,
    zone: String,
    view: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AllowedLabels {
    server: String,
    view: String,
}

#[derive(Clone, Default)]
struct Counters {
    blocked: Family<Labels, Counter>,
    filtered: Family<Labels, Counter>,
    dropped: Family<Labels, Counter>,
    allowed: Family<AllowedLabels, Counter>,
}

impl Families for Counters {
    fn register(&self, registry: &mut Registry) {
        for (name, help, family) in [
            (
                "blocked",
                "Counter of DNS requests being blocked",
                &self.blocked,
            ),
            (
                "filtered",
                "Counter of DNS requests being filtered",
                &self.filtered,
            ),
            (
                "dropped",
                "Counter of DNS requests being dropped",
                &self.dropped,
            ),
        ] {
            registry.register(format!("coredns_acl_{name}_requests"), help, family.clone());
        }
        registry.register(
            "coredns_acl_allowed_requests",
            "Counter of DNS requests being allowed",
            self.allowed.clone(),
        );
    }
}

/// Reads every `acl` of a server block.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let mut rules = Vec::new();
    for directive in directives {
        let policies = directive.properties().iter().map(policy);
        rules.push(Rule {
            zones: builder.zones(&directive.args)?,
            policies: policies.collect::<Result<_, _>>()?,
        });
    }
    let counters = builder.environment.metrics.of::<Counters>();
    builder.plugins.push(Box::new(Acl { rules, counters }));
    Ok(())
}

fn policy(line: &Directive) -> Result<Policy, Fault> {
    let action = match line.name.text.to_lowercase().as_str() {
        "allow" => Action::Allow,
        "block" => Action::Block,
        "filter" => Action::Filter,
        "drop" => Action::Drop,
        _ => return Err(line.name.not("allow, block, filter or drop")),
    };
    line.no_block()?;
    let mut policy = Policy {
        action,
        types: None,
        networks: None,
    };
    let mut words = line.args.iter().peekable();
    while let Some(section) = words.next() {
        let is_of_section = |word: &&Word| !is_section(word);
        let mut items = Vec::new();
        while let Some(item) = words.next_if(is_of_section) {
            items.push(item);
        }
        if !is_section(section) {
            return Err(section.not("`type` or `net`"));
        }
        if items.is_empty() {
            return Err(Fault::new(
                section.span,
                format!("`{}` of what?", section.text),
                "`*`, or a list",
            ));
        }
        let is_all = items.iter().any(|item| item.text == "*");
        if section.text.eq_ignore_ascii_case("type") {
            let types = items
                .iter()
                .filter(|item| item.text != "*")
                .map(|item| rtype(item));
            let types: Vec<RecordType> = types.collect::<Result<_, _>>()?;
            policy.types = (!is_all).then_some(types);
        } else {
            let networks = items
                .iter()
                .filter(|item| item.text != "*")
                .map(|item| network(item));
            let networks: Vec<IpNet> = networks.collect::<Result<_, _>>()?;
            policy.networks = (!is_all).then_some(networks);
        }
    }
    Ok(policy)
}

fn is_section(word: &Word) -> bool {
    ["type", "net"]
        .iter()
        .any(|section| word.text.eq_ignore_ascii_case(section))
}

fn rtype(word: &Word) -> Result<RecordType, Fault> {
    match word.text.as_str() {
        // Its name is not among those that are parsed.
        "IXFR" => Ok(RecordType::IXFR),
        _ => word.parse("a type of record, such as AAAA"),
    }
}

/// An address alone is a network of its own.
fn network(word: &Word) -> Result<IpNet, Fault> {
    let alone = word.text.parse::<IpAddr>().map(IpNet::from);
    alone.or_else(|_| word.parse("an address or a network, such as 10.0.0.0/8"))
}

impl Policy {
    fn fits(&self, request: &Request) -> bool {
        let client = request.client.ip();
        (self.types.as_ref()).is_none_or(|types| types.contains(&request.rtype))
            && (self.networks.as_ref())
                .is_none_or(|networks| networks.iter().any(|network| network.contains(&client)))
    }

    /// Whether it could keep somebody from an answer that the kernel gives: it gives none to zone transfers.
    fn denies(&self) -> bool {
        let is_transfer = |rtype| matches!(rtype, &RecordType::AXFR | &RecordType::IXFR);
        let only_transfers =
            (self.types.as_ref()).is_some_and(|types| types.iter().all(is_transfer));
        self.action != Action::Allow && !only_transfers
    }
}

#[async_trait]
impl Plugin for Acl {
    fn name(&self) -> &'static str {
        "acl"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        let name = request.lower_name();
        let decided = self.rules.iter().find_map(|rule| {
            let zone = longest(&rule.zones, &name)?;
            let policy = rule.policies.iter().find(|policy| policy.fits(request))?;
            Some((policy.action, zone))
        });
        let (server, view) = (request.server.to_string(), request.view.to_string());
        let Some((action, zone)) = decided.filter(|(action, _)| *action != Action::Allow) else {
            let labels = AllowedLabels { server, view };
            self.counters.allowed.get_or_create(&labels).inc();
            return next.run(request).await;
        };
        let (counter, outcome) = match action {
            Action::Drop => (&self.counters.dropped, Served::Silence),
            Action::Filter => (
                &self.counters.filtered,
                denial(ResponseCode::NoError, FILTERED).into(),
            ),
            Action::Block | Action::Allow => (
                &self.counters.blocked,
                denial(ResponseCode::Refused, BLOCKED).into(),
            ),
        };
        let zone = zone.to_string();
        (counter.get_or_create(&Labels { server, zone, view })).inc();
        Ok(outcome)
    }

    fn touches(&self) -> Vec<Touch> {
        let denying = |rule: &&Rule| rule.policies.iter().any(Policy::denies);
        let zones = self
            .rules
            .iter()
            .filter(denying)
            .flat_map(|rule| &rule.zones);
        zones.cloned().map(Touch::Below).collect()
    }
}

fn denial(rcode: ResponseCode, why: u16) -> Reply {
    Reply {
        options: vec![(EXTENDED_ERROR, why.to_be_bytes().to_vec())],
        ..Reply::bare(rcode)
    }
}

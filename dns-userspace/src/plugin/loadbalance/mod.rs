//! `loadbalance`: changes the order of addresses from answer to answer.
//!
//! ```text
//! loadbalance [round_robin] {
//!     prefer CIDR...                addresses in these networks come first, in this order
//! }
//! loadbalance weighted WEIGHTFILE {
//!     reload DURATION               how often the file is looked at; 30s, 0: never
//! }
//! ```
//!
//! `round_robin` shuffles A and AAAA records, and MX records, in every section; CNAME records come first, so that an
//! answer still reads from the question to the addresses. `weighted` only chooses which address is the first
//! ([`weights`]).

mod weights;

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType},
};
use ipnet::IpNet;

use super::{
    Builder, Glance, Glanced, Glimpse, Next, Outcome, Plugin, Reply, Request, Served, Site, Touch,
    args,
};
use crate::{
    corefile::{Directive, Fault, Word},
    socket::Addresses,
};
use weights::{WeightFile, Weights};

struct LoadBalance {
    policy: Policy,
    prefer: Vec<IpNet>,
}

enum Policy {
    RoundRobin,
    Weighted(Arc<WeightFile>),
}

/// Reads `loadbalance`.
pub(super) fn setup(builder: &mut Builder<'_>, directives: &[&Directive]) -> Result<(), Fault> {
    let directive = args::once(directives)?;
    let plugin = match directive.args.as_slice() {
        [] => round_robin(directive)?,
        [policy] if policy.text == "round_robin" => round_robin(directive)?,
        [policy, file] if policy.text == "weighted" => weighted(builder, directive, file)?,
        [policy, ..] if policy.text == "weighted" || policy.text == "round_robin" => {
            return Err(directive.wrong_arguments("round_robin, or weighted WEIGHTFILE"));
        }
        [policy, ..] => return Err(policy.not("round_robin or weighted")),
    };
    builder.plugins.push(Box::new(plugin));
    Ok(())
}

fn round_robin(directive: &Directive) -> Result<LoadBalance, Fault> {
    let mut prefer = Vec::new();
    for property in directive.properties() {
        if property.name.text != "prefer" {
            return Err(property.unknown_property("loadbalance", &["prefer"]));
        }
        for network in &property.args {
            let network: IpNet = network.parse("a network, such as 10.0.0.0/8")?;
            prefer.push(network.trunc());
        }
    }
    Ok(LoadBalance {
        policy: Policy::RoundRobin,
        prefer,
    })
}

fn weighted(
    builder: &Builder<'_>,
    directive: &Directive,
    file: &Word,
) -> Result<LoadBalance, Fault> {
    let mut reload = weights::RELOAD_DEFAULT;
    for property in directive.properties() {
        if property.name.text != "reload" {
            return Err(property.unknown_property("loadbalance weighted", &["reload"]));
        }
        let [duration] = property.exactly("a duration")?;
        reload = duration.duration()?;
    }
    Ok(LoadBalance {
        policy: Policy::Weighted(Arc::new(WeightFile::open(
            builder.path(file),
            file,
            reload,
        )?)),
        prefer: Vec::new(),
    })
}

#[async_trait]
impl Plugin for LoadBalance {
    fn name(&self) -> &'static str {
        "loadbalance"
    }

    async fn serve(&self, request: &mut Request, next: Next<'_>) -> Outcome {
        let mut outcome = next.run(request).await;
        if let Ok(Served::Reply(reply)) = &mut outcome
            && reply.rcode == ResponseCode::NoError
        {
            self.arrange(request.rtype, reply);
        }
        outcome
    }

    fn touches(&self) -> Vec<Touch> {
        if self.is_plain() {
            // The kernel rotates too.
            Vec::new()
        } else {
            // Denials have nothing to arrange.
            vec![Touch::Present(Name::root())]
        }
    }

    fn rotates(&self) -> bool {
        true
    }

    fn glance(&self, query: &Glimpse<'_>, _reply: &mut Glanced<'_>) -> Glance {
        let rtype = query.asked.query.rtype;
        // Of other types other records are shuffled, which are not known by then.
        if self.is_plain() && matches!(rtype, RecordType::A | RecordType::AAAA) {
            Glance::Next
        } else {
            Glance::InDoubt
        }
    }

    fn glanced(&self, _query: &Glimpse<'_>, reply: &mut Glanced<'_>) {
        if let Some(addresses) = reply.addresses {
            shuffle_bytes(reply.message, addresses);
        }
    }

    fn start(&self, _site: &Site) {
        if let Policy::Weighted(file) = &self.policy {
            WeightFile::follow(file);
        }
    }
}

impl LoadBalance {
    /// Whether any order is as good as another.
    fn is_plain(&self) -> bool {
        matches!(self.policy, Policy::RoundRobin) && self.prefer.is_empty()
    }

    fn arrange(&self, rtype: RecordType, reply: &mut Reply) {
        let Reply {
            answers,
            authority,
            additionals,
            ..
        } = reply;
        match &self.policy {
            Policy::RoundRobin => {
                for section in [&mut *answers, authority, &mut *additionals] {
                    shuffle(section);
                }
            }
            Policy::Weighted(file) => {
                if matches!(rtype, RecordType::A | RecordType::AAAA | RecordType::SRV) {
                    let weights = file.weights();
                    for section in [&mut *answers, &mut *additionals] {
                        choose_first(section, &weights);
                    }
                }
            }
        }
        if !self.prefer.is_empty() {
            for section in [answers, additionals] {
                // Stable, so what is equally preferred stays shuffled.
                section.sort_by_key(|record| match kind(record) {
                    Kind::Cname => (0, 0),
                    Kind::Address(address) => (1, preference(&self.prefer, address)),
                    Kind::Mx => (2, 0),
                    Kind::Other => (3, 0),
                });
            }
        }
    }
}

/// What a record is to this plugin.
enum Kind {
    Cname,
    Address(IpAddr),
    Mx,
    Other,
}

fn kind(record: &Record) -> Kind {
    match &record.data {
        RData::CNAME(_) => Kind::Cname,
        RData::A(address) => Kind::Address(address.0.into()),
        RData::AAAA(address) => Kind::Address(address.0.into()),
        RData::MX(_) => Kind::Mx,
        _ => Kind::Other,
    }
}

/// CNAME, other records, addresses, MX, each in the order that they had; and where the addresses and the MX begin.
fn partition(section: &mut [Record]) -> [usize; 2] {
    let rank = |record: &Record| match kind(record) {
        Kind::Cname => 0,
        Kind::Other => 1,
        Kind::Address(_) => 2,
        Kind::Mx => 3,
    };
    section.sort_by_key(rank);
    [2, 3].map(|wanted| section.partition_point(|record| rank(record) < wanted))
}

fn shuffle(section: &mut [Record]) {
    let [addresses, mx] = partition(section);
    fastrand::shuffle(&mut section[addresses..mx]);
    fastrand::shuffle(&mut section[mx..]);
}

/// The same with records as bytes, which are of one length.
fn shuffle_bytes(message: &mut [u8], addresses: Addresses) {
    let Addresses {
        start,
        record_bytes,
        count,
    } = addresses;
    let end = start + record_bytes * count;
    let Some(mut left) = message.get_mut(start..end) else {
        return;
    };
    // Each place takes one of those that are left (Fisher and Yates).
    for count in (2..=count).rev() {
        let (first, others) = left.split_at_mut(record_bytes);
        if let Some(other) = fastrand::usize(..count).checked_sub(1) {
            first.swap_with_slice(&mut others[other * record_bytes..][..record_bytes]);
        }
        left = others;
    }
}

/// Lets an address be the first that is chosen by the weights; it changes places with the one that was.
fn choose_first(section: &mut [Record], weights: &Weights) {
    let is_address = |record: &Record| matches!(kind(record), Kind::Address(_));
    if !section.iter().any(is_address) {
        return;
    }
    let [first, end] = partition(section);
    let addresses = &mut section[first..end];
    let weight_of = |record: &Record| match kind(record) {
        Kind::Address(address) => weights.of(&record.name, address),
        _ => 0,
    };
    let sum: u32 = addresses.iter().map(weight_of).sum();
    let mut left = fastrand::u32(..sum);
    let chosen = addresses.iter().position(|record| {
        let weight = weight_of(record);
        let is_it = left < weight;
        left = left.saturating_sub(weight);
        is_it
    });
    addresses.swap(0, chosen.unwrap_or(0));
}

fn preference(prefer: &[IpNet], address: IpAddr) -> usize {
    let found = prefer.iter().position(|network| network.contains(&address));
    found.unwrap_or(prefer.len())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hickory_proto::rr::rdata::{A, CNAME, MX, NS};

    use super::*;

    fn record(data: RData) -> Record {
        Record::from_rdata(Name::from_ascii("www.example.").unwrap(), 60, data)
    }

    fn address(last: u8) -> Record {
        record(RData::A(A::new(192, 0, 2, last)))
    }

    fn last_of(record: &Record) -> u8 {
        match kind(record) {
            Kind::Address(IpAddr::V4(address)) => address.octets()[3],
            _ => 0,
        }
    }

    #[test]
    fn every_order_comes_and_other_records_stay_before() {
        let target = || Name::from_ascii("t.example.").unwrap();
        let mut orders: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        for _ in 0..6000 {
            let mut section = vec![
                record(RData::MX(MX::new(10, target()))),
                address(1),
                record(RData::NS(NS(target()))),
                address(2),
                record(RData::CNAME(CNAME(target()))),
                address(3),
            ];
            shuffle(&mut section);
            let kinds: Vec<RecordType> = section.iter().map(Record::record_type).collect();
            let kinds: Vec<String> = kinds.iter().map(RecordType::to_string).collect();
            assert_eq!(kinds, ["CNAME", "NS", "A", "A", "A", "MX"]);
            let order = section[2..5].iter().map(last_of).collect();
            *orders.entry(order).or_default() += 1;
        }
        assert_eq!(orders.len(), 6);
        assert!(orders.values().all(|count| (800..1200).contains(count)));
    }

    #[test]
    fn every_order_of_bytes_comes() {
        let mut orders: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        for _ in 0..6000 {
            let mut message = *b"..aabbcc.";
            let addresses = Addresses {
                start: 2,
                record_bytes: 2,
                count: 3,
            };
            shuffle_bytes(&mut message, addresses);
            *orders.entry(message.to_vec()).or_default() += 1;
        }
        assert_eq!(orders.len(), 6, "{orders:?}");
        assert!(orders.values().all(|count| (800..1200).contains(count)));
        assert!(orders.contains_key(&b"..bbaacc."[..]));
    }

    #[test]
    fn the_first_is_chosen_by_weight() {
        let weights = Weights::parse("www.example\n192.0.2.1 3\n192.0.2.2 7\n").unwrap();
        let mut counts = [0; 4];
        for _ in 0..11_000 {
            let mut section = vec![address(1), address(2), address(3)];
            choose_first(&mut section, &weights);
            counts[usize::from(last_of(&section[0]))] += 1;
        }
        // What is not listed has weight 1.
        assert!((2700..3300).contains(&counts[1]), "{counts:?}");
        assert!((6600..7400).contains(&counts[2]), "{counts:?}");
        assert!((800..1200).contains(&counts[3]), "{counts:?}");
    }
}

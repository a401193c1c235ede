//! What a name stands for, by its labels alone.

use std::net::IpAddr;

use hickory_proto::rr::Name;

use super::{ZoneConfig, reverse::Prefix};
use crate::state::Protocol;

/// A name within one of our zones, taken apart. It need not exist.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A zone's own name.
    Apex,
    /// `svc.<zone>` and what else exists only to have names below it.
    EmptyNonTerminal,
    /// `dns-version.<zone>`
    Version,
    /// `ns.dns.<zone>`, the SOA's primary.
    NameServer,
    /// `pod.<zone>` (true) or a name below it that is none of the next two (false).
    Pods(bool),
    /// `<ns>.pod.<zone>`
    PodNamespace(String),
    /// `<address with dashes>.<ns>.pod.<zone>`
    Pod(String, IpAddr),
    /// `<ns>.svc.<zone>`
    Namespace(String),
    /// `<svc>.<ns>.svc.<zone>`
    Service(ServiceName),
    /// `<host>.<svc>.<ns>.svc.<zone>`
    Endpoint(ServiceName, String),
    /// `_<proto>.<svc>.<ns>.svc.<zone>`
    Protocol(ServiceName, Protocol),
    /// `_<port>._<proto>.<svc>.<ns>.svc.<zone>`
    Port(ServiceName, Protocol, String),
    /// The reverse name of an address.
    Address(IpAddr),
    /// The reverse name of a prefix.
    Prefix(Prefix),
    /// Nothing that Kubernetes could mean.
    Nothing,
}

impl Subject {
    /// Whether it lies in `pod.<zone>`.
    pub fn is_of_pods(&self) -> bool {
        matches!(
            self,
            Subject::Pods(_) | Subject::PodNamespace(_) | Subject::Pod(..)
        )
    }
}

/// A service, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceName {
    pub namespace: String,
    pub service: String,
}

/// The zone that a lower-case name lies in, and what the name stands for there.
pub fn parse<'c>(config: &'c ZoneConfig, name: &Name) -> Option<(&'c Name, Subject)> {
    let zone = (config.all_zones())
        .filter(|zone| zone.zone_of(name))
        .max_by_key(|zone| zone.iter().len())?;
    let labels = name.iter().len() - zone.iter().len();
    let subject = if labels == 0 {
        Subject::Apex
    } else if config.domains().any(|domain| domain == zone) {
        forward(name, labels)
    } else {
        match Prefix::of_name(name) {
            Some(prefix) => prefix
                .address()
                .map_or(Subject::Prefix(prefix), Subject::Address),
            None => Subject::Nothing,
        }
    };
    Some((zone, subject))
}

/// Whether a lower-case name has a zone of ours below it, and so exists in the zone above.
pub fn is_above_a_zone(config: &ZoneConfig, name: &Name) -> bool {
    (config.all_zones())
        .filter(|zone| zone.iter().len() > name.iter().len())
        .any(|zone| name.zone_of(zone))
}

fn forward(name: &Name, relative: usize) -> Subject {
    // The longest name of the schema has five labels.
    let mut labels = [""; 5];
    if relative > labels.len() {
        let below_pods = name.iter().nth(relative - 1) == Some(b"pod");
        return if below_pods {
            Subject::Pods(false)
        } else {
            Subject::Nothing
        };
    }
    for (at, label) in name.iter().take(relative).enumerate() {
        match std::str::from_utf8(label) {
            Ok(label) => labels[relative - 1 - at] = label,
            Err(_) => return Subject::Nothing,
        }
    }
    let named = |namespace: &str, service: &str| ServiceName {
        namespace: namespace.to_owned(),
        service: service.to_owned(),
    };
    match &labels[..relative] {
        ["svc" | "dns"] => Subject::EmptyNonTerminal,
        ["dns-version"] => Subject::Version,
        ["dns", "ns"] => Subject::NameServer,
        ["pod"] => Subject::Pods(true),
        ["pod", ns] => Subject::PodNamespace((*ns).to_owned()),
        ["pod", ns, pod] => match pod_address(pod) {
            Some(address) => Subject::Pod((*ns).to_owned(), address),
            None => Subject::Pods(false),
        },
        ["pod", ..] => Subject::Pods(false),
        ["svc", ns] => Subject::Namespace((*ns).to_owned()),
        ["svc", ns, service] => Subject::Service(named(ns, service)),
        ["svc", ns, service, label] => match protocol(label) {
            Some(protocol) => Subject::Protocol(named(ns, service), protocol),
            None => Subject::Endpoint(named(ns, service), (*label).to_owned()),
        },
        ["svc", ns, service, label, port] => match (protocol(label), port.strip_prefix('_')) {
            (Some(protocol), Some(port)) => {
                Subject::Port(named(ns, service), protocol, port.to_owned())
            }
            _ => Subject::Nothing,
        },
        _ => Subject::Nothing,
    }
}

/// The address that a pod's label spells, in any of its forms, as `CoreDNS` takes them.
fn pod_address(label: &str) -> Option<IpAddr> {
    let is_v4 = label.matches('-').count() == 3 && !label.contains("--");
    let address = label.replace('-', if is_v4 { "." } else { ":" });
    Some(address.parse::<IpAddr>().ok()?.to_canonical())
}

fn protocol(label: &str) -> Option<Protocol> {
    Protocol::ALL
        .into_iter()
        .find(|protocol| protocol.label() == label)
}

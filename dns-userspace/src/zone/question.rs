//! What a name stands for, by its labels alone.

use std::{net::IpAddr, str};

use hickory_proto::rr::Name;

use super::{
    ZoneConfig,
    owner::{OwnerName, labels_of, lies_in},
    reverse::Prefix,
};
use crate::state::{Host, Protocol};

/// Labels of the longest name of the schema.
const LABELS_MAX: usize = 5;

/// A name within one of our zones, taken apart. It need not exist.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Subject<'n> {
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
    PodNamespace(&'n str),
    /// `<address with dashes>.<ns>.pod.<zone>`
    Pod(&'n str, IpAddr),
    /// `<ns>.svc.<zone>`
    Namespace(&'n str),
    /// `<svc>.<ns>.svc.<zone>`
    Service(ServiceName<'n>),
    /// `<host>.<svc>.<ns>.svc.<zone>`; of an imported service `<host>.<cluster>.<svc>.<ns>.svc.<zone>`, and the name above
    Endpoint(ServiceName<'n>, Host<'n>),
    /// `_<proto>.<svc>.<ns>.svc.<zone>`
    Protocol(ServiceName<'n>, Protocol),
    /// `_<port>._<proto>.<svc>.<ns>.svc.<zone>`
    Port(ServiceName<'n>, Protocol, &'n str),
    /// The reverse name of an address.
    Address(IpAddr),
    /// The reverse name of a prefix.
    Prefix(Prefix),
    /// Nothing that Kubernetes could mean.
    Nothing,
}

impl Subject<'_> {
    /// Whether it lies in `pod.<zone>`.
    pub fn is_of_pods(self) -> bool {
        matches!(
            self,
            Subject::Pods(_) | Subject::PodNamespace(_) | Subject::Pod(..)
        )
    }
}

/// A service, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceName<'n> {
    pub namespace: &'n str,
    pub service: &'n str,
    /// It is one of those that are imported.
    pub is_imported: bool,
}

/// A zone of ours.
#[derive(Clone, Debug)]
pub struct Apex {
    /// As it is configured, in lower case.
    pub name: Name,
    /// The same.
    pub owner: OwnerName,
    /// It holds services.
    pub is_domain: bool,
    /// They are imported ones.
    pub is_imported: bool,
    /// It holds addresses.
    is_reverse: bool,
}

/// All zones of ours: the origin, other domains, reverse zones.
#[derive(Clone, Debug)]
pub struct Apexes(Vec<Apex>);

impl Apexes {
    pub fn new(config: &ZoneConfig) -> Self {
        let apex = |name: &Name| Apex {
            name: name.clone(),
            owner: OwnerName::new(name),
            is_domain: config.domains().any(|domain| domain == name),
            is_imported: config.is_imported(name),
            is_reverse: config.reverse.contains(name),
        };
        Apexes(config.zones().map(apex).collect())
    }

    /// The zone of this number.
    pub fn get(&self, number: usize) -> &Apex {
        &self.0[number]
    }

    /// The reverse zones.
    pub fn reverse(&self) -> impl Iterator<Item = &Apex> {
        self.0.iter().filter(|apex| apex.is_reverse)
    }

    /// Whether one of them lies in another one, so that a name of the one may be spelt like one of the other.
    pub fn are_nested(&self) -> bool {
        self.0.iter().any(|apex| self.has_below(&apex.owner))
    }

    /// The zones that hold services, own or imported ones.
    pub fn domains(&self, is_imported: bool) -> impl Iterator<Item = &Apex> {
        let is_one = move |apex: &&Apex| apex.is_domain && apex.is_imported == is_imported;
        self.0.iter().filter(is_one)
    }

    /// Whether a name lies in a zone of services, perhaps with another zone between.
    pub fn domains_have(&self, name: &OwnerName) -> bool {
        let mut domains = self.0.iter().filter(|apex| apex.is_domain);
        domains.any(|apex| lies_in(name.wire(), apex.owner.wire()).is_some())
    }

    /// Whether a name lies in this zone, and in none between.
    pub fn is_directly_in(&self, name: &OwnerName, apex: &Apex) -> bool {
        self.innermost(name)
            .is_some_and(|(number, _)| self.0[number].owner == apex.owner)
    }

    /// The number of the zone that a name lies in, and how many labels are before that.
    fn innermost(&self, name: &OwnerName) -> Option<(usize, usize)> {
        let wire = name.wire();
        let found = (self.0.iter().enumerate())
            .filter_map(|(number, apex)| Some((number, lies_in(wire, apex.owner.wire())?.1)));
        found.min_by_key(|(_, labels)| *labels)
    }

    /// The number of the zone that a name lies in, and what the name stands for there.
    pub fn parse<'n>(&self, name: &'n OwnerName) -> Option<(usize, Subject<'n>)> {
        let wire = name.wire();
        let (number, labels) = self.innermost(name)?;
        let subject = if labels == 0 {
            Subject::Apex
        } else if self.0[number].is_domain {
            forward(wire, labels, self.0[number].is_imported)
        } else {
            match Prefix::of_labels(name.labels()) {
                Some(prefix) => {
                    (prefix.address()).map_or(Subject::Prefix(prefix), Subject::Address)
                }
                None => Subject::Nothing,
            }
        };
        Some((number, subject))
    }

    /// Whether a name has a zone of ours below it, and so exists in the zone above.
    pub fn has_below(&self, name: &OwnerName) -> bool {
        let mut zones = self.0.iter().map(|apex| apex.owner.wire());
        zones.any(|zone| zone.len() > name.wire().len() && lies_in(zone, name.wire()).is_some())
    }
}

fn forward(wire: &[u8], relative: usize, is_imported: bool) -> Subject<'_> {
    let mut labels = [""; LABELS_MAX];
    if relative > labels.len() {
        let below_pods = labels_of(wire).nth(relative - 1) == Some(b"pod");
        return if below_pods {
            Subject::Pods(false)
        } else {
            Subject::Nothing
        };
    }
    for (at, label) in labels_of(wire).take(relative).enumerate() {
        match str::from_utf8(label) {
            Ok(label) => labels[relative - 1 - at] = label,
            Err(_) => return Subject::Nothing,
        }
    }
    let named = |namespace, service| ServiceName {
        namespace,
        service,
        is_imported,
    };
    let endpoint = |namespace, service, cluster, label| {
        Subject::Endpoint(named(namespace, service), Host { cluster, label })
    };
    match labels[..relative] {
        ["svc" | "dns"] => Subject::EmptyNonTerminal,
        ["dns-version"] => Subject::Version,
        ["dns", "ns"] => Subject::NameServer,
        ["pod"] => Subject::Pods(true),
        ["pod", ns] => Subject::PodNamespace(ns),
        ["pod", ns, pod] => match pod_address(pod) {
            Some(address) => Subject::Pod(ns, address),
            None => Subject::Pods(false),
        },
        ["pod", ..] => Subject::Pods(false),
        ["svc", ns] => Subject::Namespace(ns),
        ["svc", ns, service] => Subject::Service(named(ns, service)),
        ["svc", ns, service, label] => protocol(label)
            .map_or(endpoint(ns, service, None, label), |protocol| {
                Subject::Protocol(named(ns, service), protocol)
            }),
        ["svc", ns, service, label, port] => match (protocol(label), port.strip_prefix('_')) {
            (Some(protocol), Some(port)) => Subject::Port(named(ns, service), protocol, port),
            // The first label is the endpoint's, and the second its cluster.
            (None, None) if is_imported => endpoint(ns, service, Some(label), port),
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

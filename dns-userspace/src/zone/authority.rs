//! The zone itself: the state, how it changes, and what a name holds.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use hickory_proto::rr::{Name, RData, Record, RecordType, rdata::CNAME};

use super::{
    Alias, Node, Pods, RrSet, ZoneConfig,
    aliases::Aliases,
    kept::Kept,
    question::{self, Subject},
    records::TYPES,
};
use crate::{
    source::{Batch, Change},
    state::{Counts, Service, ServiceView, State, Touched},
};

/// Namespace and name of the service that fronts DNS.
pub(super) const DNS_SERVICE: (&str, &str) = ("kube-system", "kube-dns");

/// All names of the cluster.
#[derive(Debug)]
pub struct Zone {
    pub(super) config: ZoneConfig,
    pub(super) state: State,
    pub(super) aliases: Aliases,
    pub(super) kept: Kept,
    /// Unix time of the last change: the SOA's serial.
    pub(super) serial: u32,
    pub(super) synchronised: bool,
}

/// How a name is to be answered.
#[derive(Debug, PartialEq)]
pub(super) enum Existence {
    /// NXDOMAIN
    Absent,
    /// Its records, or NODATA.
    Exists,
    /// It is a CNAME for this name.
    Alias(Name),
}

impl Zone {
    /// A zone without contents.
    pub fn new(mut config: ZoneConfig) -> Self {
        config.origin = fully_qualified(&config.origin);
        for zone in config.reverse.iter_mut().chain(&mut config.others) {
            *zone = fully_qualified(zone);
        }
        Self {
            config,
            state: State::default(),
            aliases: Aliases::default(),
            kept: Kept::default(),
            serial: 0,
            synchronised: false,
        }
    }

    /// The same cluster, named and timed in another way.
    #[must_use]
    pub fn with_config(&self, config: ZoneConfig) -> Self {
        let mut zone = Self {
            state: self.state.clone(),
            serial: self.serial,
            synchronised: self.synchronised,
            ..Self::new(config)
        };
        let services = zone.state.services();
        let names: Vec<_> = services
            .map(|(namespace, service, _)| (Arc::clone(namespace), Arc::clone(service)))
            .collect();
        for (namespace, service) in names {
            zone.note_alias(&namespace, &service);
        }
        zone
    }

    /// Applies a batch. Returns every name whose [`Zone::node`] may have changed, each once, in
    /// lower case and no particular order.
    ///
    /// An alias is touched with its target. (Not with what its target is an alias of: it is then answered by
    /// the socket, whatever that holds.)
    ///
    /// A change, and the synchronisation, moves the serial, so the apexes are among the names whenever any is. Negative
    /// answers carry that SOA: whoever keeps copies of it renews them when an apex is touched.
    pub fn apply(&mut self, batch: Batch, now_unix: u32) -> Vec<Name> {
        let mut names = HashSet::new();
        let was_synchronised = self.synchronised;
        for change in batch {
            self.synchronised |= change == Change::Synchronised;
            let change = self.config.shown.seen(change);
            for touched in self.state.apply(change) {
                self.touch(&touched, &mut names);
                if let Touched::Service { namespace, service } = &touched {
                    self.note_alias(namespace, service);
                }
            }
        }
        if !self.aliases.is_empty() {
            let of_touched = names.iter().flat_map(|name| self.aliases.of(name));
            let of_touched: Vec<Name> = of_touched.cloned().collect();
            names.extend(of_touched);
        }
        // An empty cluster too has a serial from when it was known to be empty.
        if !names.is_empty() || self.synchronised != was_synchronised {
            self.serial = now_unix;
            names.extend(self.config.zones().cloned());
        }
        names.into_iter().collect()
    }

    /// A service has changed: it may have become an alias, or another one, or none.
    fn note_alias(&mut self, namespace: &str, service: &str) {
        let Some(alias) = self.config.service(namespace, service) else {
            return;
        };
        let view = self.state.service(namespace, service);
        let target = view.and_then(|view| match view.service {
            Service::ExternalName(target) => alias_target(target),
            _ => None,
        });
        let target = target.map(|target| target.to_lowercase());
        let ours = target.filter(|target| self.config.zones().any(|zone| zone.zone_of(target)));
        self.aliases.set(&alias, ours);
    }

    /// Whether everything that existed at the start is in.
    pub fn is_synchronised(&self) -> bool {
        self.synchronised
    }

    /// What is known of the cluster.
    pub fn counts(&self) -> Counts {
        self.state.counts()
    }

    /// Unix time of the last change; 0 before the first.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Whether a service has no address of its own; none if there is no such service.
    pub fn is_headless(&self, namespace: &str, service: &str) -> Option<bool> {
        let view = self.state.service(namespace, service)?;
        Some(*view.service == Service::Headless)
    }

    /// How the zone is named and timed; names are in lower case.
    pub fn config(&self) -> &ZoneConfig {
        &self.config
    }

    /// The zone of ours that a name lies in, if any: the longest.
    pub fn zone_of(&self, name: &Name) -> Option<&Name> {
        question::parse(&self.config, &name.to_lowercase()).map(|(zone, _)| zone)
    }

    /// The SOA record of one of our zones, as negative answers carry it.
    pub fn soa(&self, zone: &Name) -> Option<Record> {
        let ours = self.config.zones().any(|ours| ours == zone);
        ours.then(|| self.soa_record(zone))
    }

    /// What a name holds, for who copies the zone elsewhere.
    pub fn node(&self, name: &Name) -> Node {
        let name = name.to_lowercase();
        let Some((zone, subject)) = question::parse(&self.config, &name) else {
            return Node::Absent;
        };
        if subject.is_of_pods() || self.config.others.contains(zone) || self.is_kept(&name) {
            return Node::SocketOnly;
        }
        match self.existence(&name, &subject) {
            Existence::Absent => Node::Absent,
            _ if self.is_kept_if_it_exists(&name) => Node::SocketOnly,
            Existence::Alias(target) => self.alias(target).map_or(Node::SocketOnly, Node::Alias),
            Existence::Exists => Node::Records(
                TYPES
                    .into_iter()
                    .filter_map(|rtype| self.rrset(zone, &subject, rtype))
                    .collect(),
            ),
        }
    }

    /// The alias of a target that exists in a zone of ours, is none itself, has addresses, and is not kept on the socket.
    fn alias(&self, target: Name) -> Option<Alias> {
        let lower = target.to_lowercase();
        let (zone, subject) = question::parse(&self.config, &lower)?;
        // The names of pods are not touched when they change.
        if subject.is_of_pods()
            || self.config.others.contains(zone)
            || self.existence(&lower, &subject) != Existence::Exists
            || self.is_kept_if_it_exists(&lower)
        {
            return None;
        }
        let addresses: Vec<RrSet> = [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|rtype| self.rrset(zone, &subject, rtype))
            .collect();
        let cname = RrSet {
            rtype: RecordType::CNAME,
            ttl: self.config.ttl,
            rdata: vec![RData::CNAME(CNAME(target))],
            additionals: Vec::new(),
        };
        (!addresses.is_empty()).then_some(Alias { cname, addresses })
    }

    pub(super) fn existence(&self, name: &Name, subject: &Subject) -> Existence {
        let exists = match subject {
            Subject::Apex
            | Subject::EmptyNonTerminal
            | Subject::Version
            | Subject::NameServer
            | Subject::Pods(true) => true,
            Subject::Pods(false) | Subject::Nothing => false,
            Subject::PodNamespace(namespace) => self.pod_exists(namespace, None),
            Subject::Pod(namespace, address) => self.pod_exists(namespace, Some(*address)),
            Subject::Namespace(namespace) => self.state.has_namespace(namespace),
            Subject::Service(service) => match self.view(service) {
                None => false,
                Some(view) => match view.service {
                    Service::ExternalName(target) => {
                        return alias_target(target).map_or(Existence::Absent, Existence::Alias);
                    }
                    _ => self.shows(&view),
                },
            },
            Subject::Endpoint(service, host) => self
                .view(service)
                .is_some_and(|view| !view.endpoint(host).is_empty()),
            Subject::Protocol(service, protocol) => self.view(service).is_some_and(|view| {
                let mut ports = view.named_ports().into_iter();
                self.shows(&view) && ports.any(|(candidate, _)| candidate == *protocol)
            }),
            Subject::Port(service, protocol, port) => self.view(service).is_some_and(|view| {
                self.shows(&view) && view.named_ports().contains(&(*protocol, port.as_str()))
            }),
            Subject::Address(address) => !self.state.addresses().owners(*address).is_empty(),
            Subject::Prefix(prefix) => self.state.addresses().any_in(prefix.range()),
        };
        if exists || question::is_above_a_zone(&self.config, name) {
            Existence::Exists
        } else {
            Existence::Absent
        }
    }
}

impl Zone {
    /// Whether a service's own name and its ports exist.
    pub(super) fn shows(&self, view: &ServiceView<'_>) -> bool {
        let has_address = matches!(view.service, Service::ClusterIp { .. });
        let is_ignored = || self.config.shown.ignore_empty_service && view.is_empty();
        view.exists() && !(has_address && is_ignored())
    }

    /// Whether a pod's name exists, or that of all pods of a namespace.
    fn pod_exists(&self, namespace: &str, address: Option<IpAddr>) -> bool {
        let has = |address| self.state.pods().has(address, namespace);
        self.state.has_namespace(namespace)
            && match self.config.shown.pods {
                Pods::Disabled => false,
                Pods::Insecure => true,
                Pods::Verified => address.is_none_or(has),
            }
    }

    /// The zone of services that a name lies in.
    pub fn domain_of(&self, name: &Name) -> Option<&Name> {
        let zone = self.zone_of(name)?;
        self.config.domains().find(|domain| *domain == zone)
    }

    /// The namespace of the pod that has an address; known with `pods verified` only.
    pub fn namespace_of_pod(&self, address: IpAddr) -> Option<&str> {
        self.state.pods().namespace_of(address)
    }
}

/// The name that an alias stands for. The state keeps no target that is not a name.
fn alias_target(target: &str) -> Option<Name> {
    let mut name = Name::from_ascii(target).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn fully_qualified(name: &Name) -> Name {
    let mut name = name.to_lowercase();
    name.set_fqdn(true);
    name
}

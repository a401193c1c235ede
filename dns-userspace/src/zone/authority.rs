//! The zone itself: the state, how it changes, and what a name holds.

use std::collections::HashSet;

use hickory_proto::rr::{Name, Record};

use super::{
    Node, ZoneConfig,
    question::{self, Subject},
    records::TYPES,
};
use crate::{
    source::{Batch, Change},
    state::{Service, State},
};

/// Namespace and name of the service that fronts DNS.
pub(super) const DNS_SERVICE: (&str, &str) = ("kube-system", "kube-dns");

/// All names of the cluster.
#[derive(Debug)]
pub struct Zone {
    pub(super) config: ZoneConfig,
    pub(super) state: State,
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
        for zone in &mut config.reverse {
            *zone = fully_qualified(zone);
        }
        Self {
            config,
            state: State::default(),
            serial: 0,
            synchronised: false,
        }
    }

    /// Applies a batch. Returns every name whose [`Zone::node`] may have changed, each once, in
    /// lower case and no particular order.
    ///
    /// A change, and the synchronisation, moves the serial, so the apexes are among the names whenever any is. Negative
    /// answers carry that SOA: whoever keeps copies of it renews them when an apex is touched.
    pub fn apply(&mut self, batch: Batch, now_unix: u32) -> Vec<Name> {
        let mut names = HashSet::new();
        let was_synchronised = self.synchronised;
        for change in batch {
            self.synchronised |= change == Change::Synchronised;
            for touched in self.state.apply(change) {
                self.touch(&touched, &mut names);
            }
        }
        // An empty cluster too has a serial from when it was known to be empty.
        if !names.is_empty() || self.synchronised != was_synchronised {
            self.serial = now_unix;
            names.extend(self.config.zones().cloned());
        }
        names.into_iter().collect()
    }

    /// Whether everything that existed at the start is in.
    pub fn is_synchronised(&self) -> bool {
        self.synchronised
    }

    /// How the zone is named and timed; names are in lower case.
    pub fn config(&self) -> &ZoneConfig {
        &self.config
    }

    /// The zone of ours that a name lies in, if any: the longest.
    pub fn zone_of(&self, name: &Name) -> Option<&Name> {
        question::parse(&self.config, &name.to_lowercase()).map(|(zone, _)| zone)
    }

    /// Names below which only the socket may answer, whether they exist or not.
    pub fn socket_only_below(&self) -> Vec<Name> {
        self.config.name(&["pod"]).into_iter().collect()
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
        if let Subject::Pods(_) = subject {
            return Node::SocketOnly;
        }
        match self.existence(&name, &subject) {
            Existence::Absent => Node::Absent,
            Existence::Alias(_) => Node::SocketOnly,
            Existence::Exists => Node::Records(
                TYPES
                    .into_iter()
                    .filter_map(|rtype| self.rrset(zone, &subject, rtype))
                    .collect(),
            ),
        }
    }

    pub(super) fn existence(&self, name: &Name, subject: &Subject) -> Existence {
        let exists = match subject {
            Subject::Apex
            | Subject::EmptyNonTerminal
            | Subject::Version
            | Subject::NameServer
            | Subject::Pods(true) => true,
            Subject::Pods(false) | Subject::Nothing => false,
            Subject::Namespace(namespace) => self.state.has_namespace(namespace),
            Subject::Service(service) => match self.view(service) {
                None => false,
                Some(view) => match view.service {
                    Service::ExternalName(target) => return alias(target),
                    _ => view.exists(),
                },
            },
            Subject::Endpoint(service, host) => self
                .view(service)
                .is_some_and(|view| !view.endpoint(host).is_empty()),
            Subject::Protocol(service, protocol) => self.view(service).is_some_and(|view| {
                let mut ports = view.named_ports().into_iter();
                ports.any(|(candidate, _)| candidate == *protocol)
            }),
            Subject::Port(service, protocol, port) => self
                .view(service)
                .is_some_and(|view| view.named_ports().contains(&(*protocol, port.as_str()))),
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

/// The state keeps no target that is not a name.
fn alias(target: &str) -> Existence {
    Name::from_ascii(target).map_or(Existence::Absent, |mut name| {
        name.set_fqdn(true);
        Existence::Alias(name)
    })
}

fn fully_qualified(name: &Name) -> Name {
    let mut name = name.to_lowercase();
    name.set_fqdn(true);
    name
}

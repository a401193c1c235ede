//! The zone itself: the state, how it changes, and what a name holds.

use std::{net::IpAddr, sync::Arc};

use hickory_proto::rr::{Name, RData, Record, RecordType, rdata::CNAME};
use indexmap::IndexSet;

use super::{
    Alias, Node, Pods, RrSet, ZoneConfig,
    aliases::Aliases,
    kept::Kept,
    owner::OwnerName,
    question::{Apexes, Subject},
    records::TYPES,
};
use crate::{
    source::{Batch, Change},
    state::{Counts, Service, ServiceView, State, Touched},
};

/// Namespace and name of the service that fronts DNS.
pub(super) const DNS_SERVICE: (&str, &str) = ("kube-system", "kube-dns");

/// Changes, and things that they touch, between two reports of progress: some milliseconds.
pub const PROGRESS_EVERY: usize = 1024;

/// All names of the cluster.
#[derive(Debug)]
pub struct Zone {
    pub(super) config: ZoneConfig,
    pub(super) apexes: Apexes,
    pub(super) state: State,
    /// What is imported, if that is wanted.
    pub(super) imports: State,
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
        let zones = config.reverse.iter_mut().chain(&mut config.others);
        for zone in zones.chain(&mut config.multicluster) {
            *zone = fully_qualified(zone);
        }
        Self {
            apexes: Apexes::new(&config),
            config,
            state: State::default(),
            imports: State::of_imports(),
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
            imports: self.imports.clone(),
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

    /// Applies a batch. Returns every name whose [`Zone::node`] may have changed, each once, in the order in which they
    /// were touched.
    ///
    /// An alias is touched with its target. (Not with what its target is an alias of: it is then answered by
    /// the socket, whatever that holds.)
    ///
    /// A change, and the synchronisation, moves the serial, so the apexes are among the names whenever any is. Negative
    /// answers carry that SOA: whoever keeps copies of it renews them when an apex is touched.
    pub fn apply(&mut self, batch: Batch, now_unix: u32) -> Vec<OwnerName> {
        self.apply_with(batch, now_unix, &mut || ())
    }

    /// The same; calls `progress` again and again, in bounded steps: after [`PROGRESS_EVERY`] changes, or so many things
    /// that they touch. One change is one step, that of a namespace with all its services too.
    pub fn apply_with(
        &mut self,
        batch: Batch,
        now_unix: u32,
        progress: &mut dyn FnMut(),
    ) -> Vec<OwnerName> {
        let mut names = IndexSet::new();
        let was_synchronised = self.synchronised;
        let mut steps = 0_usize;
        let mut step = || {
            steps += 1;
            if steps.is_multiple_of(PROGRESS_EVERY) {
                progress();
            }
        };
        for change in batch {
            self.synchronised |= change == Change::Synchronised;
            step();
            if self.config.shown.imports {
                let change = self.config.shown.seen_of_imports(change.clone());
                for touched in self.imports.apply(change) {
                    step();
                    self.touch(&touched, true, &mut names);
                }
            }
            let change = self.config.shown.seen(change);
            for touched in self.state.apply(change) {
                step();
                self.touch(&touched, false, &mut names);
                if let Touched::Service { namespace, service } = &touched {
                    self.note_alias(namespace, service);
                }
            }
        }
        self.touch_aliases(&mut names);
        // An empty cluster too has a serial from when it was known to be empty.
        if !names.is_empty() || self.synchronised != was_synchronised {
            self.serial = now_unix;
            names.extend(self.config.zones().map(OwnerName::new));
        }
        names.into_iter().collect()
    }

    /// Adds the aliases of names that are touched.
    pub(super) fn touch_aliases(&self, names: &mut IndexSet<OwnerName>) {
        if !self.aliases.is_empty() {
            let of_touched = names.iter().flat_map(|name| self.aliases.of(name));
            let of_touched: Vec<OwnerName> = of_touched.cloned().collect();
            names.extend(of_touched);
        }
    }

    /// A service has changed: it may have become an alias, or another one, or none.
    fn note_alias(&mut self, namespace: &str, service: &str) {
        let view = self.state.service(namespace, service);
        let target = view.and_then(|view| match view.service {
            Service::ExternalName(target) => alias_target(target),
            _ => None,
        });
        let ours = target.filter(|target| self.config.zones().any(|zone| zone.zone_of(target)));
        let ours = ours.map(|target| OwnerName::new(&target));
        if ours.is_some() || !self.aliases.is_empty() {
            for domain in self.apexes.domains(false) {
                if let Some(alias) = domain.spell(&[service, namespace, "svc"]) {
                    self.aliases.set(&alias, ours.clone());
                }
            }
        }
    }

    /// Whether everything that existed at the start is in.
    pub fn is_synchronised(&self) -> bool {
        self.synchronised
    }

    /// What is known of the cluster.
    pub fn counts(&self) -> Counts {
        Counts {
            service_imports: self.imports.services().count(),
            ..self.state.counts()
        }
    }

    /// The cluster's own services, or imported ones.
    pub(super) fn state_of(&self, is_imported: bool) -> &State {
        if is_imported {
            &self.imports
        } else {
            &self.state
        }
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
        let (number, _) = self.apexes.parse(&OwnerName::new(name))?;
        Some(&self.apexes.get(number).name)
    }

    /// The SOA record of one of our zones, as negative answers carry it.
    pub fn soa(&self, zone: &Name) -> Option<Record> {
        let ours = self.config.zones().any(|ours| ours == zone);
        ours.then(|| self.soa_record(zone))
    }

    /// What a name holds, for who copies the zone elsewhere.
    pub fn node(&self, name: &Name) -> Node {
        self.node_of(&OwnerName::new(name))
    }

    /// The same.
    pub(super) fn node_of(&self, owner: &OwnerName) -> Node {
        let Some((number, subject)) = self.apexes.parse(owner) else {
            return Node::Absent;
        };
        let zone = &self.apexes.get(number).name;
        if subject.is_of_pods() || self.is_kept(owner) {
            return Node::SocketOnly;
        }
        match self.existence(owner, subject) {
            Existence::Absent => Node::Absent,
            _ if self.is_kept_if_it_exists(owner) => Node::SocketOnly,
            Existence::Alias(target) => {
                (self.alias(number, target)).map_or(Node::SocketOnly, Node::Alias)
            }
            Existence::Exists => Node::Records(
                TYPES
                    .into_iter()
                    .filter_map(|rtype| self.rrset(zone, subject, rtype))
                    .collect(),
            ),
        }
    }

    /// The alias of a target that exists in the same zone, is none itself, and is not kept on the socket.
    fn alias(&self, own: usize, target: Name) -> Option<Alias> {
        let lower = OwnerName::new(&target);
        let (number, subject) = self.apexes.parse(&lower)?;
        let zone = &self.apexes.get(number).name;
        // The names of pods are not touched when they change.
        if subject.is_of_pods()
            || number != own
            || self.existence(&lower, subject) != Existence::Exists
            || self.is_kept_if_it_exists(&lower)
        {
            return None;
        }
        let addresses: Vec<RrSet> = [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|rtype| self.rrset(zone, subject, rtype))
            .collect();
        let cname = RrSet {
            rtype: RecordType::CNAME,
            ttl: self.config.ttl,
            rdata: vec![RData::CNAME(CNAME(target))],
            additionals: Vec::new(),
        };
        Some(Alias { cname, addresses })
    }

    pub(super) fn existence(&self, owner: &OwnerName, subject: Subject<'_>) -> Existence {
        let exists = match subject {
            Subject::Apex
            | Subject::EmptyNonTerminal
            | Subject::Version
            | Subject::NameServer
            | Subject::Pods(true) => true,
            Subject::Pods(false) | Subject::Nothing => false,
            Subject::PodNamespace(namespace) => self.pod_exists(namespace, None),
            Subject::Pod(namespace, address) => self.pod_exists(namespace, Some(address)),
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
            Subject::Endpoint(service, host) => self.view(service).is_some_and(|view| {
                let is_cluster = || host.cluster.is_none() && view.has_cluster(host.label);
                view.endpoint_addresses(host).next().is_some() || is_cluster()
            }),
            Subject::Protocol(service, protocol) => self.view(service).is_some_and(|view| {
                let mut ports = view.each_named_port();
                self.shows(&view) && ports.any(|(candidate, _)| candidate == protocol)
            }),
            Subject::Port(service, protocol, port) => self.view(service).is_some_and(|view| {
                let mut ports = view.each_named_port();
                self.shows(&view) && ports.any(|candidate| candidate == (protocol, port))
            }),
            Subject::Address(address) => !self.state.addresses().owners(address).is_empty(),
            Subject::Prefix(prefix) => self.state.addresses().any_in(prefix.range()),
        };
        if exists || self.apexes.has_below(owner) {
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

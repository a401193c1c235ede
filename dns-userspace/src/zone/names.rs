//! How names are spelt: from what exists, and from what was touched, to owner names.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use hickory_proto::rr::Name;
use indexmap::IndexSet;

use super::{
    Zone, ZoneConfig,
    authority::DNS_SERVICE,
    held::ORIGIN,
    owner::{OwnerName, lies_in},
    question::Apex,
    reverse,
};
use crate::{
    state::{Protocol, Service, ServiceView, Touched, common_prefix_bits},
    wire::suffixes,
};

/// Labels in front of the origin, at the most.
const LABELS_MAX: usize = 5;

impl Zone {
    /// Every owner name that [`Zone::node`] knows, each once and in lower case: those that exist, and those that are
    /// kept on the socket.
    ///
    /// Where all names below one are the socket's, whether they exist or not, they are not among them: see
    /// [`Zone::undenied_below`].
    pub fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.owners().map(|owner| owner.name())
    }

    /// The same, in wire form.
    pub fn owners(&self) -> impl Iterator<Item = OwnerName> + '_ {
        let is_kept_below =
            |owner: &OwnerName| !self.kept.is_empty() && self.is_kept_below(&owner.name());
        let existing = (self.existing_owners()).filter(move |owner| !is_kept_below(owner));
        existing.chain(self.kept_and_absent().map(|name| OwnerName::new(&name)))
    }

    /// Every owner name that exists: those with records, the empty non-terminals, `pod.<zone>` (not those below it)
    /// and the reverse names.
    pub(super) fn existing_names(&self) -> impl Iterator<Item = Name> + '_ {
        self.existing_owners().map(|owner| owner.name())
    }

    fn existing_owners(&self) -> impl Iterator<Item = OwnerName> + '_ {
        let fixed: Vec<OwnerName> =
            (fixed_names(&self.config).iter().map(OwnerName::new)).collect();
        let skip: HashSet<OwnerName> = fixed.iter().cloned().collect();
        let is_nested = self.apexes.are_nested();
        let held = [false, true].into_iter().flat_map(move |is_imported| {
            let domains = self.apexes.domains(is_imported);
            domains.flat_map(move |domain| self.names_in(domain))
        });
        let is_fixed = {
            let skip = skip.clone();
            move |name: &OwnerName| is_nested && skip.contains(name)
        };
        let held = held.filter(move |name| !is_fixed(name));
        let mut before: Option<IpAddr> = None;
        let addresses = self.state.addresses().iter().flat_map(move |address| {
            // The one before in order is the one that has the most in common.
            let shared = before.map_or(0, |before| common_prefix_bits(before, address));
            before = Some(address);
            let names = self.reverse_names(address, Some(shared)).into_iter();
            names
                .filter(|name| !skip.contains(name))
                .collect::<Vec<_>>()
        });
        fixed.into_iter().chain(held).chain(addresses)
    }

    /// The names of the namespaces and services of a domain.
    fn names_in<'z>(&'z self, domain: &'z Apex) -> impl Iterator<Item = OwnerName> + 'z {
        let is_nested = self.apexes.are_nested();
        let namespaces = self.state.namespaces();
        let namespaces = namespaces.filter_map(|ns| domain.spell(&[ns, "svc"]));
        let services = self.state_of(domain.is_imported).services();
        let services = services.flat_map(move |(namespace, service, view)| {
            service_names(self, domain, namespace, service, &view)
        });
        let names = namespaces.chain(services);
        names.filter(move |name| !is_nested || self.apexes.is_directly_in(name, domain))
    }

    /// Adds the names of what was touched of the cluster's own services, or of imported ones.
    pub(super) fn touch(
        &self,
        touched: &Touched,
        is_imported: bool,
        names: &mut IndexSet<OwnerName>,
    ) {
        if let Touched::Address {
            address,
            unshared_above,
        } = touched
        {
            // Nothing leads from an address to an imported service.
            if !is_imported {
                names.extend(self.reverse_names(*address, *unshared_above));
            }
            return;
        }
        for domain in self.apexes.domains(is_imported) {
            self.touch_in(domain, touched, names);
        }
        if let Touched::Service { namespace, service } = touched
            && !is_imported
            && (&**namespace, &**service) == DNS_SERVICE
        {
            let domains = [false, true].into_iter();
            let domains = domains.flat_map(|is_imported| self.apexes.domains(is_imported));
            names.extend(domains.filter_map(|domain| domain.spell(&["ns", "dns"])));
        }
    }

    fn touch_in(&self, domain: &Apex, touched: &Touched, names: &mut IndexSet<OwnerName>) {
        match touched {
            Touched::Namespace(namespace) => {
                names.extend(domain.spell(&[namespace, "svc"]));
            }
            Touched::Service { namespace, service } => {
                names.extend(domain.spell(&[service, namespace, "svc"]));
            }
            Touched::Endpoint {
                namespace,
                service,
                host,
                cluster,
            } => {
                names.extend(match cluster {
                    None => domain.spell(&[host, service, namespace, "svc"]),
                    Some(cluster) => domain.spell(&[host, cluster, service, namespace, "svc"]),
                });
                let above = cluster.as_ref();
                let above = above.and_then(|at| domain.spell(&[at, service, namespace, "svc"]));
                names.extend(above);
                // With its last endpoint, or its first, the service itself may go or come.
                if self.config.shown.ignore_empty_service
                    && let Some(view) = self
                        .state_of(domain.is_imported)
                        .service(namespace, service)
                {
                    names.extend(domain.spell(&[service, namespace, "svc"]));
                    for (protocol, port) in view.named_ports() {
                        names.extend(domain.spell_port(namespace, service, protocol, port));
                        names.extend(domain.spell_protocol(namespace, service, protocol));
                    }
                }
            }
            Touched::Port {
                namespace,
                service,
                port,
                protocol,
            } => {
                names.extend(domain.spell_port(namespace, service, *protocol, port));
                names.extend(domain.spell_protocol(namespace, service, *protocol));
            }
            // The same in all domains.
            Touched::Address { .. } => {}
        }
    }

    /// `labels` in front of the origin; `None` if that is longer than a name can be.
    pub(super) fn spell(&self, labels: &[&str]) -> Option<OwnerName> {
        self.apexes.get(ORIGIN).spell(labels)
    }

    /// The reverse name of an address, and those above it that spell more than `shared` bits, up to
    /// (and without) its zone.
    fn reverse_names(&self, address: IpAddr, shared: Option<u8>) -> Vec<OwnerName> {
        let name = reverse::owner_of(address);
        let zones = self.apexes.reverse().map(|zone| zone.owner.wire());
        // The longest.
        let Some(below) = (zones.filter_map(|zone| lies_in(name.wire(), zone)))
            .map(|(_, labels)| labels)
            .min()
        else {
            return Vec::new();
        };
        let Some(shared) = shared else {
            return vec![name];
        };
        let all = name.labels().count();
        let above = suffixes(name.wire()).enumerate().take(below).skip(1);
        let unshared = above.take_while(|(skipped, _)| {
            reverse::bits_of_labels(address, all - skipped) > usize::from(shared)
        });
        let mut names: Vec<_> = unshared.map(|(_, wire)| OwnerName::of_wire(wire)).collect();
        names.push(name);
        names
    }
}

impl Apex {
    /// `labels` in front of it; `None` if that is longer than a name can be.
    pub(super) fn spell(&self, labels: &[&str]) -> Option<OwnerName> {
        let mut bytes = [&b""[..]; LABELS_MAX];
        for (label, text) in bytes.iter_mut().zip(labels) {
            *label = text.as_bytes();
        }
        OwnerName::below(&self.owner, &bytes[..labels.len()])
    }

    fn spell_protocol(&self, ns: &str, service: &str, protocol: Protocol) -> Option<OwnerName> {
        self.spell(&[protocol.label(), service, ns, "svc"])
    }

    fn spell_port(&self, ns: &str, service: &str, of: Protocol, port: &str) -> Option<OwnerName> {
        self.spell(&[&format!("_{port}"), of.label(), service, ns, "svc"])
    }
}

impl ZoneConfig {
    /// `labels` in front of the origin; `None` if that is longer than a name can be.
    pub(super) fn name(&self, labels: &[&str]) -> Option<Name> {
        below(&self.origin, labels)
    }

    /// `<svc>.<ns>.svc.<zone>`
    pub(super) fn service(&self, namespace: &str, service: &str) -> Option<Name> {
        self.name(&[service, namespace, "svc"])
    }

    /// Every zone: the domains, the reverse zones.
    pub fn zones(&self) -> impl Iterator<Item = &Name> {
        self.domains().chain(&self.reverse)
    }

    /// The zones that hold services.
    pub fn domains(&self) -> impl Iterator<Item = &Name> {
        std::iter::once(&self.origin).chain(&self.others)
    }

    /// Whether the services of a zone are imported ones. As in `CoreDNS`, those of a zone that lies in such a one are, too.
    pub fn is_imported(&self, zone: &Name) -> bool {
        self.multicluster.iter().any(|outer| outer.zone_of(zone))
    }
}

/// `labels` in front of a domain; `None` if that is longer than a name can be.
pub fn below(domain: &Name, labels: &[&str]) -> Option<Name> {
    let name = labels.iter().try_fold(Name::new(), |name, label| {
        // As bytes: text would be put through IDNA, which is slow and none of ours.
        name.append_label(label.as_bytes()).ok()
    })?;
    name.append_domain(domain).ok()
}

/// The names that exist whatever the cluster holds.
fn fixed_names(config: &ZoneConfig) -> Vec<Name> {
    let mut names: HashSet<Name> = config.zones().cloned().collect();
    let is_directly_in = |name: &Name, domain: &Name| {
        let outer = config.zones().filter(|zone| zone.zone_of(name));
        outer.max_by_key(|zone| zone.num_labels()) == Some(domain)
    };
    for labels in [
        &["svc"][..],
        &["pod"],
        &["dns"],
        &["ns", "dns"],
        &["dns-version"],
    ] {
        let in_domain = |domain| below(domain, labels).filter(|name| is_directly_in(name, domain));
        names.extend(config.domains().filter_map(in_domain));
    }
    // Between a zone and another that it lies in.
    for zone in config.zones() {
        let mut above = zone.clone();
        while !above.is_root() {
            above = above.base_name();
            if config.zones().any(|outer| outer.zone_of(&above)) {
                names.insert(above.clone());
            }
        }
    }
    names.into_iter().collect()
}

fn service_names(
    zone: &Zone,
    domain: &Apex,
    namespace: &str,
    service: &str,
    view: &ServiceView<'_>,
) -> Vec<OwnerName> {
    let mut names = Vec::new();
    let is_shown = zone.shows(view);
    if is_shown {
        names.extend(domain.spell(&[service, namespace, "svc"]));
    }
    if matches!(view.service, Service::ExternalName(_)) {
        return names;
    }
    let mut last = None;
    let ports = is_shown.then(|| view.named_ports());
    for (protocol, port) in ports.into_iter().flatten() {
        // Sorted by protocol, so each comes in one run.
        if last.replace(protocol) != Some(protocol) {
            names.extend(domain.spell_protocol(namespace, service, protocol));
        }
        names.extend(domain.spell_port(namespace, service, protocol, port));
    }
    let hosts = view.hosts();
    for (cluster, host) in &hosts {
        names.extend(match cluster {
            None => domain.spell(&[host, service, namespace, "svc"]),
            Some(cluster) => domain.spell(&[host, cluster, service, namespace, "svc"]),
        });
    }
    // Above the names of its endpoints, if no endpoint is called like that.
    let clusters: BTreeSet<&str> = view.clusters().collect();
    for cluster in clusters {
        if !hosts.contains(&(None, cluster.into())) {
            names.extend(domain.spell(&[cluster, service, namespace, "svc"]));
        }
    }
    names
}

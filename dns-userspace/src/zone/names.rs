//! How names are spelt: from what exists, and from what was touched, to owner names.

use std::{collections::HashSet, net::IpAddr};

use hickory_proto::rr::Name;
use indexmap::IndexSet;

use super::{
    Zone, ZoneConfig,
    authority::DNS_SERVICE,
    owner::{OwnerName, lies_in},
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
        let namespaces = self
            .state
            .namespaces()
            .filter_map(|namespace| self.spell(&[namespace, "svc"]));
        let services = self.state.services();
        let services = services
            .flat_map(|(namespace, service, view)| service_names(self, namespace, service, &view));
        let mut before: Option<IpAddr> = None;
        let skip: HashSet<OwnerName> = fixed.iter().cloned().collect();
        let addresses = self.state.addresses().iter().flat_map(move |address| {
            // The one before in order is the one that has the most in common.
            let shared = before.map_or(0, |before| common_prefix_bits(before, address));
            before = Some(address);
            let names = self.reverse_names(address, Some(shared)).into_iter();
            names
                .filter(|name| !skip.contains(name))
                .collect::<Vec<_>>()
        });
        fixed
            .into_iter()
            .chain(namespaces)
            .chain(services)
            .chain(addresses)
    }

    /// Adds the names of what was touched.
    pub(super) fn touch(&self, touched: &Touched, names: &mut IndexSet<OwnerName>) {
        match touched {
            Touched::Namespace(namespace) => {
                names.extend(self.spell(&[namespace, "svc"]));
            }
            Touched::Service { namespace, service } => {
                names.extend(self.spell(&[service, namespace, "svc"]));
                if (&**namespace, &**service) == DNS_SERVICE {
                    names.extend(self.spell(&["ns", "dns"]));
                }
            }
            Touched::Endpoint {
                namespace,
                service,
                host,
            } => {
                names.extend(self.spell(&[host, service, namespace, "svc"]));
                // With its last endpoint, or its first, the service itself may go or come.
                if self.config.shown.ignore_empty_service
                    && let Some(view) = self.state.service(namespace, service)
                {
                    names.extend(self.spell(&[service, namespace, "svc"]));
                    for (protocol, port) in view.named_ports() {
                        names.extend(self.spell_port(namespace, service, protocol, port));
                        names.extend(self.spell_protocol(namespace, service, protocol));
                    }
                }
            }
            Touched::Port {
                namespace,
                service,
                port,
                protocol,
            } => {
                names.extend(self.spell_port(namespace, service, *protocol, port));
                names.extend(self.spell_protocol(namespace, service, *protocol));
            }
            Touched::Address {
                address,
                unshared_above,
            } => {
                names.extend(self.reverse_names(*address, *unshared_above));
            }
        }
    }

    /// `labels` in front of the origin; `None` if that is longer than a name can be.
    pub(super) fn spell(&self, labels: &[&str]) -> Option<OwnerName> {
        let mut bytes = [&b""[..]; LABELS_MAX];
        for (label, text) in bytes.iter_mut().zip(labels) {
            *label = text.as_bytes();
        }
        OwnerName::below(self.apexes.origin(), &bytes[..labels.len()])
    }

    fn spell_protocol(&self, ns: &str, service: &str, protocol: Protocol) -> Option<OwnerName> {
        self.spell(&[protocol.label(), service, ns, "svc"])
    }

    fn spell_port(&self, ns: &str, service: &str, of: Protocol, port: &str) -> Option<OwnerName> {
        self.spell(&[&format!("_{port}"), of.label(), service, ns, "svc"])
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

impl ZoneConfig {
    /// `labels` in front of the origin; `None` if that is longer than a name can be.
    pub(super) fn name(&self, labels: &[&str]) -> Option<Name> {
        below(&self.origin, labels)
    }

    /// `<svc>.<ns>.svc.<zone>`
    pub(super) fn service(&self, namespace: &str, service: &str) -> Option<Name> {
        self.name(&[service, namespace, "svc"])
    }

    /// The origin and the reverse zones: those that the kernel has, too.
    pub fn zones(&self) -> impl Iterator<Item = &Name> {
        std::iter::once(&self.origin).chain(&self.reverse)
    }

    /// The zones that hold services.
    pub(super) fn domains(&self) -> impl Iterator<Item = &Name> {
        std::iter::once(&self.origin).chain(&self.others)
    }

    /// Every zone.
    pub(super) fn all_zones(&self) -> impl Iterator<Item = &Name> {
        self.zones().chain(&self.others)
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
    let within = |other: &&Name| config.zones().any(|zone| zone.zone_of(other));
    let others = config.others.iter().filter(within);
    let mut names: HashSet<Name> = config.zones().chain(others).cloned().collect();
    for labels in [
        &["svc"][..],
        &["pod"],
        &["dns"],
        &["ns", "dns"],
        &["dns-version"],
    ] {
        names.extend(config.name(labels));
    }
    // Between a zone and another that it lies in.
    for zone in config.all_zones() {
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
    namespace: &str,
    service: &str,
    view: &ServiceView<'_>,
) -> Vec<OwnerName> {
    let mut names = Vec::new();
    let is_shown = zone.shows(view);
    if is_shown {
        names.extend(zone.spell(&[service, namespace, "svc"]));
    }
    if matches!(view.service, Service::ExternalName(_)) {
        return names;
    }
    let mut last = None;
    let ports = is_shown.then(|| view.named_ports());
    for (protocol, port) in ports.into_iter().flatten() {
        // Sorted by protocol, so each comes in one run.
        if last.replace(protocol) != Some(protocol) {
            names.extend(zone.spell_protocol(namespace, service, protocol));
        }
        names.extend(zone.spell_port(namespace, service, protocol, port));
    }
    for host in view.hosts() {
        names.extend(zone.spell(&[&host, service, namespace, "svc"]));
    }
    names
}

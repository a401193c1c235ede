//! How names are spelt: from what exists, and from what was touched, to owner names.

use std::{collections::HashSet, net::IpAddr};

use hickory_proto::rr::Name;

use super::{Zone, ZoneConfig, authority::DNS_SERVICE, reverse};
use crate::state::{Protocol, Service, ServiceView, Touched, common_prefix_bits};

impl Zone {
    /// Every owner name that [`Zone::node`] knows, each once and in lower case: those that exist, and those that are
    /// kept on the socket.
    ///
    /// Where all names below one are the socket's, whether they exist or not, they are not among them: see
    /// [`Zone::undenied_below`].
    pub fn names(&self) -> impl Iterator<Item = Name> + '_ {
        let existing = (self.existing_names()).filter(|name| !self.is_kept_below(name));
        existing.chain(self.kept_and_absent())
    }

    /// Every owner name that exists: those with records, the empty non-terminals, `pod.<zone>` (not those below it)
    /// and the reverse names.
    pub(super) fn existing_names(&self) -> impl Iterator<Item = Name> + '_ {
        let fixed = fixed_names(&self.config);
        let namespaces = self
            .state
            .namespaces()
            .filter_map(|namespace| self.config.name(&[namespace, "svc"]));
        let services = self.state.services();
        let services = services.flat_map(|(namespace, service, view)| {
            service_names(&self.config, namespace, service, &view)
        });
        let mut before: Option<IpAddr> = None;
        let skip: HashSet<Name> = fixed.iter().cloned().collect();
        let addresses = self.state.addresses().iter().flat_map(move |address| {
            // The one before in order is the one that has the most in common.
            let shared = before.map_or(0, |before| common_prefix_bits(before, address));
            before = Some(address);
            let mut names = reverse_names(&self.config, address, Some(shared));
            names.retain(|name| !skip.contains(name));
            names
        });
        fixed
            .into_iter()
            .chain(namespaces)
            .chain(services)
            .chain(addresses)
    }

    /// Adds the names of what was touched.
    pub(super) fn touch(&self, touched: &Touched, names: &mut HashSet<Name>) {
        let config = &self.config;
        match touched {
            Touched::Namespace(namespace) => {
                names.extend(config.name(&[namespace, "svc"]));
            }
            Touched::Service { namespace, service } => {
                names.extend(config.service(namespace, service));
                if (&**namespace, &**service) == DNS_SERVICE {
                    names.extend(config.name(&["ns", "dns"]));
                }
            }
            Touched::Endpoint {
                namespace,
                service,
                host,
            } => {
                names.extend(config.name(&[host, service, namespace, "svc"]));
            }
            Touched::Port {
                namespace,
                service,
                port,
                protocol,
            } => {
                names.extend(config.port(namespace, service, *protocol, port));
                names.extend(config.name(&[protocol.label(), service, namespace, "svc"]));
            }
            Touched::Address {
                address,
                unshared_above,
            } => {
                names.extend(reverse_names(config, *address, *unshared_above));
            }
        }
    }
}

impl ZoneConfig {
    /// `labels` in front of the origin; `None` if that is longer than a name can be.
    pub(super) fn name(&self, labels: &[&str]) -> Option<Name> {
        let name = labels.iter().try_fold(Name::new(), |name, label| {
            // As bytes: text would be put through IDNA, which is slow and none of ours.
            name.append_label(label.as_bytes()).ok()
        })?;
        name.append_domain(&self.origin).ok()
    }

    /// `<svc>.<ns>.svc.<zone>`
    pub(super) fn service(&self, namespace: &str, service: &str) -> Option<Name> {
        self.name(&[service, namespace, "svc"])
    }

    fn port(&self, ns: &str, service: &str, protocol: Protocol, port: &str) -> Option<Name> {
        self.name(&[&format!("_{port}"), protocol.label(), service, ns, "svc"])
    }

    /// The origin and the reverse zones.
    pub fn zones(&self) -> impl Iterator<Item = &Name> {
        std::iter::once(&self.origin).chain(&self.reverse)
    }
}

/// The names that exist whatever the cluster holds.
fn fixed_names(config: &ZoneConfig) -> Vec<Name> {
    let mut names: HashSet<Name> = config.zones().cloned().collect();
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
    config: &ZoneConfig,
    namespace: &str,
    service: &str,
    view: &ServiceView<'_>,
) -> Vec<Name> {
    let mut names = Vec::new();
    if view.exists() {
        names.extend(config.service(namespace, service));
    }
    if matches!(view.service, Service::ExternalName(_)) {
        return names;
    }
    let mut last = None;
    for (protocol, port) in view.named_ports() {
        // Sorted by protocol, so each comes in one run.
        if last.replace(protocol) != Some(protocol) {
            names.extend(config.name(&[protocol.label(), service, namespace, "svc"]));
        }
        names.extend(config.port(namespace, service, protocol, port));
    }
    for host in view.hosts() {
        names.extend(config.name(&[&host, service, namespace, "svc"]));
    }
    names
}

/// The reverse name of an address, and those above it that spell more than `shared` bits, up to
/// (and without) its zone.
fn reverse_names(config: &ZoneConfig, address: IpAddr, shared: Option<u8>) -> Vec<Name> {
    let mut name = reverse::name_of(address);
    let zones = config.reverse.iter().filter(|zone| zone.zone_of(&name));
    let Some(zone) = zones.map(|zone| zone.iter().len()).max() else {
        return Vec::new();
    };
    let mut names = vec![name.clone()];
    if let Some(shared) = shared {
        let mut labels = name.iter().len();
        while labels > zone + 1 {
            name = name.base_name();
            labels -= 1;
            if reverse::bits_of_labels(address, labels) <= usize::from(shared) {
                break;
            }
            names.push(name.clone());
        }
    }
    names
}

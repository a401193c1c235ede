//! What a name holds, by reference, for who copies the zone elsewhere.
//!
//! [`Zone::node`] makes all records of a name. Most names of a cluster are services, their endpoints and ports, and the
//! reverse names of their addresses: for these there is nothing to be made, what is copied stands in the state.

use std::net::IpAddr;

use hickory_proto::rr::Name;

use super::{
    Node, Zone,
    authority::Existence,
    owner::OwnerName,
    question::{ServiceName, Subject},
};
use crate::state::{Host, Owner, Protocol, Service, ServiceView};

/// The number of the origin among the zones.
pub(super) const ORIGIN: usize = 0;

/// The same as a [`Node`]: a copy of the one has every byte of a copy of the other.
#[derive(Debug)]
pub enum Held<'z> {
    /// Nothing that is worth a copy: the name does not exist, or is an empty one of a reverse zone.
    Nothing,
    /// The name exists, and has no records.
    Empty,
    /// The addresses of a service or of an endpoint; at least one.
    Addresses(Addresses<'z>),
    /// The SRV records of a port.
    Port(Port<'z>),
    /// One PTR record.
    Pointer(Target),
    /// Anything else.
    Node(Node),
}

/// Addresses at a name.
#[derive(Clone, Copy, Debug)]
pub struct Addresses<'z> {
    view: ServiceView<'z>,
    /// Those of one endpoint.
    host: Option<Host<'z>>,
}

/// A port of a service with addresses of its own. The targets of its SRV records are the service's name, which is the
/// port's without its first two labels.
#[derive(Debug)]
pub struct Port<'z> {
    /// Sorted, without duplicates, never empty.
    pub numbers: Vec<u16>,
    /// The weight of each record.
    pub weight: u16,
    /// The addresses of the target, sorted.
    pub addresses: &'z [IpAddr],
}

/// Where a PTR record leads to.
#[derive(Debug, PartialEq, Eq)]
pub struct Target(pub OwnerName);

impl Addresses<'_> {
    /// Calls `take` for each of them, in no order; one may come twice.
    pub fn each(&self, take: impl FnMut(IpAddr)) {
        match (self.host, self.view.service) {
            (Some(host), _) => self.view.endpoint_addresses(host).for_each(take),
            (None, Service::ClusterIp { addresses, .. }) => {
                addresses.iter().copied().for_each(take);
            }
            (None, _) => self.view.endpoints_addresses().for_each(take),
        }
    }

    /// Whether there are SRV records at the same name.
    pub fn has_services(&self) -> bool {
        self.host.is_none()
            && match self.view.service {
                Service::ClusterIp { ports, .. } => !ports.is_empty(),
                _ => (self.view.slices()).any(|slice| !slice.is_empty() && !slice.ports.is_empty()),
            }
    }
}

impl Zone {
    /// What a name holds, and the number of the zone that it lies in: [`Zone::number_of`].
    pub fn held<'z>(&'z self, owner: &'z OwnerName) -> (Option<usize>, Held<'z>) {
        let Some((number, subject)) = self.apexes.parse(owner) else {
            return (None, Held::Nothing);
        };
        let is_open = !self.is_kept_if_it_exists(owner);
        let held = is_open.then(|| self.held_at(number, owner, subject));
        let held = held
            .flatten()
            .unwrap_or_else(|| Held::Node(self.node_of(owner)));
        (Some(number), held)
    }

    /// The number of one of our zones.
    pub fn number_of(&self, zone: &Name) -> Option<usize> {
        self.config.zones().position(|ours| ours == zone)
    }

    fn held_at<'z>(
        &'z self,
        number: usize,
        owner: &'z OwnerName,
        subject: Subject<'z>,
    ) -> Option<Held<'z>> {
        match subject {
            Subject::Address(address) => {
                let owners = self.state.addresses().owners(address);
                if owners.is_empty() {
                    // It is gone; but a name above a zone exists without.
                    return (!self.apexes.has_below(owner)).then_some(Held::Nothing);
                }
                self.pointer(address, owners).map(Held::Pointer)
            }
            Subject::Prefix(_) => (!self.apexes.domains_have(owner)).then_some(Held::Nothing),
            _ if !self.apexes.get(number).is_domain => None,
            Subject::Service(name) => self.own_addresses(name).map(Held::Addresses),
            Subject::Endpoint(name, host) => {
                let view = self.view(name)?;
                view.endpoint_addresses(host).next()?;
                let host = Some(host);
                Some(Held::Addresses(Addresses { view, host }))
            }
            Subject::Port(name, protocol, port) => self.port(name, protocol, port).map(Held::Port),
            Subject::Protocol(..) | Subject::Namespace(_) => {
                (self.existence(owner, subject) == Existence::Exists).then_some(Held::Empty)
            }
            _ => None,
        }
    }

    fn own_addresses(&self, name: ServiceName<'_>) -> Option<Addresses<'_>> {
        let view = self.view(name)?;
        let is_alias = matches!(view.service, Service::ExternalName(_));
        let is_bare = match view.service {
            Service::ClusterIp { addresses, .. } => addresses.is_empty(),
            _ => false,
        };
        (!is_alias && !is_bare && self.shows(&view)).then_some(Addresses { view, host: None })
    }

    fn port(&self, name: ServiceName<'_>, protocol: Protocol, port: &str) -> Option<Port<'_>> {
        let view = self.view(name)?;
        let Service::ClusterIp { addresses, ports } = view.service else {
            return None;
        };
        let wanted = |port_of: &&crate::state::Port| {
            port_of.protocol == protocol && port_of.name.as_deref() == Some(port)
        };
        if addresses.is_empty() {
            return None;
        }
        let mut numbers: Vec<u16> = (ports.iter().filter(wanted)).map(|of| of.number).collect();
        let weight = super::records::weight(numbers.len() * addresses.len());
        numbers.sort_unstable();
        numbers.dedup();
        (!numbers.is_empty() && self.shows(&view)).then_some(Port {
            numbers,
            weight,
            addresses,
        })
    }

    /// Where an address leads to, if that is one name.
    fn pointer(&self, address: IpAddr, owners: &[Owner]) -> Option<Target> {
        let owner = owners.first()?;
        let (namespace, service) = (&*owner.namespace, &*owner.service);
        let Some(slice) = owner.slice.as_deref() else {
            return self.spell(&[service, namespace, "svc"]).map(Target);
        };
        if owners.len() > 1 {
            return None;
        }
        let slice = self.state.slice(namespace, service, slice)?;
        let mut hosts = slice.hosts_of(address);
        let host = hosts.next()?;
        if hosts.next().is_some() {
            return None;
        }
        self.spell(&[&host, service, namespace, "svc"]).map(Target)
    }
}

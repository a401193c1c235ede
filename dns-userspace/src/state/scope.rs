//! One service in the middle of a change: which of its names are touched, and whose its addresses
//! are now.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use super::{Addresses, Entry, Namespace, Owner, Port, Service, Slice, Touched, update::intern};

/// One service whose change is being applied.
pub(super) struct Scope<'a> {
    namespace: &'a Arc<str>,
    service: &'a Arc<str>,
    addresses: &'a mut Addresses,
    touched: &'a mut Vec<Touched>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(
        namespace: &'a Arc<str>,
        service: &'a Arc<str>,
        addresses: &'a mut Addresses,
        touched: &'a mut Vec<Touched>,
    ) -> Self {
        Self {
            namespace,
            service,
            addresses,
            touched,
        }
    }

    /// The service object changes.
    pub(super) fn replace_service(&mut self, entry: &mut Entry, new: Option<Service>) {
        if let Some(Service::ClusterIp { addresses, ports }) = &entry.service
            && let Some(Service::ClusterIp {
                addresses: new_addresses,
                ports: new_ports,
            }) = &new
        {
            // Its endpoints' names stay as they are.
            self.own_name();
            self.ports(ports.iter().chain(new_ports));
            for gone in addresses.iter().filter(|a| !new_addresses.contains(a)) {
                self.claim(*gone, None, false);
            }
            for come in new_addresses.iter().filter(|a| !addresses.contains(a)) {
                self.claim(*come, None, true);
            }
            entry.service = new;
        } else {
            self.whole(entry, false);
            entry.service = new;
            self.whole(entry, true);
        }
    }

    /// Everything that a service has comes, or goes.
    pub(super) fn whole(&mut self, entry: &Entry, comes: bool) {
        let Some(service) = &entry.service else {
            return;
        };
        self.own_name();
        let headless = match service {
            Service::ClusterIp { addresses, ports } => {
                self.ports(ports);
                for address in addresses {
                    self.claim(*address, None, comes);
                }
                false
            }
            Service::Headless => true,
            Service::ExternalName(_) => return,
        };
        let nothing = Slice::default();
        for (name, slice) in &entry.slices {
            let (old, new) = if comes {
                (&nothing, slice)
            } else {
                (slice, &nothing)
            };
            self.difference(name, old, new, headless.then_some(&entry.slices));
        }
    }

    /// Puts a slice into its service, or takes it out. Returns the slice's name, shared.
    pub(super) fn replace_slice(
        mut self,
        ns: &mut Namespace,
        name: &str,
        new: Option<Slice>,
    ) -> Arc<str> {
        let visible = ns.exists;
        let entry = ns.services.entry(Arc::clone(self.service)).or_default();
        let name = intern(&entry.slices, name);
        let old = entry.slices.remove(&name).unwrap_or_default();
        let headless = match &entry.service {
            Some(Service::ClusterIp { .. }) => Some(false),
            Some(Service::Headless) => Some(true),
            Some(Service::ExternalName(_)) | None => None,
        };
        if visible && let Some(headless) = headless {
            let nothing = Slice::default();
            let new = new.as_ref().unwrap_or(&nothing);
            self.difference(&name, &old, new, headless.then_some(&entry.slices));
        }
        if let Some(new) = new {
            entry.slices.insert(Arc::clone(&name), new);
        } else if entry.is_empty() {
            ns.services.remove(self.service);
        }
        name
    }

    /// One slice changes. `headless`: all slices of the service, if they make its own answers.
    fn difference(
        &mut self,
        slice: &Arc<str>,
        old: &Slice,
        new: &Slice,
        headless: Option<&BTreeMap<Arc<str>, Slice>>,
    ) {
        let before = old.endpoints().map(|(host, at)| (&old.cluster, host, at));
        let after = new.endpoints().map(|(host, at)| (&new.cluster, host, at));
        let (before, after): (BTreeSet<_>, BTreeSet<_>) = (before.collect(), after.collect());
        let changed: Vec<_> = before.symmetric_difference(&after).collect();
        for (cluster, host, _) in &changed {
            self.touched.push(Touched::Endpoint {
                namespace: Arc::clone(self.namespace),
                service: Arc::clone(self.service),
                host: host.as_ref().into(),
                cluster: (*cluster).clone(),
            });
        }
        let before: BTreeSet<IpAddr> = old.addresses().collect();
        let after: BTreeSet<IpAddr> = new.addresses().collect();
        let addresses: BTreeSet<IpAddr> = changed.iter().map(|(_, _, address)| *address).collect();
        for address in addresses {
            match (before.contains(&address), after.contains(&address)) {
                (true, false) => self.claim(address, Some(slice), false),
                (false, true) => self.claim(address, Some(slice), true),
                // Another host name for the same address.
                _ => self.touched.push(Touched::Address {
                    address,
                    unshared_above: None,
                }),
            }
        }
        // A service with an address of its own answers with that, whatever its endpoints do.
        if let Some(all) = headless
            && (!changed.is_empty() || old.ports != new.ports)
        {
            self.own_name();
            // A host may be in several slices, and SRV answers carry all its addresses: so the
            // ports of the others are touched too. They are nearly always the same ones.
            let others = all.values().flat_map(|slice| &slice.ports);
            let ports: BTreeSet<&Port> = old.ports.iter().chain(&new.ports).chain(others).collect();
            self.ports(ports);
        }
    }

    fn own_name(&mut self) {
        self.touched.push(Touched::Service {
            namespace: Arc::clone(self.namespace),
            service: Arc::clone(self.service),
        });
    }

    fn ports<'p>(&mut self, ports: impl IntoIterator<Item = &'p Port>) {
        for port in ports {
            if let Some(name) = &port.name {
                self.touched.push(Touched::Port {
                    namespace: Arc::clone(self.namespace),
                    service: Arc::clone(self.service),
                    port: name.clone(),
                    protocol: port.protocol,
                });
            }
        }
    }

    fn claim(&mut self, address: IpAddr, slice: Option<&Arc<str>>, comes: bool) {
        let owner = Owner {
            slice: slice.cloned(),
            namespace: Arc::clone(self.namespace),
            service: Arc::clone(self.service),
        };
        self.touched.push(if comes {
            self.addresses.insert(address, owner)
        } else {
            self.addresses.remove(address, &owner)
        });
    }
}

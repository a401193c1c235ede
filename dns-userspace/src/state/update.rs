//! Applying a change, and saying what it touches.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};

use super::{
    Addresses, Entry, Namespace, Owner, Port, SERVICE_NAME_LABEL, Service, Slice, State, Touched,
    is_label,
};
use crate::source::{Change, Kind, Object};

impl State {
    /// Applies one change. What comes back may hold the same thing twice, and things that did not
    /// change, but never misses one that did.
    ///
    /// Pods change no name yet, and objects whose names cannot be labels are none of DNS's.
    pub fn apply(&mut self, change: Change) -> Vec<Touched> {
        let mut touched = Vec::new();
        match change {
            Change::Upsert(Object::Namespace(object)) => {
                self.set_namespace(object.metadata.name.as_deref(), true, &mut touched);
            }
            Change::Upsert(Object::Service(object)) => {
                let core::Service { metadata, .. } = &*object;
                let service = Service::from_kubernetes(&object);
                if let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) {
                    self.set_service(namespace, name, service, &mut touched);
                }
            }
            Change::Upsert(Object::EndpointSlice(object)) => {
                let discovery::EndpointSlice { metadata, .. } = &*object;
                let labels = metadata.labels.as_ref();
                let service = labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL));
                let slice = service.map(|service| (&**service, Slice::from_kubernetes(&object)));
                if let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) {
                    self.set_slice(namespace, name, slice, &mut touched);
                }
            }
            Change::Delete(key) => match key.kind {
                Kind::Namespace => self.set_namespace(Some(&key.name), false, &mut touched),
                Kind::Service => self.set_service(&key.namespace, &key.name, None, &mut touched),
                Kind::EndpointSlice => {
                    self.set_slice(&key.namespace, &key.name, None, &mut touched);
                }
                Kind::Pod => {}
            },
            Change::Upsert(Object::Pod(_)) | Change::Synchronised => {}
        }
        touched
    }

    fn set_namespace(&mut self, name: Option<&str>, exists: bool, touched: &mut Vec<Touched>) {
        let Some(name) = name.filter(|name| is_label(name)) else {
            return;
        };
        let Some((name, namespace)) = entry(&mut self.namespaces, name, exists) else {
            return;
        };
        if namespace.exists != exists {
            namespace.exists = exists;
            touched.push(Touched::Namespace(Arc::clone(&name)));
            for (service, entry) in &namespace.services {
                let mut scope = Scope::new(&name, service, &mut self.addresses, touched);
                scope.whole(entry, exists);
            }
        }
        self.forget_if_empty(&name);
    }

    fn set_service(
        &mut self,
        namespace: &str,
        name: &str,
        new: Option<Service>,
        touched: &mut Vec<Touched>,
    ) {
        if !is_label(namespace) || !is_label(name) {
            return;
        }
        let create = new.is_some();
        let Some((ns_name, ns)) = entry(&mut self.namespaces, namespace, create) else {
            return;
        };
        if let Some((name, entry)) = entry(&mut ns.services, name, create)
            && entry.service != new
        {
            if ns.exists {
                let mut scope = Scope::new(&ns_name, &name, &mut self.addresses, touched);
                scope.replace_service(entry, new);
            } else {
                entry.service = new;
            }
            if entry.is_empty() {
                ns.services.remove(&name);
            }
        }
        self.forget_if_empty(&ns_name);
    }

    fn set_slice(
        &mut self,
        namespace: &str,
        name: &str,
        new: Option<(&str, Slice)>,
        touched: &mut Vec<Touched>,
    ) {
        let new = new.filter(|(service, _)| is_label(service));
        if !is_label(namespace) {
            return;
        }
        let Some((ns_name, ns)) = entry(&mut self.namespaces, namespace, new.is_some()) else {
            return;
        };
        let before = ns.slices.get(name).cloned();
        // A slice whose label changed leaves one service and joins another.
        if let Some(service) = before
            && new.as_ref().is_none_or(|(to, _)| **to != *service)
        {
            let scope = Scope::new(&ns_name, &service, &mut self.addresses, touched);
            scope.replace_slice(ns, name, None);
            ns.slices.remove(name);
        }
        if let Some((service, slice)) = new {
            let service = intern(&ns.services, service);
            let scope = Scope::new(&ns_name, &service, &mut self.addresses, touched);
            let name = scope.replace_slice(ns, name, Some(slice));
            ns.slices.insert(name, service);
        }
        self.forget_if_empty(&ns_name);
    }

    fn forget_if_empty(&mut self, namespace: &str) {
        if self
            .namespaces
            .get(namespace)
            .is_some_and(Namespace::is_empty)
        {
            self.namespaces.remove(namespace);
        }
    }
}

/// One service whose change is being applied.
struct Scope<'a> {
    namespace: &'a Arc<str>,
    service: &'a Arc<str>,
    addresses: &'a mut Addresses,
    touched: &'a mut Vec<Touched>,
}

impl<'a> Scope<'a> {
    fn new(
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

    fn replace_service(&mut self, entry: &mut Entry, new: Option<Service>) {
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
    fn whole(&mut self, entry: &Entry, comes: bool) {
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
    fn replace_slice(mut self, ns: &mut Namespace, name: &str, new: Option<Slice>) -> Arc<str> {
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
        let before: BTreeSet<_> = old.endpoints().collect();
        let after: BTreeSet<_> = new.endpoints().collect();
        let changed: Vec<_> = before.symmetric_difference(&after).collect();
        for (host, _) in &changed {
            self.touched.push(Touched::Endpoint {
                namespace: Arc::clone(self.namespace),
                service: Arc::clone(self.service),
                host: host.as_ref().into(),
            });
        }
        let before: BTreeSet<IpAddr> = old.addresses().collect();
        let after: BTreeSet<IpAddr> = new.addresses().collect();
        let addresses: BTreeSet<IpAddr> = changed.iter().map(|(_, address)| *address).collect();
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

/// The key as it is already stored, so that every mention shares one allocation.
fn intern<V>(map: &BTreeMap<Arc<str>, V>, key: &str) -> Arc<str> {
    map.get_key_value(key)
        .map_or_else(|| Arc::from(key), |(key, _)| Arc::clone(key))
}

/// The entry of `key`, made if it is to be.
fn entry<'m, V: Default>(
    map: &'m mut BTreeMap<Arc<str>, V>,
    key: &str,
    create: bool,
) -> Option<(Arc<str>, &'m mut V)> {
    let key = intern(map, key);
    if create {
        return Some((Arc::clone(&key), map.entry(key).or_default()));
    }
    let value = map.get_mut(&key)?;
    Some((key, value))
}

//! Applying a change, and saying what it touches.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    IMPORT_NAME_LABEL, Namespace, SERVICE_NAME_LABEL, Service, Slice, State, Touched, is_label,
    pods, scope::Scope,
};
use crate::source::{Change, Kind, Object, objects};

impl State {
    /// What is imported, of which nothing is known yet: `ServiceImport`s are its services, and it has no pods.
    pub fn of_imports() -> Self {
        Self {
            is_of_imports: true,
            ..Self::default()
        }
    }

    /// Applies one change. What comes back may hold the same thing twice, and things that did not
    /// change, but never misses one that did.
    ///
    /// Pods change no name that is listed, and objects whose names cannot be labels are none of DNS's.
    pub fn apply(&mut self, change: Change) -> Vec<Touched> {
        let mut touched = Vec::new();
        match change {
            Change::Upsert(Object::Namespace(object)) => {
                self.set_namespace(object.metadata.name.as_deref(), true, &mut touched);
            }
            // The other one's.
            Change::Upsert(Object::Service(_) | Object::Pod(_)) if self.is_of_imports => {}
            Change::Upsert(Object::ServiceImport(_)) if !self.is_of_imports => {}
            Change::Delete(key) if !self.has_kind(key.kind) => {}
            Change::Upsert(Object::ServiceImport(object)) => {
                let objects::ServiceImport { metadata, .. } = &*object;
                let service = Service::from_import(&object);
                if let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) {
                    self.set_service(namespace, name, service, &mut touched);
                }
            }
            Change::Upsert(Object::Service(object)) => {
                let objects::Service { metadata, .. } = &*object;
                let service = Service::from_kubernetes(&object);
                if let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) {
                    self.set_service(namespace, name, service, &mut touched);
                }
            }
            Change::Upsert(Object::EndpointSlice(object)) => {
                let objects::EndpointSlice { metadata, .. } = &*object;
                let labels = metadata.labels.as_ref();
                let (label, slim): (_, fn(&_) -> _) = if self.is_of_imports {
                    (IMPORT_NAME_LABEL, Slice::from_imported)
                } else {
                    (SERVICE_NAME_LABEL, Slice::from_kubernetes)
                };
                let service = labels.and_then(|labels| labels.get(label));
                let slice = service.map(|service| (&**service, slim(&object)));
                if let (Some(namespace), Some(name)) = (&metadata.namespace, &metadata.name) {
                    self.set_slice(namespace, name, slice, &mut touched);
                }
            }
            Change::Delete(key) => match key.kind {
                Kind::Namespace => self.set_namespace(Some(&key.name), false, &mut touched),
                Kind::Service | Kind::ServiceImport => {
                    self.set_service(&key.namespace, &key.name, None, &mut touched);
                }
                Kind::EndpointSlice => {
                    self.set_slice(&key.namespace, &key.name, None, &mut touched);
                }
                Kind::Pod => self.pods.set(&key.namespace, &key.name, None),
            },
            Change::Upsert(Object::Pod(pod)) => {
                let address = pods::address_of(&pod);
                if let (Some(namespace), Some(name)) = (&pod.metadata.namespace, &pod.metadata.name)
                {
                    self.pods.set(namespace, name, address);
                }
            }
            Change::Synchronised => {}
        }
        touched
    }

    fn has_kind(&self, kind: Kind) -> bool {
        match kind {
            Kind::Namespace | Kind::EndpointSlice => true,
            Kind::Service | Kind::Pod => !self.is_of_imports,
            Kind::ServiceImport => self.is_of_imports,
        }
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

/// The key as it is already stored, so that every mention shares one allocation.
pub(super) fn intern<V>(map: &BTreeMap<Arc<str>, V>, key: &str) -> Arc<str> {
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

//! The cluster that the files add up to, and the differences as files change.
//!
//! Two things that the API server does are done here, so that nothing downstream can tell a
//! directory from a cluster: a namespace exists as soon as anything is in it (charts seldom hold
//! Namespace objects), and services get cluster IPs if there is a range to take them from.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use tracing::warn;

use super::{
    assign::{assign, fill_in, lacks_address},
    catalogue::Catalogue,
    normal::named_namespace,
};
use crate::source::{
    Batch, Change, Kind, Object, ObjectKey,
    objects::{Namespace, ObjectMeta},
};

/// All files, as one cluster.
#[derive(Debug, Default)]
pub struct Cluster {
    service_cidrs: Vec<IpNet>,
    catalogue: Catalogue,
    /// Addresses of the services whose manifests have none.
    assigned: BTreeMap<ObjectKey, Vec<IpAddr>>,
    /// How many objects each namespace has.
    population: BTreeMap<String, usize>,
}

impl Cluster {
    /// Without files.
    pub fn new(service_cidrs: Vec<IpNet>) -> Self {
        Self {
            service_cidrs,
            ..Self::default()
        }
    }

    /// The files that say anything.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.catalogue.files()
    }

    /// Replaces the contents of files (none: the file is gone). Returns what that changes.
    pub fn replace(&mut self, files: Vec<(PathBuf, Vec<Object>)>) -> Batch {
        // Each object that may change, as it was.
        let mut before: BTreeMap<ObjectKey, Option<Object>> = BTreeMap::new();
        for (path, objects) in &files {
            let new = objects.iter().map(Object::key);
            let keys: BTreeSet<_> = new.chain(self.catalogue.keys_of(path).cloned()).collect();
            for key in keys {
                if key.kind != Kind::Namespace && !key.namespace.is_empty() {
                    let namespace = namespace_key(&key.namespace);
                    before
                        .entry(namespace.clone())
                        .or_insert_with(|| self.visible(&namespace));
                }
                before
                    .entry(key.clone())
                    .or_insert_with(|| self.visible(&key));
            }
        }
        for (path, objects) in files {
            let new = objects.iter().map(Object::key);
            let keys: BTreeSet<_> = new.chain(self.catalogue.keys_of(&path).cloned()).collect();
            self.count(&keys, false);
            self.catalogue.replace(&path, objects);
            self.count(&keys, true);
        }
        self.assign_addresses(&mut before);
        self.differences(before)
    }

    /// The object as the cluster has it.
    fn visible(&self, key: &ObjectKey) -> Option<Object> {
        match (self.catalogue.get(key), key.kind) {
            (Some(Object::Service(service)), _) if lacks_address(service) => {
                let addresses = self.assigned.get(key).filter(|given| !given.is_empty())?;
                let mut service = service.clone();
                fill_in(&mut service, addresses);
                Some(Object::Service(service))
            }
            (None, Kind::Namespace) if self.population.contains_key(&key.name) => {
                Some(Object::Namespace(Box::new(Namespace {
                    metadata: named_namespace(ObjectMeta {
                        name: Some(key.name.clone()),
                        ..ObjectMeta::default()
                    }),
                })))
            }
            (object, _) => object.cloned(),
        }
    }

    /// Takes those of `keys` that exist into the count, or out of it.
    fn count(&mut self, keys: &BTreeSet<ObjectKey>, add: bool) {
        for key in keys {
            if key.kind == Kind::Namespace || self.catalogue.get(key).is_none() {
                continue;
            }
            let count = self.population.entry(key.namespace.clone()).or_default();
            *count = if add {
                *count + 1
            } else {
                count.saturating_sub(1)
            };
            if *count == 0 {
                self.population.remove(&key.namespace);
            }
        }
    }

    /// Draws addresses anew. A service that another displaced joins those that may have changed.
    fn assign_addresses(&mut self, before: &mut BTreeMap<ObjectKey, Option<Object>>) {
        let services_changed = before.keys().any(|key| key.kind == Kind::Service);
        if self.service_cidrs.is_empty() || !services_changed {
            return;
        }
        let services = self.catalogue.of_kind(Kind::Service);
        let services: Vec<_> = services
            .filter_map(|(key, object)| match object {
                Object::Service(service) => Some((key, &**service)),
                _ => None,
            })
            .collect();
        let assigned = assign(services.into_iter(), &self.service_cidrs);
        for key in assigned.keys() {
            if self.assigned.get(key) != assigned.get(key) {
                before
                    .entry(key.clone())
                    .or_insert_with(|| self.visible(key));
            }
        }
        self.assigned = assigned;
    }

    fn differences(&self, before: BTreeMap<ObjectKey, Option<Object>>) -> Batch {
        let mut batch = Batch::new();
        for (key, before) in before {
            let after = self.visible(&key);
            if after.is_none() && self.catalogue.get(&key).is_some() {
                warn!(object = %key,
                    "skipped: it has no clusterIP; give it one, or give --service-cidr a range");
            }
            match after {
                after if after == before => {}
                Some(object) => batch.push(Change::Upsert(object)),
                None => batch.push(Change::Delete(key)),
            }
        }
        // Names exist only in existing namespaces: so those come first, each service once.
        batch.sort_by_key(|change| !matches!(change, Change::Upsert(Object::Namespace(_))));
        batch
    }
}

fn namespace_key(name: &str) -> ObjectKey {
    ObjectKey {
        kind: Kind::Namespace,
        namespace: String::new(),
        name: name.to_owned(),
    }
}

//! What the files say: the contents of each that was last good, and which file has the word on an
//! object that several describe.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use tracing::warn;

use crate::source::{Kind, Object, ObjectKey};

/// Objects by key, with every file that describes them.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// The keys that each file describes.
    files: BTreeMap<Arc<Path>, BTreeSet<ObjectKey>>,
    /// The versions of each object in path order: the last one counts.
    objects: BTreeMap<ObjectKey, Vec<(Arc<Path>, Object)>>,
}

impl Catalogue {
    /// The object as the last file in path order has it.
    pub fn get(&self, key: &ObjectKey) -> Option<&Object> {
        let (_, object) = self.objects.get(key)?.last()?;
        Some(object)
    }

    /// Every object of one kind, in order of namespace and name.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&ObjectKey, &Object)> {
        let first = ObjectKey {
            kind,
            namespace: String::new(),
            name: String::new(),
        };
        self.objects
            .range(first..)
            .take_while(move |(key, _)| key.kind == kind)
            .filter_map(|(key, versions)| Some((key, &versions.last()?.1)))
    }

    /// The files that have been read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(|path| &**path)
    }

    /// The keys that a file describes.
    pub fn keys_of(&self, path: &Path) -> impl Iterator<Item = &ObjectKey> {
        self.files.get(path).into_iter().flatten()
    }

    /// Replaces what a file says; nothing at all forgets the file.
    pub fn replace(&mut self, path: &Path, objects: Vec<Object>) {
        let path = self
            .files
            .get_key_value(path)
            .map_or_else(|| Arc::from(path), |(path, _)| Arc::clone(path));
        let before = self.files.remove(&path).unwrap_or_default();
        for key in &before {
            if let Some(versions) = self.objects.get_mut(key) {
                versions.retain(|(file, _)| *file != path);
                if versions.is_empty() {
                    self.objects.remove(key);
                }
            }
        }
        let mut keys = BTreeSet::new();
        for object in objects {
            let key = object.key();
            let versions = self.objects.entry(key.clone()).or_default();
            match versions.binary_search_by(|(file, _)| file.cmp(&path)) {
                Ok(at) => {
                    warn!(object = %key, file = %path.display(),
                        "described twice in one file: the last counts");
                    versions[at].1 = object;
                }
                Err(at) => {
                    versions.insert(at, (Arc::clone(&path), object));
                    if !before.contains(&key) {
                        warn_of_others(&key, versions, at);
                    }
                }
            }
            keys.insert(key);
        }
        if !keys.is_empty() {
            self.files.insert(path, keys);
        }
    }
}

fn warn_of_others(key: &ObjectKey, versions: &[(Arc<Path>, Object)], new: usize) {
    let Some((last, _)) = versions.last() else {
        return;
    };
    // Either the new one is overruled, or it overrules the one before it.
    let other = if new + 1 == versions.len() {
        new.checked_sub(1)
    } else {
        Some(new)
    };
    if let Some((other, _)) = other.and_then(|at| versions.get(at)) {
        warn!(object = %key, counts = %last.display(), ignored = %other.display(),
            "described in two files: the last in path order counts");
    }
}

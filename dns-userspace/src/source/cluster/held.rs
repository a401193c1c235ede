//! Which version of which object the rest of the daemon has.
//!
//! The objects themselves are held once, by those who answer from them. Here is what a list is compared with: so it
//! becomes differences, and what has not changed is dropped as it is read.
//!
//! Versions are the API server's resource versions. They are numbers of one clock, which only goes forward; so a
//! version that is not above the one held is no news, whoever says it.

use std::collections::HashMap;

use crate::source::{Change, Kind, Object, ObjectKey};

/// A resource version; 0 is before all.
pub type Version = u64;

/// Namespace and name.
pub type Key = (Box<str>, Box<str>);

/// What is held of one watch.
#[derive(Debug)]
pub struct Held {
    kind: Kind,
    objects: HashMap<Key, Entry>,
    version: Version,
    pass: u32,
}

#[derive(Debug)]
struct Entry {
    version: Version,
    /// The last pass that came across it.
    seen: u32,
}

impl Held {
    /// Nothing.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            objects: HashMap::new(),
            version: 0,
            pass: 0,
        }
    }

    /// Up to when everything is known.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Everything is known up to then.
    pub fn advance(&mut self, version: Version) {
        self.version = self.version.max(version);
    }

    /// How many objects.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// The version of an object.
    pub fn version_of(&self, key: &Key) -> Option<Version> {
        self.objects.get(key).map(|entry| entry.version)
    }

    /// An object has come or changed. The change, if it is news.
    pub fn upsert(&mut self, object: Object, version: Version) -> Option<Change> {
        if version <= self.version {
            return None;
        }
        self.version = version;
        Some(self.put(object, version))
    }

    /// An object has gone. The change, if it is news.
    pub fn delete(&mut self, key: &Key, version: Version) -> Option<Change> {
        if version <= self.version {
            return None;
        }
        self.version = version;
        self.objects.remove(key)?;
        Some(Change::Delete(self.key(key)))
    }

    /// Begins to go through a list of everything.
    pub fn begin(&mut self) {
        self.pass = self.pass.wrapping_add(1);
    }

    /// The list has this object. Whether that is news.
    pub fn sight(&mut self, key: &Key, version: Version) -> bool {
        match self.objects.get_mut(key) {
            Some(entry) => {
                entry.seen = self.pass;
                entry.version < version
            }
            None => true,
        }
    }

    /// Takes an object of a list.
    pub fn put(&mut self, object: Object, version: Version) -> Change {
        let seen = self.pass;
        let entry = Entry { version, seen };
        self.objects.insert(key_of(&object), entry);
        Change::Upsert(object)
    }

    /// The list is through, and shows the cluster at this version: what it did not have is gone.
    pub fn finish(&mut self, version: Version) -> Vec<Change> {
        let gone: Vec<Key> = self.unseen().map(|(key, _)| key.clone()).collect();
        self.advance(version);
        gone.into_iter()
            .map(|key| {
                self.objects.remove(&key);
                Change::Delete(self.key(&key))
            })
            .collect()
    }

    /// What the list, as far as it is through, does not have.
    pub fn unseen(&self) -> impl Iterator<Item = (&Key, Version)> {
        let unseen = |(_, entry): &(&Key, &Entry)| entry.seen != self.pass;
        let objects = self.objects.iter().filter(unseen);
        objects.map(|(key, entry)| (key, entry.version))
    }

    /// The clock was set back. What the next list has is news, whatever its version.
    pub fn forget_versions(&mut self) {
        self.version = 0;
        for entry in self.objects.values_mut() {
            entry.version = 0;
        }
    }

    fn key(&self, (namespace, name): &Key) -> ObjectKey {
        ObjectKey {
            kind: self.kind,
            namespace: namespace.to_string(),
            name: name.to_string(),
        }
    }
}

/// What an object is called.
pub fn key_of(object: &Object) -> Key {
    let metadata = object.metadata();
    let part = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
    (part(&metadata.namespace), part(&metadata.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::objects::{Namespace, ObjectMeta};

    fn namespace(name: &str) -> Object {
        Object::Namespace(Box::new(Namespace {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
        }))
    }

    fn key(name: &str) -> Key {
        ("".into(), name.into())
    }

    #[test]
    fn what_is_not_newer_is_no_news() {
        let mut held = Held::new(Kind::Namespace);
        assert!(held.upsert(namespace("a"), 5).is_some());
        assert!(held.upsert(namespace("a"), 5).is_none(), "said twice");
        assert!(held.delete(&key("a"), 4).is_none(), "older");
        assert!(held.delete(&key("a"), 6).is_some());
        assert!(
            held.upsert(namespace("a"), 5).is_none(),
            "it has gone since"
        );
        assert!(held.delete(&key("b"), 7).is_none(), "never was there");
        assert_eq!((held.version(), held.len()), (7, 0));
    }

    #[test]
    fn a_list_becomes_differences() {
        let mut held = Held::new(Kind::Namespace);
        for (name, version) in [("a", 1), ("b", 2), ("c", 3)] {
            held.upsert(namespace(name), version);
        }
        held.begin();
        assert!(!held.sight(&key("a"), 1), "as it is held");
        assert!(held.sight(&key("b"), 9), "changed");
        held.put(namespace("b"), 9);
        let gone = held.finish(10);
        let [Change::Delete(gone)] = &gone[..] else {
            panic!("{gone:?}");
        };
        assert_eq!((gone.name.as_str(), held.version()), ("c", 10));
    }
}

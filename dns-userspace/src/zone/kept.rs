//! Names that are kept on the socket: something else than the zone could have a say in their answers.
//!
//! The zone itself goes on answering for them ([`Zone::lookup`]). Who copies it elsewhere is told to pass them
//! ([`Node::SocketOnly`](super::Node::SocketOnly), [`Zone::undenied_below`]).

use std::collections::{BTreeSet, HashSet};

use hickory_proto::rr::Name;
use indexmap::IndexSet;

use super::{Zone, authority::Existence, names::below, owner::OwnerName};

mod pattern;

use pattern::Pattern;

/// Such names, whether they exist or not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    names: BTreeSet<Name>,
    /// These and all below; none of them lies below another.
    below: Vec<Name>,
    /// Those of the zone that match.
    patterns: Vec<Pattern>,
    /// These and all below, as long as they do not exist.
    absent: Vec<Name>,
    /// These and all below, as long as they exist.
    present: Vec<Name>,
}

impl Kept {
    /// Keeps one name.
    pub fn keep(&mut self, name: &Name) {
        self.names.insert(name.to_lowercase());
    }

    /// Keeps a name and all below it; the root's are all.
    pub fn keep_below(&mut self, name: &Name) {
        add_subtree(&mut self.below, name.to_lowercase());
    }

    /// Keeps a name and all below it, while they do not exist.
    pub fn keep_absent_below(&mut self, name: &Name) {
        add_subtree(&mut self.absent, name.to_lowercase());
    }

    /// Keeps a name and all below it, while they exist.
    pub fn keep_present_below(&mut self, name: &Name) {
        add_subtree(&mut self.present, name.to_lowercase());
    }

    /// Keeps the names in which a regular expression finds something, in lower case and with the dot at the end.
    pub fn keep_matching(&mut self, expression: &str) {
        let Some(pattern) = Pattern::new(expression) else {
            // What cannot be told might be any name.
            return self.keep_below(&Name::root());
        };
        for name in pattern.subtrees() {
            self.keep_absent_below(name);
        }
        if !self.patterns.contains(&pattern) {
            self.patterns.push(pattern);
        }
    }

    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
            && self.below.is_empty()
            && self.patterns.is_empty()
            && self.absent.is_empty()
            && self.present.is_empty()
    }

    /// Whether a name in lower case is kept, whether it exists or not.
    fn has(&self, name: &Name) -> bool {
        self.names.contains(name) || self.has_below(name)
    }

    /// Whether it is kept if it exists.
    fn has_existing(&self, name: &Name) -> bool {
        self.has(name)
            || self.present.iter().any(|kept| kept.zone_of(name))
            || self.patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether it is kept together with all below it.
    fn has_below(&self, name: &Name) -> bool {
        self.below.iter().any(|kept| kept.zone_of(name))
    }
}

/// Adds a name to subtrees none of which is part of another.
fn add_subtree(subtrees: &mut Vec<Name>, name: Name) {
    if !subtrees.iter().any(|subtree| subtree.zone_of(&name)) {
        subtrees.retain(|subtree| !name.zone_of(subtree));
        subtrees.push(name);
    }
}

impl Zone {
    /// What is kept on the socket from now on. Returns every name whose [`Zone::node`] or [`Zone::is_kept_below`] has
    /// changed, each once, and the apexes.
    pub fn keep(&mut self, kept: Kept) -> Vec<OwnerName> {
        let before = std::mem::replace(&mut self.kept, kept);
        let after = &self.kept;
        let mut changed: HashSet<Name> = (before.names.symmetric_difference(&after.names))
            .filter(|name| self.zone_of(name).is_some())
            .cloned()
            .collect();
        let parts = |kept: &Kept| {
            (
                kept.below.clone(),
                kept.present.clone(),
                kept.patterns.clone(),
            )
        };
        if parts(&before) != parts(after) {
            // Within a subtree names need no record, else they do.
            let differs = |name: &Name| {
                before.has_existing(name) != after.has_existing(name)
                    || before.has_below(name) != after.has_below(name)
            };
            changed.extend(self.existing_names().filter(differs));
            // Single names within a subtree come and go with it.
            let single = before.names.union(&after.names);
            changed.extend(single.filter(|name| self.zone_of(name).is_some()).cloned());
        }
        changed.extend(self.config.zones().cloned());
        let mut changed: IndexSet<OwnerName> = changed.iter().map(OwnerName::new).collect();
        // In an order that does not depend on a hash.
        changed.sort_unstable();
        self.touch_aliases(&mut changed);
        changed.into_iter().collect()
    }

    /// What is kept on the socket.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Names below which nothing may be denied by who copies the zone: what is not there only the socket can answer.
    /// With a domain itself that is all of it.
    pub fn undenied_below(&self) -> Vec<Name> {
        let mut subtrees = Vec::new();
        for domain in self.config.domains() {
            for name in self.kept.below.iter().chain(&self.kept.absent) {
                if name.zone_of(domain) {
                    add_subtree(&mut subtrees, domain.clone());
                } else if domain.zone_of(name) {
                    add_subtree(&mut subtrees, name.clone());
                }
            }
            if let Some(pods) = below(domain, &["pod"]) {
                add_subtree(&mut subtrees, pods);
            }
        }
        subtrees
    }

    /// Whether a name in lower case is kept together with all below it: it needs no record to be passed.
    pub fn is_kept_below(&self, name: &Name) -> bool {
        self.kept.has_below(name)
    }

    pub(super) fn is_kept(&self, owner: &OwnerName) -> bool {
        !self.kept.is_empty() && self.kept.has(&owner.name())
    }

    pub(super) fn is_kept_if_it_exists(&self, owner: &OwnerName) -> bool {
        !self.kept.is_empty() && self.kept.has_existing(&owner.name())
    }

    /// The single names of our zones that are kept and do not exist.
    pub(super) fn kept_and_absent(&self) -> impl Iterator<Item = Name> + '_ {
        let is_absent = |name: &&Name| {
            let owner = OwnerName::new(name);
            (self.apexes.parse(&owner))
                .is_some_and(|(_, subject)| self.existence(&owner, subject) == Existence::Absent)
        };
        let names = self.kept.names.iter();
        (names
            .filter(|name| !self.is_kept_below(name))
            .filter(is_absent))
        .cloned()
    }
}

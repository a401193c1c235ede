//! Which names are aliases (`ExternalName` services) of names of ours, by their targets: a change of a target
//! is a change of its aliases, and must find them without a search.

use std::collections::HashMap;

use super::owner::OwnerName;

/// Aliases and their targets.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    targets: HashMap<OwnerName, OwnerName>,
    aliases: HashMap<OwnerName, Vec<OwnerName>>,
}

impl Aliases {
    /// `alias` has this target from now on; `None`: it is no alias of a name of ours.
    pub fn set(&mut self, alias: &OwnerName, target: Option<OwnerName>) {
        if self.targets.get(alias) == target.as_ref() {
            return;
        }
        if let Some(before) = self.targets.remove(alias)
            && let Some(aliases) = self.aliases.get_mut(&before)
        {
            aliases.retain(|other| other != alias);
            if aliases.is_empty() {
                self.aliases.remove(&before);
            }
        }
        if let Some(target) = target {
            let aliases = self.aliases.entry(target.clone()).or_default();
            aliases.push(alias.clone());
            self.targets.insert(alias.clone(), target);
        }
    }

    /// The aliases of a name.
    pub fn of(&self, target: &OwnerName) -> &[OwnerName] {
        self.aliases.get(target).map_or(&[], Vec::as_slice)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Name;

    use super::*;

    #[test]
    fn a_target_knows_its_aliases_as_long_as_they_are() {
        let name = |text: &str| OwnerName::new(&Name::from_ascii(text).expect("a name"));
        let (one, two, a, b) = (name("one."), name("two."), name("a."), name("b."));
        let mut aliases = Aliases::default();
        aliases.set(&one, Some(a.clone()));
        aliases.set(&two, Some(a.clone()));
        aliases.set(&two, Some(a.clone()));
        assert_eq!(aliases.of(&a), [one.clone(), two.clone()]);
        aliases.set(&one, Some(b.clone()));
        assert_eq!(aliases.of(&a), std::slice::from_ref(&two));
        assert_eq!(aliases.of(&b), std::slice::from_ref(&one));
        aliases.set(&one, None);
        aliases.set(&two, None);
        aliases.set(&two, None);
        assert!(aliases.is_empty() && aliases.aliases.is_empty());
    }
}

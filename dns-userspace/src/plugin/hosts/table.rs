//! The lines of a hosts file.
//!
//! ```text
//! # a comment
//! 192.0.2.1       www.example.org www       an address and its names
//! fe80::1%eth0    router.example.org        the interface is left out
//! 192.0.2.2       *.example.org             every name with one label more than example.org
//! ```
//!
//! What is not of this form is left out: one bad line must not take the others away.

use std::{collections::HashMap, net::IpAddr};

use hickory_proto::rr::Name;

use crate::plugin::{builder::longest, text};

/// What is read.
pub(super) struct Wanted {
    /// Names in these zones only.
    pub zones: Vec<Name>,
    /// Names by address, too.
    pub reverse: bool,
}

/// Names and addresses. Names are in lower case.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Table {
    names: HashMap<Name, Addresses>,
    wildcards: HashMap<Name, Addresses>,
    addresses: HashMap<IpAddr, Vec<Name>>,
}

#[derive(Debug, Default, PartialEq)]
struct Addresses {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
}

impl Addresses {
    fn of(&self, v4: bool) -> &[IpAddr] {
        if v4 { &self.v4 } else { &self.v6 }
    }
}

impl Table {
    /// Reads all lines.
    pub(super) fn read(lines: &str, wanted: &Wanted) -> Self {
        let mut table = Table::default();
        for line in lines.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(address) = words.next().and_then(address) else {
                continue;
            };
            for name in words.filter_map(text::name) {
                if longest(&wanted.zones, &name).is_some() {
                    table.add(name.to_lowercase(), address, wanted.reverse);
                }
            }
        }
        table
    }

    fn add(&mut self, name: Name, address: IpAddr, reverse: bool) {
        if reverse && !name.is_wildcard() {
            self.addresses
                .entry(address)
                .or_default()
                .push(name.clone());
        }
        let names = if name.is_wildcard() {
            &mut self.wildcards
        } else {
            &mut self.names
        };
        let addresses = names.entry(name).or_default();
        match address {
            IpAddr::V4(_) => addresses.v4.push(address),
            IpAddr::V6(_) => addresses.v6.push(address),
        }
    }

    /// The addresses of a name in one family: its own, or else those of the wildcard that it matches.
    pub(super) fn addresses_of(&self, name: &Name, v4: bool) -> &[IpAddr] {
        let own = self.names.get(name).map(|found| found.of(v4));
        if let Some(own) = own.filter(|own| !own.is_empty()) {
            return own;
        }
        if self.wildcards.is_empty() || name.is_root() {
            return &[];
        }
        let wildcard = self.wildcards.get(&name.clone().into_wildcard());
        wildcard.map(|found| found.of(v4)).unwrap_or_default()
    }

    /// Whether a name has an address.
    pub(super) fn has(&self, name: &Name) -> bool {
        [true, false]
            .iter()
            .any(|v4| !self.addresses_of(name, *v4).is_empty())
    }

    /// The names of an address.
    pub(super) fn names_of(&self, address: IpAddr) -> &[Name] {
        self.addresses
            .get(&address)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// Every name but the wildcards.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.names.keys()
    }

    /// Every wildcard.
    pub(super) fn wildcards(&self) -> impl Iterator<Item = &Name> {
        self.wildcards.keys()
    }

    /// Every address that has names.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses.keys().copied()
    }

    /// Addresses of names and names of addresses, as the metric counts them.
    pub(super) fn entries(&self) -> usize {
        let forward = self.names.values().chain(self.wildcards.values());
        let forward: usize = forward.map(|found| found.v4.len() + found.v6.len()).sum();
        let reverse: usize = self.addresses.values().map(Vec::len).sum();
        forward + reverse
    }
}

fn address(word: &str) -> Option<IpAddr> {
    let address = word.split('%').next()?;
    let address: IpAddr = address.parse().ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_lines_are_left_out() {
        let text =
            "192.0.2.1\n192.0.2 a\n::1 b..c d\n::ffff:192.0.2.2 e # f\n\n  #\n192.0.2.010 g\n";
        let wanted = Wanted {
            zones: vec![Name::root()],
            reverse: true,
        };
        let table = Table::read(text, &wanted);
        let mut names: Vec<String> = table.names().map(Name::to_string).collect();
        names.sort();
        assert_eq!(names, ["d.", "e."]);
        assert_eq!(table.entries(), 4);
        let e = Name::from_ascii("e.").unwrap();
        assert_eq!(
            table.addresses_of(&e, true),
            ["192.0.2.2".parse::<IpAddr>().unwrap()]
        );
    }
}

//! Who has an address: the index behind PTR.
//!
//! It is ordered, because the names above a PTR record are address prefixes: one exists exactly
//! when some known address lies in its range, and a range is one search in an ordered map. So no
//! empty non-terminal is ever stored (33 of them lie above a single IPv6 PTR name).

use std::{collections::BTreeMap, net::IpAddr, ops::RangeInclusive, sync::Arc};

use super::touched::Touched;

/// One claim on an address. Cluster IPs sort before endpoints, and go before them in answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// `None`: it is the service's cluster IP. Else the slice with the endpoint.
    pub slice: Option<Arc<str>>,
    /// The namespace of the service.
    pub namespace: Arc<str>,
    /// The name of the service.
    pub service: Arc<str>,
}

/// Every address that a visible service or one of its ready endpoints has.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    owners: BTreeMap<IpAddr, Vec<Owner>>,
}

impl Addresses {
    /// The owners of `address`, sorted.
    pub fn owners(&self, address: IpAddr) -> &[Owner] {
        self.owners.get(&address).map_or(&[], Vec::as_slice)
    }

    /// Whether any address in `range` is known.
    pub fn any_in(&self, range: RangeInclusive<IpAddr>) -> bool {
        self.owners.range(range).next().is_some()
    }

    /// Every known address, ascending.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        self.owners.keys().copied()
    }

    /// Adds a claim.
    pub(super) fn insert(&mut self, address: IpAddr, owner: Owner) -> Touched {
        let owners = self.owners.entry(address).or_default();
        let first = owners.is_empty();
        if let Err(at) = owners.binary_search(&owner) {
            // Nearly every address has one owner: grow by what is needed.
            owners.reserve_exact(1);
            owners.insert(at, owner);
        }
        self.touched(address, first)
    }

    /// Withdraws a claim.
    pub(super) fn remove(&mut self, address: IpAddr, owner: &Owner) -> Touched {
        let mut last = false;
        if let Some(owners) = self.owners.get_mut(&address) {
            owners.retain(|other| other != owner);
            last = owners.is_empty();
        }
        if last {
            self.owners.remove(&address);
        }
        self.touched(address, last)
    }

    fn touched(&self, address: IpAddr, came_or_went: bool) -> Touched {
        Touched::Address {
            address,
            unshared_above: came_or_went.then(|| self.bits_shared(address)),
        }
    }

    /// Leading bits that `address` has in common with the nearest other known address.
    fn bits_shared(&self, address: IpAddr) -> u8 {
        use std::ops::Bound::{Excluded, Unbounded};
        let before = self.owners.range(..address).next_back();
        let after = self.owners.range((Excluded(address), Unbounded)).next();
        let neighbours = before.into_iter().chain(after);
        neighbours
            .map(|(other, _)| common_prefix_bits(address, *other))
            .max()
            .unwrap_or(0)
    }
}

/// Leading bits that two addresses have in common; none across families.
pub fn common_prefix_bits(a: IpAddr, b: IpAddr) -> u8 {
    let bits = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    };
    // At most 128.
    u8::try_from(bits).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(slice: Option<&str>) -> Owner {
        Owner {
            slice: slice.map(Arc::from),
            namespace: "shop".into(),
            service: "web".into(),
        }
    }

    #[test]
    fn an_address_lives_as_long_as_its_last_owner() {
        let at: IpAddr = "10.0.0.1".parse().expect("an address");
        let mut addresses = Addresses::default();
        let unshared = |touched| match touched {
            Touched::Address { unshared_above, .. } => unshared_above,
            other => panic!("{other:?}"),
        };
        assert_eq!(unshared(addresses.insert(at, owner(Some("a")))), Some(0));
        assert_eq!(unshared(addresses.insert(at, owner(None))), None);
        assert_eq!(addresses.owners(at)[0], owner(None), "cluster IPs first");
        assert_eq!(unshared(addresses.remove(at, &owner(None))), None);
        let next: IpAddr = "10.0.0.129".parse().expect("an address");
        assert_eq!(unshared(addresses.insert(next, owner(None))), Some(24));
        assert_eq!(unshared(addresses.remove(at, &owner(Some("a")))), Some(24));
        assert!(addresses.owners(at).is_empty());
        assert_eq!(addresses.iter().count(), 1);
    }
}

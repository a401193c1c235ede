//! Which pods have an address, for `pods verified`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::source::objects::Pod;

/// Phases in which a pod's address is not its own any more.
const PHASES_OVER: [&str; 3] = ["Succeeded", "Failed", "Unknown"];

/// The pods by name, and by address.
#[derive(Clone, Debug, Default)]
pub struct Pods {
    addresses: BTreeMap<(Box<str>, Box<str>), IpAddr>,
    /// Address, namespace, name.
    owners: BTreeSet<(IpAddr, Box<str>, Box<str>)>,
}

impl Pods {
    /// Whether a pod of this namespace has the address.
    pub fn has(&self, address: IpAddr, namespace: &str) -> bool {
        let first = (address, namespace.into(), "".into());
        let found = self.owners.range(first..).next();
        found.is_some_and(|(owned, of, _)| *owned == address && **of == *namespace)
    }

    /// The namespace of the pod with this address; of several the first.
    pub fn namespace_of(&self, address: IpAddr) -> Option<&str> {
        let first = (address, "".into(), "".into());
        let (owned, namespace, _) = self.owners.range(first..).next()?;
        (*owned == address).then_some(namespace)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.addresses.len()
    }

    /// The pod has this address from now on, or none.
    pub(super) fn set(&mut self, namespace: &str, name: &str, address: Option<IpAddr>) {
        let key: (Box<str>, Box<str>) = (namespace.into(), name.into());
        if let Some(before) = self.addresses.remove(&key) {
            self.owners.remove(&(before, key.0.clone(), key.1.clone()));
        }
        if let Some(address) = address {
            self.owners.insert((address, key.0.clone(), key.1.clone()));
            self.addresses.insert(key, address);
        }
    }
}

/// The pod's first address, while it is its own: not once it ends.
pub(super) fn address_of(pod: &Pod) -> Option<IpAddr> {
    let status = pod.status.as_ref()?;
    let is_over = (status.phase.as_deref()).is_some_and(|phase| PHASES_OVER.contains(&phase));
    if is_over || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let address: IpAddr = status.pod_ip.as_deref()?.parse().ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_that_of_its_pods() {
        let at: IpAddr = "10.1.0.1".parse().expect("an address");
        let mut pods = Pods::default();
        pods.set("shop", "web-0", Some(at));
        pods.set("bank", "host", Some(at));
        assert!(pods.has(at, "shop") && pods.has(at, "bank") && !pods.has(at, "sho"));
        assert_eq!(pods.namespace_of(at), Some("bank"));
        let next: IpAddr = "10.1.0.2".parse().expect("an address");
        pods.set("bank", "host", Some(next));
        assert!(!pods.has(at, "bank") && pods.has(next, "bank"));
        pods.set("shop", "web-0", None);
        assert_eq!(pods.namespace_of(at), None);
        assert_eq!(pods.namespace_of(next), Some("bank"));
    }
}

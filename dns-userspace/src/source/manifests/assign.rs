//! Cluster IPs for services whose manifests have none, the same ones each time.
//!
//! A service's address is drawn by the hash of its name. Where two draw the same one, the first by
//! namespace and name has it and the other takes the next free one. So adding a service moves no
//! other, except one that it collides with and precedes.

use std::{
    collections::{BTreeMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use tracing::warn;

use crate::source::{
    ObjectKey,
    objects::{Service, ServiceSpec},
};

/// Whether a service is one that the API server would have given an address.
pub fn lacks_address(service: &Service) -> bool {
    let Some(spec) = &service.spec else {
        return true;
    };
    spec.type_.as_deref() != Some("ExternalName") && explicit(spec).next().is_none()
}

/// Addresses for those of `services` (sorted by key) that lack one.
pub fn assign<'s>(
    services: impl Iterator<Item = (&'s ObjectKey, &'s Service)> + Clone,
    ranges: &[IpNet],
) -> BTreeMap<ObjectKey, Vec<IpAddr>> {
    let mut taken: HashSet<IpAddr> = services
        .clone()
        .filter_map(|(_, service)| service.spec.as_ref())
        .flat_map(explicit)
        .filter_map(|address| address.parse().ok())
        .collect();
    let mut assigned = BTreeMap::new();
    for (key, service) in services.filter(|(_, service)| lacks_address(service)) {
        let mut addresses = Vec::new();
        for range in ranges_for(service, ranges) {
            if let Some(address) = draw(key, range, &taken) {
                taken.insert(address);
                addresses.push(address);
            } else {
                warn!(object = %key, %range, "no free address in the service range");
            }
        }
        assigned.insert(key.clone(), addresses);
    }
    assigned
}

/// Writes addresses into a service as the API server does.
pub fn fill_in(service: &mut Service, addresses: &[IpAddr]) {
    let spec = service.spec.get_or_insert_default();
    let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    spec.cluster_ip = addresses.first().cloned();
    spec.cluster_ips = Some(addresses);
}

/// The addresses, or `None`, that a manifest gives.
fn explicit(spec: &ServiceSpec) -> impl Iterator<Item = &str> {
    let many = spec.cluster_ips.iter().flatten();
    many.chain(&spec.cluster_ip)
        .map(String::as_str)
        .filter(|address| !address.is_empty())
}

/// One range for each family that a service is to have, in its order.
fn ranges_for(service: &Service, ranges: &[IpNet]) -> Vec<IpNet> {
    let of_family = |v4: bool| ranges.iter().find(|range| range.addr().is_ipv4() == v4);
    let spec = service.spec.as_ref();
    let families = spec.and_then(|spec| spec.ip_families.as_deref());
    let policy = spec.and_then(|spec| spec.ip_family_policy.as_deref());
    let dual = matches!(policy, Some("PreferDualStack" | "RequireDualStack"));
    let mut wanted: Vec<bool> = families
        .unwrap_or_default()
        .iter()
        .map(|family| family != "IPv6")
        .collect();
    if wanted.is_empty() {
        wanted.extend(ranges.first().map(|range| range.addr().is_ipv4()));
    }
    if dual && let [only] = wanted[..] {
        wanted.push(!only);
    }
    if policy == Some("SingleStack") {
        wanted.truncate(1);
    }
    wanted.dedup();
    wanted.into_iter().filter_map(of_family).copied().collect()
}

/// The first free address from where the name's hash points.
fn draw(key: &ObjectKey, range: IpNet, taken: &HashSet<IpAddr>) -> Option<IpAddr> {
    let (network, host_bits, last) = match range {
        IpNet::V4(range) => {
            let bits = 32 - range.prefix_len();
            // Not the broadcast address.
            let last = (1_u64 << bits).saturating_sub(2);
            (u128::from(range.network().to_bits()), bits, last)
        }
        IpNet::V6(range) => {
            let bits = (128 - range.prefix_len()).min(48);
            (range.network().to_bits(), bits, (1_u64 << bits) - 1)
        }
    };
    if host_bits == 0 || last == 0 {
        return None;
    }
    // From 1 to last: the network's own address is nobody's.
    let start = fnv1a(key) % last;
    // As many tries as there can be obstacles, and one.
    let tries = last.min(
        u64::try_from(taken.len())
            .unwrap_or(u64::MAX)
            .saturating_add(1),
    );
    (0..tries)
        .map(|step| {
            let host = (start + step) % last + 1;
            let bits = network + u128::from(host);
            match u32::try_from(bits) {
                Ok(bits) if range.addr().is_ipv4() => IpAddr::from(Ipv4Addr::from_bits(bits)),
                _ => IpAddr::from(Ipv6Addr::from_bits(bits)),
            }
        })
        .find(|address| !taken.contains(address))
}

/// FNV-1a: what it gives is the same in every build, which the standard hasher does not promise.
fn fnv1a(key: &ObjectKey) -> u64 {
    let bytes = key.namespace.bytes().chain([b'/']).chain(key.name.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Kind;

    fn service(name: &str, spec: ServiceSpec) -> (ObjectKey, Service) {
        let key = ObjectKey {
            kind: Kind::Service,
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        };
        let service = Service {
            spec: Some(spec),
            ..Service::default()
        };
        (key, service)
    }

    fn assigned(
        services: &[(ObjectKey, Service)],
        ranges: &[&str],
    ) -> BTreeMap<String, Vec<IpAddr>> {
        let ranges: Vec<IpNet> = ranges
            .iter()
            .map(|range| range.parse().expect("a range"))
            .collect();
        assign(
            services.iter().map(|(key, service)| (key, service)),
            &ranges,
        )
        .into_iter()
        .map(|(key, addresses)| (key.name, addresses))
        .collect()
    }

    #[test]
    fn addresses_are_distinct_stable_and_not_the_given_ones() {
        let mut services: Vec<_> = (0..12)
            .map(|at| service(&format!("s{at:02}"), ServiceSpec::default()))
            .collect();
        let given = ServiceSpec {
            cluster_ip: Some("10.96.0.3".to_owned()),
            ..ServiceSpec::default()
        };
        services.push(service("t", given));
        // 13 usable of 14: one is given.
        let first = assigned(&services, &["10.96.0.0/28"]);
        let distinct: HashSet<_> = first.values().flatten().collect();
        assert_eq!((first.len(), distinct.len()), (12, 12));
        for taken in ["10.96.0.0", "10.96.0.3", "10.96.0.15"] {
            let taken: IpAddr = taken.parse().expect("an address");
            assert!(!distinct.contains(&taken), "{taken}");
        }
        assert_eq!(first, assigned(&services, &["10.96.0.0/28"]));
    }

    #[test]
    fn a_full_range_and_tiny_ranges_do_not_loop() {
        let services: Vec<_> = ["a", "b", "c"]
            .map(|name| service(name, ServiceSpec::default()))
            .into();
        let count = |range| assigned(&services, &[range]).values().flatten().count();
        assert_eq!(count("10.0.0.0/30"), 2);
        for (range, room) in [("10.0.0.0/31", 0), ("10.0.0.0/32", 0), ("fd00::/128", 0)] {
            assert_eq!(count(range), room, "{range}");
        }
        assert_eq!(count("fd00::/127"), 1);
        assert_eq!(count("0.0.0.0/0"), 3);
        assert_eq!(count("::/0"), 3);
    }

    #[test]
    fn families_follow_the_service() {
        let with = |families: &[&str], policy: Option<&str>| {
            let spec = ServiceSpec {
                ip_families: Some(families.iter().map(|&family| family.to_owned()).collect()),
                ip_family_policy: policy.map(str::to_owned),
                ..ServiceSpec::default()
            };
            let services = [service("web", spec)];
            let ranges = ["10.96.0.0/16", "fd00::/108"];
            let addresses = assigned(&services, &ranges).remove("web");
            let v4: Vec<bool> = addresses.iter().flatten().map(IpAddr::is_ipv4).collect();
            v4
        };
        assert_eq!(with(&[], None), [true]);
        assert_eq!(with(&["IPv6"], None), [false]);
        assert_eq!(with(&["IPv6", "IPv4"], None), [false, true]);
        assert_eq!(with(&["IPv6"], Some("PreferDualStack")), [false, true]);
        assert_eq!(with(&[], Some("RequireDualStack")), [true, false]);
        assert_eq!(with(&["IPv4", "IPv6"], Some("SingleStack")), [true]);
    }
}

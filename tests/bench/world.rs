//! A zone of very many services, whose names a program can spell.

use hopzero::{
    source::{
        Change, Object,
        objects::{
            Endpoint, EndpointSlice, Namespace, ObjectMeta, Service, ServicePort, ServiceSpec,
        },
    },
    zone::{Zone, ZoneConfig},
};

/// Eleven letters: `<8>.<11>.svc.cluster.local` has 40 bytes in wire form.
pub const NAMESPACE: &str = "benchmark-a";
/// With an eight-letter host before it: 128 bytes in wire form.
const LONG_SERVICE: &str = "a-service-whose-name-is-as-long-as-a-label-may-be-which-is-63-x";
const LONG_NAMESPACE: &str = "a-namespace-of-thirty-four-letters";

/// The name of service `number`, as the generator spells it.
pub fn label(number: u32) -> String {
    (0..8)
        .map(|digit| char::from(b'a' + u8::try_from(number >> (4 * digit) & 15).unwrap_or(0)))
        .collect()
}

/// The 40-byte name of service `number`.
pub fn name40(number: u32) -> String {
    format!("{}.{NAMESPACE}.svc.cluster.local", label(number))
}

/// A name of 128 bytes.
pub fn name128() -> String {
    format!(
        "{}.{LONG_SERVICE}.{LONG_NAMESPACE}.svc.cluster.local",
        label(0)
    )
}

/// The address of service `number`.
fn address(number: u32) -> String {
    let [a, b, c, _] = (number + 1).to_le_bytes();
    format!("10.{c}.{b}.{a}")
}

/// Service `number` of a [`zone`] with the address of another time.
pub fn readdressed(number: u32, version: u8) -> Change {
    let [a, b, c, _] = (number + 1).to_le_bytes();
    // Numbers have 20 bits: four of the second octet are left.
    let address = format!("10.{}.{b}.{a}", c | version << 4);
    service(NAMESPACE, &label(number), &[address], true)
}

/// A headless service of ten endpoints, and its slice, the first of whose endpoints has the address
/// of another time.
pub fn headless(number: u32, version: u8) -> [Change; 2] {
    let name = label(number);
    let endpoints = (0..10u32).map(|endpoint| {
        let [low, high, ..] = (number * 16 + endpoint).to_le_bytes();
        let changed = if endpoint == 0 { version } else { 0 };
        let address = format!("172.{changed}.{high}.{low}");
        (format!("host-{endpoint}"), address)
    });
    let slice = slice(NAMESPACE, &name, "IPv4", endpoints);
    [service(NAMESPACE, &name, &["None".to_owned()], true), slice]
}

/// A zone of nothing, before its first synchronisation.
fn empty_zone() -> anyhow::Result<Zone> {
    Ok(Zone::new(ZoneConfig {
        origin: "cluster.local.".parse()?,
        reverse: vec!["in-addr.arpa.".parse()?, "ip6.arpa.".parse()?],
        ttl: 5,
        ..ZoneConfig::default()
    }))
}

/// A zone of `services` ClusterIP services with one named port each, and one headless service.
pub fn zone(services: u32) -> anyhow::Result<Zone> {
    let mut zone = empty_zone()?;
    let mut batch = vec![namespace(NAMESPACE), namespace(LONG_NAMESPACE)];
    batch.extend(
        (0..services).map(|number| service(NAMESPACE, &label(number), &[address(number)], true)),
    );
    batch.push(service(
        LONG_NAMESPACE,
        LONG_SERVICE,
        &["None".to_owned()],
        true,
    ));
    let host = std::iter::once((label(0), "10.200.0.1".to_owned()));
    batch.push(slice(LONG_NAMESPACE, LONG_SERVICE, "IPv4", host));
    batch.push(Change::Synchronised);
    zone.apply(batch, 1_700_000_000);
    Ok(zone)
}

/// A zone of `services` ClusterIP services without named ports: each has a name and a reverse name.
pub fn plain_zone(services: u32) -> anyhow::Result<Zone> {
    /// Kubernetes' objects are large: not all of them at once.
    const AT_ONCE: u32 = 10_000;
    let mut zone = empty_zone()?;
    zone.apply(vec![namespace(NAMESPACE)], 1_700_000_000);
    for first in (0..services).step_by(AT_ONCE as usize) {
        let numbers = first..services.min(first + AT_ONCE);
        let service = |number| service(NAMESPACE, &label(number), &[address(number)], false);
        zone.apply(numbers.map(service).collect(), 1_700_000_000);
    }
    zone.apply(vec![Change::Synchronised], 1_700_000_000);
    Ok(zone)
}

/// A cluster as large ones are: 9,000 dual-stack ClusterIP services with a named port, and 1,000
/// headless ones with 100 dual-stack endpoints each.
pub fn mixed_zone() -> anyhow::Result<Zone> {
    let mut zone = empty_zone()?;
    let mut batch = vec![namespace(NAMESPACE)];
    for number in 0..9_000u32 {
        let [low, high, ..] = number.to_le_bytes();
        let addresses = [
            format!("10.96.{high}.{low}"),
            format!("fd00:10:96::{number:x}"),
        ];
        batch.push(service(NAMESPACE, &label(number), &addresses, true));
    }
    for number in 9_000..10_000u32 {
        let name = label(number);
        batch.push(service(NAMESPACE, &name, &["None".to_owned()], true));
        let host = |endpoint: u32| format!("{name}-{endpoint}");
        let v4 = |endpoint: u32| {
            let [low, high, top, _] = (number * 100 + endpoint).to_le_bytes();
            format!("10.{}.{high}.{low}", 128 + u32::from(top))
        };
        let v6 = |endpoint: u32| format!("fd00:10:244:{number:x}::{endpoint:x}");
        batch.push(slice(
            NAMESPACE,
            &name,
            "IPv4",
            (0..100).map(|endpoint| (host(endpoint), v4(endpoint))),
        ));
        batch.push(slice(
            NAMESPACE,
            &name,
            "IPv6",
            (0..100).map(|endpoint| (host(endpoint), v6(endpoint))),
        ));
    }
    batch.push(Change::Synchronised);
    zone.apply(batch, 1_700_000_000);
    Ok(zone)
}

fn slice(
    namespace: &str,
    service: &str,
    family: &str,
    endpoints: impl Iterator<Item = (String, String)>,
) -> Change {
    Change::Upsert(Object::EndpointSlice(Box::new(EndpointSlice {
        metadata: ObjectMeta {
            name: Some(format!("{service}-{}", family.to_lowercase())),
            namespace: Some(namespace.into()),
            labels: Some([("kubernetes.io/service-name".into(), service.into())].into()),
            ..ObjectMeta::default()
        },
        endpoints: endpoints
            .map(|(hostname, address)| Endpoint {
                addresses: vec![address],
                hostname: Some(hostname),
                ..Endpoint::default()
            })
            .collect(),
        ports: None,
    })))
}

fn namespace(name: &str) -> Change {
    Change::Upsert(Object::Namespace(Box::new(Namespace {
        metadata: ObjectMeta {
            name: Some(name.into()),
            ..ObjectMeta::default()
        },
    })))
}

fn service(namespace: &str, name: &str, addresses: &[String], named_port: bool) -> Change {
    Change::Upsert(Object::Service(Box::new(Service {
        metadata: ObjectMeta {
            name: Some(name.into()),
            namespace: Some(namespace.into()),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            cluster_ip: addresses.first().cloned(),
            cluster_ips: Some(addresses.to_vec()),
            ports: Some(vec![ServicePort {
                name: named_port.then(|| "http".into()),
                port: 80,
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
    })))
}

//! A cluster whose every name says which version of it this is.

use hickory_proto::rr::Name;

use crate::{
    source::{
        Change, Object,
        objects::{Namespace, ObjectMeta, Service, ServicePort, ServiceSpec},
    },
    zone::{OwnerName, Zone, ZoneConfig},
};

/// Services; each has a name and, by its address, a second one.
pub const SERVICES: u16 = 1500;
const NOW: u32 = 1_700_000_000;

/// One service in so many is absent, a different one in each version.
const ABSENT_ONE_IN: u16 = 50;

/// Whether a service exists in a version.
pub fn exists(service: u16, version: u8) -> bool {
    !(service + u16::from(version)).is_multiple_of(ABSENT_ONE_IN)
}

/// The owner name of a service.
pub fn name(service: u16) -> Name {
    Name::from_ascii(format!("s{service}.shop.svc.cluster.local.")).expect("a name")
}

/// Its address in a version.
pub fn address(service: u16, version: u8) -> [u8; 4] {
    let [high, low] = service.to_be_bytes();
    [10, version, high, low]
}

/// The zone in version 0.
pub fn zone() -> Zone {
    let name = |text: &str| Name::from_ascii(text).expect("a name");
    let mut zone = Zone::new(ZoneConfig {
        origin: name("cluster.local."),
        reverse: vec![name("in-addr.arpa.")],
        ttl: 5,
        ..ZoneConfig::default()
    });
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some("shop".into()),
            ..ObjectMeta::default()
        },
    };
    let mut batch = changes(0, 0..SERVICES);
    batch.push(Change::Upsert(Object::Namespace(Box::new(namespace))));
    batch.push(Change::Synchronised);
    zone.apply(batch, NOW);
    zone
}

/// The zone goes on to a version; returns the touched names.
pub fn advance(zone: &mut Zone, version: u8) -> Vec<OwnerName> {
    zone.apply(changes(version, 0..SERVICES), NOW + u32::from(version))
}

/// The changes that take some services away.
pub fn gone(services: impl Iterator<Item = u16>) -> Vec<Change> {
    let mut gone = changes(0, services);
    for change in &mut gone {
        if let Change::Upsert(object) = change {
            *change = Change::Delete(object.key());
        }
    }
    gone
}

/// The changes that bring some services to a version.
pub fn changes(version: u8, services: impl Iterator<Item = u16>) -> Vec<Change> {
    services
        .map(|service| {
            let [a, b, c, d] = address(service, version);
            let address = format!("{a}.{b}.{c}.{d}");
            let object = Object::Service(Box::new(Service {
                metadata: ObjectMeta {
                    name: Some(format!("s{service}")),
                    namespace: Some("shop".into()),
                    ..ObjectMeta::default()
                },
                spec: Some(ServiceSpec {
                    cluster_ip: Some(address.clone()),
                    cluster_ips: Some(vec![address]),
                    ports: Some(vec![ServicePort {
                        port: 80,
                        ..ServicePort::default()
                    }]),
                    ..ServiceSpec::default()
                }),
            }));
            if exists(service, version) {
                Change::Upsert(object)
            } else {
                Change::Delete(object.key())
            }
        })
        .collect()
}

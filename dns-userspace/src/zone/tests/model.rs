//! Random clusters, and which names exist in one by the plainest reading of the rules: everything
//! is listed, then everything above it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hickory_proto::rr::Name;
use proptest::prelude::*;

use super::name;
use crate::{
    source::{
        Change, Kind, Object, ObjectKey,
        objects::{
            Endpoint, EndpointConditions, EndpointPort, EndpointSlice, Namespace, ObjectMeta,
            Service, ServiceImport, ServiceImportSpec, ServicePort, ServiceSpec,
        },
    },
    state::{IMPORT_NAME_LABEL, SERVICE_NAME_LABEL, address_label},
};

const SOURCE_CLUSTER: &str = "multicluster.kubernetes.io/source-cluster";

/// The objects of a cluster.
pub type Objects = BTreeMap<ObjectKey, Object>;

/// Keeps `objects` in step with a change.
pub fn follow(objects: &mut Objects, change: &Change) {
    match change {
        Change::Upsert(object) => {
            objects.insert(object.key(), object.clone());
        }
        Change::Delete(key) => {
            objects.remove(key);
        }
        Change::Synchronised => {}
    }
}

fn one_of(choices: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(choices).prop_map(str::to_owned)
}

fn namespace_name() -> impl Strategy<Value = String> {
    one_of(&["shop", "kube-system"])
}

fn service_name() -> impl Strategy<Value = String> {
    one_of(&["web", "db", "kube-dns"])
}

/// Few enough that services and endpoints meet, and at all distances from one another.
fn address() -> impl Strategy<Value = String> {
    one_of(&[
        "10.96.0.1",
        "10.96.0.2",
        "10.96.7.1",
        "10.1.0.1",
        "192.168.0.1",
        "fd00::1",
        "fd00::2",
        "fd00::100",
        "fd00:1::1",
        "fd10::",
    ])
}

fn ports() -> impl Strategy<Value = Vec<(Option<String>, String, i32)>> {
    let name = prop::option::of(one_of(&["http", "dns", ""]));
    let port = (
        name,
        one_of(&["TCP", "UDP"]),
        prop::sample::select(vec![53, 80]),
    );
    prop::collection::vec(port, 0..3)
}

fn metadata(namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
        ..ObjectMeta::default()
    }
}

fn service() -> impl Strategy<Value = Object> {
    let addresses = prop_oneof![
        4 => prop::collection::vec(address(), 1..3),
        3 => Just(vec!["None".to_owned()]),
        1 => Just(Vec::new()),
    ];
    let alias = prop::option::weighted(
        0.25,
        one_of(&[
            "example.com",
            "web.shop.svc.cluster.local",
            "DB.kube-system.svc.cluster.local.",
            "pod-0.db.shop.svc.cluster.local",
            "ns.dns.cluster.local",
            "shop.svc.cluster.local",
            "1.0.96.10.in-addr.arpa",
            "a.pod.cluster.local",
        ]),
    );
    (namespace_name(), service_name(), addresses, ports(), alias).prop_map(
        |(namespace, name, addresses, ports, alias)| {
            let ports = ports.into_iter().map(|(name, protocol, port)| ServicePort {
                name,
                protocol: Some(protocol),
                port,
            });
            Object::Service(Box::new(Service {
                metadata: metadata(&namespace, &name),
                spec: Some(ServiceSpec {
                    cluster_ips: Some(addresses),
                    ports: Some(ports.collect()),
                    type_: alias.as_ref().map(|_| "ExternalName".to_owned()),
                    external_name: alias,
                    ..ServiceSpec::default()
                }),
            }))
        },
    )
}

fn import() -> impl Strategy<Value = Object> {
    let addresses = prop::collection::vec(address(), 0..3);
    let kind = one_of(&["ClusterSetIP", "Headless"]);
    (namespace_name(), service_name(), addresses, ports(), kind).prop_map(
        |(namespace, name, addresses, ports, kind)| {
            let ports = ports.into_iter().map(|(name, protocol, port)| ServicePort {
                name,
                protocol: Some(protocol),
                port,
            });
            Object::ServiceImport(Box::new(ServiceImport {
                metadata: metadata(&namespace, &name),
                spec: Some(ServiceImportSpec {
                    type_: Some(kind),
                    ips: Some(addresses),
                    ports: Some(ports.collect()),
                }),
            }))
        },
    )
}

/// Of which imported service a slice is, and from which cluster: one is called like an endpoint, one cannot be a label.
fn import_labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let cluster = prop::option::of(one_of(&["east", "west", "pod-0", "No Label"]));
    let of = prop::option::of((service_name(), cluster));
    of.prop_map(|of| {
        let of = of.into_iter().flat_map(|(service, cluster)| {
            let cluster = cluster.map(|cluster| (SOURCE_CLUSTER, cluster));
            [Some((IMPORT_NAME_LABEL, service)), cluster]
        });
        let labels = of.flatten().map(|(label, value)| (label.to_owned(), value));
        labels.collect()
    })
}

fn slice() -> impl Strategy<Value = Object> {
    let host = prop::option::of(one_of(&["pod-0", "pod-1", "10-1-0-1", "Not A Label"]));
    let ready = prop::option::of(prop::bool::weighted(0.7));
    let endpoint = (prop::collection::vec(address(), 1..3), host, ready).prop_map(
        |(addresses, hostname, ready)| Endpoint {
            addresses,
            hostname,
            conditions: Some(EndpointConditions { ready }),
            ..Endpoint::default()
        },
    );
    let endpoints = prop::collection::vec(endpoint, 0..4);
    let of = prop::option::weighted(0.9, service_name());
    (
        namespace_name(),
        one_of(&["s1", "s2", "s3"]),
        of,
        endpoints,
        ports(),
        import_labels(),
    )
        .prop_map(|(namespace, name, service, endpoints, ports, imported)| {
            let ports = ports
                .into_iter()
                .map(|(name, protocol, port)| EndpointPort {
                    name,
                    protocol: Some(protocol),
                    port: Some(port),
                });
            let service = service.map(|service| (SERVICE_NAME_LABEL.to_owned(), service));
            let labels = imported.into_iter().chain(service).collect();
            Object::EndpointSlice(Box::new(EndpointSlice {
                metadata: ObjectMeta {
                    labels: Some(labels),
                    ..metadata(&namespace, &name)
                },
                endpoints,
                ports: Some(ports.collect()),
            }))
        })
}

/// One change; deletions of what is not there included.
pub fn change() -> impl Strategy<Value = Change> {
    let namespace = || {
        namespace_name().prop_map(|name| {
            Object::Namespace(Box::new(Namespace {
                metadata: metadata("", &name),
            }))
        })
    };
    let object = prop_oneof![2 => namespace(), 4 => service(), 2 => import(), 6 => slice()];
    let gone = prop_oneof![1 => namespace(), 3 => service(), 1 => import(), 3 => slice()];
    prop_oneof![
        3 => object.prop_map(Change::Upsert),
        1 => gone.prop_map(|object| Change::Delete(object.key())),
    ]
}

/// The names that exist.
pub fn names(objects: &Objects) -> BTreeSet<Name> {
    let mut names: BTreeSet<Name> = [
        "cluster.local.",
        "svc.cluster.local.",
        "pod.cluster.local.",
        "ns.dns.cluster.local.",
    ]
    .into_iter()
    .chain(["dns-version.cluster.local.", "in-addr.arpa.", "ip6.arpa."])
    .map(name)
    .collect();
    let exists = |namespace: &str| {
        let key = ObjectKey {
            kind: Kind::Namespace,
            namespace: String::new(),
            name: namespace.to_owned(),
        };
        objects.contains_key(&key)
    };
    for (key, object) in objects {
        match object {
            Object::Namespace(_) => {
                names.insert(name(&format!("{}.svc.cluster.local.", key.name)));
            }
            Object::Service(service) if exists(&key.namespace) => {
                service_names(key, service, objects, &mut names);
            }
            _ => {}
        }
    }
    for below in names.clone() {
        let mut above = below.base_name();
        while in_our_zones(&above) {
            names.insert(above.clone());
            above = above.base_name();
        }
    }
    names
}

fn in_our_zones(candidate: &Name) -> bool {
    ["cluster.local.", "in-addr.arpa.", "ip6.arpa."]
        .into_iter()
        .any(|zone| name(zone).zone_of(candidate))
}

fn service_names(
    key: &ObjectKey,
    service: &Service,
    objects: &Objects,
    names: &mut BTreeSet<Name>,
) {
    let own = format!("{}.{}.svc.cluster.local.", key.name, key.namespace);
    let spec = service.spec.as_ref().expect("has a spec");
    if spec.external_name.is_some() {
        names.insert(name(&own));
        return;
    }
    let addresses = spec.cluster_ips.as_deref().unwrap_or_default();
    if addresses.is_empty() {
        return;
    }
    let headless = addresses[0] == "None";
    if !headless {
        names.insert(name(&own));
        names.extend(addresses.iter().map(|address| reverse(address)));
        for port in spec.ports.iter().flatten() {
            names.extend(port_name(&own, port.name.as_ref(), port.protocol.as_ref()));
        }
    }
    let slices = objects.values().filter_map(|object| match object {
        Object::EndpointSlice(slice) => Some(slice),
        _ => None,
    });
    for slice in slices {
        let labels = slice.metadata.labels.as_ref();
        let of = labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL));
        if slice.metadata.namespace.as_ref() != Some(&key.namespace) || of != Some(&key.name) {
            continue;
        }
        for endpoint in &slice.endpoints {
            let conditions = endpoint.conditions.as_ref();
            if conditions.and_then(|conditions| conditions.ready) == Some(false) {
                continue;
            }
            for address in &endpoint.addresses {
                let host = endpoint.hostname.clone().filter(|host| !host.contains(' '));
                let parsed: IpAddr = address.parse().expect("an address");
                let host = host.unwrap_or_else(|| address_label(parsed));
                names.insert(name(&format!("{host}.{own}")));
                names.insert(reverse(address));
                for port in slice.ports.iter().flatten().filter(|_| headless) {
                    names.extend(port_name(&own, port.name.as_ref(), port.protocol.as_ref()));
                }
            }
            if headless {
                names.insert(name(&own));
            }
        }
    }
}

fn port_name(own: &str, port: Option<&String>, protocol: Option<&String>) -> Option<Name> {
    let port = port.filter(|port| !port.is_empty())?;
    let protocol = protocol?.to_lowercase();
    Some(name(&format!("_{port}._{protocol}.{own}")))
}

fn reverse(address: &str) -> Name {
    let address: IpAddr = address.parse().expect("an address");
    let mut name = Name::from(address);
    name.set_fqdn(true);
    name
}

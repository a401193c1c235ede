//! The zone that the packets ask: a few services of every kind.

use std::fmt::Write as _;

use hickory_proto::rr::Name;
use hopzero::{
    publisher::Publisher,
    socket::{Transport, respond},
    source::{Change, manifests},
    zone::{Shown, Zone, ZoneConfig},
};
use hopzero_common::limits::ZONES_MAX;

/// Its zones, in the order in which the programs have them.
const ZONES: [&str; 3] = ["cluster.local.", "in-addr.arpa.", "ip6.arpa."];

/// The place in the programs' list of the zone that a name lies in.
pub fn place_of(question: &Name) -> Option<usize> {
    let lies_in = |zone: &&str| name(zone).zone_of(question);
    let found = ZONES.iter().position(lies_in);
    found.map(|index| ZONES_MAX - ZONES.len() + index)
}

/// A synchronised zone, `cluster.local` and both reverse zones, TTL 5.
pub fn zone() -> Zone {
    zone_of(&manifests())
}

/// A synchronised zone of some manifests.
pub fn zone_of(yaml: &str) -> Zone {
    zone_with(yaml, &[])
}

/// The same with other domains; `clusterset.local.` has imported services.
pub fn zone_with(yaml: &str, others: &[&str]) -> Zone {
    let others: Vec<Name> = others.iter().map(|domain| name(domain)).collect();
    let imported = name("clusterset.local.");
    let multicluster: Vec<Name> = (others.iter())
        .filter(|domain| **domain == imported)
        .cloned()
        .collect();
    let mut zone = Zone::new(ZoneConfig {
        origin: name("cluster.local."),
        reverse: vec![name("in-addr.arpa."), name("ip6.arpa.")],
        ttl: 5,
        shown: Shown {
            imports: !multicluster.is_empty(),
            ..Shown::default()
        },
        others,
        multicluster,
    });
    let objects = manifests::yaml(yaml).expect("manifests of a test");
    let mut batch: Vec<Change> = objects.into_iter().map(Change::Upsert).collect();
    batch.push(Change::Synchronised);
    zone.apply(batch, 1_700_000_000);
    zone
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

/// Fills a publisher's table.
pub fn publish(publisher: &mut Publisher, zone: &Zone) {
    publisher.publish_all(zone);
}

/// What the socket answers to the same message.
pub fn socket_answer(zone: &std::sync::RwLock<Zone>, message: &[u8]) -> Vec<u8> {
    respond(message, Transport::Udp, zone).expect("a query")
}

/// The change that brings an object.
pub fn upsert(yaml: &str) -> Change {
    let mut objects = manifests::yaml(yaml).expect("manifests of a test");
    Change::Upsert(objects.remove(0))
}

/// The change that takes it away.
pub fn delete(yaml: &str) -> Change {
    let objects = manifests::yaml(yaml).expect("manifests of a test");
    Change::Delete(objects[0].key())
}

/// 63 letters: the longest label.
pub fn longest_label(letter: char) -> String {
    letter.to_string().repeat(63)
}

/// `ExternalName` services in the namespace `shop`, and their targets.
const ALIASES: [(&str, &str); 12] = [
    ("outside", "example.com"),
    ("to-web", "WEB.Shop.svc.cluster.local."),
    ("to-dual", "dual.shop.svc.cluster.local"),
    ("to-six", "six.shop.svc.cluster.local"),
    ("to-db", "db.shop.svc.cluster.local"),
    ("to-host", "db-2.db.shop.svc.cluster.local"),
    ("to-crowd", "crowd.shop.svc.cluster.local"),
    ("to-throng", "throng.shop.svc.cluster.local"),
    ("to-alias", "to-web.shop.svc.cluster.local"),
    ("to-itself", "to-itself.shop.svc.cluster.local"),
    ("to-nobody", "nobody.shop.svc.cluster.local"),
    ("to-nothing", "svc.cluster.local"),
];

fn manifests() -> String {
    let mut yaml = String::from(
        "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.1.1, clusterIPs: [10.96.1.1], ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: dual, namespace: shop}
spec:
  clusterIP: 10.96.1.2
  clusterIPs: [10.96.1.2, 'fd00:10:96::12']
  ports: [{name: http, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: six, namespace: shop}
spec: {clusterIP: 'fd00:10:96::13', clusterIPs: ['fd00:10:96::13'], ports: [{name: http, port: 80}]}
",
    );
    for (name, target) in ALIASES {
        write!(
            yaml,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{type: ExternalName, externalName: {target}}}\n"
        )
        .expect("a string");
    }
    headless(&mut yaml, "db", 3);
    headless(&mut yaml, "mob", 75);
    headless(&mut yaml, "crowd", 60);
    headless(&mut yaml, "throng", 90);
    let (service, namespace) = (longest_label('s'), longest_label('n'));
    write!(
        yaml,
        "
---
apiVersion: v1
kind: Namespace
metadata: {{name: {namespace}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {service}, namespace: {namespace}}}
spec: {{clusterIP: None, ports: [{{name: x, port: 1}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: long, namespace: {namespace}, labels: {{kubernetes.io/service-name: {service}}}}}
addressType: IPv4
endpoints: [{{addresses: [10.1.9.9], hostname: {host}}}]
ports: [{{name: x, port: 1}}]
",
        host = longest_label('h')
    )
    .expect("a string");
    yaml
}

/// A headless service of `count` endpoints with addresses of both families.
fn headless(yaml: &mut String, name: &str, count: usize) {
    write!(
        yaml,
        "
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{clusterIP: None, clusterIPs: [None], ports: [{{name: x, port: 1}}]}}
"
    )
    .expect("a string");
    // Each service's endpoints have addresses of their own: the names are of different lengths, or begin so.
    let octet = name.len() * 16 + usize::from(name.as_bytes()[0] % 16);
    for (family, address) in [
        ("IPv4", format!("10.{octet}.0.")),
        ("IPv6", format!("fd00:{octet}::")),
    ] {
        write!(
            yaml,
            "
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-{suffix}, namespace: shop, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: {family}
ports: [{{name: x, port: 1}}]
endpoints:
",
            suffix = family.to_lowercase()
        )
        .expect("a string");
        for index in 0..count {
            writeln!(
                yaml,
                "- {{addresses: ['{address}{}'], hostname: {name}-{index}}}",
                index + 1
            )
            .expect("a string");
        }
    }
}

//! What a change touches, and what it costs.

use std::{collections::BTreeSet, fmt::Write as _};

use hickory_proto::rr::{Name, RecordType};

use super::{NOW, Zone, empty_zone, name, upserts, zone_of};
use crate::{
    source::{Change, Kind, ObjectKey},
    zone::{Node, PROGRESS_EVERY, RrSet, ZoneConfig},
};

fn apply(zone: &mut Zone, text: &str) -> BTreeSet<String> {
    shown(zone.apply(upserts(text), NOW + 1))
}

fn delete(zone: &mut Zone, kind: Kind, namespace: &str, name: &str) -> BTreeSet<String> {
    let key = ObjectKey {
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    shown(zone.apply(vec![Change::Delete(key)], NOW + 1))
}

/// Without the apexes, which any change touches, and the origin.
fn shown(names: impl IntoIterator<Item = impl ToString>) -> BTreeSet<String> {
    let apexes = ["cluster.local.", "in-addr.arpa.", "ip6.arpa."];
    let names = names.into_iter().map(|name| name.to_string());
    names
        .filter(|name| !apexes.contains(&&**name))
        .map(|name| {
            name.strip_suffix(".svc.cluster.local.")
                .unwrap_or(&name)
                .to_owned()
        })
        .collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn slice(number: usize, endpoints: impl Iterator<Item = usize>) -> String {
    let mut text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: big-{number}, namespace: shop, labels: {{kubernetes.io/service-name: big}}}}\n\
         addressType: IPv4\nports: [{{name: http, port: 80}}]\nendpoints:\n"
    );
    for at in endpoints {
        writeln!(text, "- {{addresses: [10.1.{}.{}]}}", at / 250, at % 250).expect("written");
    }
    text
}

const NAMESPACE: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n---\n";

#[test]
fn one_endpoint_of_five_thousand_touches_its_own_names() {
    let service = |address: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: big, namespace: shop}}\n\
             spec: {{clusterIP: {address}, ports: [{{name: http, port: 80}}]}}\n---\n"
        )
    };
    let slices: Vec<String> = (0..50).map(|n| slice(n, n * 100..(n + 1) * 100)).collect();
    let without_one = slice(0, 1..100);

    let mut zone = zone_of(&(NAMESPACE.to_owned() + &service("None") + &slices.join("---\n")));
    assert_eq!(zone.names().count(), 5000 * 2 + 20 + 14);
    let touched = apply(&mut zone, &without_one);
    let own = ["big.shop", "_http._tcp.big.shop", "_tcp.big.shop"];
    let gone = ["10-1-0-0.big.shop", "0.0.1.10.in-addr.arpa."];
    assert_eq!(touched, set(&[&own[..], &gone].concat()));

    // A service with an address of its own answers as before.
    let mut zone = zone_of(&(NAMESPACE.to_owned() + &service("10.96.0.1") + &slices.join("---\n")));
    assert_eq!(apply(&mut zone, &without_one), set(&gone));
    // And a change that DNS does not see touches nothing.
    assert_eq!(apply(&mut zone, &without_one), set(&[]));
    assert_eq!(
        apply(
            &mut zone,
            "{apiVersion: v1, kind: Pod, metadata: {name: p}}"
        ),
        set(&[])
    );
}

/// Whoever waits for a batch of any size hears of it in bounded steps.
#[test]
fn a_large_batch_makes_progress() {
    let slices: Vec<String> = (0..50).map(|n| slice(n, n * 100..(n + 1) * 100)).collect();
    let mut batch = upserts(&(NAMESPACE.to_owned() + &slices.join("---\n")));
    // Each of them touches nothing: their service does not exist.
    let mut calls = 0;
    let unseen: Vec<Change> = batch.iter().cycle().take(10_000).cloned().collect();
    empty_zone().apply_with(unseen, NOW, &mut || calls += 1);
    assert_eq!(calls, 10_000 / PROGRESS_EVERY);
    // All of that in one namespace that comes last: its names are made in steps.
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: big, namespace: shop}\nspec: {clusterIP: None}";
    let namespace = batch.remove(0);
    batch.extend(upserts(service));
    batch.push(namespace);
    let mut calls = 0;
    let touched = empty_zone().apply_with(batch, NOW, &mut || calls += 1);
    assert!(
        calls >= touched.len() / 2 / PROGRESS_EVERY && calls >= 9,
        "{calls} for {}",
        touched.len()
    );
}

#[test]
fn what_is_unchanged_keeps_the_serial() {
    let text = include_str!("cluster-ip.yaml");
    let mut zone = zone_of(text);
    assert!(zone.apply(upserts(text), NOW + 9).is_empty());
    assert_eq!(zone.serial, NOW);
    delete(&mut zone, Kind::Service, "shop", "bare");
    assert_eq!(zone.serial, NOW + 1);
    assert_eq!(zone_of("").serial, NOW, "nothing, but that is known");
}

#[test]
fn a_slice_moves_between_services() {
    let slice = |service: &str| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: s, namespace: shop, labels: {{kubernetes.io/service-name: {service}}}}}\n\
             addressType: IPv4\nendpoints: [{{addresses: [10.1.0.1]}}]\n---\n"
        )
    };
    let service = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{clusterIP: None}}\n---\n"
        )
    };
    let mut zone = zone_of(&(NAMESPACE.to_owned() + &service("a") + &service("b") + &slice("a")));
    let touched = apply(&mut zone, &slice("b"));
    for name in [
        "a.shop",
        "10-1-0-1.a.shop",
        "b.shop",
        "10-1-0-1.b.shop",
        "1.0.1.10.in-addr.arpa.",
    ] {
        assert!(touched.contains(name), "{name} in {touched:?}");
    }
    assert_eq!(zone.node(&name("a.shop.svc.cluster.local.")), Node::Absent);
    let pointers = zone.node(&name("1.0.1.10.in-addr.arpa."));
    let Node::Records(rrsets) = pointers else {
        panic!("{pointers:?}");
    };
    let shown: Vec<String> = rrsets[0].rdata.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10-1-0-1.b.shop.svc.cluster.local."]);
    delete(&mut zone, Kind::EndpointSlice, "shop", "s");
    delete(&mut zone, Kind::Service, "shop", "a");
    delete(&mut zone, Kind::Service, "shop", "b");
    delete(&mut zone, Kind::Namespace, "", "shop");
    assert_eq!(
        format!("{:?}", zone.state),
        format!("{:?}", crate::state::State::default())
    );
}

#[test]
fn a_namespace_brings_its_services_and_takes_them() {
    let mut zone = zone_of(include_str!("headless.yaml"));
    let all: BTreeSet<Name> = zone.names().collect();
    let gone = delete(&mut zone, Kind::Namespace, "", "shop");
    let left: BTreeSet<Name> = zone.names().collect();
    let difference = shown(all.difference(&left));
    assert!(difference.contains("shop") && difference.contains("db-0.db.shop"));
    assert!(
        gone.is_superset(&difference),
        "{:?}",
        difference.difference(&gone)
    );
    let back = apply(&mut zone, NAMESPACE);
    assert!(back.is_superset(&difference));
    assert_eq!(zone.names().collect::<BTreeSet<Name>>(), all);
}

#[test]
fn the_server_of_dns_touches_what_names_it() {
    let mut zone = zone_of(include_str!("cluster-ip.yaml"));
    let touched = delete(&mut zone, Kind::Service, "kube-system", "kube-dns");
    assert!(touched.contains("ns.dns.cluster.local."), "{touched:?}");
}

#[test]
fn narrow_reverse_zones() {
    let mut zone = Zone::new(ZoneConfig {
        origin: name("Cluster.Local"),
        reverse: vec![name("10.in-addr.arpa."), name("0.96.10.in-addr.arpa.")],
        ttl: 30,
        ..ZoneConfig::default()
    });
    let mut batch = upserts(include_str!("cluster-ip.yaml"));
    batch.push(Change::Synchronised);
    zone.apply(batch, NOW);
    let reverse: BTreeSet<String> = zone
        .names()
        .map(|name| name.to_string())
        .filter(|name| name.ends_with("arpa."))
        .collect();
    // 96.10 stands above a zone; nothing of IPv6 is ours.
    let expected = [
        "10.in-addr.arpa.",
        "96.10.in-addr.arpa.",
        "0.96.10.in-addr.arpa.",
        "10.0.96.10.in-addr.arpa.",
        "11.0.96.10.in-addr.arpa.",
        "53.0.96.10.in-addr.arpa.",
        "1.10.in-addr.arpa.",
        "0.1.10.in-addr.arpa.",
        "1.0.1.10.in-addr.arpa.",
        "2.0.1.10.in-addr.arpa.",
    ];
    assert_eq!(reverse, set(&expected));
    assert_eq!(
        zone.node(&name("96.10.in-addr.arpa.")),
        Node::Records(Vec::new())
    );
    assert_eq!(
        zone.zone_of(&name("9.0.96.10.In-addr.arpa.")),
        Some(&name("0.96.10.in-addr.arpa."))
    );
    assert_eq!(zone.zone_of(&name("11.in-addr.arpa.")), None);
    let soa = zone.soa(&name("0.96.10.in-addr.arpa.")).expect("a zone");
    assert_eq!(soa.ttl, 30);
    let node = zone.node(&name("WEB.shop.svc.cluster.local."));
    let Node::Records(rrsets) = node else {
        panic!("{node:?}");
    };
    assert!(rrsets.iter().all(|RrSet { ttl, .. }| *ttl == 30));
}

fn alias(name: &str, target: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{type: ExternalName, externalName: {target}}}\n---\n"
    )
}

#[test]
fn a_target_touches_its_aliases() {
    let inside = |name: &str| format!("{name}.svc.cluster.local");
    let web = |address: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\n\
             spec: {{clusterIP: {address}, ports: [{{name: http, port: 80}}]}}\n---\n"
        )
    };
    let mut zone = zone_of(
        &(NAMESPACE.to_owned()
            + &alias("one", &inside("Web.Shop"))
            + &alias("two", &inside("web.shop"))
            + &alias("chain", &inside("one.shop"))
            + &alias("out", "web.shop.svc.example.com")),
    );
    let all = ["web.shop", "one.shop", "two.shop"];
    // Its coming, its change and its going.
    let port = ["_http._tcp.web.shop", "_tcp.web.shop"];
    let touched = apply(&mut zone, &web("10.96.0.1"));
    assert_eq!(touched, set(&[&all[..], &port, &REVERSE].concat()));
    let node = |zone: &Zone, alias: &str| zone.node(&name(&inside(alias)).to_lowercase());
    assert!(matches!(node(&zone, "one.shop"), Node::Alias(_)));
    for other in ["chain.shop", "out.shop"] {
        assert_eq!(node(&zone, other), Node::SocketOnly, "{other}");
    }
    let touched = apply(&mut zone, &web("10.96.0.2"));
    assert!(touched.is_superset(&set(&all)), "{touched:?}");
    // An alias that has another target is not touched any more.
    let touched = apply(&mut zone, &alias("two", &inside("db.shop")));
    assert_eq!(touched, set(&["two.shop"]));
    let touched = delete(&mut zone, Kind::Service, "shop", "web");
    assert!(touched.contains("one.shop") && !touched.contains("two.shop"));
    assert_eq!(node(&zone, "one.shop"), Node::SocketOnly);
    // An alias that goes, with its namespace too.
    delete(&mut zone, Kind::Service, "shop", "two");
    delete(&mut zone, Kind::Namespace, "", "shop");
    assert!(zone.aliases.is_empty());
}

/// What 10.96.0.1 brings to an empty reverse zone.
const REVERSE: [&str; 4] = [
    "10.in-addr.arpa.",
    "96.10.in-addr.arpa.",
    "0.96.10.in-addr.arpa.",
    "1.0.96.10.in-addr.arpa.",
];

#[test]
fn only_the_socket_answers_for_pods_and_aliases_that_lead_elsewhere() {
    let zone = zone_of(include_str!("external.yaml"));
    for text in [
        "pod.cluster.local.",
        "a.pod.cluster.local.",
        "out.shop.svc.cluster.local.",
        "twice.shop.svc.cluster.local.",
        "lost.shop.svc.cluster.local.",
        "self.shop.svc.cluster.local.",
        "ping.shop.svc.cluster.local.",
    ] {
        assert_eq!(zone.node(&name(text)), Node::SocketOnly, "{text}");
    }
    assert_eq!(zone.undenied_below(), [name("pod.cluster.local.")]);
    assert_eq!(
        zone.node(&name("a.out.shop.svc.cluster.local.")),
        Node::Absent
    );
}

#[test]
fn every_domain_has_the_services_and_denies_what_it_has_not() {
    let mut zone = Zone::new(ZoneConfig {
        others: vec![name("a.b.cluster.local."), name("example.org.")],
        ..super::config()
    });
    let mut batch = upserts(include_str!("cluster-ip.yaml"));
    batch.push(Change::Synchronised);
    zone.apply(batch, NOW);
    let pods = ["cluster.local.", "a.b.cluster.local.", "example.org."];
    let pods: Vec<Name> = (pods.iter())
        .map(|domain| name(&format!("pod.{domain}")))
        .collect();
    assert_eq!(zone.undenied_below(), pods);
    let names: Vec<Name> = zone.names().collect();
    let addresses = |text: &str| match zone.node(&name(text)) {
        Node::Records(rrsets) => rrsets.into_iter().find(|set| set.rtype == RecordType::A),
        other => panic!("{text}: {other:?}"),
    };
    let expected = addresses("web.shop.svc.cluster.local.");
    assert!(expected.is_some());
    for text in [
        "web.shop.svc.a.b.cluster.local.",
        "web.shop.svc.example.org.",
    ] {
        assert_eq!(addresses(text), expected, "{text}");
        assert!(names.contains(&name(text)), "{text}");
    }
    for text in ["none.a.b.cluster.local.", "none.svc.example.org."] {
        assert_eq!(zone.node(&name(text)), Node::Absent, "{text}");
    }
    // Each denial has the SOA of its own domain.
    let denied = zone.lookup(&name("none.a.b.cluster.local."), RecordType::A);
    let authority = denied.expect("ours").authority;
    assert_eq!(authority[0].name, name("a.b.cluster.local."));
    assert_eq!(
        zone.node(&name("b.cluster.local.")),
        Node::Records(Vec::new())
    );
    for text in ["b.cluster.local.", "a.b.cluster.local."] {
        assert!(names.contains(&name(text)), "{text}");
    }
}

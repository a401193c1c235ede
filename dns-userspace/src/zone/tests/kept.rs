//! Names that are kept on the socket.

use std::collections::BTreeSet;

use hickory_proto::rr::{Name, RecordType};
use proptest::{collection::vec, prelude::*, sample::select};

use super::{NOW, Zone, empty_zone, model::change, name, zone_of};
use crate::{
    source::Change,
    zone::{Kept, Node, OwnerName},
};

/// Existing names of the model's clusters, others, and names above them.
const NAMES: [&str; 9] = [
    "web.shop.svc.cluster.local.",
    "db.shop.svc.cluster.local.",
    "nobody.shop.svc.cluster.local.",
    "shop.svc.cluster.local.",
    "a.pod.cluster.local.",
    "1.0.96.10.in-addr.arpa.",
    "9.10.in-addr.arpa.",
    "cluster.local.",
    "example.org.",
];

/// Makes a set.
type Fill = fn(&mut Kept);

fn kept() -> impl Strategy<Value = Kept> {
    let entry = (0..5, select(&NAMES[..]));
    vec(entry, 0..4).prop_map(|entries| {
        let mut kept = Kept::default();
        for (kind, text) in entries {
            match kind {
                0 => kept.keep(&name(text)),
                1 => kept.keep_below(&name(text)),
                2 => kept.keep_absent_below(&name(text)),
                3 => kept.keep_present_below(&name(text)),
                _ => kept.keep_matching(&format!("^{}", &text[..2])),
            }
        }
        kept
    })
}

/// All names that there could be something about.
fn candidates(zone: &Zone) -> BTreeSet<Name> {
    zone.existing_names().chain(NAMES.map(name)).collect()
}

fn nodes(zone: &Zone) -> Vec<(Name, Node)> {
    let nodes = candidates(zone).into_iter();
    nodes.map(|name| (name.clone(), zone.node(&name))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_set_touches_what_it_changes(
        changes in vec(change(), 1..30),
        more in vec(change(), 1..10),
        before in kept(),
        after in kept(),
    ) {
        let mut zone = empty_zone();
        zone.apply(changes, NOW);
        zone.apply(vec![Change::Synchronised], NOW);
        let answers = |zone: &Zone| -> Vec<_> {
            let names = candidates(zone).into_iter();
            names.map(|name| zone.lookup(&name, RecordType::A)).collect()
        };
        let answered = answers(&zone);
        zone.keep(before);
        let nodes_before = nodes(&zone);
        let changed: BTreeSet<Name> = zone.keep(after.clone()).iter().map(OwnerName::name).collect();
        for ((name, before), (_, after)) in nodes_before.iter().zip(&nodes(&zone)) {
            // A subtree's names that do not exist have no record either way.
            let is_subtree = zone.zone_of(name).is_none() || !zone.existing_names().any(|e| e == *name);
            prop_assert!(before == after || changed.contains(name) || is_subtree, "{}", name);
        }
        // The socket answers as ever.
        prop_assert_eq!(answers(&zone), answered);
        // Changes come to the same, and each name is listed once.
        zone.apply(more, NOW + 1);
        let listed: Vec<Name> = zone.names().collect();
        let distinct: BTreeSet<Name> = listed.iter().cloned().collect();
        prop_assert_eq!(listed.len(), distinct.len(), "each once");
        for candidate in candidates(&zone) {
            let node = zone.node(&candidate);
            let passes = zone.is_kept_below(&candidate) || candidate.to_ascii() == "a.pod.cluster.local.";
            let expected = node != Node::Absent && !passes;
            if expected {
                prop_assert!(distinct.contains(&candidate), "{} is {:?}", candidate, node);
            }
        }
        for name in &distinct {
            prop_assert!(zone.node(name) != Node::Absent && !zone.is_kept_below(name));
        }
        // What is copied of it by reference is what would be copied of the nodes.
        super::properties::agree(&zone)?;
        // As if it had been so from the beginning.
        let all = zone.keep(Kept::default());
        prop_assert!(all.contains(&OwnerName::new(&name("cluster.local."))));
        prop_assert_eq!(zone.names().collect::<BTreeSet<_>>(), zone.existing_names().collect());
    }
}

#[test]
fn below_which_names_nothing_is_denied() {
    let mut zone = zone_of("");
    let undenied = |fill: Fill, zone: &mut Zone| {
        let mut kept = Kept::default();
        fill(&mut kept);
        zone.keep(kept);
        let undenied = zone.undenied_below();
        undenied.iter().map(Name::to_ascii).collect::<Vec<_>>()
    };
    let cases: [(Fill, &[&str]); 8] = [
        (|_| (), &["pod.cluster.local."]),
        (
            |kept| kept.keep(&name("a.cluster.local.")),
            &["pod.cluster.local."],
        ),
        (
            |kept| kept.keep_below(&name("A.cluster.local.")),
            &["a.cluster.local.", "pod.cluster.local."],
        ),
        (
            |kept| {
                kept.keep_absent_below(&name("b.a.cluster.local."));
                kept.keep_below(&name("a.cluster.local."));
                kept.keep_below(&name("x.pod.cluster.local."));
            },
            &["a.cluster.local.", "pod.cluster.local."],
        ),
        (
            |kept| kept.keep_absent_below(&name("local.")),
            &["cluster.local."],
        ),
        (|kept| kept.keep_below(&Name::root()), &["cluster.local."]),
        (|kept| kept.keep_matching("^web"), &["cluster.local."]),
        // Reverse zones deny nothing in any case.
        (
            |kept| {
                kept.keep_below(&name("in-addr.arpa."));
                kept.keep_matching(r"x\.example\.org\.$");
            },
            &["pod.cluster.local."],
        ),
    ];
    for (fill, expected) in cases {
        assert_eq!(undenied(fill, &mut zone), expected);
    }
}

/// In `CoreDNS` the target of an alias is asked of all plugins.
#[test]
fn an_alias_of_what_is_kept_is_kept() {
    let mut zone = zone_of(
        "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}\n---\n\
         {apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop},\n\
           spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}}\n---\n\
         {apiVersion: v1, kind: Service, metadata: {name: alias, namespace: shop},\n\
           spec: {type: ExternalName, externalName: web.shop.svc.cluster.local}}\n",
    );
    let (web, alias) = (
        name("web.shop.svc.cluster.local."),
        name("alias.shop.svc.cluster.local."),
    );
    assert!(matches!(zone.node(&alias), Node::Alias(_)));
    let mut kept = Kept::default();
    kept.keep(&web);
    let changed: BTreeSet<Name> = zone.keep(kept).iter().map(OwnerName::name).collect();
    assert!(
        changed.is_superset(&[web, alias.clone()].into()),
        "{changed:?}"
    );
    assert_eq!(zone.node(&alias), Node::SocketOnly);
    assert!(zone.keep(Kept::default()).contains(&OwnerName::new(&alias)));
}

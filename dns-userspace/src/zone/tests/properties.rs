//! After any changes the zone is what it would be had it been built from what is left, and says of
//! each name that changed that it did.

use std::collections::{BTreeMap, BTreeSet};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, RecordType, rdata::CNAME},
};
use proptest::{collection::vec, prelude::*};

use super::{
    NOW, Zone, empty_zone,
    model::{Objects, change, follow, names},
    name,
};
use crate::{
    publisher::encode::{EncodedRecord, Encoder},
    source::Change,
    zone::{Node, OwnerName, Pods, RrSet, Shown, ZoneConfig, records::TYPES},
};

fn rebuilt(config: &ZoneConfig, objects: &Objects, serial: u32) -> Zone {
    let mut zone = Zone::new(config.clone());
    let mut batch: Vec<Change> = objects.values().cloned().map(Change::Upsert).collect();
    batch.push(Change::Synchronised);
    zone.apply(batch, serial);
    zone.serial = serial;
    zone
}

fn nodes(zone: &Zone) -> BTreeMap<Name, Node> {
    zone.names()
        .map(|name| (name.clone(), zone.node(&name)))
        .collect()
}

fn node<'n>(nodes: &'n BTreeMap<Name, Node>, name: &Name) -> &'n Node {
    nodes.get(name).unwrap_or(&Node::Absent)
}

/// The kernel's records of all names, by what the zone holds and by their nodes, have the same bytes.
pub(super) fn agree(zone: &Zone) -> Result<(), TestCaseError> {
    let (mut one, mut other) = (Encoder::default(), Encoder::default());
    for owner in zone.owners() {
        let name = owner.name();
        let (number, held) = zone.held(&owner);
        let of = number.and_then(|number| zone.config().zones().nth(number));
        prop_assert_eq!(of, zone.zone_of(&name), "{}", owner);
        let by_reference = one.encode_held(zone, 7, &owner, &held);
        let by_node = other.encode(zone, 7, &name, &zone.node(&name));
        let words =
            |record: Option<EncodedRecord<'_>>| record.map(|record| record.words().to_vec());
        prop_assert_eq!(words(by_reference), words(by_node), "{}: {:?}", owner, held);
    }
    Ok(())
}

/// The options, each on its own and together.
fn configs() -> impl Strategy<Value = ZoneConfig> {
    let flags = any::<[bool; 7]>();
    flags.prop_map(
        |[
            ignore_empty_service,
            no_endpoints,
            few,
            pods,
            others,
            nested,
            imports,
        ]| ZoneConfig {
            // One of them is spelt like a namespace.
            others: [
                (others, "other.svc.cluster.local."),
                (nested, "shop.svc.cluster.local."),
                (imports, "clusterset.local."),
            ]
            .into_iter()
            .filter(|(is_there, _)| *is_there)
            .map(|(_, zone)| name(zone))
            .collect(),
            multicluster: (imports.then(|| name("clusterset.local.")).into_iter()).collect(),
            shown: Shown {
                namespaces: (few.then(|| "shop".to_owned()).into_iter()).collect(),
                pods: if pods { Pods::Insecure } else { Pods::Disabled },
                ignore_empty_service,
                no_endpoints: no_endpoints && few,
                imports,
                ..Shown::default()
            },
            ..super::config()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn incremental_is_rebuilt_and_touched_is_complete(
        config in configs(),
        batches in vec(vec(change(), 1..5), 1..16),
    ) {
        let mut zone = Zone::new(config.clone());
        zone.apply(vec![Change::Synchronised], NOW);
        let mut objects = Objects::new();
        let mut before = nodes(&zone);
        for (at, batch) in (1..).zip(batches) {
            for change in &batch {
                follow(&mut objects, change);
            }
            let touched = zone.apply(batch, NOW + at);
            let touched: Vec<Name> = touched.iter().map(OwnerName::name).collect();
            let distinct: BTreeSet<Name> = touched.iter().cloned().collect();
            prop_assert_eq!(distinct.len(), touched.len(), "each once");
            for name in &touched {
                prop_assert!(name.eq_case(&name.to_lowercase()), "{} in lower case", name);
            }
            let after = nodes(&zone);
            for name in before.keys().chain(after.keys()) {
                let changed = node(&before, name) != node(&after, name);
                prop_assert!(!changed || distinct.contains(name), "{} was not touched", name);
            }
            prop_assert_eq!(&after, &nodes(&rebuilt(&config, &objects, zone.serial)));
            agree(&zone)?;
            before = after;
        }
    }

    #[test]
    fn the_names_are_those_of_the_model(changes in vec(change(), 1..40)) {
        let mut objects = Objects::new();
        for change in &changes {
            follow(&mut objects, change);
        }
        let mut zone = empty_zone();
        zone.apply(changes, NOW);
        let listed: Vec<Name> = zone.names().collect();
        let distinct: BTreeSet<Name> = listed.iter().cloned().collect();
        prop_assert_eq!(listed.len(), distinct.len(), "each once");
        prop_assert_eq!(&distinct, &names(&objects));
        // And no other: what was in an earlier state, or could be, is absent.
        for candidate in &names(&others()) {
            if !distinct.contains(candidate) {
                prop_assert_eq!(zone.node(candidate), Node::Absent, "{}", candidate);
            }
        }
    }

    #[test]
    fn lookup_and_node_agree(
        config in configs(),
        changes in vec(change(), 1..30),
        case in any::<u64>(),
    ) {
        let mut zone = Zone::new(config);
        zone.apply(changes, NOW);
        zone.apply(vec![Change::Synchronised], NOW);
        let absent = ["nope.svc.cluster.local.", "no.svc.clusterset.local.", "x.web.shop.svc.cluster.local.", "9.in-addr.arpa."];
        let all: Vec<Name> = zone.names().chain(absent.map(name)).collect();
        for name in all.into_iter().filter(|name| zone.zone_of(name).is_some()) {
            let asked = mixed_case(&name, case);
            for rtype in TYPES.into_iter().chain([RecordType::MX, RecordType::CNAME]) {
                let answer = zone.lookup(&asked, rtype).expect("ours");
                match zone.node(&name) {
                    Node::SocketOnly => {}
                    Node::Alias(alias) => {
                        let asks = |rrset: &&RrSet| rrset.rtype == rtype;
                        let rrset = alias.addresses.iter().find(asks);
                        let asks_addresses = matches!(rtype, RecordType::A | RecordType::AAAA);
                        if rtype != RecordType::CNAME && !asks_addresses {
                            continue;
                        }
                        prop_assert_eq!(answer.rcode, ResponseCode::NoError);
                        let is_denied = asks_addresses && rrset.is_none();
                        prop_assert_eq!(answer.authority.len(), usize::from(is_denied));
                        let of = zone.zone_of(&name).expect("ours");
                        prop_assert!(answer.authority.iter().all(|soa| soa.name == *of));
                        prop_assert!(answer.additionals.is_empty());
                        let said = answer.answers.iter().map(|r| (r.ttl, r.data.clone()));
                        let of = |rrset: &RrSet| (rrset.ttl, rrset.rdata.clone());
                        let sets = [Some(&alias.cname), rrset].into_iter().flatten().map(of);
                        let sets = sets.flat_map(|(ttl, all)| all.into_iter().map(move |d| (ttl, d)));
                        prop_assert_eq!(said.collect::<Vec<_>>(), sets.collect::<Vec<_>>());
                        let owners: Vec<_> = answer.answers.iter().map(|r| r.name.clone()).collect();
                        prop_assert!(owners[0].eq_case(&asked));
                        let RData::CNAME(CNAME(target)) = &alias.cname.rdata[0] else {
                            panic!("{alias:?}");
                        };
                        prop_assert!(owners[1..].iter().all(|owner| owner.eq_case(target)));
                    }
                    Node::Absent => {
                        prop_assert_eq!(answer.rcode, ResponseCode::NXDomain);
                        prop_assert_eq!(answer.authority.len(), 1);
                    }
                    Node::Records(rrsets) => {
                        prop_assert_eq!(answer.rcode, ResponseCode::NoError);
                        let rrset = rrsets.into_iter().find(|rrset| rrset.rtype == rtype);
                        prop_assert_eq!(answer.authority.is_empty(), rrset.is_some());
                        let rrset = rrset.map(|rrset| (rrset.rdata, rrset.additionals));
                        let (rdata, additionals) = rrset.unwrap_or_default();
                        let said: Vec<_> = answer.answers.iter().map(|r| r.data.clone()).collect();
                        prop_assert_eq!(said, rdata);
                        prop_assert_eq!(answer.additionals, additionals);
                        for record in answer.answers {
                            prop_assert!(record.name.eq_case(&asked));
                        }
                    }
                }
            }
        }
    }
}

/// The objects of another cluster, for names that are likely and absent.
fn others() -> Objects {
    let mut objects = Objects::new();
    for change in super::upserts(include_str!("headless.yaml"))
        .into_iter()
        .chain(super::upserts(include_str!("cluster-ip.yaml")))
    {
        // Without addresses there is nothing to list.
        if let Change::Upsert(crate::source::Object::Service(service)) = &change
            && service
                .spec
                .as_ref()
                .is_none_or(|spec| spec.cluster_ips.is_none())
        {
            continue;
        }
        follow(&mut objects, &change);
    }
    objects
}

fn mixed_case(name: &Name, bits: u64) -> Name {
    let mut at = 0;
    let text: String = name
        .to_string()
        .chars()
        .map(|letter| {
            at = (at + 1) % 64;
            if bits >> at & 1 == 1 {
                letter.to_ascii_uppercase()
            } else {
                letter
            }
        })
        .collect();
    Name::from_ascii(text).expect("a name")
}

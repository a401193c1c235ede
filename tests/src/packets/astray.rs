//! Tables that are nearly too full, and entries and records that are not what they should be.

use std::sync::atomic::{AtomicU64, Ordering};

use hopzero::{
    publisher::{Publisher, table::Capacity},
    zone::Zone,
};
use hopzero_common::{
    layout::{Entry, bucket_of},
    limits::{BUCKET_ENTRIES, NAME_WORDS_MAX},
    lookup::Table as _,
    name,
    reason::Reason,
};

use super::{
    answers,
    build::{A, message_of, v4, wire_name},
    host::Host,
    oracle::Oracle,
    world,
};

const WEB: &str = "web.shop.svc.cluster.local";

/// Hosts with few buckets, so that names stand in the next ones; from the last bucket the next is the
/// first. Seeds are tried until there are some.
fn full_hosts(zone: &Zone) -> impl Iterator<Item = Host> {
    let size = Publisher::measure(zone);
    let capacity = Capacity {
        names: size.names,
        // Five and a half names a bucket, of eight.
        buckets: size.names * 2 / 11,
        cells: size.cells * 2,
    };
    (0..200)
        .map(move |seed| Host::with_seed(zone, capacity, seed))
        .filter(move |host| {
            host.publisher.rejected() == 0 && overflowed(host, capacity.buckets - 1)
        })
}

fn bucket(host: &Host, index: u32) -> &[AtomicU64; BUCKET_ENTRIES] {
    host.publisher.table().bucket(index).expect("a bucket")
}

fn overflowed(host: &Host, index: u32) -> bool {
    bucket(host, index)[BUCKET_ENTRIES - 1].load(Ordering::Relaxed) & Entry::OVERFLOW != 0
}

#[test]
fn names_of_full_buckets_are_found_in_the_next_ones() {
    let zone = world::zone();
    let names: Vec<String> = zone.names().map(|name| name.to_ascii()).collect();
    let oracle = Oracle::new(world::zone());
    let mut hosts = 0;
    for host in full_hosts(&zone).take(2) {
        hosts += 1;
        for name in &names {
            let packet = v4(&message_of(&wire_name(name), A));
            assert_eq!(oracle.judge(&packet, &host.run(&packet)), Ok(()), "{name}");
        }
    }
    assert_eq!(hosts, 2, "tables with a last bucket that has overflowed");
}

#[test]
fn a_miss_after_too_many_full_buckets_says_nothing() {
    let host = Host::new(&world::zone());
    for index in 0..host.publisher.table().capacity().buckets {
        bucket(&host, index)[BUCKET_ENTRIES - 1].fetch_or(Entry::OVERFLOW, Ordering::Relaxed);
    }
    let ask = |name| host.run(&v4(&message_of(&wire_name(name), A))).reason;
    assert_eq!(ask(WEB), Reason::Answered);
    assert_eq!(ask("nothing.shop.svc.cluster.local"), Reason::Internal);
}

/// The words of a name, and its hash.
fn hash(host: &Host, wire: &[u8]) -> u64 {
    let mut words = [0; NAME_WORDS_MAX];
    let count = name::words_of(wire, &mut words);
    name::hash_of(&words[..count], host.publisher.table().seed())
}

/// The entry of a name, in its own bucket.
fn entry<'a>(host: &'a Host, wire: &[u8]) -> &'a AtomicU64 {
    let hash = hash(host, wire);
    let index = bucket_of(hash, host.publisher.table().capacity().buckets);
    let mut entries = bucket(host, index).iter();
    let tagged =
        |entry: &&AtomicU64| Entry(entry.load(Ordering::Relaxed)).has_tag(Entry::tag(hash));
    entries.find(tagged).expect("a name of the zone")
}

#[test]
fn a_name_that_differs_by_one_byte_is_another_name() {
    let host = Host::new(&world::zone());
    let wire = wire_name(WEB);
    let web = Entry(entry(&host, &wire).load(Ordering::Relaxed));
    let mut others: Vec<Vec<u8>> = (0..wire.len() - 1)
        .map(|at| {
            let mut other = wire.clone();
            other[at] ^= 0x10;
            other
        })
        .collect();
    others.push([&wire[..wire.len() - 1], &[1, b'x', 0]].concat());
    others.push([&wire[..wire.len() - 2], &[0]].concat());
    for other in others {
        // An entry with the tag of this name, and the record of that one.
        let hash = hash(&host, &other);
        let buckets = host.publisher.table().capacity().buckets;
        let place = &bucket(&host, bucket_of(hash, buckets))[0];
        let before = place.load(Ordering::Relaxed);
        place.store(
            Entry::new(hash, web.cell(), web.cells()).0,
            Ordering::Relaxed,
        );
        let packet = v4(&message_of(&other, A));
        let outcome = host.run(&packet);
        assert_eq!(outcome.reason, Reason::Collision, "{other:02x?}");
        assert_eq!(outcome.packet, packet);
        place.store(before, Ordering::Relaxed);
    }
}

#[test]
fn every_bit_of_a_record_and_of_its_check_counts() {
    let host = Host::new(&world::zone());
    let wire = wire_name(WEB);
    let web = Entry(entry(&host, &wire).load(Ordering::Relaxed));
    let packet = v4(&message_of(&wire, A));
    assert_eq!(host.run(&packet).reason, Reason::Answered);
    for index in web.cell()..web.cell() + web.cells() {
        for word in host.publisher.table().cell(index).expect("a cell") {
            for bit in 0..64 {
                word.fetch_xor(1 << bit, Ordering::Relaxed);
                let outcome = host.run(&packet);
                assert_eq!(outcome.reason, Reason::Inconsistent, "bit {bit}");
                assert_eq!(outcome.packet, packet);
                word.fetch_xor(1 << bit, Ordering::Relaxed);
            }
        }
    }
}

/// Every zone's SOA record is that of another zone, or of a name that has none.
#[test]
fn a_denial_with_another_records_soa_passes() {
    let mut host = Host::new(&world::zone());
    let zones: Vec<usize> = (0..host.control.zones.len())
        .filter(|index| Entry(host.control.zones[*index].entry).cells() > 0)
        .collect();
    let right = host.control.zones;
    let web = entry(&host, &wire_name(WEB)).load(Ordering::Relaxed);
    let others = zones.iter().map(|index| right[*index].entry).chain([web]);
    for other in others.collect::<Vec<u64>>() {
        for index in &zones {
            if right[*index].entry != other {
                host.control.zones[*index].entry = other;
            }
        }
        let mut denied = 0;
        for case in answers::cases(world::zone()) {
            let outcome = host.run(&case.packet);
            if outcome.answered {
                assert_eq!(case.judge(&outcome), Ok(()));
            } else {
                assert_eq!(outcome.reason, Reason::Inconsistent, "{}", case.name);
                denied += 1;
            }
        }
        assert!(denied > 0, "no answer has a SOA");
        host.control.zones = right;
    }
    for zone in &mut host.control.zones {
        zone.entry = 0;
    }
    let outcome = host.run(&v4(&message_of(&wire_name("no.cluster.local"), A)));
    assert_eq!(outcome.reason, Reason::UnknownName);
}

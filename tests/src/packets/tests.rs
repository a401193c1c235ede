//! The tables on the host, and what must hold for any packet.

use std::sync::LazyLock;

use hickory_proto::rr::Name;
use hopzero::publisher::table::Capacity;
use hopzero_common::{
    frame::{LinkLayer, Tag},
    layout::{
        CONTROL_ROTATE, CONTROL_TC_OFF, CONTROL_XDP_OFF, CONTROL_ZONES_OFF_SHIFT, MAC_LIMITED,
    },
    limits::ZONES_MAX,
    reason::Reason,
};
use proptest::prelude::*;

use super::{
    Case, Expect, Outcome, answers,
    build::{self, DNS_V4, VLAN, dns_of, message_of, v4, v6, with_opt},
    host::Host,
    limited,
    oracle::Oracle,
    passes, rotation, world,
};

thread_local! {
    static HOST: Host = Host::new(&world::zone());
    static ORACLE: Oracle = Oracle::new(world::zone());
}

fn run(packet: &[u8]) -> Outcome {
    HOST.with(|host| host.run(packet))
}

fn judge_all(cases: &[Case]) {
    let failures: Vec<String> = (cases.iter())
        .filter_map(|case| case.judge(&run(&case.packet)).err())
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

#[test]
fn packets_that_pass() {
    let cases = passes::cases();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    judge_all(&cases);
}

#[test]
fn every_reason_of_the_parser_is_met() {
    // By the host's environment alone: a lease, resizing that fails, a torn record, a collision of tags.
    const ELSEWHERE: [Reason; 9] = [
        Reason::Answered,
        Reason::Limited,
        Reason::SwitchedOff,
        Reason::NotAnswering,
        Reason::Lease,
        Reason::Inconsistent,
        Reason::Collision,
        Reason::NoRoom,
        Reason::Internal,
    ];
    let met: Vec<Reason> = (passes::cases().iter())
        .filter_map(|case| match case.expect {
            Expect::Pass(reason) => Some(reason),
            Expect::Answer(_) | Expect::Rotated(_) | Expect::Limited(_) => None,
        })
        .collect();
    for reason in Reason::ALL {
        assert!(
            met.contains(reason) || ELSEWHERE.contains(reason),
            "{reason:?} is not met"
        );
    }
}

#[test]
fn packets_that_are_answered() {
    judge_all(&answers::cases(world::zone()));
}

#[test]
fn packets_that_are_answered_in_a_vlan() {
    let cases: Vec<Case> = answers::tagged_cases(world::zone()).collect();
    judge_all(&cases);
}

#[test]
fn an_answer_is_never_answered() {
    let host = exhausted_host();
    for case in answers::cases(world::zone()) {
        for case in [case.clone(), limited::limited(&case), case.tagged()] {
            let (Expect::Answer(answer) | Expect::Limited(answer)) = case.expect else {
                panic!("{}", case.name);
            };
            for packet in build::fed_back(&answer) {
                for outcome in [run(&packet), host.run(&packet)] {
                    assert!(!outcome.answered, "{}", case.name);
                    assert_eq!(outcome.packet, packet, "{}", case.name);
                }
            }
        }
    }
}

/// A device with a limit of so many answers a second of 250 ticks.
fn limited_host(rate: u32) -> Host {
    let mut host = Host::new(&world::zone());
    host.control.macs[0] |= MAC_LIMITED;
    (host.control.limit_rate, host.control.limit_cost) = (rate, 250);
    host.control.lease_until = u64::MAX;
    host
}

/// One whose client has had its answer.
fn exhausted_host() -> Host {
    let host = limited_host(1);
    for query in limited::denied().queries {
        assert_eq!(host.run(&query).reason, Reason::Answered);
    }
    host
}

#[test]
fn over_the_limit_an_answer_is_tc_alone() {
    let (one, none) = (limited_host(1), exhausted_host());
    let mut counted = 0;
    for case in answers::cases(world::zone()) {
        let over = limited::limited(&case);
        over.judge(&none.run(&case.packet)).unwrap();
        if let Expect::Limited(answer) = &over.expect {
            counted += 1;
            assert!(answer.len() <= case.packet.len(), "{}", case.name);
            let over = over.clone().tagged();
            over.judge(&none.run(&over.packet)).unwrap();
        }
        // What is free leaves the one that there is.
        if let Expect::Answer(_) = over.expect {
            case.judge(&one.run(&case.packet)).unwrap();
        }
    }
    assert!(counted > 100, "{counted}");
    let denied = limited::denied();
    assert_eq!(one.run(&denied.queries[0]).reason, Reason::Answered);
    assert_eq!(one.run(&denied.queries[0]).reason, Reason::Limited);
}

#[test]
fn the_limit_is_each_network_s_own_and_comes_back() {
    let mut host = limited_host(2);
    let denied = limited::denied();
    for round in 0..3 {
        for family in 0..2 {
            let query = &denied.queries[family];
            let (same, other) = (&denied.neighbours[family], &denied.strangers[family]);
            let reasons = [query, same, query, same, other, other, other]
                .map(|packet| host.run(packet).reason);
            let (yes, no) = (Reason::Answered, Reason::Limited);
            assert_eq!(reasons, [yes, yes, no, no, yes, yes, no], "round {round}");
        }
        host.now += 250;
    }
    // Half a second is half of it, and below that there is nothing.
    host.now -= 250;
    for (ticks, expected) in [(124, Reason::Limited), (1, Reason::Answered)] {
        host.now += ticks;
        assert_eq!(host.run(&denied.queries[0]).reason, expected);
    }
    assert_eq!(host.run(&denied.queries[0]).reason, Reason::Limited);
}

#[test]
fn a_device_that_is_trusted_has_no_limit() {
    let mut host = exhausted_host();
    host.control.macs[0] &= !MAC_LIMITED;
    let link = LinkLayer::Ours;
    for case in answers::cases(world::zone()) {
        case.judge(&host.run(&case.packet)).unwrap();
        // Nor has tc, whatever the address.
        host.control.macs[0] |= MAC_LIMITED;
        case.judge(&host.run_on(&case.packet, link, None)).unwrap();
        host.control.macs[0] &= !MAC_LIMITED;
    }
    // The flag is no part of the address.
    let packet = &mut limited::denied().queries[0];
    packet[6] ^= 1;
    assert!(host.run(packet).answered);
    packet[0] ^= 2;
    assert_eq!(host.run(packet).reason, Reason::DestinationMac);
}

#[test]
fn a_hook_that_is_switched_off_passes_everything() {
    let mut host = Host::new(&world::zone());
    let flags = host.control.flags;
    for case in answers::cases(world::zone()) {
        host.control.flags = flags | CONTROL_XDP_OFF;
        let outcome = host.run(&case.packet);
        assert_eq!(outcome.reason, Reason::SwitchedOff, "{}", case.name);
        assert_eq!(outcome.packet, case.packet, "{}", case.name);
        // The other hook's switch is not ours.
        host.control.flags = flags | CONTROL_TC_OFF;
        case.judge(&host.run(&case.packet)).unwrap();
    }
}

#[test]
fn a_zone_that_is_switched_off_passes_and_the_others_do_not() {
    let mut host = Host::new(&world::zone());
    let flags = host.control.flags;
    let zones: Vec<(usize, Name)> = (host.publisher.zones())
        .map(|(index, zone)| (index, zone.clone()))
        .collect();
    assert!(zones.len() == 3 && zones.iter().all(|(index, _)| *index < ZONES_MAX));
    let (mut passed, mut kept) = (0, 0);
    for case in answers::cases(world::zone()) {
        let name = build::question_of(&case.packet);
        for (index, zone) in &zones {
            host.control.flags = flags | 1 << (CONTROL_ZONES_OFF_SHIFT as usize + *index);
            let outcome = host.run(&case.packet);
            if zone.zone_of(&name) {
                passed += 1;
                assert_eq!(outcome.reason, Reason::SwitchedOff, "{}", case.name);
                assert_eq!(outcome.packet, case.packet, "{}", case.name);
            } else {
                kept += 1;
                case.judge(&outcome).unwrap();
            }
        }
    }
    assert!(passed > 300 && kept > 600, "{passed} {kept}");
}

#[test]
fn a_program_that_is_switched_off_passes_everything() {
    let mut host = Host::new(&world::zone());
    host.control.flags = 0;
    for case in answers::cases(world::zone()) {
        let outcome = host.run(&case.packet);
        assert_eq!(outcome.reason, Reason::NotAnswering);
        assert_eq!(outcome.packet, case.packet);
    }
}

#[test]
fn from_the_end_of_the_lease_on_everything_passes() {
    let mut host = Host::new(&world::zone());
    let cases: Vec<Case> = (answers::cases(world::zone()).into_iter())
        .chain(passes::cases())
        .collect();
    let until = host.control.lease_until;
    // The last tick of a lease is the one before its end.
    host.now = until - 1;
    for case in &cases {
        assert_eq!(case.judge(&host.run(&case.packet)), Ok(()));
    }
    for (now, lease_until) in [
        (until, until),
        (until + 1, until),
        (u64::MAX, until),
        (u64::MAX, u64::MAX),
        // Never given, or taken away.
        (until, 0),
        (0, 0),
    ] {
        (host.now, host.control.lease_until) = (now, lease_until);
        for case in &cases {
            let outcome = host.run(&case.packet);
            assert_eq!(outcome.reason, Reason::Lease, "{}", case.name);
            assert_eq!(outcome.packet, case.packet, "{}", case.name);
        }
    }
    // Switched off is said first.
    host.control.flags = 0;
    assert_eq!(host.run(&cases[0].packet).reason, Reason::NotAnswering);
}

#[test]
fn the_kernel_s_word_on_the_link_layer_counts() {
    let case = &answers::cases(world::zone())[0];
    HOST.with(|host| {
        let mut packet = case.packet.clone();
        // For a bridge, at one of its ports.
        assert!(host.run_on(&packet, LinkLayer::Foreign, None).answered);
        packet[0] ^= 2;
        assert!(host.run_on(&packet, LinkLayer::Ours, None).answered);
        assert_eq!(
            host.run_on(&packet, LinkLayer::Foreign, None).reason,
            Reason::DestinationMac
        );
    });
}

#[test]
fn a_tag_beside_the_packet_counts_as_one_in_it() {
    let dot1q = build::DOT1Q.to_be();
    HOST.with(|host| {
        for case in answers::cases(world::zone()) {
            let beside = |protocol, control| Some(Tag { protocol, control });
            let run = |packet: &[u8], tag| host.run_on(packet, LinkLayer::Ours, tag);
            for control in [VLAN, build::PRIORITY | VLAN] {
                case.judge(&run(&case.packet, beside(dot1q, control)))
                    .unwrap();
            }
            for tag in [
                beside(dot1q, build::VLAN_OTHER),
                beside(dot1q, 0),
                beside(dot1q, build::PRIORITY),
                beside(build::DOT1AD.to_be(), VLAN),
            ] {
                let outcome = run(&case.packet, tag);
                assert_eq!(outcome.reason, Reason::Vlan, "{tag:?}");
                assert_eq!(outcome.packet, case.packet);
            }
            // One more in the packet is one too many.
            let twice = build::tagged(&case.packet, build::DOT1Q, VLAN);
            assert_eq!(run(&twice, beside(dot1q, VLAN)).reason, Reason::Vlan);
        }
    });
}

#[test]
fn a_damaged_record_passes() {
    use hopzero_common::lookup::Table as _;
    use std::sync::atomic::Ordering;
    let host = Host::new(&world::zone());
    let cells = host.publisher.table().capacity().cells;
    for cell in 0..cells {
        let words = host.publisher.table().cell(cell).expect("a cell");
        for word in words {
            word.fetch_xor(1 << 40, Ordering::Relaxed);
        }
    }
    for case in answers::cases(world::zone()) {
        let outcome = host.run(&case.packet);
        assert_eq!(outcome.reason, Reason::Inconsistent, "{}", case.name);
        assert_eq!(outcome.packet, case.packet);
    }
}

#[test]
fn a_stale_entry_never_answers_for_another_name() {
    // Every entry points to the next name's record, as if its cells had been used again.
    use hopzero_common::{layout::Entry, lookup::Table as _};
    use std::sync::atomic::Ordering;
    let host = Host::new(&world::zone());
    let table = host.publisher.table();
    let entries = |f: &mut dyn FnMut(&std::sync::atomic::AtomicU64)| {
        for bucket in 0..table.capacity().buckets {
            table
                .bucket(bucket)
                .expect("a bucket")
                .iter()
                .for_each(&mut *f);
        }
    };
    let mut places = Vec::new();
    entries(&mut |entry| {
        let entry = Entry(entry.load(Ordering::Relaxed));
        if entry.cells() > 0 {
            places.push((entry.cell(), entry.cells()));
        }
    });
    let mut next = places.iter().cycle().skip(1);
    entries(&mut |entry| {
        let old = entry.load(Ordering::Relaxed);
        if Entry(old).cells() > 0 {
            let (cell, cells) = *next.next().expect("a cycle");
            let tag_and_overflow = old >> 35 << 35 | old & Entry::OVERFLOW;
            entry.store(
                tag_and_overflow | Entry::new(0, cell, cells).0,
                Ordering::Relaxed,
            );
        }
    });
    for case in answers::cases(world::zone()) {
        let outcome = host.run(&case.packet);
        if case.judge(&outcome).is_ok() {
            // A name without an entry, which is still denied.
            let dns = dns_of(&case.packet);
            assert_eq!(outcome.packet[dns + 3] & 15, 3, "{}", case.name);
            continue;
        }
        assert_eq!(outcome.reason, Reason::Collision, "{}", case.name);
        assert_eq!(outcome.packet, case.packet);
    }
}

#[test]
fn a_table_that_is_too_small_denies_nothing() {
    let zone = world::zone();
    let mut host = Host::new(&zone);
    let whole = host.publisher.table().cells_used();
    for cells in [39, whole / 4, whole / 2, whole - 1] {
        host = Host::with_capacity(&zone, Capacity::new(whole, cells));
        assert!(host.publisher.rejected() > 0, "{cells} cells");
        for case in answers::cases(world::zone()) {
            let outcome = host.run(&case.packet);
            if outcome.answered {
                case.judge(&outcome).expect("a right answer");
                let dns = dns_of(&case.packet);
                assert_eq!(outcome.packet[dns + 3] & 15, 0, "{}", case.name);
            } else {
                assert_eq!(outcome.packet, case.packet);
            }
        }
    }
}

#[test]
fn a_name_that_comes_and_goes() {
    let mut zone = world::zone();
    let mut host = Host::new(&zone);
    let query = v4(&build::message("new.shop.svc.cluster.local", build::A));
    let rcode = |host: &Host| {
        let outcome = host.run(&query);
        assert!(outcome.answered, "{:?}", outcome.reason);
        outcome.packet[DNS_V4 + 3] & 15
    };
    assert_eq!(rcode(&host), 3);
    let service = "
apiVersion: v1
kind: Service
metadata: {name: new, namespace: shop}
spec: {clusterIP: 10.96.7.7, clusterIPs: [10.96.7.7]}
";
    let mut serial = 1_700_000_000;
    for _ in 0..3 {
        for (change, expected) in [(world::upsert(service), 0), (world::delete(service), 3)] {
            serial += 1;
            let touched = zone.apply(vec![change], serial);
            host.publish(&zone, &touched);
            assert_eq!(rcode(&host), expected);
        }
    }
}

#[test]
fn an_alias_follows_its_target() {
    let mut zone = world::zone();
    let mut host = Host::new(&zone);
    let query = v4(&build::message("to-web.shop.svc.cluster.local", build::A));
    let web = |address: &str| {
        world::upsert(&format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\n\
             spec: {{clusterIP: {address}}}\n"
        ))
    };
    let last = |outcome: Outcome| outcome.packet[outcome.packet.len() - 4..].to_vec();
    assert_eq!(last(host.run(&query)), [10, 96, 1, 1]);
    let touched = zone.apply(vec![web("10.96.9.9")], 1_700_000_001);
    host.publish(&zone, &touched);
    assert_eq!(last(host.run(&query)), [10, 96, 9, 9]);
    let gone =
        world::delete("{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}}");
    let touched = zone.apply(vec![gone], 1_700_000_002);
    host.publish(&zone, &touched);
    assert_eq!(host.run(&query).reason, Reason::SocketOnly);
}

#[test]
fn rotated_answers_begin_with_each_address() {
    let mut host = Host::new(&world::zone());
    host.control.flags |= CONTROL_ROTATE;
    for case in answers::cases(world::zone()) {
        let Expect::Answer(expected) = &case.expect else {
            unreachable!("answers only");
        };
        let count = rotation::Addresses::of(expected).map_or(1, |addresses| addresses.count());
        let mut seen = vec![0; count];
        for random in 0..30 * count as u64 {
            host.random = random << 32;
            let outcome = host.run(&case.packet);
            let first = rotation::first(expected, &outcome.packet);
            seen[first.unwrap_or_else(|| panic!("{}: {outcome:?}", case.name))] += 1;
            if count == 1 {
                break;
            }
        }
        assert!(
            seen.iter().all(|times| *times > 0),
            "{}: {seen:?}",
            case.name
        );
    }
}

static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let answers = answers::cases(world::zone()).into_iter();
    let tagged = answers::tagged_cases(world::zone());
    (passes::cases().into_iter().chain(answers).chain(tagged))
        .map(|case| case.packet)
        .collect()
});

/// A packet comes out as it went in, or as the answer to what was asked, whatever is around it.
fn hold(packet: &[u8]) {
    let outcome = run(packet);
    let verdict = ORACLE.with(|oracle| oracle.judge(packet, &outcome));
    assert_eq!(verdict, Ok(()));
    HOST.with(|host| {
        let between = host.run_between(packet, LinkLayer::Unknown, None, 0);
        assert_eq!(between, outcome, "bytes outside of the packet matter");
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_pass_unchanged_or_are_answered(packet in proptest::collection::vec(any::<u8>(), 0..600)) {
        hold(&packet);
    }

    #[test]
    fn any_message_up_to_512_bytes(
        message in proptest::collection::vec(any::<u8>(), 0..=512),
        six in any::<bool>(),
    ) {
        hold(&if six { v6(&message) } else { v4(&message) });
    }

    #[test]
    fn any_labels_and_options(
        labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..8),
        qtype in any::<u16>(),
        options in proptest::collection::vec(any::<u8>(), 0..64),
        size in any::<u16>(),
        six in any::<bool>(),
    ) {
        let mut name = Vec::new();
        for label in labels {
            name.push(u8::try_from(label.len()).expect("at most 63"));
            name.extend(label);
        }
        name.push(0);
        let message = with_opt(message_of(&name, qtype), size, true, &options);
        hold(&if six { v6(&message) } else { v4(&message) });
    }

    #[test]
    fn mutations_of_the_tables(
        index in any::<prop::sample::Index>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in 0usize..4,
    ) {
        let mut packet = index.get(&SEEDS).clone();
        for (at, byte) in flips {
            if !packet.is_empty() {
                let at = at.index(packet.len());
                packet[at] = byte;
            }
        }
        packet.truncate(packet.len().saturating_sub(cut));
        hold(&packet);
    }

    #[test]
    fn any_case_of_a_name_gets_the_same_addresses(mask in any::<u32>()) {
        let mut message = build::message("dual.shop.svc.cluster.local", build::A);
        for (bit, byte) in message[12..39].iter_mut().enumerate() {
            if mask >> bit & 1 == 1 {
                *byte = byte.to_ascii_uppercase();
            }
        }
        let outcome = run(&v4(&message));
        prop_assert!(outcome.answered);
        prop_assert_eq!(&outcome.packet[DNS_V4 + 12..DNS_V4 + message.len()], &message[12..]);
        prop_assert_eq!(&outcome.packet[outcome.packet.len() - 4..], &[10, 96, 1, 2]);
    }
}

//! The tables on the host, and what must hold for any packet.

use std::sync::LazyLock;

use hopzero::publisher::table::Capacity;
use hopzero_common::{frame::LinkLayer, reason::Reason};
use proptest::prelude::*;

use super::{
    Case, Expect, Outcome, answers,
    build::{self, DNS_V4, DNS_V6, message_of, v4, v6, with_opt},
    host::Host,
    oracle::Oracle,
    passes, world,
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
    const ELSEWHERE: [Reason; 7] = [
        Reason::Answered,
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
            Expect::Answer(_) => None,
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
fn an_answer_is_never_answered() {
    for case in answers::cases(world::zone()) {
        let mut answer = run(&case.packet).packet;
        // Sent back to us, from port 53 and as if it came from another one.
        let source_port = if answer[12] == 0x08 { 34 } else { 54 };
        answer[..6].copy_from_slice(&build::DEVICE_MAC);
        assert!(!run(&answer).answered);
        answer[source_port + 1] = 99;
        assert!(!run(&answer).answered);
    }
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
        assert!(host.run_on(&case.packet, LinkLayer::Ours).answered);
        assert_eq!(
            host.run_on(&case.packet, LinkLayer::Foreign).reason,
            Reason::DestinationMac
        );
        assert_eq!(
            host.run_on(&case.packet, LinkLayer::Tagged).reason,
            Reason::Vlan
        );
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
            let dns = if case.packet[12] == 0x08 {
                DNS_V4
            } else {
                DNS_V6
            };
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
                let dns = if case.packet[12] == 0x08 {
                    DNS_V4
                } else {
                    DNS_V6
                };
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

static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let answers = answers::cases(world::zone());
    (passes::cases().into_iter().chain(answers))
        .map(|case| case.packet)
        .collect()
});

/// A packet comes out as it went in, or as the answer to what was asked, whatever is around it.
fn hold(packet: &[u8]) {
    let outcome = run(packet);
    let verdict = ORACLE.with(|oracle| oracle.judge(packet, &outcome));
    assert_eq!(verdict, Ok(()));
    HOST.with(|host| {
        let between = host.run_between(packet, LinkLayer::Unknown, 0);
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

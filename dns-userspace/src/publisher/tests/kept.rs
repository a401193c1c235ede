//! What is kept on the socket changes while programs run.

use std::sync::atomic::Ordering;

use hickory_proto::rr::Name;
use hopzero_common::reason::Reason;

use super::{Handle, Wait, publisher, world};
use crate::{
    publisher::{BUILT_FROM, Publisher, table::Capacity},
    zone::{Kept, Zone},
};

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

/// Names that do not exist.
const ABSENT: [&str; 7] = [
    "nobody.shop.svc.cluster.local.",
    "x.s1.shop.svc.cluster.local.",
    "foo.cluster.local.",
    "a.foo.cluster.local.",
    "a.b.foo.cluster.local.",
    "a.pod.cluster.local.",
    "a.sub7.cluster.local.",
];

/// Whether a set keeps a name, told otherwise than by the set.
type Keeps = fn(&str) -> bool;

fn sets() -> Vec<(Kept, Keeps)> {
    let set = |fill: fn(&mut Kept)| {
        let mut kept = Kept::default();
        fill(&mut kept);
        kept
    };
    let root = |kept: &mut Kept| kept.keep_below(&Name::root());
    vec![
        (Kept::default(), |_| false),
        (set(root), |_| true),
        (
            set(|kept| {
                for kept_name in [
                    "s3.shop.svc.cluster.local.",
                    "A.foo.cluster.local.",
                    "example.",
                ] {
                    kept.keep(&name(kept_name));
                }
            }),
            |name| ["s3.shop.svc.cluster.local.", "a.foo.cluster.local."].contains(&name),
        ),
        (
            set(|kept| {
                kept.keep_below(&name("foo.cluster.local."));
                kept.keep_below(&name("b.foo.cluster.local."));
                kept.keep_below(&name("s1.shop.svc.cluster.local."));
            }),
            |name| {
                name.ends_with("foo.cluster.local.") || name.ends_with("s1.shop.svc.cluster.local.")
            },
        ),
        (
            set(|kept| kept.keep_matching(r"[14]\.shop\.svc\.cluster\.local\.$")),
            // What does not exist could match.
            |name| {
                let matches = ["1.shop.", "4.shop."].iter().any(|end| name.contains(end));
                let is_below = name.ends_with(".shop.svc.cluster.local.") && is_absent(name);
                matches || is_below
            },
        ),
        (
            set(|kept| kept.keep_absent_below(&name("svc.cluster.local."))),
            |name| name.ends_with(".svc.cluster.local.") && is_absent(name),
        ),
        (
            set(|kept| kept.keep_present_below(&name("s1.shop.svc.cluster.local."))),
            |name| name.ends_with("s1.shop.svc.cluster.local.") && !is_absent(name),
        ),
        // More subtrees than the programs' list has places.
        (
            set(|kept| {
                for number in 0..9 {
                    kept.keep_below(&name(&format!("sub{number}.cluster.local.")));
                }
            }),
            is_absent,
        ),
    ]
}

fn is_absent(name: &str) -> bool {
    ABSENT.contains(&name)
}

/// Room for two states.
fn published(wait: Wait) -> (Zone, Publisher, Handle) {
    let zone = world::zone();
    let size = Publisher::measure(&zone);
    let (mut publisher, kernel) = publisher(Capacity::new(size.names * 2, size.cells * 3), wait);
    publisher.publish_all(&zone);
    (zone, publisher, kernel)
}

/// The state is what the set says.
fn check(kernel: &Handle, keeps: Keeps) {
    let run = kernel.run();
    for absent in ABSENT {
        let denied = !keeps(absent) && absent != "a.pod.cluster.local.";
        assert_eq!(run.denies(&name(absent)), denied, "{absent}");
    }
    for service in (0..world::SERVICES).filter(|service| world::exists(*service, 0)) {
        let owner = world::name(service);
        assert!(!run.denies(&owner), "{owner}");
        let found = run.address(&owner);
        if keeps(&owner.to_ascii()) {
            assert!(
                matches!(found, Err(Reason::UnknownName | Reason::SocketOnly)),
                "{owner}: {found:?}"
            );
        } else {
            assert_eq!(found, Ok(world::address(service, 0)));
        }
    }
}

/// From each set to each other: what exists is never denied, and what is kept before and after is not denied in between.
#[test]
fn nothing_is_denied_in_between() {
    let (mut zone, mut publisher, kernel) = published(Wait::ForRuns);
    check(&kernel, |_| false);
    for (before, keeps_before) in sets() {
        for (after, keeps_after) in sets() {
            let changed = zone.keep(before.clone());
            publisher.publish(&zone, &changed);
            check(&kernel, keeps_before);

            let is_kept = |name: &&str| keeps_before(name) && keeps_after(name);
            let mut watched: Vec<Name> = ABSENT.iter().copied().filter(is_kept).map(name).collect();
            watched.extend(
                (0..world::SERVICES)
                    .filter(|s| world::exists(*s, 0))
                    .map(world::name),
            );
            kernel.watch(watched);
            let changed = zone.keep(after);
            publisher.publish(&zone, &changed);
            assert_eq!(kernel.watch(Vec::new()), [], "{before:?}");
            check(&kernel, keeps_after);
        }
    }
    assert!(
        publisher.builds().flipped > 0,
        "{BUILT_FROM} names are one step"
    );
}

/// A name that is kept comes and goes: the socket has it all along.
#[test]
fn what_comes_and_goes_stays_kept() {
    let (mut zone, mut publisher, kernel) = published(Wait::ForRuns);
    let service = world::name(7);
    let mut kept = Kept::default();
    kept.keep(&service);
    kept.keep_matching("^s8");
    let changed = zone.keep(kept);
    publisher.publish(&zone, &changed);
    kernel.watch(vec![service.clone(), world::name(8)]);
    let names = publisher.table().names();
    for _ in 0..3 {
        let touched = zone.apply(world::gone([7, 8].into_iter()), 1);
        publisher.publish(&zone, &touched);
        assert_eq!(kernel.run().address(&service), Err(Reason::SocketOnly));
        let touched = zone.apply(world::changes(0, [7, 8].into_iter()), 2);
        publisher.publish(&zone, &touched);
        assert_eq!(kernel.run().address(&service), Err(Reason::SocketOnly));
        assert_eq!(
            kernel.run().address(&world::name(8)),
            Err(Reason::SocketOnly)
        );
    }
    assert_eq!(kernel.watch(Vec::new()), []);
    assert_eq!(publisher.table().names(), names, "names are left behind");
}

/// Where nobody can be waited for, a program might read the list of before.
#[test]
fn without_the_wait_nothing_is_denied_any_more() {
    let (mut zone, mut publisher, kernel) = published(Wait::Fails);
    let nobody = name(ABSENT[0]);
    assert!(kernel.run().denies(&nobody));
    let mut kept = Kept::default();
    kept.keep_below(&name("foo.cluster.local."));
    let changed = zone.keep(kept);
    publisher.publish(&zone, &changed);
    publisher.publish(&zone, &[]);
    assert!(!kernel.run().denies(&nobody));
    // One that could deny is still waited for when the list has changed.
    let (mut zone, mut publisher, kernel) = published(Wait::ForRuns);
    let mut kept = Kept::default();
    kept.keep_below(&name("foo.cluster.local."));
    let late = kernel.run();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let changed = zone.keep(kept);
            publisher.publish(&zone, &changed);
        });
        while kernel
            .0
            .zones
            .lock()
            .expect("no panic")
            .iter()
            .any(|zone| zone.flags != 0)
        {
            assert!(!writer.is_finished());
            std::thread::yield_now();
        }
        assert!(!writer.is_finished() && !kernel.run_unwaited().denies(&nobody));
        drop(late);
        writer.join().expect("no panic");
    });
    assert!(kernel.run().denies(&nobody));
    assert!(!kernel.run().denies(&name("a.foo.cluster.local.")));
    assert_ne!(kernel.0.generation.load(Ordering::Relaxed), 0);
}

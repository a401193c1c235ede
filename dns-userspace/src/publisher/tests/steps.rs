//! Many names change as one.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use hopzero_common::{layout::ZONE_COMPLETE, lookup::Table as _, reason::Reason};

use super::{Handle, Run, Told, Wait, publisher, world};
use crate::{
    publisher::{BUILT_FROM, Publisher, table::Capacity},
    zone::Zone,
};

/// Room for two states.
fn roomy(zone: &Zone) -> Capacity {
    let size = Publisher::measure(zone);
    Capacity::new(size.names * 2, size.cells * 3)
}

fn published(wait: Wait) -> (Zone, Publisher, Handle) {
    let zone = world::zone();
    let (mut publisher, kernel) = publisher(roomy(&zone), wait);
    publisher.publish_all(&zone);
    (zone, publisher, kernel)
}

/// Services that are not as a version has them.
fn faults(run: &Run<'_>, version: u8) -> Vec<(u16, Result<[u8; 4], Reason>)> {
    (0..world::SERVICES)
        .map(|service| (service, run.address(&world::name(service))))
        .filter(|(service, found)| {
            let expected = if world::exists(*service, version) {
                Ok(world::address(*service, version))
            } else {
                Err(Reason::UnknownName)
            };
            *found != expected
        })
        .collect()
}

/// Says on its end that it is done.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Once a name is seen in a version, no other name is seen in an older one: by whoever begins after it. And who has
/// begun sees one version of everything.
#[test]
fn a_resync_is_visible_as_one_step() {
    const VERSIONS: u8 = 12;
    let (mut zone, mut publisher, kernel) = published(Wait::ForRuns);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..2u16)
            .map(|reader| {
                let (kernel, done) = (&kernel, &done);
                scope.spawn(move || {
                    let (mut newest, mut service, mut changes) = (0, reader * 7, 0);
                    while !done.load(Ordering::Relaxed) {
                        service = (service + 11) % world::SERVICES;
                        let run = kernel.run();
                        let version = match run.address(&world::name(service)) {
                            Ok([_, version, _, _]) => version,
                            // Which version lacks it is not known: it is asked for another one.
                            Err(Reason::UnknownName) => continue,
                            Err(reason) => panic!("{service}: {reason:?}"),
                        };
                        assert!(
                            version >= newest,
                            "{service} in version {version} after {newest}"
                        );
                        changes += u32::from(version > newest);
                        newest = version;
                        if service.is_multiple_of(8) {
                            assert_eq!(faults(&run, version), [], "version {version}");
                        }
                    }
                    changes
                })
            })
            .collect();
        // Readers end however this ends.
        let done = Done(&done);
        for version in 1..=VERSIONS {
            let touched = world::advance(&mut zone, version);
            assert!(touched.len() > BUILT_FROM);
            publisher
                .try_publish(&zone, &touched, &mut || ())
                .expect("room");
        }
        drop(done);
        for reader in readers {
            assert!(reader.join().expect("nothing is seen that must not") > 1);
        }
    });
    assert_eq!(publisher.builds().flipped, u64::from(VERSIONS));
    assert_eq!(faults(&kernel.run(), VERSIONS), []);
}

/// A program that began before the flip: it sees the old state for as long as it runs, and nothing that it may look
/// at is used again before it ends.
#[test]
fn who_began_before_the_flip_sees_the_old_state_to_its_end() {
    let (mut zone, mut publisher, kernel) = published(Wait::ForRuns);
    let late = kernel.run();
    let before = kernel.0.generation.load(Ordering::Relaxed);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for version in 1..=3 {
                let touched = world::advance(&mut zone, version);
                publisher.publish(&zone, &touched);
            }
        });
        while kernel.0.generation.load(Ordering::Relaxed) == before && !writer.is_finished() {
            thread::yield_now();
        }
        for _ in 0..5 {
            assert_eq!(faults(&late, 0), []);
        }
        assert!(!writer.is_finished(), "nobody has waited for the program");
        drop(late);
        writer.join().expect("no panic");
    });
    assert_eq!(faults(&kernel.run(), 3), []);
}

/// Without the wait the test above would see a difference.
#[test]
fn without_the_wait_names_are_missed() {
    let (mut zone, mut publisher, kernel) = published(Wait::Not);
    let late = kernel.run();
    let touched = world::advance(&mut zone, 1);
    publisher.publish(&zone, &touched);
    // Cells that are given back are used again late; the index is written by the next build.
    for version in 2..=3 {
        let touched = world::advance(&mut zone, version);
        publisher.publish(&zone, &touched);
    }
    let faults = faults(&late, 0);
    let missed = |(service, found): &&(u16, Result<[u8; 4], Reason>)| {
        *found == Err(Reason::UnknownName) && world::exists(*service, 0)
    };
    assert!(faults.iter().filter(missed).count() > 0, "{}", faults.len());
}

/// Where nobody can be waited for, the first flip is the last one: the generation before is not written again.
#[test]
fn what_cannot_be_waited_for_is_not_overwritten() {
    let (mut zone, mut publisher, kernel) = published(Wait::Fails);
    let late = kernel.run();
    for version in 1..=3 {
        let touched = world::advance(&mut zone, version);
        publisher.publish(&zone, &touched);
        assert_eq!(faults(&kernel.run(), version), []);
    }
    assert_eq!(publisher.builds().flipped, 1);
    assert_eq!(faults(&late, 0), []);
}

/// The flip comes first, and what the zones say comes after it; who reads the generation before is not waited for before
/// the next flip.
#[test]
fn zones_follow_the_flip_and_the_wait_comes_with_the_next() {
    let (mut zone, mut publisher, kernel) = published(Wait::ForRuns);
    kernel.told();
    let touched = world::advance(&mut zone, 1);
    publisher.publish(&zone, &touched);
    let told = kernel.told();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[0], Told::Generation(publisher.table().generation()));
    let complete = |told: &&Told| matches!(told, Told::Zone { entry, flags } if *entry != 0 && *flags == ZONE_COMPLETE);
    assert_eq!(told[1..].iter().filter(complete).count(), 1, "{told:?}");
    assert!(publisher.table().is_draining());
    let touched = world::advance(&mut zone, 2);
    publisher.publish(&zone, &touched);
    let told = kernel.told();
    assert_eq!(
        told[..2],
        [
            Told::Waited,
            Told::Generation(publisher.table().generation())
        ]
    );
}

/// What a batch touches without changing it costs no cells, and stays where it is.
#[test]
fn unchanged_names_keep_their_cells() {
    let (zone, mut publisher, kernel) = published(Wait::ForRuns);
    let words = |generation: hopzero_common::layout::Generation| -> Vec<u64> {
        let run = kernel.run();
        let base = generation.base();
        (base..base + generation.buckets())
            .flat_map(|bucket| run.bucket(bucket).expect("in the map"))
            .map(|word| word.load(Ordering::Relaxed))
            .collect()
    };
    let (before, used) = (
        publisher.table().generation(),
        publisher.table().cells_used(),
    );
    let entries = words(before);
    let all: Vec<_> = zone.owners().collect();
    publisher.publish(&zone, &all);
    let after = publisher.table().generation();
    assert_ne!(before, after);
    assert_eq!(entries, words(after));
    assert_eq!(publisher.table().cells_used(), used);
}

/// A table that is changed for long does not leak: cells and names are those of a new one.
#[test]
fn resyncs_leave_nothing_behind() {
    let (mut zone, mut publisher, _kernel) = published(Wait::ForRuns);
    for version in 1..=20 {
        let touched = world::advance(&mut zone, version);
        publisher.publish(&zone, &touched);
    }
    let size = Publisher::measure(&zone);
    let (fresh, _) = {
        let (mut fresh, kernel) = super::publisher(roomy(&zone), Wait::ForRuns);
        fresh.publish_all(&zone);
        (fresh, kernel)
    };
    // What only the generation before leads to.
    publisher.wait_for_programs().expect("nobody runs");
    assert_eq!(publisher.table().names(), size.names);
    assert_eq!(publisher.table().cells_used(), fresh.table().cells_used());
}

//! A miss, which becomes NXDOMAIN, says that the name was absent at some moment of the scan.
//!
//! Entries are loaded in no order here ([`Reader::WEAK`]): the argument needs none.

use std::sync::atomic::Ordering::{Relaxed, Release};

use hopzero_common::{layout::Entry, limits::BUCKET_ENTRIES, name::hash_of};

use crate::{
    explore::{
        Outcome::{Hit, Miss, Pass},
        Scenario, Wrong,
    },
    fails, holds,
    reader::Reader,
    records::{Record, SEED, Size, name_in, record},
    writer::{
        Op::{self, Put, Remove, Wrong as Wrongly},
        Writer,
    },
};

/// A version of a name of the first bucket of two.
fn of(nth: usize, version: u32) -> Record {
    record(&name_in(0, 2, nth), version, Size::One)
}

/// The name that is asked for; others stand beside it.
const ASKED: usize = 100;

fn scenario(before: Vec<Op>, during: Vec<Op>) -> Scenario {
    Scenario {
        buckets: 2,
        cells: 16,
        before,
        during,
        asked: of(ASKED, 1),
        reader: Reader::WEAK,
        tolerates: Some(Wrong::Stale),
    }
}

/// The name in the second place of its bucket, the first one free, and a neighbour behind it.
fn between() -> Vec<Op> {
    vec![
        Put(of(0, 1)),
        Put(of(ASKED, 1)),
        Put(of(1, 1)),
        Remove(of(0, 1)),
    ]
}

/// A full bucket without a mark.
fn full() -> Vec<Op> {
    (0..BUCKET_ENTRIES).map(|nth| Put(of(nth, 1))).collect()
}

/// A full bucket; the name stands in the next.
fn overflowed() -> Vec<Op> {
    let mut before = full();
    before.push(Put(of(ASKED, 1)));
    before
}

#[test]
fn neighbours_come_and_go() {
    let during = vec![
        Put(of(2, 1)),
        Remove(of(1, 1)),
        Put(of(ASKED, 2)),
        Put(of(3, 1)),
        Remove(of(2, 1)),
    ];
    holds("neighbours", scenario(between(), during), &[Hit(1), Hit(2)]);
}

#[test]
fn removed_name_comes_back_elsewhere() {
    let during = vec![Remove(of(ASKED, 1)), Put(of(ASKED, 2)), Remove(of(1, 1))];
    holds(
        "back elsewhere",
        scenario(between(), during),
        &[Hit(1), Hit(2), Miss],
    );
}

#[test]
fn next_bucket_is_found() {
    let during = vec![
        Remove(of(0, 1)),
        Put(of(BUCKET_ENTRIES - 1, 2)), // the last entry, which has the mark
        Put(of(ASKED, 2)),
        Remove(of(BUCKET_ENTRIES - 1, 2)),
    ];
    holds(
        "overflow",
        scenario(overflowed(), during),
        &[Hit(1), Hit(2)],
    );
}

#[test]
fn first_name_of_the_next_bucket_is_found() {
    let during = vec![Put(of(ASKED, 1)), Remove(of(0, 1)), Put(of(ASKED, 2))];
    holds(
        "overflows",
        scenario(full(), during),
        &[Hit(1), Hit(2), Miss],
    );
}

/// No room: the name's entry stays, and leads nowhere.
#[test]
fn name_without_room_is_not_missing() {
    let long = record(&name_in(0, 2, ASKED), 2, Size::Two);
    let scenario = Scenario {
        cells: 3,
        ..scenario(vec![Put(of(ASKED, 1))], vec![Put(long), Put(of(ASKED, 3))])
    };
    holds("no room", scenario, &[Hit(1), Hit(3), Pass("inconsistent")]);
}

#[test]
fn name_that_is_taken_away_for_want_of_room_is_missed() {
    fn drop_it(writer: &mut Writer, record: Record) {
        writer.table().remove(record.name_words());
    }
    let during = vec![Wrongly(drop_it, of(ASKED, 2))];
    fails(
        "no room, no entry",
        scenario(between(), during),
        Wrong::Missed,
    );
}

#[test]
fn name_that_is_removed_to_be_replaced_is_missed() {
    fn remove_first(writer: &mut Writer, record: Record) {
        writer.table().remove(record.name_words());
        writer.table().put(&record.encoded);
    }
    let during = vec![Wrongly(remove_first, of(ASKED, 2))];
    fails(
        "removed, then put",
        scenario(between(), during),
        Wrong::Missed,
    );
}

/// As a hash map of the kernel does it: the new element is there before the old one goes.
#[test]
fn name_that_moves_is_missed() {
    fn move_it(writer: &mut Writer, _: Record) {
        let index = writer.index();
        index[0].store(index[1].load(Relaxed), Release);
        index[1].store(0, Release);
    }
    let during = vec![Wrongly(move_it, of(ASKED, 1))];
    fails("moved", scenario(between(), during), Wrong::Missed);
}

#[test]
fn name_behind_a_mark_that_is_lost_is_missed() {
    fn unmark(writer: &mut Writer, _: Record) {
        writer.index()[BUCKET_ENTRIES - 1].store(0, Release);
    }
    let during = vec![Wrongly(unmark, of(BUCKET_ENTRIES - 1, 1))];
    fails("mark lost", scenario(overflowed(), during), Wrong::Missed);
}

/// Puts a name into the bucket after its own, without the mark.
fn put_unmarked(writer: &mut Writer, record: Record) {
    let detached = Entry(writer.table().put_detached(&record.encoded).expect("room"));
    let hash = hash_of(record.name_words(), SEED);
    let entry = Entry::new(hash, detached.cell(), detached.cells());
    writer.index()[BUCKET_ENTRIES].store(entry.0, Release);
}

/// Marks the first bucket.
fn mark(writer: &mut Writer, _: Record) {
    let last = &writer.index()[BUCKET_ENTRIES - 1];
    last.store(last.load(Relaxed) | Entry::OVERFLOW, Release);
}

#[test]
fn name_whose_mark_comes_after_the_put_is_missed() {
    let during = vec![Wrongly(put_unmarked, of(ASKED, 1)), Wrongly(mark, of(0, 1))];
    fails("mark late", scenario(full(), during), Wrong::Missed);
}

/// Which of the two is first does not matter while the put is not over: until then a reader that misses the
/// name is right. A daemon that ends in between leaves a name that is there for nobody, or a
/// mark too many; the table does what leaves the mark.
#[test]
fn mark_may_come_last_in_a_put() {
    fn put_then_mark(writer: &mut Writer, record: Record) {
        put_unmarked(writer, record);
        mark(writer, record);
    }
    let during = vec![Wrongly(put_then_mark, of(ASKED, 1)), Put(of(ASKED, 2))];
    holds(
        "mark last",
        scenario(full(), during),
        &[Hit(1), Hit(2), Miss],
    );
}

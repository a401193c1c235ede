//! A second generation is built beside the one that is read, becomes visible by one store, and the first is
//! written again only when no reader is left in it.

use crate::{
    explore::{
        Outcome::{Hit, Miss},
        Scenario, Wrong,
    },
    fails, holds,
    reader::Reader,
    records::{Record, Size, name_in, record},
    writer::Op::{self, Flip, Grace, Put, Rebuild},
};

fn of(nth: usize, version: u32) -> Record {
    record(&name_in(0, 1, nth), version, Size::One)
}

const SEEN: Reader = Reader {
    is_seen: true,
    ..Reader::PROGRAM
};

fn scenario(during: Vec<Op>, reader: Reader) -> Scenario {
    Scenario {
        buckets: 1,
        cells: 4,
        before: vec![Put(of(0, 1))],
        during,
        asked: of(0, 1),
        reader,
        tolerates: None,
    }
}

#[test]
fn generations_follow_each_other() {
    let during = vec![
        Rebuild,
        Put(of(1, 1)),
        Put(of(0, 2)),
        Flip,
        Grace,
        Rebuild,
        Put(of(2, 1)),
        Put(of(0, 3)),
        Flip,
    ];
    holds("flips", scenario(during, SEEN), &[Hit(1), Hit(2), Hit(3)]);
}

#[test]
fn changes_between_flips() {
    let during = vec![
        Rebuild,
        Put(of(0, 2)),
        Flip,
        Put(of(1, 1)),
        Put(of(0, 3)),
        Grace,
        Rebuild,
    ];
    holds(
        "flip and change",
        scenario(during, SEEN),
        &[Hit(1), Hit(2), Hit(3)],
    );
}

#[test]
fn name_that_the_next_generation_lacks_is_absent() {
    let during = vec![
        Rebuild,
        Put(of(1, 1)),
        Flip,
        Grace,
        Rebuild,
        Put(of(0, 2)),
        Flip,
    ];
    holds(
        "flips, absent",
        scenario(during, SEEN),
        &[Hit(1), Hit(2), Miss],
    );
}

#[test]
fn without_grace_a_name_is_missed() {
    let during = vec![Rebuild, Put(of(0, 2)), Flip, Rebuild, Put(of(0, 3)), Flip];
    fails("no grace", scenario(during, Reader::PROGRAM), Wrong::Missed);
}

#[test]
fn flip_before_the_name_is_there_misses_it() {
    let during = vec![Rebuild, Op::Wrong(|_, _| (), of(0, 2)), Flip, Put(of(0, 2))];
    fails(
        "flip too early",
        scenario(during, Reader::PROGRAM),
        Wrong::Missed,
    );
}

/// The address of a bucket is made of the word that is flipped, so that it is loaded first; were it
/// not, the other generation might be seen as it was before it was built.
#[test]
fn without_the_dependency_on_the_flip_a_name_is_missed() {
    let during = vec![Rebuild, Put(of(0, 2)), Flip];
    fails(
        "flip, no dependency",
        scenario(during, Reader::WEAK),
        Wrong::Missed,
    );
}

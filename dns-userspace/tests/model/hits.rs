//! A hit is one whole version of the name that was asked for, which was true at some moment of the read.

use crate::{
    explore::{
        Outcome::{Hit, Pass},
        Scenario, Wrong,
    },
    fails, holds,
    reader::{Asks, Reader},
    records::{Record, Size, name_in, record, soa},
    writer::Op::{Put, Soa},
};

const COLLISION: crate::explore::Outcome = Pass("collision");
const INCONSISTENT: crate::explore::Outcome = Pass("inconsistent");

/// A version of the only name of the table.
fn version(number: u32, size: Size) -> Record {
    record(&name_in(0, 1, 0), number, size)
}

/// A name is replaced three times, and the third version goes to where the first was.
fn replaced(reader: Reader) -> Scenario {
    let put = |number| Put(version(number, Size::One));
    Scenario {
        buckets: 1,
        cells: 3,
        before: vec![put(1)],
        during: vec![put(2), put(3), put(4)],
        asked: version(1, Size::One),
        reader,
        tolerates: None,
    }
}

#[test]
fn replaced_record_is_whole_and_in_time() {
    holds(
        "replaced",
        replaced(Reader::PROGRAM),
        &[Hit(1), Hit(2), Hit(3), Hit(4), INCONSISTENT],
    );
}

#[test]
fn load_of_the_home_changes_nothing() {
    let reader = Reader {
        looks_home: true,
        ..Reader::PROGRAM
    };
    holds(
        "replaced, home first",
        replaced(reader),
        &[Hit(1), Hit(2), Hit(3), Hit(4), INCONSISTENT],
    );
}

/// Without any order between the loads there is never a mixture. But a version that is whole passes every check,
/// and the cells of the newest version may still look as they did two versions before.
#[test]
fn without_the_dependency_only_time_is_lost() {
    let scenario = || replaced(Reader::WEAK);
    holds(
        "replaced, no dependency",
        Scenario {
            tolerates: Some(Wrong::Stale),
            ..scenario()
        },
        &[Hit(1), Hit(4), INCONSISTENT],
    );
    fails("replaced, no dependency", scenario(), Wrong::Stale);
}

/// The same with records of two cells, one of which may be of another version.
fn replaced_in_two_cells(reader: Reader) -> Scenario {
    let put = |number| Put(version(number, Size::Two));
    Scenario {
        cells: 6,
        before: vec![put(1)],
        during: vec![put(2), put(3)],
        asked: version(1, Size::Two),
        ..replaced(reader)
    }
}

#[test]
fn replaced_record_of_two_cells_is_whole() {
    holds(
        "replaced, two cells",
        replaced_in_two_cells(Reader::PROGRAM),
        &[Hit(1), Hit(2), Hit(3), INCONSISTENT],
    );
}

#[test]
fn unverified_copy_is_a_mixture() {
    let reader = Reader {
        verifies: false,
        ..Reader::PROGRAM
    };
    fails("replaced, not verified", replaced(reader), Wrong::Foreign);
}

/// Another name's record goes to where the first version was.
fn reused(reader: Reader) -> Scenario {
    let other = record(&name_in(0, 1, 1), 1, Size::One);
    let put = |number| Put(version(number, Size::One));
    Scenario {
        before: vec![put(1)],
        during: vec![put(2), Put(other)],
        ..replaced(reader)
    }
}

#[test]
fn reused_cells_are_not_this_names() {
    holds(
        "reused",
        reused(Reader::PROGRAM),
        &[Hit(1), Hit(2), COLLISION, INCONSISTENT],
    );
}

#[test]
fn uncompared_copy_is_another_names() {
    let reader = Reader {
        compares: false,
        ..Reader::PROGRAM
    };
    fails("reused, not compared", reused(reader), Wrong::Foreign);
}

/// Cells of a long record become those of short ones; at last there is no run of two.
#[test]
fn sizes_may_change() {
    let other = |number| record(&name_in(0, 1, 1), number, Size::One);
    let scenario = Scenario {
        cells: 4,
        before: vec![Put(version(1, Size::Two))],
        during: vec![
            Put(version(2, Size::One)),
            Put(other(1)),
            Put(version(3, Size::Two)),
        ],
        ..replaced(Reader::PROGRAM)
    };
    holds("sizes", scenario, &[Hit(1), Hit(2), INCONSISTENT]);
}

/// A zone of eight bytes, so that its SOA is of one cell.
const APEX: &str = "domain.";

/// The records of a zone's apex and its SOA are of one name, but in each other's place they are wrong. Each
/// goes to cells that the other had.
fn apex(asks: Asks) -> Scenario {
    let apex = |number| record(APEX, number, Size::One);
    let (during, asked) = match asks {
        Asks::Name => (vec![Put(apex(2)), Soa(soa(APEX, 2))], apex(1)),
        Asks::Soa => (vec![Soa(soa(APEX, 2)), Put(apex(2))], soa(APEX, 1)),
    };
    Scenario {
        cells: 4,
        before: vec![Put(apex(1)), Soa(soa(APEX, 1))],
        during,
        asked,
        ..replaced(Reader {
            asks,
            ..Reader::PROGRAM
        })
    }
}

#[test]
fn soa_is_not_the_record_of_its_apex() {
    let expected = [Hit(1), Hit(2), INCONSISTENT, COLLISION];
    holds("apex", apex(Asks::Name), &expected);
}

#[test]
fn record_of_an_apex_is_not_its_soa() {
    let expected = [Hit(1), Hit(2), INCONSISTENT];
    holds("SOA", apex(Asks::Soa), &expected);
}

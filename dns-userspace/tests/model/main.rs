//! The protocol between writer and reader, explored.
mod explore;
mod memory;
mod reader;
mod records;
mod writer;

use explore::{Scenario, Wrong, explore};
use reader::Reader;
use records::{Size, name_in, record};
use writer::Op::{self, Put};

#[test]
fn replaced_one_cell() {
    let x = name_in(0, 1, 0);
    let version = |v| record(&x, v, Size::One);
    let (seen, wrong) = explore(Scenario {
        buckets: 1,
        cells: 3,
        before: vec![Put(version(1))],
        during: vec![Put(version(2)), Put(version(3))],
        asked: version(1),
        reader: Reader::PROGRAM,
    });
    println!("{seen:?} {wrong:?}");
}
#[test]
fn replaced_stale() {
    let x = name_in(0, 1, 0);
    let version = |v| record(&x, v, Size::One);
    let (seen, wrong) = explore(Scenario {
        buckets: 1,
        cells: 3,
        before: vec![Put(version(1))],
        during: vec![Put(version(2)), Put(version(3))],
        asked: version(1),
        reader: Reader { follows: false, ..Reader::PROGRAM },
    });
    println!("{seen:?} {wrong:?}");
}

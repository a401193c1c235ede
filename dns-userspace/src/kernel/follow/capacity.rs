//! How large a table is made.

use crate::{
    publisher::{Publisher, table::Capacity},
    zone::Zone,
};

/// Names that a table has room for at the least.
const NAMES_MIN: u32 = 4096;
/// Cells for each name of `--names-max`, beyond what is there: an IPv6 PTR takes three.
const CELLS_PER_NAME: u32 = 3;

/// Half as much again as the zone needs now, or what was asked for. What does not fit is answered by
/// the socket, and counted.
pub(super) fn capacity(zone: &Zone, names_max: Option<u32>) -> Capacity {
    let size = Publisher::measure(zone);
    match names_max {
        Some(names) => Capacity::new(
            names,
            names
                .saturating_mul(CELLS_PER_NAME)
                .max(half_again(size.cells)),
        ),
        None => Capacity::new(
            half_again(size.names).max(NAMES_MIN),
            half_again(size.cells).max(NAMES_MIN * CELLS_PER_NAME),
        ),
    }
}

/// What is needed, but larger than what was full: records lie scattered, and a large batch needs room for
/// both states.
pub(super) fn larger(needed: Capacity, full: Capacity) -> Capacity {
    Capacity::new(
        needed.names.max(half_again(full.names)),
        needed.cells.max(half_again(full.cells)),
    )
}

fn half_again(count: u32) -> u32 {
    count.saturating_add(count / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_table_is_larger() {
        let full = Capacity::new(1000, 5000);
        for needed in [Capacity::new(100, 100), Capacity::new(100_000, 100_000)] {
            let larger = larger(needed, full);
            assert!(larger.names >= 1500 && larger.cells >= 7500, "{larger:?}");
            assert!(larger.names >= needed.names && larger.cells >= needed.cells);
        }
        // There is an end.
        let largest = Capacity::new(u32::MAX, u32::MAX);
        assert_eq!(larger(full, largest), largest);
    }
}

//! Which cells are free.
//!
//! A record is placed at its home, the cell that its hash names, if that is free: the programs load
//! that line before they know where the record stands. Else it goes to the next free run after the last one, so that
//! cells that were given back are used again as late as possible.

/// The free cells of a table: a bit for each, set while it is used.
#[derive(Debug)]
pub struct Heap {
    bits: Vec<u64>,
    cells: u32,
    used: u32,
    /// Where the search for a free run goes on.
    next: u32,
}

impl Heap {
    /// `cells` free cells.
    pub fn new(cells: u32) -> Self {
        Heap {
            bits: vec![0; cells.div_ceil(64) as usize],
            cells,
            used: 0,
            next: 0,
        }
    }

    /// Cells in use.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// A run of `count` cells, at `home` if that is free.
    pub fn take(&mut self, count: u32, home: u32) -> Option<u32> {
        let cell = if self.free_from(home, count) == count {
            home
        } else {
            self.search(self.next, self.cells, count)
                .or_else(|| self.search(0, self.next, count))
                .inspect(|cell| self.next = cell + count)?
        };
        self.mark(cell, count, true);
        Some(cell)
    }

    /// Gives a run back.
    pub fn give(&mut self, cell: u32, count: u32) {
        self.mark(cell, count, false);
    }

    /// A free run that starts between `from` and `to`.
    fn search(&self, from: u32, to: u32, count: u32) -> Option<u32> {
        let mut cell = from;
        while cell < to {
            // Full words are the rule where it is crowded.
            if cell.is_multiple_of(64) && self.bits[(cell / 64) as usize] == u64::MAX {
                cell += 64;
                continue;
            }
            let free = self.free_from(cell, count);
            if free == count {
                return Some(cell);
            }
            cell += free + 1;
        }
        None
    }

    /// Free cells from `cell` on, at most `count`.
    fn free_from(&self, cell: u32, count: u32) -> u32 {
        (0..count)
            .find(|offset| cell + offset >= self.cells || self.is_used(cell + offset))
            .unwrap_or(count)
    }

    fn is_used(&self, cell: u32) -> bool {
        self.bits[(cell / 64) as usize] >> (cell % 64) & 1 == 1
    }

    fn mark(&mut self, cell: u32, count: u32, used: bool) {
        for cell in cell..cell + count {
            let bit = 1 << (cell % 64);
            let word = &mut self.bits[(cell / 64) as usize];
            if used {
                *word |= bit;
                self.used += 1;
            } else {
                *word &= !bit;
                self.used -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_do_not_overlap_and_all_cells_are_used() {
        let mut heap = Heap::new(100);
        let mut taken = [false; 100];
        let mut runs = Vec::new();
        for (round, length) in [3, 1, 7, 2].into_iter().cycle().enumerate() {
            let home = u32::try_from(round * 37 % 100).unwrap();
            let Some(cell) = heap.take(length, home) else {
                break;
            };
            for cell in cell..cell + length {
                assert!(!std::mem::replace(&mut taken[cell as usize], true));
            }
            runs.push((cell, length));
        }
        assert!(heap.used() > 50, "{} of 100", heap.used());
        while heap.take(1, 0).is_some() {}
        assert_eq!(heap.used(), 100);
        for (cell, length) in &runs {
            heap.give(*cell, *length);
        }
        assert_eq!(
            heap.used(),
            100 - runs.iter().map(|(_, length)| length).sum::<u32>()
        );
    }

    #[test]
    fn a_free_home_is_taken_and_no_run_passes_the_end() {
        let mut heap = Heap::new(128);
        assert_eq!(heap.take(2, 126), Some(126));
        assert_eq!(heap.take(2, 126), Some(0));
        assert_eq!(heap.take(2, 127), Some(2));
    }

    #[test]
    fn freed_cells_are_used_again_last() {
        let mut heap = Heap::new(1000);
        let elsewhere = heap.take(2, 1000).unwrap();
        heap.give(elsewhere, 2);
        assert_ne!(heap.take(2, 1000), Some(elsewhere));
    }
}

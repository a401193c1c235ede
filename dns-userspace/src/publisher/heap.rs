//! Which cells are free: runs of 1 to [`RECORD_CELLS_MAX`] cells.
//!
//! Free runs wait in queues by length, oldest first, so that the cells of a replaced record are used
//! again as late as possible: a program that still reads them then finds them as they were.
//! Runs are split, never joined; the memory is laid out anew when the daemon starts.

use std::collections::VecDeque;

use hopzero_common::limits::RECORD_CELLS_MAX;

/// The free cells of a table.
#[derive(Debug)]
pub struct Heap {
    /// Cells from here on were never used.
    fresh: u32,
    /// Number of all cells.
    cells: u32,
    /// Free runs by their length.
    free: Vec<VecDeque<u32>>,
    /// Cells in use.
    used: u32,
}

impl Heap {
    /// `cells` free cells.
    pub fn new(cells: u32) -> Self {
        Heap {
            fresh: 0,
            cells,
            free: vec![VecDeque::new(); RECORD_CELLS_MAX + 1],
            used: 0,
        }
    }

    /// Cells in use.
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Number of all cells.
    pub fn cells(&self) -> u32 {
        self.cells
    }

    /// A run of `count` cells: a fresh one while there are, then a free one of that length, then
    /// the front of a longer one.
    pub fn take(&mut self, count: u32) -> Option<u32> {
        let cell = self.take_run(count)?;
        self.used += count;
        Some(cell)
    }

    fn take_run(&mut self, count: u32) -> Option<u32> {
        // A quarter of the memory stays fresh while there are free runs, so that runs of any length
        // can still be had.
        let spare = self.cells - self.fresh;
        if spare > self.cells / 4 {
            return Some(self.take_fresh(count));
        }
        let longer = (count as usize..=RECORD_CELLS_MAX).find(|len| !self.free[*len].is_empty());
        let Some(length) = longer else {
            return (spare >= count).then(|| self.take_fresh(count));
        };
        let cell = self.free[length].pop_front()?;
        let rest = length - count as usize;
        if rest > 0 {
            self.free[rest].push_back(cell + count);
        }
        Some(cell)
    }

    fn take_fresh(&mut self, count: u32) -> u32 {
        let cell = self.fresh;
        self.fresh += count;
        cell
    }

    /// Gives a run back.
    pub fn give(&mut self, cell: u32, count: u32) {
        self.free[count as usize].push_back(cell);
        self.used -= count;
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
        for length in [3, 1, 7, 2].into_iter().cycle() {
            let Some(cell) = heap.take(length) else { break };
            for cell in cell..cell + length {
                assert!(!std::mem::replace(&mut taken[cell as usize], true));
            }
            runs.push((cell, length));
        }
        assert!(heap.used() > 90, "{} of 100", heap.used());
        for (cell, length) in runs {
            heap.give(cell, length);
        }
        assert_eq!(heap.used(), 0);
        // Runs of seven were free, and are split for smaller ones.
        assert!(heap.take(5).is_some());
        assert_eq!(heap.take(40), None);
    }

    #[test]
    fn freed_cells_are_used_again_last() {
        let mut heap = Heap::new(1000);
        let first = heap.take(2).unwrap();
        heap.give(first, 2);
        assert_ne!(heap.take(2), Some(first));
    }
}

//! The programs, as the publisher knows them: what they are told, and how to wait for them.

use std::io;

use hopzero_common::layout::{Generation, ZoneEntry};

/// Who reads the table.
pub trait Programs: Send {
    /// Puts a zone at a place of the list. Only its entry and its flags ever change.
    fn set_zone(&mut self, index: usize, zone: &ZoneEntry);

    /// Says which generation of the index is in use: one store, after all that was stored before. Whoever starts
    /// after it reads this one.
    fn set_generation(&mut self, generation: Generation);

    /// Returns when every run that had begun before has ended.
    ///
    /// # Errors
    /// That cannot be known: a run may still go on.
    fn wait(&mut self) -> io::Result<()>;

    /// Begins to wait for every run that has begun, and returns at once.
    fn begin_wait(&mut self) {}

    /// Whether [`Self::end_wait`] would return at once.
    fn has_waited(&mut self) -> bool {
        false
    }

    /// Returns when every run that had begun before the last [`Self::begin_wait`] has ended.
    ///
    /// # Errors
    /// As for [`Self::wait`].
    fn end_wait(&mut self) -> io::Result<()> {
        self.wait()
    }
}

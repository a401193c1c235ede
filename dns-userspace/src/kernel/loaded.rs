//! The programs, as the publisher knows them.

use std::{io, sync::Arc};

use hopzero_common::layout::{Generation, ZoneEntry};

use super::{control::ControlBlock, grace::Grace};
use crate::publisher::programs::Programs;

/// The programs, for the publisher.
pub(super) struct Loaded {
    pub control: Arc<ControlBlock>,
    pub grace: Grace,
}

impl Programs for Loaded {
    fn set_zone(&mut self, index: usize, zone: &ZoneEntry) {
        self.control.set_zone(index, zone);
    }

    fn set_generation(&mut self, generation: Generation) {
        self.control.set_generation(generation);
    }

    fn wait(&mut self) -> io::Result<()> {
        self.grace.wait()
    }

    fn begin_wait(&mut self) {
        self.grace.begin();
    }

    fn has_waited(&mut self) -> bool {
        self.grace.is_over()
    }

    fn end_wait(&mut self) -> io::Result<()> {
        self.grace.end()
    }
}

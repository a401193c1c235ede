//! The programs under measurement, with a table to answer from.

use anyhow::Context as _;
use aya::programs::ProgramFd;
use hopzero::{
    kernel::OBJECT,
    publisher::{Publisher, Size, table::Capacity},
    zone::Zone,
};
use hopzero_tests::packets::kernel::{Loaded, Program};

/// Loaded programs and a published zone.
pub struct Hopzero {
    /// The loaded object.
    pub loaded: Loaded,
    /// What the zone takes.
    pub size: Size,
}

impl Hopzero {
    /// Publishes a zone, in tables with as much room as the daemon's.
    pub fn new(zone: &Zone) -> anyhow::Result<Self> {
        let mut hopzero = Self::empty(zone)?;
        hopzero.loaded.kernel.publisher.publish_all(zone);
        Ok(hopzero)
    }

    /// The same with nothing published yet.
    pub fn empty(zone: &Zone) -> anyhow::Result<Self> {
        let size = Publisher::measure(zone);
        let object = OBJECT.context("the programs have not been built")?;
        let loaded = Loaded::empty(object, with_room(size))?;
        Ok(Hopzero { loaded, size })
    }

    /// One of the programs.
    pub fn program(&mut self, kind: Program) -> anyhow::Result<ProgramFd> {
        let name = match kind {
            Program::Xdp => "hopzero_xdp",
            Program::Tc => "hopzero_tc",
        };
        let program = self.loaded.kernel.ebpf().program(name);
        Ok(program.context("no program")?.fd()?.try_clone()?)
    }

    /// A name's memory without room to grow, its part of the index included.
    pub fn bytes_per_name(&self) -> f64 {
        per_name(self.size, Capacity::new(self.size.names, self.size.cells))
    }
}

/// Half as much again, as the daemon has.
pub fn with_room(size: Size) -> Capacity {
    Capacity::new(size.names + size.names / 2, size.cells + size.cells / 2)
}

/// Bytes of a table for each name.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn per_name(size: Size, capacity: Capacity) -> f64 {
    capacity.bytes() as f64 / f64::from(size.names)
}

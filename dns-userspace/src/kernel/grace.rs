//! Waiting until every run of the programs that has begun has ended.
//!
//! Programs run inside an RCU read-side section, so what is waited for is a grace period. The system call that
//! gives one on purpose is the update of a slot of a map of maps: `maybe_wait_bpf_programs()` in kernel/bpf/syscall.c
//! calls `synchronize_rcu()` (since Linux 4.20), "so that userspace, when we return to it, knows that all programs
//! that could be running use the new map value". No program needs to look at that map.
//!
//! `membarrier(MEMBARRIER_CMD_GLOBAL)` is `synchronize_rcu()` as well, but only where `nohz_full` is off
//! (else EINVAL), and only while more than one CPU is online (else it returns at once, although a program
//! may have been preempted on a `PREEMPT_RT` kernel). Both cost the same.

use std::io;

use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, MapData},
};

use super::{KernelError, error::chain};

/// The map of maps, which is for this alone.
const MAP: &str = "GRACE";

type Inner = Array<MapData, u64>;

/// Gives grace periods.
pub(super) struct Grace {
    slot: ArrayOfMaps<MapData, Inner>,
    /// What is put into the slot again and again.
    value: Inner,
}

impl Grace {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        let map = (ebpf.take_map(MAP)).ok_or(KernelError::Object { what: MAP })?;
        Ok(Grace {
            slot: ArrayOfMaps::try_from(map)?,
            value: Inner::create(1, 0)?,
        })
    }

    /// Returns when all runs that had begun have ended.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        (self.slot.set(0, &self.value, 0)).map_err(|error| io::Error::other(chain(&error)))
    }
}

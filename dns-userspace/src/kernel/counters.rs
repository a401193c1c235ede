//! Packets by reason.

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};
use hopzero_common::reason::Reason;

use super::KernelError;

/// The counters of the loaded programs.
pub struct Counters(PerCpuArray<MapData, u64>);

impl Counters {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        let map = ebpf
            .take_map("COUNTERS")
            .ok_or(KernelError::Object { what: "COUNTERS" })?;
        Ok(Counters(PerCpuArray::try_from(map)?))
    }

    /// Each reason's packets since the programs were loaded, all CPUs together.
    ///
    /// # Errors
    /// What the system call says.
    pub fn read(&self) -> Result<Vec<(Reason, u64)>, KernelError> {
        (Reason::ALL.iter())
            .map(|reason| {
                let values = self.0.get(&(*reason as u32), 0)?;
                Ok((*reason, values.iter().sum()))
            })
            .collect()
    }
}

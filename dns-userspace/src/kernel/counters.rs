//! What the programs count, all CPUs together.

use std::os::fd::AsFd as _;

use aya::{
    Ebpf,
    maps::{Map, MapData, PerCpuArray},
};
use hopzero_common::{
    counter::{self, Answer, Counted, PLACES},
    reason::Reason,
};

use super::KernelError;

/// Their map.
pub(super) const MAP: &str = "COUNTERS";

/// The counters of the loaded programs.
pub struct Counters(PerCpuArray<MapData, counter::Counters>);

/// What they were at some moment, by place ([`hopzero_common::counter`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts(Box<[u64]>);

/// Another descriptor of the map: what reads it has it for itself.
pub(super) fn copy(ebpf: &Ebpf) -> Result<MapData, KernelError> {
    let Some(Map::PerCpuArray(map)) = ebpf.map(MAP) else {
        return Err(KernelError::Object { what: MAP });
    };
    let descriptor = map.fd().as_fd().try_clone_to_owned();
    let descriptor = descriptor.map_err(|source| KernelError::Memory { name: MAP, source })?;
    Ok(MapData::from_fd(descriptor)?)
}

impl Counters {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        let map = ebpf
            .take_map(MAP)
            .ok_or(KernelError::Object { what: MAP })?;
        Self::of_map(map)
    }

    /// Those in the map COUNTERS of programs that somebody has loaded.
    ///
    /// # Errors
    /// It is another kind of map.
    pub fn of_map(map: Map) -> Result<Self, KernelError> {
        Ok(Counters(PerCpuArray::try_from(map)?))
    }

    /// Packets since the programs were loaded.
    ///
    /// # Errors
    /// What the system call says.
    pub fn read(&self) -> Result<Counts, KernelError> {
        let mut counts = Counts::default();
        for of_cpu in self.0.get(&0, 0)?.iter() {
            for (sum, count) in counts.0.iter_mut().zip(of_cpu) {
                *sum += count;
            }
        }
        Ok(counts)
    }
}

impl Default for Counts {
    fn default() -> Self {
        Counts(vec![0; PLACES].into_boxed_slice())
    }
}

impl Counts {
    /// Each reason's packets.
    pub fn by_reason(&self) -> Vec<(Reason, u64)> {
        let mut sums: Vec<_> = Reason::ALL.iter().map(|reason| (*reason, 0)).collect();
        for (counted, count) in self.counted() {
            sums[counted.reason as usize].1 += count;
        }
        sums
    }

    /// What was counted at all.
    pub fn counted(&self) -> impl Iterator<Item = (Counted, u64)> {
        let places = self.0.iter().enumerate().filter(|(_, count)| **count != 0);
        places.filter_map(|(place, count)| Some((Counted::at(place)?, *count)))
    }

    /// The answers among it.
    pub fn answers(&self) -> impl Iterator<Item = (Answer, u64)> {
        self.counted()
            .filter_map(|(counted, count)| Some((counted.answer?, count)))
    }

    /// What was counted after an earlier moment.
    #[must_use]
    pub fn since(&self, earlier: &Counts) -> Counts {
        let mut counts = self.clone();
        for (count, earlier) in counts.0.iter_mut().zip(&*earlier.0) {
            *count = count.saturating_sub(*earlier);
        }
        counts
    }

    #[cfg(test)]
    pub(super) fn of(places: &[(usize, u64)]) -> Self {
        let mut counts = Counts::default();
        for (place, count) in places {
            counts.0[*place] = *count;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_all_kinds_are_summed_by_their_reason() {
        let lease = Reason::Lease as usize;
        // The first two places of answers differ in RCODE, the next in the hook.
        let first = Reason::COUNT;
        let counts = Counts::of(&[(lease, 3), (first, 5), (first + 1, 7), (first + 16, 11)]);
        let sums = counts.by_reason();
        assert_eq!(sums.len(), Reason::COUNT);
        for (reason, sum) in sums {
            let expected = match reason {
                Reason::Answered => 12,
                Reason::Limited => 11,
                Reason::Lease => 3,
                _ => 0,
            };
            assert_eq!(sum, expected, "{reason:?}");
        }
        assert_eq!(counts.answers().map(|(_, count)| count).sum::<u64>(), 23);
        let earlier = Counts::of(&[(lease, 1), (first + 1, 7)]);
        let since = Counts::of(&[(lease, 2), (first, 5), (first + 16, 11)]);
        assert_eq!(counts.since(&earlier), since);
    }
}

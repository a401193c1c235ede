//! Answers to the client, counted and swallowed at the pod's device (`bench_answers` in `hopzero-bench.rs`).

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, Pod,
    maps::{Array, MapData},
    programs::{SchedClassifier, TcAttachType},
};
use hopzero_tests::network::{Network, POD_DEVICE};

use crate::generator;

/// The client's port, as the program has it.
pub const CLIENT_PORT: u16 = 5300;

/// How many answers came.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Count {
    /// All of them.
    pub all: u64,
    /// NXDOMAIN.
    pub denials: u64,
}

// SAFETY: two integers without padding, as in the program.
unsafe impl Pod for Count {}

/// The program at the pod's device; it is gone when this value is.
pub struct Answers {
    count: Array<MapData, Count>,
    _ebpf: Ebpf,
}

impl Answers {
    /// From now on, from zero.
    pub fn counted(network: &Network) -> Result<Self> {
        let mut ebpf = Ebpf::load(&generator::object()?)?;
        let program = ebpf.program_mut("bench_answers").context("no program")?;
        let program: &mut SchedClassifier = program.try_into()?;
        program.load()?;
        (network.pod).within(|| Ok(program.attach(POD_DEVICE, TcAttachType::Ingress)?))?;
        let count = Array::try_from(ebpf.take_map("ANSWERS").context("no ANSWERS")?)?;
        Ok(Self { count, _ebpf: ebpf })
    }

    /// How many came by now.
    pub fn count(&mut self) -> Result<Count> {
        Ok(self.count.get(&0, 0)?)
    }
}

//! The program, run by the kernel on a packet of ours (`BPF_PROG_TEST_RUN`).

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use aya::{
    programs::{SchedClassifier, Xdp},
    {TestRun as _, TestRunOptions},
};
use hopzero::{
    kernel::{Counts, Kernel, OBJECT, Options},
    publisher::{Publisher, table::Capacity},
    zone::Zone,
};
use hopzero_common::counter::{Counted, Hook};

use super::{
    Outcome,
    build::{DEVICE_MAC, SERVER_V4, SERVER_V6, VLAN},
    world,
};

/// Which program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `hopzero_xdp`
    Xdp,
    /// `hopzero_tc`
    Tc,
}

impl Program {
    fn hook(self) -> Hook {
        match self {
            Program::Xdp => Hook::Xdp,
            Program::Tc => Hook::Tc,
        }
    }
}

/// Longer than any test or benchmark: nobody renews it.
const LEASE: Duration = Duration::from_hours(24);
/// Longer than any answer.
const ROOM: usize = 4096;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
/// `TC_ACT_UNSPEC`, -1.
const TC_PASS: u32 = u32::MAX;
const TC_REDIRECT: u32 = 7;

/// Loaded programs and a published zone.
pub struct Loaded {
    /// The loaded object.
    pub kernel: Kernel,
}

impl Loaded {
    /// Loads both programs and publishes the zone.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn new(zone: &Zone) -> anyhow::Result<Self> {
        let size = Publisher::measure(zone);
        Self::with_capacity(zone, Capacity::new(size.names * 2, size.cells * 2))
    }

    /// The same with room for more.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn with_capacity(zone: &Zone, capacity: Capacity) -> anyhow::Result<Self> {
        let object = OBJECT.context("the programs have not been built")?;
        let mut loaded = Self::empty(object, capacity)?;
        world::publish(&mut loaded.kernel.publisher, zone);
        Ok(loaded)
    }

    /// The world, with XDP that is limited.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn limited(rate: u32) -> anyhow::Result<Self> {
        let object = OBJECT.context("the programs have not been built")?;
        let zone = world::zone();
        let size = Publisher::measure(&zone);
        let capacity = Capacity::new(size.names * 2, size.cells * 2);
        let mut loaded = Self::with_limit(object, capacity, Some(rate))?;
        world::publish(&mut loaded.kernel.publisher, &zone);
        Ok(loaded)
    }

    /// Loads an object's programs, with nothing to answer from yet.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn empty(object: &[u8], capacity: Capacity) -> anyhow::Result<Self> {
        Self::with_limit(object, capacity, None)
    }

    /// The same, its XDP limited to so many answers a second to one network.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn with_limit(
        object: &[u8],
        capacity: Capacity,
        rate_limit: Option<u32>,
    ) -> anyhow::Result<Self> {
        let options = Options {
            answer_for: vec![SERVER_V4.into(), SERVER_V6.into()],
            vlans: vec![VLAN],
            rate_limit,
            ..Options::default()
        };
        Kernel::check(&options)?;
        let mut kernel = Kernel::load_object(object, &options, capacity)?;
        kernel.load_programs()?;
        if rate_limit.is_some() {
            kernel.limit_mac(DEVICE_MAC)?;
        } else {
            kernel.trust_mac(DEVICE_MAC)?;
        }
        kernel.renew_lease(LEASE)?;
        kernel.answer(true);
        Ok(Loaded { kernel })
    }

    /// Runs a program once.
    ///
    /// # Errors
    /// The system call fails, or the program does what it never may: drop, abort, redirect elsewhere.
    pub fn run(&mut self, program: Program, packet: &[u8]) -> anyhow::Result<Outcome> {
        let before = self.kernel.counters().read()?;
        let mut out = vec![0; ROOM];
        let (action, len) = self.run_raw(program, packet, &mut out)?;
        let counted = self.counted_since(&before)?;
        let hook = counted.answer.map(|answer| answer.hook);
        ensure!(
            hook.is_none_or(|hook| hook == program.hook()),
            "{program:?} counted for {hook:?}"
        );
        out.truncate(len);
        let answered = match (program, action) {
            (Program::Xdp, XDP_TX) | (Program::Tc, TC_REDIRECT) => true,
            (Program::Xdp, XDP_PASS) | (Program::Tc, TC_PASS) => false,
            _ => bail!("{program:?} returned {action}"),
        };
        Ok(Outcome {
            answered,
            reason: counted.reason,
            counted,
            packet: out,
        })
    }

    /// Runs a program once; returns its action and the length of the packet in `out`.
    ///
    /// # Errors
    /// The system call fails.
    pub fn run_raw(
        &mut self,
        program: Program,
        packet: &[u8],
        out: &mut [u8],
    ) -> anyhow::Result<(u32, usize)> {
        let options = TestRunOptions {
            data_in: Some(packet),
            data_out: Some(out),
            ..TestRunOptions::default()
        };
        let ebpf = self.kernel.ebpf();
        let result = match program {
            Program::Xdp => {
                let program: &Xdp = ebpf
                    .program("hopzero_xdp")
                    .context("no program")?
                    .try_into()?;
                program.test_run(options)
            }
            Program::Tc => {
                let program: &SchedClassifier = ebpf
                    .program("hopzero_tc")
                    .context("no program")?
                    .try_into()?;
                program.test_run(options)
            }
        }?;
        Ok((result.return_value, result.data_size_out as usize))
    }

    /// As what one packet was counted since.
    fn counted_since(&self, before: &Counts) -> anyhow::Result<Counted> {
        let since = self.kernel.counters().read()?.since(before);
        let moved: Vec<(Counted, u64)> = since.counted().collect();
        match moved[..] {
            [(counted, 1)] => Ok(counted),
            _ => bail!("one packet was counted as {moved:?}"),
        }
    }
}

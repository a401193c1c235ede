//! The programs that write queries and call the program that is measured.

use std::path::Path;

use anyhow::{Context as _, ensure};
use aya::{
    Ebpf, TestRun as _, TestRunOptions,
    maps::{Array, ProgramArray},
    programs::{ProgramFd, SchedClassifier, Xdp},
};
use hopzero_tests::packets::kernel::Program;

/// Bytes of the map's value: five fields and 32 words.
const TEMPLATE_BYTES: usize = 24 + 256;
/// A query to write.
pub struct Query {
    /// The packet.
    pub packet: Vec<u8>,
    /// How many names to choose from by their first label; 0 for just this one.
    pub names: u32,
}

/// Programs of the object, by their hook.
const XDP: [&str; 6] = [
    "bench_xdp",
    "bench_feed",
    "bench_reflect",
    "bench_empty",
    "bench_drop",
    "bench_grow",
];
const TC: [&str; 6] = [
    "bench_tc",
    "bench_hook_tc",
    "bench_reflect_tc",
    "bench_empty_tc",
    "bench_drop_tc",
    "bench_grow_tc",
];

/// The loaded generators.
pub struct Generator {
    ebpf: Ebpf,
    /// The device that `bench_feed` sends by; 0 before there is one.
    pub feed: u32,
    /// Where random names start from: elsewhere each time, or caches would learn them.
    seed: u64,
}

/// The object with the benchmarks' own programs.
pub fn object() -> anyhow::Result<Vec<u8>> {
    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/hopzero-bench.o");
    std::fs::read(&object)
        .with_context(|| format!("no {}: run `cargo xtask build-ebpf`", object.display()))
}

impl Generator {
    /// Loads the generators.
    pub fn new() -> anyhow::Result<Self> {
        let ebpf = Ebpf::load(&object()?)?;
        let mut generator = Generator {
            ebpf,
            feed: 0,
            seed: 1,
        };
        for name in XDP {
            generator.xdp(name)?.load()?;
        }
        for name in TC {
            generator.tc(name)?.load()?;
        }
        Ok(generator)
    }

    /// The query that is written from now on.
    pub fn write(&mut self, query: &Query) -> anyhow::Result<()> {
        // Ethernet, IPv4, UDP, DNS header, the label's length byte.
        const LABEL: u32 = 42 + 12 + 1;
        ensure!(
            query.packet.len() <= 256,
            "a longer query than the generator writes"
        );
        let mut template = [0u8; TEMPLATE_BYTES];
        let mut field =
            |at: usize, bytes: &[u8]| template[at..at + bytes.len()].copy_from_slice(bytes);
        field(0, &u32::try_from(query.packet.len())?.to_le_bytes());
        field(4, &query.names.to_le_bytes());
        field(8, &LABEL.to_le_bytes());
        field(12, &self.feed.to_le_bytes());
        field(16, &self.seed.to_le_bytes());
        field(24, &query.packet);
        let map = self.ebpf.map_mut("TEMPLATE").context("no TEMPLATE")?;
        self.seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5555;
        Array::<_, [u8; TEMPLATE_BYTES]>::try_from(map)?.set(0, template, 0)?;
        Ok(())
    }

    /// The program that is called from now on.
    pub fn call(&mut self, kind: Program, program: &ProgramFd) -> anyhow::Result<()> {
        let map = match kind {
            Program::Xdp => "JUMP_XDP",
            Program::Tc => "JUMP_TC",
        };
        let map = self.ebpf.map_mut(map).context("no jump map")?;
        ProgramArray::try_from(map)?.set(0, program, 0)?;
        Ok(())
    }

    /// One of our own programs, to be called.
    pub fn own(&self, name: &str) -> anyhow::Result<ProgramFd> {
        Ok(self
            .ebpf
            .program(name)
            .context("no program")?
            .fd()?
            .try_clone()?)
    }

    /// Mean ns of writing the query and running the called program, over `repeat` runs.
    ///
    /// It is the kernel's own measure, in whole ns. The wall clock has more digits, but an XDP test run
    /// also waits for two RCU grace periods (it changes the XDP dispatcher, Linux 5.6), which take
    /// 15 to 45 ms: as long as half a million runs.
    pub fn ns(&mut self, kind: Program, query: &Query, repeat: u32) -> anyhow::Result<f64> {
        let options = TestRunOptions {
            data_in: Some(&query.packet),
            repeat,
            ..TestRunOptions::default()
        };
        let result = match kind {
            Program::Xdp => self.xdp("bench_xdp")?.test_run(options)?,
            Program::Tc => self.tc("bench_tc")?.test_run(options)?,
        };
        Ok(result.duration.as_secs_f64() * 1e9)
    }

    /// Runs the called program once on the query and says what it returned.
    pub fn action(&mut self, kind: Program, query: &Query) -> anyhow::Result<u32> {
        let options = TestRunOptions {
            data_in: Some(&query.packet),
            ..TestRunOptions::default()
        };
        Ok(match kind {
            Program::Xdp => self.xdp("bench_xdp")?.test_run(options)?,
            Program::Tc => self.tc("bench_tc")?.test_run(options)?,
        }
        .return_value)
    }

    /// One of our XDP programs.
    pub fn xdp(&mut self, name: &str) -> anyhow::Result<&mut Xdp> {
        let program = self.ebpf.program_mut(name);
        Ok(program.with_context(|| format!("no {name}"))?.try_into()?)
    }

    /// One of our tc programs.
    pub fn tc(&mut self, name: &str) -> anyhow::Result<&mut SchedClassifier> {
        let program = self.ebpf.program_mut(name);
        Ok(program.with_context(|| format!("no {name}"))?.try_into()?)
    }
}

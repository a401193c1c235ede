//! R1, R2 and R6: the programs themselves.

use std::path::Path;

use anyhow::{Context as _, ensure};
use hopzero::publisher::{Publisher, table::Capacity};
use hopzero_tests::packets::{
    build::{A, DEVICE_MAC, message, v4},
    kernel::{Loaded, Program},
};

use crate::{
    figures::{Figures, Target, median},
    generator::{Generator, Query},
    verifier, world,
};

/// `XDP_TX`, and `TC_ACT_REDIRECT`.
const ANSWERED: [u32; 2] = [3, 7];

/// Measures everything.
pub fn measure(quick: bool, services: u32) -> anyhow::Result<Figures> {
    let (rounds, repeat, frames) = if quick {
        (7, 500_000, 500_000)
    } else {
        (11, 2_000_000, 2_000_000)
    };
    println!("\nbuilding a zone of {services} services …");
    let zone = world::zone(services)?;
    let mut loaded = Loaded::new(&zone)?;
    drop(zone);

    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/hopzero-bench.o");
    let mut generator = Generator::new(&object)?;
    let mut figures = Figures::default();
    verifier_figures(&mut loaded, &mut figures)?;
    memory(&mut figures)?;

    let mut bench = Bench {
        loaded,
        generator: &mut generator,
        rounds,
        repeat,
    };
    let any40 = query(&world::name40(0), services);
    bench.reflector(&mut figures, &any40, frames)?;
    let one40 = query(&world::name40(7), 0);
    let one128 = query(&world::name128(), 0);
    let mut foreign = one40.packet.clone();
    // To port 443.
    foreign[36..38].copy_from_slice(&443u16.to_be_bytes());
    let foreign = Query {
        packet: foreign,
        names: 0,
    };
    let denied = query("www.example.com.benchmark-a.svc.cluster.local", 0);
    let unknown = query("www.example-of-a-foreign-names.com", 0);
    for kind in [Program::Xdp, Program::Tc] {
        let resizing = bench.resizing(kind, &one40)?;
        for (name, what, target, query, answered) in [
            ("hit40", "one name of 40 bytes, A", 45.0, &one40, true),
            (
                "hit40_random",
                "random names of 40 bytes, A: cache misses included",
                f64::INFINITY,
                &any40,
                true,
            ),
            ("hit128", "a name of 128 bytes, A", 65.0, &one128, true),
            (
                "nxdomain",
                "a search-path expansion that does not exist",
                60.0,
                &denied,
                true,
            ),
            (
                "pass_dns",
                "a DNS query for a foreign name",
                40.0,
                &unknown,
                false,
            ),
            ("pass_foreign", "UDP to another port", 10.0, &foreign, false),
        ] {
            let name = match kind {
                Program::Xdp => format!("R2.{name}"),
                Program::Tc => format!("R2.tc.{name}"),
            };
            let target = if target.is_finite() {
                Target::AtMost(target)
            } else {
                Target::None
            };
            let overhead = if answered { resizing } else { 0.0 };
            let runs = bench.over_empty(kind, query, answered, overhead)?;
            figures.add(&name, what, "ns", target, runs);
        }
        let name = if kind == Program::Xdp {
            "resize"
        } else {
            "tc.resize"
        };
        figures.add(
            name,
            "taken off the hits: the generator's cutting of what an answer grew",
            "ns",
            Target::None,
            vec![resizing],
        );
    }
    // From here on the device is limited, and each denial one too many.
    bench.loaded.kernel.limit_mac(DEVICE_MAC)?;
    let runs = bench.over_empty(Program::Xdp, &denied, true, 0.0)?;
    let what = "a denial over the limit of its network: TC=1 alone";
    figures.add("R2.limited", what, "ns", Target::None, runs);
    Ok(figures)
}

/// A query over IPv4 without EDNS.
fn query(name: &str, names: u32) -> Query {
    Query {
        packet: v4(&message(name, A)),
        names,
    }
}

/// What a name costs in a cluster of 10,000 services and 100,000 endpoints.
fn memory(figures: &mut Figures) -> anyhow::Result<()> {
    let size = Publisher::measure(&world::mixed_zone()?);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let bytes = |capacity: Capacity| capacity.bytes() as f64 / f64::from(size.names);
    figures.add(
        "names.bytes",
        &format!(
            "a name's memory, index included, mean of {} names in a table of their size",
            size.names
        ),
        "bytes",
        Target::AtMost(200.0),
        vec![bytes(Capacity::new(size.names, size.cells))],
    );
    figures.add(
        "names.bytes_room",
        "the same with the daemon's room to grow, half as much again",
        "bytes",
        Target::None,
        vec![bytes(Capacity::new(
            size.names + size.names / 2,
            size.cells + size.cells / 2,
        ))],
    );
    Ok(())
}

fn verifier_figures(loaded: &mut Loaded, figures: &mut Figures) -> anyhow::Result<()> {
    for (label, program) in [("xdp", "hopzero_xdp"), ("tc", "hopzero_tc")] {
        let info = loaded
            .kernel
            .ebpf()
            .program(program)
            .context("no program")?
            .info()?;
        let instructions = info
            .verified_instruction_count()
            .context("Linux 5.16 is needed")?;
        figures.add(
            &format!("R6.{label}.insns"),
            &format!("{instructions} instructions verified, of 1,000,000"),
            "ratio",
            Target::AtMost(0.25),
            vec![f64::from(instructions) / 1e6],
        );
        let stack = verifier::stack_bytes(info.id())?;
        figures.add(
            &format!("R6.{label}.stack"),
            &format!("{stack} bytes of stack, of 512"),
            "ratio",
            Target::AtMost(0.75),
            vec![f64::from(stack) / 512.0],
        );
    }
    Ok(())
}

struct Bench<'a> {
    loaded: Loaded,
    generator: &'a mut Generator,
    rounds: u32,
    repeat: u32,
}

impl Bench<'_> {
    fn call_hopzero(&mut self, kind: Program) -> anyhow::Result<()> {
        let name = match kind {
            Program::Xdp => "hopzero_xdp",
            Program::Tc => "hopzero_tc",
        };
        let program = self
            .loaded
            .kernel
            .ebpf()
            .program(name)
            .context("no program")?;
        self.generator.call(kind, program.fd()?)
    }

    fn call_own(&mut self, kind: Program, name: &str) -> anyhow::Result<()> {
        let program = self.generator.own(name)?;
        self.generator.call(kind, &program)
    }

    /// R1: in turns (ABBA), answers and reflected frames a second.
    fn reflector(
        &mut self,
        figures: &mut Figures,
        query: &Query,
        frames: u32,
    ) -> anyhow::Result<()> {
        self.generator.write(query)?;
        let (mut paired, mut bare, mut rates) =
            (Vec::new(), Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
        // Not timed: it warms caches and the page pool.
        self.call_hopzero(Program::Xdp)?;
        self.generator
            .frames_per_second("bench_xdp", query, frames / 10)?;
        for _ in 0..self.rounds {
            let mut round = [0.0; 3];
            for which in [0, 1, 2, 2, 1, 0] {
                let rate = match which {
                    0 => {
                        self.call_hopzero(Program::Xdp)?;
                        self.generator
                            .frames_per_second("bench_xdp", query, frames)?
                    }
                    1 => {
                        self.call_own(Program::Xdp, "bench_reflect")?;
                        self.generator
                            .frames_per_second("bench_xdp", query, frames)?
                    }
                    _ => self
                        .generator
                        .frames_per_second("bench_reflect", query, frames)?,
                };
                // Times add up, rates do not.
                round[which] += 0.5 / rate;
            }
            let [hopzero, written, reflected] = round.map(|seconds| 1.0 / seconds);
            paired.push(hopzero / written);
            bare.push(hopzero / reflected);
            for (rates, rate) in rates.iter_mut().zip([hopzero, written, reflected]) {
                rates.push(rate);
            }
        }
        let [hopzero, written, reflected] = rates;
        figures.add(
            "R1",
            "answers a second / a MAC-swap reflector's, both on frames that the generator rewrites",
            "ratio",
            Target::AtLeast(0.55),
            paired,
        );
        figures.add(
            "R1.bare",
            "the same / the reflector on frames that nobody rewrites",
            "ratio",
            Target::None,
            bare,
        );
        figures.add(
            "R1.answers",
            "answers a second on one CPU",
            "1/s",
            Target::None,
            hopzero,
        );
        figures.add(
            "R1.reflected_written",
            "reflected frames a second, rewritten",
            "1/s",
            Target::None,
            written,
        );
        figures.add(
            "R1.reflected_bare",
            "reflected frames a second",
            "1/s",
            Target::None,
            reflected,
        );
        Ok(())
    }

    /// ns of cutting a packet that was grown by a record: what the generator does after an answer only.
    fn resizing(&mut self, kind: Program, query: &Query) -> anyhow::Result<f64> {
        let (grow, empty) = match kind {
            Program::Xdp => ("bench_grow", "bench_empty"),
            Program::Tc => ("bench_grow_tc", "bench_empty_tc"),
        };
        self.generator.write(query)?;
        let mut runs = Vec::new();
        for _ in 0..self.rounds {
            self.call_own(kind, grow)?;
            let grown = self.generator.ns(kind, query, self.repeat)?;
            self.call_own(kind, empty)?;
            runs.push(grown - self.generator.ns(kind, query, self.repeat)?);
        }
        // Growing is the program's own work, cutting is the generator's: they cost the same.
        Ok(median(&runs) / 2.0)
    }

    /// R2: ns over an empty program's on the same query, in turns, less `overhead`.
    fn over_empty(
        &mut self,
        kind: Program,
        query: &Query,
        answered: bool,
        overhead: f64,
    ) -> anyhow::Result<Vec<f64>> {
        let empty = if kind == Program::Xdp {
            "bench_empty"
        } else {
            "bench_empty_tc"
        };
        self.generator.write(query)?;
        self.call_hopzero(kind)?;
        let action = self.generator.action(kind, query)?;
        ensure!(
            ANSWERED.contains(&action) == answered,
            "the program returned {action}"
        );
        let mut runs = Vec::new();
        for _ in 0..self.rounds {
            let mut ns = [0.0; 2];
            for which in [0, 1, 1, 0] {
                match which {
                    0 => self.call_hopzero(kind)?,
                    _ => self.call_own(kind, empty)?,
                }
                ns[which] += self.generator.ns(kind, query, self.repeat)? / 2.0;
            }
            runs.push(ns[0] - ns[1] - overhead);
        }
        Ok(runs)
    }
}

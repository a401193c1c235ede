//! ns of a program by `BPF_PROG_TEST_RUN`, less what is not the program's.

use anyhow::ensure;
use aya::programs::ProgramFd;
use hopzero_tests::packets::kernel::Program;

use crate::{
    figures::median,
    generator::{Generator, Query},
};

/// `XDP_TX`, and `TC_ACT_REDIRECT`.
const ANSWERED: [u32; 2] = [3, 7];

/// The generator, and how long it measures.
pub struct Timing<'a> {
    /// Writes queries and calls programs.
    pub generator: &'a mut Generator,
    /// Rounds of each measurement.
    pub rounds: u32,
    /// Runs of a round.
    pub repeat: u32,
}

impl Timing<'_> {
    /// ns over an empty program's on the same query, round by round: for each program a list. Programs take turns
    /// (ABBA), and each has `overhead` taken off.
    pub fn over_empty(
        &mut self,
        kind: Program,
        programs: &[ProgramFd],
        queries: &[&Query],
        overhead: f64,
    ) -> anyhow::Result<Vec<Vec<f64>>> {
        let empty = self.generator.own(match kind {
            Program::Xdp => "bench_empty",
            Program::Tc => "bench_empty_tc",
        })?;
        let mut runs = vec![Vec::new(); programs.len()];
        let there: Vec<(usize, [bool; 2])> = (0..programs.len())
            .map(|which| (which, [true, false]))
            .collect();
        let back = there.iter().rev().map(|(which, _)| (*which, [false, true]));
        let turns: Vec<(usize, [bool; 2])> = there.iter().copied().chain(back).collect();
        for _ in 0..self.rounds {
            let mut ns = vec![0.0; programs.len()];
            for (which, order) in &turns {
                let query = queries[*which];
                self.generator.write(query)?;
                for measured in order {
                    let (program, sign) = match measured {
                        true => (&programs[*which], 0.5),
                        false => (&empty, -0.5),
                    };
                    self.generator.call(kind, program)?;
                    ns[*which] += sign * self.generator.ns(kind, query, self.repeat)?;
                }
            }
            for (runs, ns) in runs.iter_mut().zip(ns) {
                runs.push(ns - overhead);
            }
        }
        Ok(runs)
    }

    /// The program answers the query, or passes it.
    pub fn check(
        &mut self,
        kind: Program,
        program: &ProgramFd,
        query: &Query,
        answered: bool,
    ) -> anyhow::Result<()> {
        self.generator.write(query)?;
        self.generator.call(kind, program)?;
        let action = self.generator.action(kind, query)?;
        ensure!(
            ANSWERED.contains(&action) == answered,
            "the program returned {action}"
        );
        Ok(())
    }

    /// ns of cutting a packet that was grown by a record: what the generator does after an answer only.
    pub fn resizing(&mut self, kind: Program, query: &Query) -> anyhow::Result<f64> {
        let grow = self.generator.own(match kind {
            Program::Xdp => "bench_grow",
            Program::Tc => "bench_grow_tc",
        })?;
        let runs = self.over_empty(kind, &[grow], &[query], 0.0)?;
        // Growing is the program's own work, cutting is the generator's: they cost the same.
        Ok(median(&runs[0]) / 2.0)
    }
}

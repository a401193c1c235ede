//! Hostile packets: valid queries, changed at random, through both loaded programs and the same program on
//! the host. Nothing but passing and answering happens to a packet; all three do the same with it; and
//! the [`Oracle`] finds nothing wrong.

mod mutate;

use std::{
    collections::BTreeMap,
    env,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Error, Result, bail, ensure};
use hopzero_common::reason::Reason;
use hopzero_tests::{
    harness,
    packets::{
        answers,
        host::Host,
        kernel::{Loaded, Program},
        oracle::{Oracle, kind},
        passes, world,
    },
};

use mutate::Mutator;

/// Packets, if `HOPZERO_HOSTILE_PACKETS` does not say; each goes through both programs.
const PACKETS: u64 = 200_000;
/// tc is not run with less than a whole IPv6 header.
const TC_PACKET_BYTES_MIN: usize = 54;
/// Between two lines that say how far it is.
const REPORT: Duration = Duration::from_secs(15);
const NAME: &str = "what passes is unchanged, what is answered answers";
/// Kinds of answers that a run has to meet, over both families.
const KINDS: [&str; 14] = [
    "A",
    "A OPT",
    "AAAA",
    "AAAA OPT",
    "PTR",
    "PTR OPT",
    "SRV",
    "SRV OPT",
    "TXT",
    "NODATA",
    "NODATA OPT",
    "NXDOMAIN",
    "NXDOMAIN OPT",
    "TC",
];

fn main() -> ExitCode {
    harness::run_one(NAME, run)
}

fn run() -> Result<()> {
    let packets = match env::var("HOPZERO_HOSTILE_PACKETS") {
        Ok(packets) => packets.parse().context("HOPZERO_HOSTILE_PACKETS")?,
        Err(_) => PACKETS,
    };
    // Twice the answered ones: a change of those is what comes furthest.
    let valid = || answers::cases(world::zone()).into_iter();
    let tagged = answers::tagged_cases(world::zone());
    let seeds = (passes::cases().into_iter().chain(valid()).chain(valid()))
        .chain(tagged)
        .map(|case| case.packet)
        .collect();
    let mut mutator = Mutator::new(seeds, 1);
    let mut through = Through::new()?;
    let (started, mut reported) = (Instant::now(), Instant::now());
    for index in 0..packets {
        let packet = mutator.packet();
        through
            .judge(&packet)
            .with_context(|| format!("packet {index}"))?;
        if reported.elapsed() > REPORT {
            reported = Instant::now();
            let rate = index / started.elapsed().as_secs().max(1);
            println!("{index} of {packets} packets, {rate} a second");
        }
    }
    let took = started.elapsed().as_secs_f64();
    println!("{packets} packets, {} runs in {took:.0} s", through.runs);
    through.report()
}

/// What packets are run through, and what became of them.
struct Through {
    host: Host,
    loaded: Loaded,
    oracle: Oracle,
    out: Vec<u8>,
    runs: u64,
    reasons: BTreeMap<Reason, u64>,
    kinds: BTreeMap<String, u64>,
}

impl Through {
    fn new() -> Result<Self> {
        Ok(Self {
            host: Host::new(&world::zone()),
            loaded: Loaded::new(&world::zone())?,
            oracle: Oracle::new(world::zone()),
            out: vec![0; 4096],
            runs: 0,
            reasons: BTreeMap::new(),
            kinds: BTreeMap::new(),
        })
    }

    fn judge(&mut self, packet: &[u8]) -> Result<()> {
        let outcome = self.host.run(packet);
        self.oracle.judge(packet, &outcome).map_err(Error::msg)?;
        *self.reasons.entry(outcome.reason).or_default() += 1;
        if outcome.answered {
            *self.kinds.entry(kind(&outcome.packet)).or_default() += 1;
        }
        for program in [Program::Xdp, Program::Tc] {
            if program == Program::Tc && packet.len() < TC_PACKET_BYTES_MIN {
                continue;
            }
            let (action, len) = (self.loaded)
                .run_raw(program, packet, &mut self.out)
                .with_context(|| format!("{program:?}: {packet:02x?}"))?;
            self.runs += 1;
            let answered = match (program, action) {
                (Program::Xdp, 3) | (Program::Tc, 7) => true,
                (Program::Xdp, 2) | (Program::Tc, u32::MAX) => false,
                _ => bail!("{program:?} returned {action}: {packet:02x?}"),
            };
            ensure!(
                answered == outcome.answered && self.out[..len] == outcome.packet,
                "{program:?} and the host differ ({answered}, {:?}): {packet:02x?}",
                outcome.reason
            );
        }
        Ok(())
    }

    /// Prints what was met, and fails if that says little.
    fn report(&self) -> Result<()> {
        for (reason, count) in &self.reasons {
            println!("  {count:>9} {}", reason.label());
        }
        for (kind, count) in &self.kinds {
            println!("  {count:>9} answers: {kind}");
        }
        for kind in KINDS {
            for family in ["IPv4", "IPv6"] {
                let kind = format!("{family} {kind}");
                ensure!(self.kinds.contains_key(&kind), "no answer was {kind}");
            }
        }
        let answered = self.reasons.get(&Reason::Answered).copied().unwrap_or(0);
        let all: u64 = self.reasons.values().sum();
        ensure!(answered * 10 >= all, "only {answered} were answered");
        Ok(())
    }
}

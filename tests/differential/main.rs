//! Kernel = socket: generated queries on generated zones. Wherever the kernel answers, its packet must be
//! the socket's answer byte for byte, but for the rotation where that is on; where it passes, the packet
//! must be as it came. The program on the host must do what both loaded programs do.
//!
//! And kernel = chain, see `chain.rs`.

mod chain;
mod configuration;
mod generate;
mod meddler;

use std::{collections::BTreeMap, env, net::IpAddr, process::ExitCode, sync::RwLock};

use anyhow::{Context as _, Result, bail, ensure};
use hickory_proto::rr::Name;
use hopzero::zone::Node;
use hopzero_common::{layout::CONTROL_ROTATE, reason::Reason};
use hopzero_tests::{
    harness::{self, Test},
    packets::{
        Case, Expect,
        build::{CLIENT_PORT, CLIENT_V4, CLIENT_V6, SERVER_V4, SERVER_V6, answer, v4, v6},
        host::Host,
        kernel::{Loaded, Program},
        rotation,
        world::socket_answer,
    },
};

use generate::Random;

/// Queries, if `HOPZERO_DIFFERENTIAL_QUERIES` does not say.
const QUERIES: u64 = 1_000_000;
/// Queries of one zone.
const QUERIES_A_ZONE: u64 = 20_000;
/// At least so many of a hundred are answered by the kernel: else the test would say little.
const ANSWERED_PERCENT_MIN: u64 = 15;
const NAMES: [&str; 2] = [
    "the kernel's bytes are the socket's",
    "the kernel's bytes are the chain's",
];

fn main() -> ExitCode {
    let bodies: [fn() -> Result<()>; 2] = [run, chain::run];
    let tests = NAMES.into_iter().zip(bodies);
    let trials = tests.map(|(name, body)| Test::new(name, body).trial());
    let names = NAMES.map(str::to_owned);
    harness::run(|| Ok(trials.collect()), &names)
}

fn run() -> Result<()> {
    let queries = match env::var("HOPZERO_DIFFERENTIAL_QUERIES") {
        Ok(queries) => queries.parse().context("HOPZERO_DIFFERENTIAL_QUERIES")?,
        Err(_) => QUERIES,
    };
    let mut reasons = BTreeMap::new();
    let mut asked = 0;
    while asked < queries {
        let count = QUERIES_A_ZONE.min(queries - asked);
        let seed = asked;
        one_zone(seed, count, &mut reasons).with_context(|| format!("seed {seed}"))?;
        asked += count;
    }
    let all: Vec<String> = (reasons.iter())
        .map(|(reason, count): (&Reason, &u64)| format!("{} {count}", reason.label()))
        .collect();
    println!("{asked} queries: {}", all.join(", "));
    let answered = reasons.get(&Reason::Answered).copied().unwrap_or(0);
    ensure!(
        answered * 100 >= asked * ANSWERED_PERCENT_MIN,
        "only {answered} of {asked} were answered"
    );
    Ok(())
}

fn one_zone(seed: u64, count: u64, reasons: &mut BTreeMap<Reason, u64>) -> Result<()> {
    let mut random = Random(seed);
    let zone = generate::zone(&mut random);
    // Empty names are many, above all in the reverse zones: a few of them will do. Sorted, so that a
    // seed makes the same queries again.
    let mut all: Vec<Name> = zone.names().collect();
    all.sort();
    let names: Vec<String> = (all.iter())
        .filter(|name| match zone.node(name) {
            Node::Records(rrsets) => !rrsets.is_empty() || random.one_in(10),
            Node::Absent | Node::SocketOnly | Node::Alias(_) => true,
        })
        .map(Name::to_ascii)
        .collect();
    let mut host = Host::new(&zone);
    let mut loaded = Loaded::new(&zone)?;
    let rotates = random.one_in(2);
    if rotates {
        host.control.flags |= CONTROL_ROTATE;
    }
    loaded.kernel.rotate(rotates);
    let listed: Vec<(usize, Name)> = (host.publisher.zones())
        .map(|(place, name)| (place, name.clone()))
        .collect();
    let zone = RwLock::new(zone);
    let place_of = |question: &Name| {
        let zone = zone.read().expect("whole");
        let of = zone.zone_of(question);
        let found = listed.iter().find(|(_, name)| Some(name) == of);
        found.map(|(place, _)| *place)
    };
    let mut out = vec![0; 4096];
    for index in 0..count {
        let message = generate::query(&names, &mut random);
        let (packet, client, server): (_, IpAddr, IpAddr) = if random.one_in(2) {
            (v4(&message), CLIENT_V4.into(), SERVER_V4.into())
        } else {
            (v6(&message), CLIENT_V6.into(), SERVER_V6.into())
        };
        host.random = random.next();
        let outcome = host.run(&packet);
        *reasons.entry(outcome.reason).or_default() += 1;
        let expect = if outcome.answered {
            let reply = answer(client, server, CLIENT_PORT, &socket_answer(&zone, &message));
            if rotates {
                Expect::Rotated(reply)
            } else {
                Expect::Answer(reply)
            }
        } else {
            Expect::Pass(outcome.reason)
        };
        let case = Case {
            name: format!("query {index}"),
            packet,
            expect,
        };
        (case.judge_among(&outcome, &place_of)).map_err(anyhow::Error::msg)?;
        for program in [Program::Xdp, Program::Tc] {
            let (action, len) = loaded.run_raw(program, &case.packet, &mut out)?;
            let answered = match (program, action) {
                (Program::Xdp, 3) | (Program::Tc, 7) => true,
                (Program::Xdp, 2) | (Program::Tc, u32::MAX) => false,
                _ => bail!("query {index}: {program:?} returned {action}"),
            };
            let same = match &case.expect {
                Expect::Rotated(expected) => rotation::first(expected, &out[..len]).is_some(),
                _ => out[..len] == outcome.packet,
            };
            ensure!(
                answered == outcome.answered && same,
                "query {index}: {program:?} and the host differ ({answered}, {:?})",
                outcome.reason
            );
        }
    }
    Ok(())
}

//! R4: answers per CPU-second beside knot and nsd, which serve the same names from a zone file.
//!
//! ```text
//!  CPU 1: the client                        CPU 0: the server's side
//!  bursts ─── eth0 (pod) ═══ veth ═══ pod0 (node) ── hopzero at tcx, or as generic XDP
//!                                                 ── or no hopzero: knot, nsd on a socket
//! ```
//!
//! The two sides are told apart by CPU, not by process: receive packet steering (RPS) gives what
//! comes in at the node to CPU 0, and what comes in at the pod to CPU 1. So all that CPU 0 does is the server's side: soft
//! interrupts, the way through the stack, the socket, the server, and sending; and nothing of the
//! client's. Its time is what it was not idle (`/proc/stat`; with a tickless idle that is a clock, not
//! a count of ticks, and soft interrupts are in it whoever they are charged to).
//!
//! The client is the same for all, and sends in bursts ([`burst`]). One worker each for knot and
//! nsd, since they have one CPU. They leave out what hopzero does (minimal answers), and have no rate limit.

mod answers;
pub mod burst;
pub mod contents;
pub mod daemon;
mod ours;
mod steer;

pub use steer::steer;

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::{
    cleanup::{self, Cleanup},
    client::{Query, ask_udp, rtype, summary},
    network::{Network, dns},
};
use tempfile::TempDir;

use crate::{
    cpu::{self, CLIENT_CPU, SERVER_CPU},
    figures::{Figures, Target},
    world,
};
use burst::Load;
use daemon::Software;
use ours::{Hook, Ours};

/// What R4 is to reach.
const R4: Target = Target::AtLeast(5.0);

/// With more than this the other figures are of something else, too.
const NOISE: Target = Target::AtMost(0.05);

/// Somebody who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Ours(Hook),
    Theirs(Software),
}

const SERVERS: [Server; 4] = [
    Server::Ours(Hook::Tc),
    Server::Ours(Hook::XdpGeneric),
    Server::Theirs(Software::Knot),
    Server::Theirs(Software::Nsd),
];

impl Server {
    fn label(self) -> &'static str {
        match self {
            Server::Ours(Hook::Tc) => "tc",
            Server::Ours(Hook::XdpGeneric) => "xdp_generic",
            Server::Theirs(software) => software.label(),
        }
    }

    fn address(self) -> std::net::IpAddr {
        match self {
            Server::Ours(_) => hopzero_tests::network::DNS_V4,
            Server::Theirs(software) => software.address(),
        }
    }
}

/// Measures all servers that are there.
pub fn measure(quick: bool, services: u32) -> Result<Figures> {
    let (rounds, seconds) = if quick { (3, 1) } else { (7, 2) };
    let mut figures = Figures::default();
    println!("\nbuilding a zone of {services} services …");
    let zone = world::zone(services)?;
    let directory = directory()?;
    contents::write(&zone, &directory.path)?;
    let queries = contents::queries(services);
    let network = Network::new()?;
    steer(&network)?;
    let mut ours = Ours::new(&zone, &network)?;
    drop(zone);

    // From here on nothing of ours runs on the server's CPU.
    cpu::pin_this_thread(CLIENT_CPU)?;
    let (mut servers, mut daemons) = (Vec::new(), Vec::new());
    for server in SERVERS {
        if let Server::Theirs(software) = server {
            match software.start(&network, &directory.path)? {
                Ok(daemon) => daemons.push(daemon),
                Err(why) => {
                    let what = format!("answers per CPU-second, {}", software.label());
                    figures.skip(&format!("R4.{}", software.label()), &what, &why);
                    continue;
                }
            }
        }
        servers.push(server);
    }
    agree(&servers, &mut ours, &network)?;

    let noise = cpu::busy_while(SERVER_CPU, || {
        std::thread::sleep(std::time::Duration::from_secs(1));
        Ok(())
    })?;
    let mut loads: Vec<Vec<Load>> = vec![Vec::new(); servers.len()];
    for round in 0..rounds {
        println!("round {} of {rounds} …", round + 1);
        let mut sums = vec![Load::default(); servers.len()];
        let there: Vec<usize> = (0..servers.len()).collect();
        for &which in there.iter().chain(there.iter().rev()) {
            let server = servers[which];
            let attached = ours.attach(server)?;
            let load = burst::run(&network, dns(server.address()), &queries, seconds)
                .with_context(|| format!("asking {}", server.label()))?;
            drop(attached);
            sums[which].add(&load);
        }
        for (loads, sum) in loads.iter_mut().zip(sums) {
            loads.push(sum);
        }
    }
    drop(daemons);
    report(&servers, &loads, noise.busy, &mut figures)?;
    Ok(figures)
}

/// They give the same answers to each kind of query: else their costs could not be compared.
fn agree(servers: &[Server], ours: &mut Ours, network: &Network) -> Result<()> {
    for (name, qtype) in [
        (world::name40(7), rtype::A),
        (world::name40(7), rtype::AAAA),
        (contents::denied(7), rtype::A),
    ] {
        let query = Query::new(name, qtype);
        let mut answers = Vec::new();
        for server in servers {
            let attached = ours.attach(*server)?;
            let answer = ask_udp(&network.pod, dns(server.address()), &query)
                .with_context(|| format!("asking {}", server.label()))?;
            drop(attached);
            answers.push(summary(&answer)?);
        }
        let same = answers.iter().all(|answer| *answer == answers[0]);
        ensure!(same, "{query:?}: {servers:?} say {answers:?}");
    }
    Ok(())
}

fn report(
    servers: &[Server],
    loads: &[Vec<Load>],
    noise: f64,
    figures: &mut Figures,
) -> Result<()> {
    // All were asked the same, so all have said the same.
    let first = loads[0].first().context("no rounds")?;
    for (server, load) in servers
        .iter()
        .zip(loads)
        .flat_map(|(s, l)| l.iter().map(move |l| (s, l)))
    {
        ensure!(
            (load.nxdomain - first.nxdomain).abs() < 0.01,
            "{}: {:.4} of its answers are NXDOMAIN, and {:.4} of the first's",
            server.label(),
            load.nxdomain,
            first.nxdomain,
        );
    }
    let per_cpu = |which: usize| loads[which].iter().map(Load::per_cpu_second);
    for (ours, server) in servers.iter().enumerate() {
        for (theirs, other) in servers.iter().enumerate() {
            if matches!((server, other), (Server::Ours(_), Server::Theirs(_))) {
                figures.add(
                    &format!("R4.{}_over_{}", server.label(), other.label()),
                    "answers per CPU-second of the server's side / theirs",
                    "ratio",
                    R4,
                    per_cpu(ours)
                        .zip(per_cpu(theirs))
                        .map(|(a, b)| a / b)
                        .collect(),
                );
            }
        }
    }
    for (which, server) in servers.iter().enumerate() {
        let of = |of: fn(&Load) -> f64| loads[which].iter().map(of).collect::<Vec<f64>>();
        for (suffix, what, unit, runs) in [
            (
                "",
                "answers per CPU-second of the server's side",
                "1/s",
                of(Load::per_cpu_second),
            ),
            (
                ".rate",
                "answers a second that the client got",
                "1/s",
                of(Load::per_second),
            ),
            (
                ".busy",
                "how much of its CPU the server's side took",
                "ratio",
                of(Load::busy),
            ),
            (
                ".lost",
                "queries without an answer",
                "ratio",
                of(Load::lost),
            ),
        ] {
            let name = format!("R4.{}{suffix}", server.label());
            figures.add(&name, what, unit, Target::None, runs);
        }
    }
    let what = "how much of the server's CPU is taken while nobody asks";
    figures.add("R4.noise", what, "ratio", NOISE, vec![noise]);
    Ok(())
}

/// A directory that is gone when this value is.
pub struct Directory {
    /// Where it is.
    pub path: PathBuf,
    _cleanup: Cleanup,
}

/// A new one.
pub fn directory() -> Result<Directory> {
    let path = TempDir::with_prefix(cleanup::prefix())?.keep();
    let removed = path.clone();
    Ok(Directory {
        path,
        _cleanup: Cleanup::new(move || {
            let _ = fs::remove_dir_all(removed);
        }),
    })
}

//! R7: what the socket answers from the cache, and what it forwards, per CPU-second beside `CoreDNS`.
//!
//! ```text
//!  CPU 1: the client, knot                      CPU 0: the server's side
//!  bursts ─── eth0 (pod) ═══ veth ═══ pod0 (node) ── hopzero, or CoreDNS
//!                                      knot ═══ lo ═══════════┘
//! ```
//!
//! Both have the same Corefile (`errors`, `cache 30`, `forward`), the same client ([`burst`]) and the
//! same upstream, which serves a static zone. As in [`servers`](crate::servers) all that CPU 0 does is the server's side.
//!
//! - cached: [`CACHED`] names again and again, which both caches hold.
//! - forwarded: each name once in a turn, of [`NAMES`]; what is left of them in a cache from a turn before is less than
//!   a hundredth.
//!
//! There is one client, so that hopzero's replies to it can leave as trains (`socket/outbox.rs`). With many clients that ask
//! in turn there are fewer of these; `R7` is what one busy client, such as a cache on a node, gets.
//!
//! Latency is that of one query at a time, memory the resident set of the process at the end.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{BufWriter, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::{
    client::{Query, any, ask_udp, rtype, summary},
    network::{NODE_V4, Network, dns},
};

use crate::{
    cpu::{self, CLIENT_CPU, SERVER_CPU},
    figures::{Figures, Target},
    servers::{
        burst::{self, Load},
        daemon::{Daemon, Start},
        directory, steer,
    },
};

/// What R7 is to reach.
const R7: Target = Target::AtLeast(3.0);
/// Names of the zone: more than are asked for in one turn.
const NAMES: u32 = 500_000;
/// Those that are asked from the caches, which have room for 9984.
const CACHED: u32 = 1000;
/// The upstream.
const UPSTREAM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 11));
/// Queries of which the latency is measured, in each round.
const TIMED: usize = 2000;

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Hopzero,
    CoreDns,
}

const SERVERS: [Server; 2] = [Server::Hopzero, Server::CoreDns];

impl Server {
    fn label(self) -> &'static str {
        match self {
            Server::Hopzero => "hopzero",
            Server::CoreDns => "coredns",
        }
    }

    fn address(self) -> SocketAddr {
        let port = match self {
            Server::Hopzero => 5301,
            Server::CoreDns => 5302,
        };
        SocketAddr::new(NODE_V4, port)
    }

    fn command(self, coredns: &Path, directory: &Path) -> Result<Command> {
        let corefile = directory.join(format!("{}.Corefile", self.label()));
        let port = self.address().port();
        let text = format!(".:{port} {{\n errors\n cache 30\n forward . {UPSTREAM}\n}}\n");
        fs::write(&corefile, text)?;
        Ok(match self {
            Server::Hopzero => {
                let manifests = directory.join("manifests");
                fs::create_dir_all(&manifests)?;
                let mut command = Command::new(env::current_exe()?.with_file_name("hopzero"));
                command.arg("serve").arg("--conf").arg(&corefile);
                command.arg("--manifests").arg(manifests);
                command.arg("--control").arg(directory.join("control"));
                command
            }
            Server::CoreDns => {
                let mut command = Command::new(coredns);
                command.arg("-conf").arg(&corefile);
                command
            }
        })
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load7 {
    Cached,
    Forwarded,
}

const LOADS: [Load7; 2] = [Load7::Cached, Load7::Forwarded];

impl Load7 {
    fn label(self) -> &'static str {
        match self {
            Load7::Cached => "cached",
            Load7::Forwarded => "forwarded",
        }
    }

    fn queries(self) -> Vec<Vec<u8>> {
        let names = match self {
            Load7::Cached => 0..CACHED,
            Load7::Forwarded => CACHED..NAMES,
        };
        let query = |number: u32| {
            let id = u16::try_from(number % (1 << 16)).unwrap_or(0);
            Query::new(name(number), rtype::A).id(id).bytes()
        };
        names.map(query).collect()
    }
}

/// What one round has shown of a server.
#[derive(Clone, Debug, Default)]
struct Round {
    load: Load,
    /// Seconds.
    p50: f64,
    p99: f64,
}

fn name(number: u32) -> String {
    format!("name-{number:06}.some.example.org")
}

/// Measures both.
pub fn measure(quick: bool, coredns: Option<&Path>) -> Result<Figures> {
    let coredns =
        coredns.context("`cargo xtask bench socket` says which CoreDNS (--coredns PATH)")?;
    let (rounds, seconds) = if quick { (3, 1) } else { (7, 2) };
    let network = Network::new()?;
    let directory = directory()?;
    steer(&network)?;
    cpu::pin_this_thread(CLIENT_CPU)?;
    println!("\nstarting knot, hopzero and CoreDNS …");
    let _upstream = upstream(&network, &directory.path)?;
    let mut daemons = Vec::new();
    for server in SERVERS {
        let start = Start {
            label: server.label(),
            command: server.command(coredns, &directory.path)?,
            cpu: SERVER_CPU,
            address: server.address(),
            query: &Query::new(name(0), rtype::A).bytes(),
        };
        let started = start.run(&network, &directory.path)?;
        daemons.push(started.with_context(|| format!("cannot run {}", server.label()))?);
    }
    agree(&network)?;
    let mut figures = Figures::default();
    for load in LOADS {
        let queries = load.queries();
        // For the caches, and for what a server does only once.
        for server in SERVERS {
            burst::run(&network, server.address(), &queries, 1)?;
        }
        let mut runs = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            println!("{}, round {} of {rounds} …", load.label(), round + 1);
            let mut sums = [Round::default(), Round::default()];
            for which in [0, 1, 1, 0] {
                let address = SERVERS[which].address();
                let load = burst::run(&network, address, &queries, seconds)
                    .with_context(|| format!("asking {}", SERVERS[which].label()))?;
                sums[which].load.add(&load);
            }
            for (sum, server) in sums.iter_mut().zip(SERVERS) {
                let from = round * TIMED;
                (sum.p50, sum.p99) = latency(
                    &network,
                    server.address(),
                    &queries[queries.len() / 2..],
                    from,
                )?;
            }
            for (runs, sum) in runs.iter_mut().zip(sums) {
                runs.push(sum);
            }
        }
        report(load, &runs, &mut figures);
    }
    for (server, daemon) in SERVERS.iter().zip(&daemons) {
        let name = format!("R7.{}.memory", server.label());
        let what = "resident set at the end";
        figures.add(&name, what, "MB", Target::None, vec![memory(daemon)?]);
    }
    Ok(figures)
}

/// knot, with the zone that is asked for.
fn upstream(network: &Network, directory: &Path) -> Result<Daemon> {
    (network.node).ip_batch(&format!("addr add {UPSTREAM}/32 dev lo\nlink set lo up\n"))?;
    let mut zone = BufWriter::new(fs::File::create(directory.join("example.org.zone"))?);
    writeln!(
        zone,
        "example.org. 3600 IN SOA ns.example.org. host.example.org. 1 7200 1800 86400 60"
    )?;
    writeln!(
        zone,
        "example.org. 3600 IN NS ns.example.org.\nns.example.org. 3600 IN A 192.0.2.1"
    )?;
    for number in 0..NAMES {
        let [_, b, c, d] = number.to_be_bytes();
        writeln!(zone, "{}. 3600 IN A 10.{b}.{c}.{d}", name(number))?;
    }
    zone.flush()?;
    let file = directory.join("upstream.conf");
    let directory_name = directory.display();
    let mut text = String::new();
    write!(
        text,
        "server:\n  rundir: {directory_name}\n  listen: {UPSTREAM}@53\n  \
           udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
         database:\n  storage: {directory_name}/knot\n\
         log:\n  - target: stderr\n    any: warning\n\
         zone:\n  - domain: example.org\n    file: {directory_name}/example.org.zone\n    \
           zonefile-sync: -1\n    journal-content: none\n    semantic-checks: off\n"
    )?;
    fs::write(&file, text)?;
    fs::create_dir_all(directory.join("knot"))?;
    let mut command = Command::new("knotd");
    command.arg("-c").arg(&file);
    let start = Start {
        label: "knot",
        command,
        cpu: CLIENT_CPU,
        address: dns(UPSTREAM),
        query: &Query::new(name(0), rtype::A).bytes(),
    };
    let daemon = (start.run(network, directory)?).context("no knotd: apt-get install knot")?;
    cpu::pin_threads(daemon.pid(), CLIENT_CPU)?;
    Ok(daemon)
}

/// They give the same answers: else their costs could not be compared.
fn agree(network: &Network) -> Result<()> {
    for number in [1, 2, CACHED + 1] {
        let query = Query::new(name(number), rtype::A);
        let mut answers = Vec::new();
        for server in SERVERS {
            let answer = ask_udp(&network.pod, server.address(), &query)
                .with_context(|| format!("asking {}", server.label()))?;
            answers.push(summary(&answer)?);
        }
        ensure!(answers[0] == answers[1], "{query:?}: {answers:?}");
    }
    Ok(())
}

/// Seconds that one query takes when there is no other: the median, and what 99 of 100 do not exceed.
fn latency(
    network: &Network,
    server: SocketAddr,
    queries: &[Vec<u8>],
    from: usize,
) -> Result<(f64, f64)> {
    let socket = network.pod.udp(any(server))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut times = Vec::with_capacity(TIMED);
    let mut answer = [0; 1500];
    for query in queries
        .iter()
        .cycle()
        .skip(from % queries.len())
        .take(TIMED)
    {
        let begun = Instant::now();
        socket.send(query)?;
        socket
            .recv(&mut answer)
            .context("no answer to a single query")?;
        times.push(begun.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok((times[TIMED / 2], times[TIMED * 99 / 100]))
}

fn report(load: Load7, runs: &[Vec<Round>; 2], figures: &mut Figures) {
    let label = load.label();
    let per_cpu = |which: usize| runs[which].iter().map(|round| round.load.per_cpu_second());
    figures.add(
        &format!("R7.{label}"),
        "queries per CPU-second of the server's side / CoreDNS's",
        "ratio",
        R7,
        per_cpu(0)
            .zip(per_cpu(1))
            .map(|(ours, theirs)| ours / theirs)
            .collect(),
    );
    for (server, runs) in SERVERS.iter().zip(runs) {
        let mut add = |suffix: &str, what: &str, unit, of: fn(&Round) -> f64| {
            let name = format!("R7.{}.{label}{suffix}", server.label());
            figures.add(
                &name,
                what,
                unit,
                Target::None,
                runs.iter().map(of).collect(),
            );
        };
        add(
            "",
            "queries per CPU-second of the server's side",
            "1/s",
            |round| round.load.per_cpu_second(),
        );
        add(
            ".rate",
            "answers a second that the client got",
            "1/s",
            |round| round.load.per_second(),
        );
        add(
            ".busy",
            "how much of its CPU the server's side took",
            "ratio",
            |round| round.load.busy(),
        );
        add(".p50", "one query at a time, the median", "us", |round| {
            round.p50 * 1e6
        });
        add(".p99", "one query at a time, 99 of 100", "us", |round| {
            round.p99 * 1e6
        });
    }
}

/// MB that a process has in memory.
fn memory(daemon: &Daemon) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: f64 = (line.context("no VmRSS")?.trim())
        .trim_end_matches("kB")
        .trim()
        .parse()?;
    Ok(kilobytes / 1000.0)
}

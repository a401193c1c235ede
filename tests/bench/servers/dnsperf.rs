//! The client: dnsperf, on the client's CPU.

use std::{
    net::IpAddr,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::network::Network;

use super::contents::QUERIES;
use crate::cpu::{self, CLIENT_CPU, SERVER_CPU};

/// Queries under way at a time: enough that a server never waits for the client, and too few to fill a
/// socket's buffer.
const OUTSTANDING: u32 = 200;
/// Sockets that it asks from.
const SOCKETS: u32 = 8;
/// Queries that may be lost, of all.
const LOST_MAX: f64 = 0.001;

/// What came of some time of asking.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    asked: f64,
    answers: f64,
    seconds: f64,
    cpu: cpu::Busy,
    /// How many of the answers are NXDOMAIN.
    pub nxdomain: f64,
}

impl Load {
    /// Answers for each second of the server's CPU.
    pub fn per_cpu_second(&self) -> f64 {
        self.answers / self.cpu.busy
    }

    /// Answers a second.
    pub fn per_second(&self) -> f64 {
        self.answers / self.seconds
    }

    /// How much of its CPU the server's side took.
    pub fn busy(&self) -> f64 {
        self.cpu.busy / self.cpu.wall
    }

    /// Queries without an answer.
    pub fn lost(&self) -> f64 {
        1.0 - self.answers / self.asked
    }

    /// Both together.
    pub fn add(&mut self, more: &Load) {
        let all = self.answers + more.answers;
        self.nxdomain = (self.nxdomain * self.answers + more.nxdomain * more.answers) / all;
        self.answers = all;
        self.asked += more.asked;
        self.seconds += more.seconds;
        self.cpu.busy += more.cpu.busy;
        self.cpu.wall += more.cpu.wall;
    }
}

/// Whether it is there.
pub fn check() -> Result<(), String> {
    let found = Command::new("dnsperf").arg("-h").output();
    found
        .map(|_| ())
        .map_err(|error| format!("dnsperf: {error}: apt-get install dnsperf"))
}

/// Asks a server for so many seconds.
pub fn run(network: &Network, server: IpAddr, directory: &Path, seconds: u32) -> Result<Load> {
    let mut command = Command::new("dnsperf");
    command
        .args(["-s", &server.to_string()])
        .args(["-l", &seconds.to_string()])
        .args(["-q", &OUTSTANDING.to_string()])
        .args(["-c", &SOCKETS.to_string()])
        .args(["-t", "1"])
        .arg("-d")
        .arg(directory.join(QUERIES))
        .stdin(Stdio::null());
    cpu::pin(&mut command, CLIENT_CPU)?;
    network.pod.enter(&mut command)?;
    let mut output = None;
    let cpu = cpu::busy_while(SERVER_CPU, || {
        output = Some(command.output().context("cannot start dnsperf")?);
        Ok(())
    })?;
    let output = output.context("no output")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "dnsperf ended ({}): {said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let load = read(&said, cpu).with_context(|| format!("dnsperf said:\n{said}"))?;
    ensure!(
        load.lost() <= LOST_MAX,
        "queries without an answer:\n{said}"
    );
    Ok(load)
}

/// Reads dnsperf's summary.
fn read(said: &str, cpu: cpu::Busy) -> Result<Load> {
    let field = |name: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(name));
        let value = line.and_then(|line| line.split_whitespace().next());
        value
            .and_then(|value| value.parse::<f64>().ok())
            .with_context(|| format!("no `{name}`"))
    };
    let answers = field("Queries completed:")?;
    // `Response codes:       NOERROR 80000 (80.00%), NXDOMAIN 20000 (20.00%)`
    let nxdomain = (said.split_once("NXDOMAIN "))
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<f64>().ok())
        .unwrap_or(0.0);
    Ok(Load {
        asked: field("Queries sent:")?,
        answers,
        seconds: field("Run time (s):")?,
        cpu,
        nxdomain: nxdomain / answers,
    })
}

#[test]
fn reads_a_summary() {
    let said = "Statistics:\n\n  Queries sent:         1000\n  Queries completed:    900 (90.00%)\n  \
                Queries lost:         100 (10.00%)\n\n  Response codes:       NOERROR 720 (80.00%), \
                NXDOMAIN 180 (20.00%)\n  Run time (s):         2.0\n  Queries per second:   450\n";
    let cpu = cpu::Busy {
        wall: 2.1,
        busy: 0.5,
    };
    let load = read(said, cpu).unwrap();
    let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
    assert!(
        close(load.nxdomain, 0.2) && close(load.lost(), 0.1),
        "{load:?}"
    );
    assert!(close(load.per_second(), 450.0) && close(load.per_cpu_second(), 1800.0));
    assert!(read("", cpu).is_err());
}

//! knot and nsd, each with one worker on the server's CPU.

use std::{
    fmt::Write as _,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use hopzero_tests::{
    client::{Client, Query, parse, rtype},
    network::{Network, dns},
};

use super::contents::ZONE;
use crate::{
    cpu::{SERVER_CPU, pin},
    world,
};

/// How long a server may take to load its zone, and to end.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Somebody else's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Software {
    /// Knot DNS.
    Knot,
    /// NSD.
    Nsd,
}

impl Software {
    /// In figures' names.
    pub fn label(self) -> &'static str {
        match self {
            Software::Knot => "knot",
            Software::Nsd => "nsd",
        }
    }

    /// Where it listens.
    pub fn address(self) -> IpAddr {
        let last = match self {
            Software::Knot => 11,
            Software::Nsd => 12,
        };
        Ipv4Addr::new(10, 96, 0, last).into()
    }

    fn command(self, configuration: &Path) -> Command {
        let mut command = match self {
            Software::Knot => Command::new("knotd"),
            Software::Nsd => Command::new("nsd"),
        };
        if self == Software::Nsd {
            command.arg("-d"); // stay in the foreground
        }
        command.arg("-c").arg(configuration);
        command
    }

    fn configuration(self, directory: &Path) -> String {
        let (directory, address) = (directory.display(), self.address());
        match self {
            Software::Knot => format!(
                "server:\n  rundir: {directory}\n  listen: {address}@53\n  \
                   udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
                 database:\n  storage: {directory}/knot\n\
                 log:\n  - target: stderr\n    any: warning\n\
                 zone:\n  - domain: cluster.local\n    file: {directory}/{ZONE}\n    \
                   zonefile-sync: -1\n    journal-content: none\n    semantic-checks: off\n"
            ),
            Software::Nsd => format!(
                "server:\n  ip-address: {address}\n  server-count: 1\n  username: \"\"\n  \
                   pidfile: \"\"\n  database: \"\"\n  zonesdir: {directory}\n  \
                   xfrdfile: {directory}/nsd.xfrd\n  xfrdir: {directory}\n  \
                   zonelistfile: {directory}/nsd.zones\n  minimal-responses: yes\n  \
                   rrl-ratelimit: 0\n  rrl-whitelist-ratelimit: 0\n\
                 remote-control:\n  control-enable: no\n\
                 zone:\n  name: cluster.local\n  zonefile: {ZONE}\n"
            ),
        }
    }

    /// Starts it, and waits until it answers; or says why it cannot be.
    pub fn start(self, network: &Network, directory: &Path) -> Result<Result<Daemon, String>> {
        let label = self.label();
        let address = self.address();
        (network.node).ip_batch(&format!("addr add {address}/32 dev lo\n"))?;
        let file = directory.join(format!("{label}.conf"));
        fs::write(&file, self.configuration(directory))?;
        fs::create_dir_all(directory.join("knot"))?;
        let query = Query::new(world::name40(0), rtype::A).bytes();
        let start = Start {
            label,
            command: self.command(&file),
            cpu: SERVER_CPU,
            address: dns(address),
            query: &query,
        };
        let remedy = |error| format!("{label}: {error}: apt-get install {label}");
        let started = start.run(network, directory)?;
        Ok(started.map_err(remedy))
    }
}

/// A server that is to be started.
pub struct Start<'a> {
    /// In messages, and of its log.
    pub label: &'a str,
    /// What is run.
    pub command: Command,
    /// Its CPU.
    pub cpu: usize,
    /// Where it answers.
    pub address: SocketAddr,
    /// This, with an answer, as soon as it is ready.
    pub query: &'a [u8],
}

impl Start<'_> {
    /// Runs it in the node's namespace, and waits until it answers; the inner error says that there is no such program.
    pub fn run(mut self, network: &Network, directory: &Path) -> Result<io::Result<Daemon>> {
        let log = fs::File::create(directory.join(format!("{}.log", self.label)))?;
        let command = &mut self.command;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        pin(command, self.cpu)?;
        network.node.enter(command)?;
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Ok(Err(error)),
        };
        Daemon { child }.ready(&self, network, directory).map(Ok)
    }
}

/// A running server; ended when dropped.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn ready(mut self, start: &Start<'_>, network: &Network, directory: &Path) -> Result<Self> {
        let started = Instant::now();
        loop {
            let client = Client::new(&network.pod, start.address)?;
            client.patience(LOOK)?;
            let answer = client.ask(start.query).ok().map(|answer| parse(&answer));
            if answer.is_some_and(|answer| answer.is_ok_and(|answer| !answer.answers.is_empty())) {
                return Ok(self);
            }
            let ended = self.child.try_wait()?;
            if ended.is_some() || started.elapsed() > PATIENCE {
                let mut told = format!("{} is not ready", start.label);
                if let Some(status) = ended {
                    write!(told, ", it ended ({status})")?;
                }
                let log = directory.join(format!("{}.log", start.label));
                bail!("{told}:\n{}", fs::read_to_string(log).context("no log")?);
            }
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // nsd ends its children when it is asked to end, not when it is killed.
        if let Ok(pid) = libc::pid_t::try_from(self.child.id()) {
            // SAFETY: kill() touches no memory of ours, and the child is not reaped yet, so that the
            // number is still its own.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        let started = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if started.elapsed() > PATIENCE {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(LOOK);
        }
    }
}

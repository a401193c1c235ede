//! What most tests begin with.

use anyhow::{Result, ensure};
use hopzero::control::Report;
use hopzero_tests::{
    client,
    client::Query,
    daemon::{Counts, Daemon, Home},
    harness::Test,
    network::{self, Network},
};
use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

/// The hooks that work on the node's end of a veth.
pub const HOOKS: [&str; 2] = ["tc", "xdp-generic"];

/// The same test with every hook.
pub fn with_each_hook(
    name: &str,
    body: impl Fn(&'static str) -> Result<()> + Clone + Send + 'static,
) -> Vec<Test> {
    HOOKS
        .into_iter()
        .map(|hook| {
            let body = body.clone();
            Test::new(format!("{name}::{hook}"), move || body(hook))
        })
        .collect()
}

/// How long the kernel's part may take to be as it should be: growing takes some seconds in a debug build.
const HAPPENS_WITHIN: Duration = Duration::from_mins(1);

/// A figure of the kernel's part.
pub fn figure(report: &Report, name: &str) -> u64 {
    let kernel = report.kernel.as_ref();
    kernel.and_then(|kernel| kernel[name].as_u64()).unwrap_or(0)
}

/// Waits until the daemon reports what is expected.
pub fn wait_for(daemon: &Daemon, holds: impl Fn(&Report) -> bool) -> Result<Report> {
    let started = Instant::now();
    loop {
        let report = daemon.report()?;
        if holds(&report) {
            return Ok(report);
        }
        ensure!(
            started.elapsed() < HAPPENS_WITHIN,
            "it does not happen: {:#}\n{}",
            report.kernel.unwrap_or_default(),
            daemon.log()
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// A pod, its node, and a daemon that serves the shop.
pub struct Setup {
    // Dropped first: it runs in the network, from the home.
    pub daemon: Daemon,
    pub network: Network,
    pub home: Home,
}

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Kernel,
    Socket,
}

impl Setup {
    /// Answers are the same each time, so that they can be compared.
    pub fn new(hook: &str) -> Result<Self> {
        Self::with(hook, &["--loadbalance", "off"])
    }

    /// The same in a network that is there.
    pub fn of(network: Network, home: Home, hook: &str) -> Result<Self> {
        Self::start(network, home, hook, &["--loadbalance", "off"])
    }

    /// With these arguments of the daemon.
    pub fn with(hook: &str, arguments: &[&str]) -> Result<Self> {
        Self::start(Network::new()?, Home::shop()?, hook, arguments)
    }

    /// The same in a network that is there.
    pub fn start(network: Network, home: Home, hook: &str, arguments: &[&str]) -> Result<Self> {
        let daemon = Daemon::start_with(&network.node, &home, hook, arguments)?;
        Ok(Self {
            daemon,
            network,
            home,
        })
    }

    /// A name of the shop is answered in the kernel.
    pub fn by_kernel(&self) -> Result<()> {
        let query = Query::new("checkout.shop.svc.cluster.local", client::rtype::A);
        let (answer, by) = self.ask(network::dns(network::DNS_V4), &query)?;
        ensure!(client::summary(&answer)? == "NOERROR 10.96.20.20");
        ensure!(by == By::Kernel, "{}", self.daemon.log());
        Ok(())
    }

    /// Asks from the pod over UDP, and says who answered.
    pub fn ask(&self, server: SocketAddr, query: &Query) -> Result<(Vec<u8>, By)> {
        let before = self.daemon.counts()?;
        let answer = client::ask_udp(&self.network.pod, server, query)?;
        Ok((answer, self.who(before, query)?))
    }

    /// Who answered the one query since `before`.
    pub fn who(&self, before: Counts, query: &Query) -> Result<By> {
        let after = self.daemon.counts()?;
        let (kernel, socket) = (after.kernel - before.kernel, after.socket - before.socket);
        ensure!(
            kernel + socket == 1,
            "{query:?} was counted {kernel} times by the kernel and {socket} times by the socket"
        );
        Ok(if kernel == 1 { By::Kernel } else { By::Socket })
    }
}

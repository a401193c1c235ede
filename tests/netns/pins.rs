//! `--pin`: daemons come and go, and what is pinned answers on; until it is removed.

mod detach;
mod killed;
mod layout;
mod upgrade;

use std::{fs, process::Command, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::{
    client::{self, Query, rtype, summary},
    daemon::{self, Daemon, Home, listen},
    harness::Test,
    network::{DNS_V4, NODE_DEVICE, Network, dns},
    pins::Pins,
    window::Question,
};

pub fn tests() -> Vec<Test> {
    [
        upgrade::tests(),
        layout::tests(),
        killed::tests(),
        detach::tests(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const COREFILE: &str =
    ".:53 {\n    kubernetes cluster.local in-addr.arpa ip6.arpa {\n        ttl 5\n    }\n}\n";

/// A pod, its node, and a server on the node that answers what the kernel passes, as CoreDNS would.
pub struct World {
    // Dropped in this order.
    pub behind: Daemon,
    pub pins: Pins,
    _behind: Home,
    pub network: Arc<Network>,
}

impl World {
    pub fn new() -> Result<Self> {
        let (network, home) = (Arc::new(Network::new()?), Home::shop()?);
        let arguments = [listen(), vec!["--loadbalance".to_owned(), "off".to_owned()]].concat();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let behind = Daemon::spawn(home.serve(&network.node, &arguments)?, &home)?.ready()?;
        Ok(World {
            behind,
            pins: Pins::new(),
            _behind: home,
            network,
        })
    }

    /// Starts `hopzero accelerate --pin`, with these manifests.
    pub fn spawn(&self, home: &Home, more: &[&str]) -> Result<Daemon> {
        let corefile = home.path().join("Corefile");
        fs::write(&corefile, COREFILE)?;
        let (manifests, pins) = (home.manifests(), self.pins.argument());
        let (corefile, manifests) = (corefile.to_str(), manifests.to_str());
        let (corefile, manifests) = (corefile.context("a path")?, manifests.context("a path")?);
        let address = DNS_V4.to_string();
        let own = [
            "--manifests",
            manifests,
            "--conf",
            corefile,
            "--attach",
            NODE_DEVICE,
            "--answer-for",
            &address,
            "--pin",
            &pins,
        ];
        let arguments = [&own[..], more].concat();
        let command = home.command(&self.network.node, "accelerate", &arguments)?;
        Daemon::spawn(command, home)
    }

    /// The same, and waits until it answers.
    pub fn start(&self, home: &Home, more: &[&str]) -> Result<Daemon> {
        self.spawn(home, more)?.ready()
    }

    /// The addresses of a name.
    pub fn ask(&self, name: &str) -> Result<String> {
        let query = Query::new(name, rtype::A);
        summary(&client::ask_udp(&self.network.pod, dns(DNS_V4), &query)?)
    }

    /// A name of the shop is answered, in the kernel or not.
    pub fn is_right(&self, by_kernel: bool) -> Result<()> {
        let asked = || self.behind.counts();
        let before = asked()?.socket;
        let found = self.ask("checkout.shop.svc.cluster.local")?;
        ensure!(found == "NOERROR 10.96.20.20", "{found}");
        let passed = asked()?.socket - before;
        ensure!(
            (passed == 0) == by_kernel,
            "{passed} queries were passed, of one"
        );
        Ok(())
    }

    /// `hopzero detach` in the node; what it says, and how it ends.
    pub fn detach(&self, home: &Home, more: &[&str]) -> Result<(String, String)> {
        self.detach_at(home, &self.pins.argument(), more)
    }

    /// The same elsewhere.
    pub fn detach_at(&self, home: &Home, pins: &str, more: &[&str]) -> Result<(String, String)> {
        let mut command = Command::new(daemon::binary()?);
        command
            .args(["detach", "--pin", pins, "--control"])
            .arg(home.control())
            .args(more);
        self.network.node.enter(&mut command)?;
        let output = command.output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok((
            String::from_utf8_lossy(&said).into_owned(),
            daemon::ended(output.status),
        ))
    }
}

/// What the kernel answers, and what it passes: every fourth.
pub fn questions() -> Vec<Question> {
    [
        ("checkout.shop.svc.cluster.local", "NOERROR 10.96.20.20"),
        ("nothing.shop.svc.cluster.local", "NXDOMAIN"),
        ("checkout.shop.svc.cluster.local", "NOERROR 10.96.20.20"),
        ("example.com", "REFUSED"),
    ]
    .map(|(name, expected)| Question::new(&Query::new(name, rtype::A), expected))
    .to_vec()
}

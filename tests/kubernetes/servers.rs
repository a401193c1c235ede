//! `CoreDNS` and hopzero at one API server, under one Corefile, on one node. A pod asks hopzero through the kernel:
//!
//! ```text
//! node: API server ─┬─ CoreDNS   127.0.0.1:…   ←┐
//!                   └─ hopzero   127.0.0.1:53  ←┴ the test
//! pod ── pod0 ── programs ─ else → hopzero 10.96.0.10:53
//! ```

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::{
    beside::{
        comparison::Comparison,
        peer::{Client, Peer, Software},
        question::{Asked, Questions},
        reply::Seen,
    },
    client::rtype,
    daemon::{attach, counter},
    network::{DNS_V4, Network, dns},
};

/// How long it may take until a server has all objects.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// What `answered` in `hopzero stats` counts.
const ANSWERED: &str = "answered";
const PORT: u16 = 53;

/// A `kubernetes` directive, and where its servers find what they need.
pub struct Given<'a> {
    pub coredns: &'a Path,
    pub kubeconfig: PathBuf,
    pub upstream: String,
    pub zones: &'a str,
    pub options: &'a str,
    /// Lines behind the directive.
    pub behind: &'a str,
}

pub struct Servers {
    theirs: Peer,
    ours: Peer,
    client: Client,
    /// In the pod.
    pod: Client,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    CoreDns,
    Socket,
    /// Through the programs, which may pass to the socket.
    Kernel,
}

impl Way {
    /// A socket to ask from.
    pub fn socket(self, network: &Network) -> Result<UdpSocket> {
        if self == Way::Kernel {
            return network.pod.udp((Ipv4Addr::UNSPECIFIED, 0).into());
        }
        Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?)
    }
}

impl Servers {
    /// Starts both, and waits until they have all objects.
    pub fn start(network: &Network, given: &Given<'_>) -> Result<Self> {
        let Given {
            zones,
            options,
            behind,
            ..
        } = given;
        let folder = tempfile::tempdir()?;
        let corefile = format!(
            ".:{{$PORT}} {{\nerrors\nkubernetes {zones} {{\nkubeconfig {{$KUBECONFIG}} hopzero\n{options}\n}}\n{behind}\n}}\n"
        );
        fs::write(folder.path().join("Corefile"), corefile)?;
        let kubeconfig = given.kubeconfig.display().to_string();
        let variables = [("UPSTREAM", &*given.upstream), ("KUBECONFIG", &*kubeconfig)];
        let theirs = Software::CoreDns(given.coredns);
        let servers = Servers {
            theirs: Peer::start(theirs, folder.path(), &variables)?,
            ours: Peer::start_at(
                PORT,
                Software::Hopzero,
                folder.path(),
                &variables,
                &attach("tc"),
            )?,
            client: Client::of(Way::Socket.socket(network)?)?,
            pod: Client::of(Way::Kernel.socket(network)?)?,
        };
        for way in [Way::CoreDns, Way::Socket, Way::Kernel] {
            (servers.synchronised(way)).with_context(|| format!("{way:?}\n{}", servers.logs()))?;
        }
        Ok(servers)
    }

    pub fn ask(&self, way: Way, asked: &Asked) -> Result<Seen> {
        match way {
            Way::CoreDns => self.theirs.ask(&self.client, asked),
            Way::Socket => self.ours.ask(&self.client, asked),
            Way::Kernel => self.ours.ask_at(dns(DNS_V4), &self.pod, asked),
        }
    }

    /// The address to ask it at, from the pod for [`Way::Kernel`].
    pub fn address(&self, way: Way) -> SocketAddr {
        match way {
            Way::CoreDns => self.theirs.address(),
            Way::Socket => self.ours.address(),
            Way::Kernel => dns(DNS_V4),
        }
    }

    /// Asks all three the same; the programs see what comes over UDP.
    pub fn compare(
        &self,
        names: &str,
        questions: usize,
        comparison: &mut Comparison,
    ) -> Result<()> {
        for asked in Questions::new(names).take(questions) {
            let theirs = self.ask(Way::CoreDns, &asked)?;
            comparison.note(&asked, &theirs, &self.ask(Way::Socket, &asked)?);
            if !asked.is_over_tcp {
                comparison.note(&asked, &theirs, &self.ask(Way::Kernel, &asked)?);
            }
        }
        Ok(())
    }

    /// Answers of the programs until now.
    pub fn answered_by_kernel(&self) -> Result<u64> {
        Ok(counter(&self.ours.report()?, ANSWERED))
    }

    pub fn logs(&self) -> String {
        format!("ours:\n{}\ntheirs:\n{}", self.ours.log(), self.theirs.log())
    }

    /// Waits until it knows the zone, which it does not before it has all objects.
    fn synchronised(&self, way: Way) -> Result<()> {
        let begun = Instant::now();
        loop {
            let seen = self.ask(way, &Asked::plain("cluster.local", rtype::SOA))?;
            if seen.rcode == 0 {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "not synchronised: {seen}");
            thread::sleep(LOOK);
        }
    }
}

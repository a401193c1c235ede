//! R3 and R9: hopzero and `CoreDNS` at one real API server, with the same objects.
//!
//! ```text
//!  CPU 1: the client, the control plane             CPU 0: the server's side
//!  bursts ─── eth0 (pod) ═══ veth ═══ pod0 (node) ── hopzero at tcx, for 10.96.0.10
//!                                                 ── CoreDNS on a socket, at 10.244.0.1
//! ```
//!
//! R3 is in [`answers`]. Both run all the time. What `CoreDNS` is asked goes by hopzero's program, which passes it at once.
//!
//! R9: the resident set when all has been asked, and for hopzero its maps, as [`memory`] has it.
//! Clusters: `usual`, in which most endpoints are of services with an address, which need none of them here; the same with
//! the property `endpoint_pod_names`, for which every slice is wanted (`all`); and one where every service is headless.
//!
//! `CoreDNS` runs as in a pod, where it asks for protobuf; outside it would ask for JSON.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::{
    client::{Query, ask_udp, rtype, summary},
    network::{DNS_V4, NODE_V4, Network, dns},
};

use super::{
    answers,
    load::{self, Loads},
    memory::{self, Memory},
    objects::Shape,
    ours::{self, Ours},
    plane::Plane,
    proxy::Proxy,
    report,
};
use crate::{
    cpu::{self, CLIENT_CPU, SERVER_CPU},
    figures::{Figures, Target},
    servers::{
        Directory, burst, contents,
        daemon::{Daemon, Start},
        directory, steer,
    },
    world,
};

const R9: Target = Target::AtMost(0.5);
/// 10,000 services and 100,000 endpoints, nine of ten with an address.
const USUAL: Shape = Shape {
    cluster_ip: 9000,
    headless: 1000,
    endpoints: 10,
    headless_endpoints: 10,
};
/// The same, all headless but one.
const HEADLESS: Shape = Shape {
    cluster_ip: 1,
    headless: 9999,
    endpoints: 10,
    headless_endpoints: 10,
};
const COREDNS_PORT: u16 = 5302;
/// What is freed after a start is given back by then.
const REST: Duration = Duration::from_secs(5);
/// Answers that a server gives before its memory is looked at, so that it has met all that it may.
const WARM_SECONDS: u32 = 1;

/// The programs to compare with.
pub struct Programs<'a> {
    /// `CoreDNS`.
    pub coredns: &'a Path,
    /// The control plane.
    pub plane: &'a Path,
}

/// A cluster with both.
struct Cluster<'a> {
    network: &'a Network,
    directory: &'a Directory,
    plane: Plane,
    /// Their ways to the API server.
    ours_by: Proxy,
    theirs_by: Proxy,
}

/// Measures everything that needs a real API server.
pub fn measure(quick: bool, programs: &Programs<'_>, figures: &mut Figures) -> Result<()> {
    usual(quick, programs, figures)?;
    if quick {
        figures.skip("R9.headless", "memory, every service headless", "--quick");
        return Ok(());
    }
    headless(programs, figures)
}

fn usual(quick: bool, programs: &Programs<'_>, figures: &mut Figures) -> Result<()> {
    let (network, directory) = (Network::new()?, directory()?);
    steer(&network)?;
    let cluster = Cluster::start(&network, &directory, programs, &USUAL)?;
    let mut loads = Loads::default();

    let before = cluster.theirs_by.down();
    let coredns = cluster.coredns(programs, "")?;
    loads.list.coredns = cluster.theirs_by.down() - before;
    let before = cluster.ours_by.down();
    let hopzero = cluster.hopzero("")?;
    loads.list.hopzero = cluster.ours_by.down() - before;
    agree(&network)?;

    let (rounds, seconds) = if quick { (3, 1) } else { (7, 1) };
    let addresses = [dns(DNS_V4), (NODE_V4, COREDNS_PORT).into()];
    answers::measure(
        &network,
        addresses,
        USUAL.cluster_ip,
        (rounds, seconds),
        figures,
    )?;
    memory_of("R9", "options as they are", (&hopzero, &coredns), figures)?;
    let what = "CoreDNS, highest resident set since its start";
    figures.add(
        "R9.coredns.peak",
        what,
        "MB",
        Target::None,
        vec![memory::status(coredns.pid(), "VmHWM:")?],
    );

    load::changes(
        &cluster.plane,
        &network.node,
        &USUAL,
        (&cluster.ours_by, &cluster.theirs_by),
        &mut loads,
    )?;
    drop((hopzero, coredns));

    let before = cluster.theirs_by.down();
    let coredns = cluster.coredns(programs, "endpoint_pod_names")?;
    loads.list_all.coredns = cluster.theirs_by.down() - before;
    let before = cluster.ours_by.down();
    let hopzero = cluster.hopzero("endpoint_pod_names")?;
    loads.list_all.hopzero = cluster.ours_by.down() - before;
    warm(&network)?;
    memory_of(
        "R9.all",
        "every slice wanted (endpoint_pod_names)",
        (&hopzero, &coredns),
        figures,
    )?;
    drop((hopzero, coredns));

    load::lists(&cluster.plane, &network.node, &mut loads)?;
    report::report(&loads, &USUAL, figures);
    Ok(())
}

fn headless(programs: &Programs<'_>, figures: &mut Figures) -> Result<()> {
    let (network, directory) = (Network::new()?, directory()?);
    steer(&network)?;
    let cluster = Cluster::start(&network, &directory, programs, &HEADLESS)?;
    let coredns = cluster.coredns(programs, "")?;
    let hopzero = cluster.hopzero("")?;
    warm(&network)?;
    memory_of(
        "R9.headless",
        "every service headless",
        (&hopzero, &coredns),
        figures,
    )?;
    Ok(())
}

impl<'a> Cluster<'a> {
    fn start(
        network: &'a Network,
        directory: &'a Directory,
        programs: &Programs<'_>,
        shape: &Shape,
    ) -> Result<Self> {
        println!("\nstarting a control plane with 10,000 services and 100,000 endpoints …");
        // On both CPUs until it has them.
        let plane = Plane::start(programs.plane, &network.node, &directory.path)?;
        plane.fill(&network.node, shape)?;
        plane.pin(CLIENT_CPU)?;
        cpu::pin_this_thread(CLIENT_CPU)?;
        let way = || Proxy::start(&network.node, plane.server);
        let (ours_by, theirs_by) = (way()?, way()?);
        Ok(Self {
            network,
            directory,
            plane,
            ours_by,
            theirs_by,
        })
    }

    fn hopzero(&self, options: &str) -> Result<Ours> {
        let kubeconfig = self
            .plane
            .kubeconfig(self.ours_by.address, "hopzero.kubeconfig")?;
        Ours::start(self.network, &self.directory.path, &kubeconfig, options)
    }

    /// As in a pod: with a service account at the place where it looks for one, in mounts of its own.
    fn coredns(&self, programs: &Programs<'_>, options: &str) -> Result<Daemon> {
        let corefile = self.directory.path.join("coredns.Corefile");
        fs::write(&corefile, ours::corefile_of(COREDNS_PORT, options))?;
        let account: PathBuf = self.plane.service_account()?;
        let script = "set -e; account=/run/secrets/kubernetes.io/serviceaccount\n\
                      mount -t tmpfs tmpfs /run; mkdir -p $account; cp \"$1\"/* $account; shift; exec \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(account);
        command.arg(programs.coredns).arg("-conf").arg(&corefile);
        command.env(
            "KUBERNETES_SERVICE_HOST",
            self.theirs_by.address.ip().to_string(),
        );
        command.env(
            "KUBERNETES_SERVICE_PORT",
            self.theirs_by.address.port().to_string(),
        );
        let start = Start {
            label: "coredns",
            command,
            cpu: SERVER_CPU,
            address: (NODE_V4, COREDNS_PORT).into(),
            query: &Query::new(world::name40(0), rtype::A).bytes(),
        };
        start
            .run(self.network, &self.directory.path)?
            .context("cannot run CoreDNS")
    }
}

/// They give the same answers: else their costs could not be compared.
fn agree(network: &Network) -> Result<()> {
    for (name, qtype) in [
        (world::name40(7), rtype::A),
        (world::name40(7), rtype::AAAA),
        (contents::denied(7), rtype::A),
        (world::name40(USUAL.cluster_ip), rtype::A),
    ] {
        let query = Query::new(name, qtype);
        let ask = |address| -> Result<Vec<String>> {
            let answer = summary(&ask_udp(&network.pod, address, &query)?)?;
            // Addresses are rotated by one of them.
            let mut words: Vec<String> = answer.split(' ').map(str::to_owned).collect();
            words.sort();
            Ok(words)
        };
        let (ours, theirs) = (ask(dns(DNS_V4))?, ask((NODE_V4, COREDNS_PORT).into())?);
        ensure!(
            ours == theirs,
            "{query:?}: {ours:?}, and CoreDNS says {theirs:?}"
        );
    }
    Ok(())
}

fn warm(network: &Network) -> Result<()> {
    let queries = contents::queries(1);
    for address in [dns(DNS_V4), (NODE_V4, COREDNS_PORT).into()] {
        burst::run(network, address, &queries, WARM_SECONDS)?;
    }
    thread::sleep(REST);
    Ok(())
}

fn memory_of(
    name: &str,
    what: &str,
    (hopzero, coredns): (&Ours, &Daemon),
    figures: &mut Figures,
) -> Result<()> {
    let ours = Memory::of(hopzero.pid())?;
    let theirs = memory::status(coredns.pid(), "VmRSS:")?;
    let text = format!("hopzero's memory, maps included / CoreDNS's: {what}");
    figures.add(name, &text, "ratio", R9, vec![ours.sum() / theirs]);
    for (suffix, what, value) in [
        (
            "hopzero.resident",
            "hopzero's resident set without its maps",
            ours.resident,
        ),
        ("hopzero.maps", "hopzero's maps", ours.maps),
        ("coredns", "CoreDNS's resident set", theirs),
    ] {
        figures.add(
            &format!("{name}.{suffix}"),
            what,
            "MB",
            Target::None,
            vec![value],
        );
    }
    Ok(())
}

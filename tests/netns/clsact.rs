//! `--hook clsact`: filters without an owner, which a daemon removes when it ends, or the next one for it.

use std::process::Command;

use anyhow::{Result, ensure};
use aya::programs::tc::qdisc_add_clsact;
use hopzero_tests::{
    client::{Query, rtype, summary},
    daemon::{Home, ended},
    harness::Test,
    namespace::Namespace,
    network::{DNS_V4, NODE_DEVICE, Network, dns},
};

use crate::setup::{By, Setup};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("clsact::residue", residue),
        Test::new("clsact::left_by_a_killed_daemon", left_behind),
        Test::new("clsact::keeps_others_qdisc", keeps_others_qdisc),
        Test::new("clsact::answers", answers),
    ]
}

/// Filters at the node's end, both ways, as `tc` shows them.
pub fn filters(node: &Namespace) -> Result<String> {
    let mut shown = String::new();
    for direction in ["ingress", "egress"] {
        shown += &tc(node, &["filter", "show", "dev", NODE_DEVICE, direction])?;
    }
    Ok(shown)
}

fn qdiscs(node: &Namespace) -> Result<String> {
    tc(node, &["qdisc", "show", "dev", NODE_DEVICE])
}

fn tc(node: &Namespace, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("tc");
    command.args(arguments);
    node.enter(&mut command)?;
    Ok(String::from_utf8_lossy(&command.output()?.stdout).into_owned())
}

fn answers() -> Result<()> {
    let setup = Setup::new("clsact")?;
    let shown = filters(&setup.network.node)?;
    ensure!(
        shown.contains("hopzero_tc") && !shown.contains("hopzero_probe"),
        "{shown}"
    );
    for (name, qtype, expected) in [
        (
            "checkout.shop.svc.cluster.local",
            rtype::A,
            "NOERROR 10.96.20.20",
        ),
        ("nothing.shop.svc.cluster.local", rtype::A, "NXDOMAIN"),
    ] {
        let (answer, by) = setup.ask(dns(DNS_V4), &Query::new(name, qtype))?;
        let found = summary(&answer)?;
        ensure!(found == expected && by == By::Kernel, "{found} by {by:?}");
    }
    Ok(())
}

fn residue() -> Result<()> {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let setup = Setup::new("clsact")?;
        setup.by_kernel()?;
        ensure!(qdiscs(&setup.network.node)?.contains("clsact"));
        ensure!(ended(setup.daemon.stop(signal)?) == "exit 0");
        let (filters, qdiscs) = (filters(&setup.network.node)?, qdiscs(&setup.network.node)?);
        ensure!(filters.is_empty(), "{filters}");
        ensure!(!qdiscs.contains("clsact"), "{qdiscs}");
    }
    Ok(())
}

/// A filter without an owner stays, and passes; the next daemon removes it, in whatever mode it attaches.
fn left_behind() -> Result<()> {
    for next in ["clsact", "tc"] {
        let setup = Setup::new("clsact")?;
        setup.by_kernel()?;
        ensure!(ended(setup.daemon.stop(libc::SIGKILL)?) == "signal 9");
        let left = filters(&setup.network.node)?;
        ensure!(left.contains("hopzero_tc"), "{left}");
        let (network, home) = (setup.network, setup.home);
        let setup = Setup::of(network, home, next)?;
        let there = filters(&setup.network.node)?;
        let expected = usize::from(next == "clsact");
        ensure!(
            there.matches("0x687a hopzero_tc").count() == expected,
            "{there}"
        );
        ensure!(setup.daemon.log().contains("has left behind"));
        setup.by_kernel()?;
        ensure!(ended(setup.daemon.stop(libc::SIGTERM)?) == "exit 0");
        let (filters, qdiscs) = (filters(&setup.network.node)?, qdiscs(&setup.network.node)?);
        ensure!(
            filters.is_empty() && !qdiscs.contains("clsact"),
            "{filters} {qdiscs}"
        );
    }
    Ok(())
}

fn keeps_others_qdisc() -> Result<()> {
    let network = Network::new()?;
    network.node.within(|| Ok(qdisc_add_clsact(NODE_DEVICE)?))?;
    let setup = Setup::of(network, Home::shop()?, "clsact")?;
    setup.by_kernel()?;
    ensure!(ended(setup.daemon.stop(libc::SIGTERM)?) == "exit 0");
    let qdiscs = qdiscs(&setup.network.node)?;
    ensure!(
        qdiscs.contains("clsact"),
        "another's qdisc is gone: {qdiscs}"
    );
    Ok(())
}

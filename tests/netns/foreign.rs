//! Another agent's programs stay where they are.

use anyhow::{Result, ensure};
use hopzero::{
    kernel::{Hook, Kernel, Options},
    publisher::table::Capacity,
};
use hopzero_common::reason::Reason;
use hopzero_tests::{
    client::{Query, rtype},
    daemon::Home,
    daemon::{Daemon, attach, ended, listen},
    harness::Test,
    loaded::attached,
    network::{DNS_V4, NODE_DEVICE, Network, dns},
};

use crate::setup::{By, Setup};

/// Of each kind: many more than the packets by which neighbours look for each other.
const QUERIES: u64 = 50;

pub fn tests() -> Vec<Test> {
    let xdp = [
        ("generic", Hook::XdpGeneric, "xdp-generic"),
        ("native_before_generic", Hook::Xdp, "xdp-generic"),
        ("native", Hook::Xdp, "xdp"),
    ];
    let refused = xdp.map(|(name, foreign, ours)| {
        Test::new(format!("foreign::xdp_{name}"), move || {
            refused(foreign, ours)
        })
    });
    let beside = [
        ("tcx", Hook::Tc, "tc"),
        ("xdp_before_tcx", Hook::XdpGeneric, "tc"),
        ("tcx_before_xdp", Hook::Tc, "xdp-generic"),
        ("xdp_before_auto", Hook::XdpGeneric, "auto"),
    ];
    let beside = beside.map(|(name, foreign, ours)| {
        Test::new(format!("foreign::{name}"), move || beside_it(foreign, ours))
    });
    refused.into_iter().chain(beside).collect()
}

/// Our own programs, loaded by this process and told to answer nothing, stand in for another agent's.
fn foreign(network: &Network, hook: Hook) -> Result<(Kernel, u32)> {
    let options = Options {
        devices: vec![NODE_DEVICE.to_owned()],
        hook,
        ..Options::default()
    };
    let kernel = network.node.within(|| {
        let mut kernel = Kernel::load(&options, Capacity::new(16, 64))?;
        kernel.attach(&options)?;
        Ok(kernel)
    })?;
    let programs = attached(&network.node, NODE_DEVICE)?;
    ensure!(programs.len() == 1, "not attached: {programs:?}");
    Ok((kernel, programs[0]))
}

/// With XDP there is one place for each mode: ours refuses, and says what else there is.
fn refused(hook: Hook, ours: &str) -> Result<()> {
    let network = Network::new()?;
    let home = Home::shop()?;
    let (_kernel, program) = foreign(&network, hook)?;
    let arguments = [listen(), attach(ours)].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut daemon = Daemon::spawn(home.serve(&network.node, &arguments)?, &home)?;
    let status = daemon.wait()?;
    let log = daemon.log();
    ensure!(ended(status) == "exit 1", "{}: {log}", ended(status));
    let last = log.lines().last().unwrap_or_default();
    println!("{last}");
    for words in [
        format!("cannot attach to {NODE_DEVICE} with {ours}: ").as_str(),
        "XDP program is attached",
        "left alone",
        "use --hook tc",
    ] {
        ensure!(last.contains(words), "no {words:?} in {last:?}");
    }
    let left = attached(&network.node, NODE_DEVICE)?;
    ensure!(left == [program], "on the device: {left:?}, not {program}");
    ensure!(
        !home.control().exists(),
        "the control socket is still there"
    );
    Ok(())
}

/// Where there is room for both, ours runs first, passes what it does not answer to the other, and leaves it.
fn beside_it(hook: Hook, ours: &str) -> Result<()> {
    let network = Network::new()?;
    let home = Home::shop()?;
    let (kernel, program) = foreign(&network, hook)?;
    let daemon = Daemon::start(&network.node, &home, ours)?;
    let setup = Setup {
        daemon,
        network,
        home,
    };
    let both = attached(&setup.network.node, NODE_DEVICE)?;
    ensure!(both.len() == 2 && both.contains(&program), "{both:?}");

    let seen = || -> Result<u64> {
        let counters = kernel.counters().read()?.by_reason();
        let passed = counters
            .iter()
            .find(|(reason, _)| *reason == Reason::NotAnswering);
        Ok(passed.map_or(0, |(_, packets)| *packets))
    };
    // XDP comes before tcx, and of two tcx programs ours does.
    let first = hook == Hook::Tc;
    for (qtype, expected) in [(rtype::A, By::Kernel), (rtype::SOA, By::Socket)] {
        let name = match expected {
            By::Kernel => "checkout.shop.svc.cluster.local",
            By::Socket => "cluster.local",
        };
        let query = Query::new(name, qtype);
        let before = seen()?;
        for _ in 0..QUERIES {
            let (_, by) = setup.ask(dns(DNS_V4), &query)?;
            ensure!(by == expected, "{query:?} was answered by the {by:?}");
        }
        let moved = seen()? - before;
        let passed_on = !first || expected == By::Socket;
        ensure!(
            (moved >= QUERIES) == passed_on,
            "{query:?}: the other program saw {moved} packets"
        );
    }

    let status = setup.daemon.stop(libc::SIGTERM)?;
    ensure!(ended(status) == "exit 0");
    let left = attached(&setup.network.node, NODE_DEVICE)?;
    ensure!(left == [program], "on the device: {left:?}, not {program}");
    Ok(())
}

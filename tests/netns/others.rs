//! What another agent has put at a device is named and left alone; the self-test tells whether ours is reached.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf,
    programs::{
        LinkOrder, SchedClassifier, TcAttachType, Xdp, XdpMode,
        tc::{NlOptions, TcAttachOptions, qdisc_add_clsact},
    },
};
use hopzero_tests::{
    daemon::{Daemon, Home, attach, ended, listen},
    harness::Test,
    loaded::attached,
    namespace::Namespace,
    network::{NODE_DEVICE, Network},
};
use serde_json::Value;

use crate::{
    clsact::filters,
    pods::{active, device},
    selftest::state,
    setup::{Setup, wait_for},
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("selftest::foreign_tcx_behind", foreign_tcx_behind),
        Test::new("selftest::foreign_tcx_in_front", foreign_tcx_in_front),
        Test::new(
            "selftest::foreign_tcx_that_goes_on",
            foreign_tcx_that_goes_on,
        ),
        Test::new("selftest::foreign_clsact_behind_tcx", || {
            foreign_clsact("tc")
        }),
        Test::new("selftest::foreign_clsact_beside", || {
            foreign_clsact("clsact")
        }),
        Test::new("selftest::foreign_clsact_in_front", foreign_clsact_in_front),
        Test::new("selftest::foreign_xdp", foreign_xdp),
    ]
}

/// Another agent's programs.
pub struct Foreign {
    programs: Ebpf,
}

impl Foreign {
    pub fn new() -> Result<Self> {
        let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/hopzero-foreign.o");
        let programs = Ebpf::load_file(object)?;
        Ok(Foreign { programs })
    }

    /// At the ingress of the node's end; its number.
    pub fn tc(&mut self, node: &Namespace, name: &str, options: TcAttachOptions) -> Result<u32> {
        let program = self.programs.program_mut(name).context("no program")?;
        let program: &mut SchedClassifier = program.try_into()?;
        program.load()?;
        let id = program.info()?.id();
        node.within(|| {
            program.attach_with_options(NODE_DEVICE, TcAttachType::Ingress, options)?;
            Ok(())
        })?;
        Ok(id)
    }

    pub fn xdp(&mut self, node: &Namespace) -> Result<u32> {
        let program = self
            .programs
            .program_mut("foreign_xdp")
            .context("no program")?;
        let program: &mut Xdp = program.try_into()?;
        program.load()?;
        let id = program.info()?.id();
        node.within(|| {
            program.attach(NODE_DEVICE, XdpMode::Skb)?;
            Ok(())
        })?;
        Ok(id)
    }
}

/// Programs of tcx are seen with `CAP_SYS_ADMIN`, which a daemon gives up.
const UNCONFINED: [&str; 3] = ["--loadbalance", "off", "--no-sandbox"];

fn says(value: &Value, words: &str) -> bool {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(Value::as_str)
        .any(|text| text.contains(words))
}

/// It was there first; ours goes in front of it.
fn foreign_tcx_behind() -> Result<()> {
    let network = Network::new()?;
    let mut foreign = Foreign::new()?;
    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
    let id = foreign.tc(&network.node, "foreign_ends", options)?;
    let setup = Setup::start(network, Home::shop()?, "auto", &UNCONFINED)?;
    let device = state(&setup.daemon, NODE_DEVICE)?;
    let name = format!("tcx foreign_ends (id {id})");
    ensure!(
        device["active"] == true && device["mode"] == "tc" && says(&device["others"], &name),
        "{device}"
    );
    setup.by_kernel()?;
    let there = attached(&setup.network.node, NODE_DEVICE)?;
    ensure!(there.len() == 2 && there[1] == id, "{there:?}");
    ensure!(ended(setup.daemon.stop(libc::SIGTERM)?) == "exit 0");
    ensure!(attached(&setup.network.node, NODE_DEVICE)? == [id]);
    Ok(())
}

/// It comes later, in front of ours, and takes the queries: the next mode is taken.
fn foreign_tcx_in_front() -> Result<()> {
    let setup = Setup::start(Network::new()?, Home::shop()?, "auto", &UNCONFINED)?;
    setup.by_kernel()?;
    let mut foreign = Foreign::new()?;
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = foreign.tc(&setup.network.node, "foreign_ends", options)?;
    let asked = setup.daemon.counts()?.socket;
    let report = wait_for(&setup.daemon, |report| {
        let kernel = report.kernel.clone().unwrap_or_default();
        let device = device(&kernel, NODE_DEVICE);
        device["active"] == true && device["mode"] == "xdp-generic"
    })?;
    let device = device(&report.kernel.unwrap_or_default(), NODE_DEVICE);
    // The test's query came to the stack, and no further.
    ensure!(
        setup.daemon.counts()?.socket == asked,
        "the test has asked the socket"
    );
    let name = format!("tcx foreign_ends (id {id})");
    ensure!(
        says(&device["refused"], &name) && says(&device["refused"], "no answer came back"),
        "{device}"
    );
    setup.by_kernel()?;
    let there = attached(&setup.network.node, NODE_DEVICE)?;
    ensure!(there.len() == 2 && there[0] == id, "{there:?}");
    let log = setup.daemon.log();
    ensure!(log.contains(&name), "{log}");
    Ok(())
}

/// It is in front of ours, and lets it decide: nothing is in the way.
fn foreign_tcx_that_goes_on() -> Result<()> {
    let setup = Setup::of(Network::new()?, Home::shop()?, "auto")?;
    let mut foreign = Foreign::new()?;
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    foreign.tc(&setup.network.node, "foreign_goes_on", options)?;
    // Longer than it takes until it is tested again.
    std::thread::sleep(Duration::from_secs(12));
    let device = state(&setup.daemon, NODE_DEVICE)?;
    ensure!(
        device["active"] == true && device["mode"] == "tc",
        "{device}"
    );
    setup.by_kernel()
}

fn filter(priority: u16) -> TcAttachOptions {
    TcAttachOptions::Netlink(NlOptions {
        priority,
        ..NlOptions::default()
    })
}

fn foreign_clsact(hook: &'static str) -> Result<()> {
    let network = Network::new()?;
    network.node.within(|| Ok(qdisc_add_clsact(NODE_DEVICE)?))?;
    let mut foreign = Foreign::new()?;
    let id = foreign.tc(&network.node, "foreign_ends", filter(1))?;
    let setup = Setup::of(network, Home::shop()?, hook)?;
    let device = state(&setup.daemon, NODE_DEVICE)?;
    let name = format!("clsact foreign_ends (id {id})");
    ensure!(
        device["active"] == true && device["mode"] == hook && says(&device["others"], &name),
        "{device}\n{}",
        setup.daemon.log()
    );
    setup.by_kernel()?;
    ensure!(ended(setup.daemon.stop(libc::SIGTERM)?) == "exit 0");
    let left = filters(&setup.network.node)?;
    ensure!(
        left.contains("foreign_ends") && !left.contains("hopzero"),
        "{left}"
    );
    Ok(())
}

/// A filter in front of ours takes everything: the next mode is taken, and the filter stays.
fn foreign_clsact_in_front() -> Result<()> {
    let setup = Setup::of(Network::new()?, Home::shop()?, "clsact")?;
    setup.by_kernel()?;
    let mut foreign = Foreign::new()?;
    // The newest of one priority is the first.
    let id = foreign.tc(&setup.network.node, "foreign_ends", filter(1))?;
    let report = wait_for(&setup.daemon, |report| {
        let kernel = report.kernel.clone().unwrap_or_default();
        says(
            &device(&kernel, NODE_DEVICE)["refused"],
            &format!("clsact foreign_ends (id {id})"),
        )
    })?;
    // It was asked for this mode alone: nothing else is tried, and nothing of ours is left there.
    let device = device(&report.kernel.unwrap_or_default(), NODE_DEVICE);
    ensure!(device["active"] == false, "{device}");
    let left = filters(&setup.network.node)?;
    ensure!(left.contains("foreign_ends"), "{left}");
    // When it has gone, ours is back.
    drop(foreign);
    active(&setup.daemon, NODE_DEVICE)?;
    setup.by_kernel()
}

fn foreign_xdp() -> Result<()> {
    let network = Network::new()?;
    let mut foreign = Foreign::new()?;
    let id = foreign.xdp(&network.node)?;
    let name = format!("xdp-generic id {id}");
    let home = Home::shop()?;
    let arguments = [listen(), attach("xdp-generic")].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut daemon = Daemon::spawn(home.serve(&network.node, &arguments)?, &home)?;
    ensure!(ended(daemon.wait()?) == "exit 1");
    let log = daemon.log();
    ensure!(log.contains(&name), "no {name:?} in {log}");
    let setup = Setup::of(network, home, "auto")?;
    let device = state(&setup.daemon, NODE_DEVICE)?;
    ensure!(
        device["active"] == true && device["mode"] == "tc" && says(&device["others"], &name),
        "{device}"
    );
    setup.by_kernel()?;
    ensure!(ended(setup.daemon.stop(libc::SIGTERM)?) == "exit 0");
    ensure!(attached(&setup.network.node, NODE_DEVICE)? == [id]);
    Ok(())
}

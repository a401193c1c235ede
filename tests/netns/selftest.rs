//! A device is active when a query that was sent through it has come back; what stands in the way is named and left alone.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf,
    programs::{
        LinkOrder, SchedClassifier, TcAttachType, Xdp, XdpMode,
        tc::{NlOptions, TcAttachOptions, qdisc_add_clsact},
    },
};
use hopzero_tests::{
    client::{self, Query, rtype, summary},
    daemon::{Daemon, Home, attach, ended, listen},
    harness::Test,
    loaded::attached,
    namespace::Namespace,
    network::{DNS_V4, DNS_V6, NODE_DEVICE, Network, POD_DEVICE, dns},
    node::Node,
};
use serde_json::Value;

use crate::{
    pods::{self, active, device, is_by_kernel},
    refusals,
    setup::{By, Setup, wait_for},
};

/// All that work on a veth.
const HOOKS: [&str; 3] = ["tc", "clsact", "xdp-generic"];

pub fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for hook in HOOKS {
        let name = |what: &str| format!("selftest::{what}::{hook}");
        tests.push(Test::new(name("comes_back"), move || comes_back(hook)));
        tests.push(Test::new(name("down"), move || down(hook)));
        tests.push(Test::new(name("pods"), move || of_pods(hook)));
        tests.push(Test::new(name("fewest_capabilities"), move || {
            fewest_capabilities(hook)
        }));
    }
    for (what, hook) in [
        ("tc", "tc"),
        ("clsact", "clsact"),
        ("auto", "auto"),
        ("xdp_generic", "xdp-generic"),
    ] {
        tests.push(Test::new(
            format!("selftest::pod_sees_nothing::{what}"),
            move || pod_sees_nothing(hook),
        ));
    }
    tests.extend([
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
        Test::new("clsact::residue", residue),
        Test::new("clsact::left_by_a_killed_daemon", left_behind),
        Test::new("clsact::keeps_others_qdisc", keeps_others_qdisc),
        Test::new("clsact::answers", answers),
    ]);
    tests
}

fn state(daemon: &Daemon, name: &str) -> Result<Value> {
    Ok(device(&daemon.report()?.kernel.unwrap_or_default(), name))
}

fn comes_back(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    let device = state(&setup.daemon, NODE_DEVICE)?;
    ensure!(
        device["active"] == true && device["mode"] == hook,
        "{device}"
    );
    let query = Query::new("checkout.shop.svc.cluster.local", rtype::A);
    for address in [DNS_V4, DNS_V6] {
        let (_, by) = setup.ask(dns(address), &query)?;
        ensure!(by == By::Kernel);
    }
    // Over IPv6 alone.
    let network = Network::new()?;
    let home = Home::shop()?;
    let v6 = DNS_V6.to_string();
    let listen = listen();
    let mut arguments: Vec<&str> = listen.iter().map(String::as_str).collect();
    arguments.extend(["--attach", NODE_DEVICE, "--hook", hook, "--answer-for", &v6]);
    let daemon = Daemon::spawn(home.serve(&network.node, &arguments)?, &home)?.ready()?;
    let device = state(&daemon, NODE_DEVICE)?;
    ensure!(device["active"] == true, "{device}");
    Ok(())
}

fn down(hook: &'static str) -> Result<()> {
    let node = Node::new()?;
    let home = Home::shop()?;
    let daemon = pods::start(&node, &home, "pods", &["--hook", hook])?;
    let pod = node.pod(1)?;
    active(&daemon, &pod.device)?;
    let place = node.place()?;
    node.namespace.ip_batch(&format!(
        "link add down0 type veth peer name eth0 netns {}\n",
        place.name()
    ))?;
    wait_for(&daemon, |report| {
        let kernel = report.kernel.clone().unwrap_or_default();
        device(&kernel, "down0")["untested"] == "the device is down, or its other end is"
    })?;
    ensure!(state(&daemon, "down0")?["active"] == false);
    node.namespace.ip_batch("link set down0 up\n")?;
    place.ip_batch("link set eth0 up\n")?;
    active(&daemon, "down0")?;
    Ok(())
}

fn of_pods(hook: &'static str) -> Result<()> {
    let node = Node::new()?;
    node.bridge("cni0")?;
    let home = Home::shop()?;
    let daemon = pods::start(&node, &home, "pods", &["--hook", hook])?;
    let pods = [node.pod(1)?, node.pod(2)?];
    for pod in &pods {
        let device = active(&daemon, &pod.device)?;
        ensure!(device["mode"] == hook, "{device}");
        ensure!(is_by_kernel(&daemon, pod)?);
    }
    Ok(())
}

/// Devices are followed, attached to and tested, and others' programs looked for, without being root.
fn fewest_capabilities(hook: &'static str) -> Result<()> {
    let node = Node::new()?;
    let home = Home::shop()?;
    let mut command = pods::command(&node, &home, "pods", &["--hook", hook])?;
    refusals::limit(&mut command, refusals::NEEDED);
    let daemon = Daemon::spawn(command, &home)?.ready()?;
    let pod = node.pod(1)?;
    let device = active(&daemon, &pod.device)?;
    ensure!(device["mode"] == hook, "{device}");
    ensure!(is_by_kernel(&daemon, &pod)?);
    Ok(())
}

/// Packets that the pod's end has got.
fn received(pod: &Namespace) -> Result<u64> {
    let link = pod.exec(&["ip", "-j", "-s", "link", "show", POD_DEVICE])?;
    let link: Value = serde_json::from_str(&link)?;
    let packets = &link[0]["stats64"]["rx"]["packets"];
    packets.as_u64().context("no counter")
}

/// With tc the test's answer is taken at the device; by XDP it leaves, addressed to nobody.
fn pod_sees_nothing(hook: &'static str) -> Result<()> {
    // Without IPv6 nobody looks for anybody by himself.
    let node = Node::new()?;
    let pod = node.pod(1)?;
    for namespace in [&node.namespace, &pod.namespace] {
        namespace.exec(&["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"])?;
    }
    let home = Home::shop()?;
    let start = || pods::start(&node, &home, &pod.device, &["--hook", hook]);
    // Neighbours have found each other by then.
    let query = Query::new("checkout.shop.svc.cluster.local", rtype::A);
    let daemon = start()?;
    client::ask_udp(&pod.namespace, dns(DNS_V4), &query)?;
    ensure!(daemon.stop(libc::SIGTERM)?.success());
    let before = received(&pod.namespace)?;
    let daemon = start()?;
    let device = state(&daemon, &pod.device)?;
    ensure!(device["active"] == true, "{device}");
    let seen = received(&pod.namespace)? - before;
    let expected = u64::from(hook == "xdp-generic");
    ensure!(seen == expected, "the pod's device has got {seen} packets");
    Ok(())
}

/// Another agent's programs.
struct Foreign {
    programs: Ebpf,
}

impl Foreign {
    fn new() -> Result<Self> {
        let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/hopzero-foreign.o");
        let programs = Ebpf::load_file(object)?;
        Ok(Foreign { programs })
    }

    /// At the ingress of the node's end; its number.
    fn tc(&mut self, node: &Namespace, name: &str, options: TcAttachOptions) -> Result<u32> {
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

    fn xdp(&mut self, node: &Namespace) -> Result<u32> {
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

fn says(value: &Value, words: &str) -> bool {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(Value::as_str)
        .any(|text| text.contains(words))
}

fn started(network: Network, home: Home, hook: &str) -> Result<Setup> {
    let daemon = Daemon::start_with(&network.node, &home, hook, &["--loadbalance", "off"])?;
    Ok(Setup {
        daemon,
        network,
        home,
    })
}

fn by_kernel(setup: &Setup) -> Result<()> {
    let query = Query::new("checkout.shop.svc.cluster.local", rtype::A);
    let (answer, by) = setup.ask(dns(DNS_V4), &query)?;
    ensure!(summary(&answer)? == "NOERROR 10.96.20.20");
    ensure!(by == By::Kernel, "{}", setup.daemon.log());
    Ok(())
}

/// It was there first; ours goes in front of it.
fn foreign_tcx_behind() -> Result<()> {
    let network = Network::new()?;
    let mut foreign = Foreign::new()?;
    let options = TcAttachOptions::TcxOrder(LinkOrder::default());
    let id = foreign.tc(&network.node, "foreign_ends", options)?;
    let setup = started(network, Home::shop()?, "auto")?;
    let device = state(&setup.daemon, NODE_DEVICE)?;
    let name = format!("tcx foreign_ends (id {id})");
    ensure!(
        device["active"] == true && device["mode"] == "tc" && says(&device["others"], &name),
        "{device}"
    );
    by_kernel(&setup)?;
    let there = attached(&setup.network.node, NODE_DEVICE)?;
    ensure!(there.len() == 2 && there[1] == id, "{there:?}");
    ensure!(ended(setup.daemon.stop(libc::SIGTERM)?) == "exit 0");
    ensure!(attached(&setup.network.node, NODE_DEVICE)? == [id]);
    Ok(())
}

/// It comes later, in front of ours, and takes the queries: the next mode is taken.
fn foreign_tcx_in_front() -> Result<()> {
    let setup = started(Network::new()?, Home::shop()?, "auto")?;
    by_kernel(&setup)?;
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
    by_kernel(&setup)?;
    let there = attached(&setup.network.node, NODE_DEVICE)?;
    ensure!(there.len() == 2 && there[0] == id, "{there:?}");
    let log = setup.daemon.log();
    ensure!(log.contains(&name), "{log}");
    Ok(())
}

/// It is in front of ours, and lets it decide: nothing is in the way.
fn foreign_tcx_that_goes_on() -> Result<()> {
    let setup = started(Network::new()?, Home::shop()?, "auto")?;
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
    by_kernel(&setup)
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
    let setup = started(network, Home::shop()?, hook)?;
    let device = state(&setup.daemon, NODE_DEVICE)?;
    let name = format!("clsact foreign_ends (id {id})");
    ensure!(
        device["active"] == true && device["mode"] == hook && says(&device["others"], &name),
        "{device}\n{}",
        setup.daemon.log()
    );
    by_kernel(&setup)?;
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
    let setup = started(Network::new()?, Home::shop()?, "clsact")?;
    by_kernel(&setup)?;
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
    by_kernel(&setup)
}

fn foreign_xdp() -> Result<()> {
    let network = Network::new()?;
    let mut foreign = Foreign::new()?;
    let id = foreign.xdp(&network.node)?;
    let name = format!("xdp-generic foreign_xdp (id {id})");
    let home = Home::shop()?;
    let arguments = [listen(), attach("xdp-generic")].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut daemon = Daemon::spawn(home.serve(&network.node, &arguments)?, &home)?;
    ensure!(ended(daemon.wait()?) == "exit 1");
    let log = daemon.log();
    ensure!(log.contains(&name), "no {name:?} in {log}");
    let setup = started(network, home, "auto")?;
    let device = state(&setup.daemon, NODE_DEVICE)?;
    ensure!(
        device["active"] == true && device["mode"] == "tc" && says(&device["others"], &name),
        "{device}"
    );
    by_kernel(&setup)?;
    ensure!(ended(setup.daemon.stop(libc::SIGTERM)?) == "exit 0");
    ensure!(attached(&setup.network.node, NODE_DEVICE)? == [id]);
    Ok(())
}

/// Filters at the node's end, both ways, as `tc` shows them.
fn filters(node: &Namespace) -> Result<String> {
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
        by_kernel(&setup)?;
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
        by_kernel(&setup)?;
        ensure!(ended(setup.daemon.stop(libc::SIGKILL)?) == "signal 9");
        let left = filters(&setup.network.node)?;
        ensure!(left.contains("hopzero_tc"), "{left}");
        let (network, home) = (setup.network, setup.home);
        let setup = started(network, home, next)?;
        let there = filters(&setup.network.node)?;
        let expected = usize::from(next == "clsact");
        ensure!(
            there.matches("0x687a hopzero_tc").count() == expected,
            "{there}"
        );
        ensure!(setup.daemon.log().contains("has left behind"));
        by_kernel(&setup)?;
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
    let setup = started(network, Home::shop()?, "clsact")?;
    by_kernel(&setup)?;
    ensure!(ended(setup.daemon.stop(libc::SIGTERM)?) == "exit 0");
    let qdiscs = qdiscs(&setup.network.node)?;
    ensure!(
        qdiscs.contains("clsact"),
        "another's qdisc is gone: {qdiscs}"
    );
    Ok(())
}

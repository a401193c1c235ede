//! A device is active when a query that was sent through it has come back.

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::{
    client::{self, Query, rtype},
    daemon::{Daemon, Home, listen},
    harness::Test,
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
    tests
}

/// What is said of a device.
pub fn state(daemon: &Daemon, name: &str) -> Result<Value> {
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

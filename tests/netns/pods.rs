//! `--attach pods`: the node's veths as they come and go.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use hopzero_tests::{
    client::{Client, Query, ask_udp, rtype, summary},
    daemon::{Daemon, Home},
    harness::Test,
    loaded::{Loaded, attached},
    network::{DNS_V4, dns},
    node::{Node, Pod},
};
use serde_json::Value;

use crate::setup::wait_for;

/// From the veth's creation to the program at it.
const COVERED_WITHIN: Duration = Duration::from_millis(200);
const COVERED_MAX: Duration = Duration::from_secs(5);
/// Pods whose coverage is timed.
const PODS: u8 = 9;
/// Veths that come while the daemon does not look, and how many of them stay: their events do not fit a socket's
/// default buffer, 208 KiB.
const UNSEEN: usize = 400;
const STAY: usize = 12;

const NAME: &str = "checkout.shop.svc.cluster.local";
const ANSWER: &str = "NOERROR 10.96.20.20";

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("pods::come_and_go", come_and_go),
        Test::new("pods::ports_of_a_bridge", ports_of_a_bridge),
        Test::new("pods::selected", selected),
        Test::new("pods::nothing_is_missed", nothing_is_missed),
        Test::new("pods::there_before", there_before),
        Test::new("pods::leaves_a_bridge", leaves_a_bridge),
    ]
}

/// A daemon on the node, for the pods that `--attach` says.
pub fn start(node: &Node, home: &Home, attach: &str, more: &[&str]) -> Result<Daemon> {
    Daemon::spawn(command(node, home, attach, more)?, home)?.ready()
}

/// The same, not started yet.
pub fn command(node: &Node, home: &Home, attach: &str, more: &[&str]) -> Result<Command> {
    let (listen, answer_for) = (dns(DNS_V4).to_string(), DNS_V4.to_string());
    let own = [
        "--listen",
        &listen,
        "--attach",
        attach,
        "--answer-for",
        &answer_for,
        "--loadbalance",
        "off",
    ];
    let arguments = [&own[..], more].concat();
    home.serve(&node.namespace, &arguments)
}

/// What is said of a device.
pub fn device(report: &Value, name: &str) -> Value {
    let devices = report["devices"].as_array().cloned().unwrap_or_default();
    let mut devices = devices.into_iter();
    devices
        .find(|device| device["device"] == name)
        .unwrap_or_default()
}

fn devices(report: &hopzero::control::Report) -> BTreeSet<String> {
    let kernel = report.kernel.as_ref();
    let devices = kernel.and_then(|kernel| kernel["devices"].as_array());
    let devices = devices.into_iter().flatten();
    devices
        .filter_map(|device| device["device"].as_str().map(str::to_owned))
        .collect()
}

/// Waits until a query that was sent through the device has come back.
pub fn active(daemon: &Daemon, name: &str) -> Result<Value> {
    let report = wait_for(daemon, |report| {
        let kernel = report.kernel.clone().unwrap_or_default();
        device(&kernel, name)["active"] == true
    })?;
    Ok(device(&report.kernel.unwrap_or_default(), name))
}

/// Asks from a pod, and says whether the kernel has answered.
pub fn is_by_kernel(daemon: &Daemon, pod: &Pod) -> Result<bool> {
    let query = Query::new(NAME, rtype::A);
    let before = daemon.counts()?;
    let found = summary(&ask_udp(&pod.namespace, dns(DNS_V4), &query)?)?;
    ensure!(found == ANSWER, "{found} instead of {ANSWER}");
    let after = daemon.counts()?;
    ensure!(
        after.socket - before.socket + (after.kernel - before.kernel).min(1) == 1,
        "{before:?} {after:?}"
    );
    Ok(after.socket == before.socket)
}

fn come_and_go() -> Result<()> {
    let node = Node::new()?;
    let home = Home::shop()?;
    let daemon = start(&node, &home, "pods", &[])?;
    ensure!(devices(&daemon.report()?).is_empty(), "{}", daemon.log());
    let mut times = Vec::new();
    let mut pods = Vec::new();
    for number in 1..=PODS {
        let place = node.place()?;
        let created = Instant::now();
        let pod = node.connect(place, number)?;
        let is_covered = AtomicBool::new(false);
        let covered_after = thread::scope(|scope| {
            // Answered from its first query on, by whomever.
            let asking = scope.spawn(|| {
                let client = Client::new(&pod.namespace, dns(DNS_V4))?;
                let query = Query::new(NAME, rtype::A).bytes();
                loop {
                    let is_last = is_covered.load(Ordering::Relaxed);
                    let found = summary(&client.ask(&query)?)?;
                    ensure!(found == ANSWER, "{found} instead of {ANSWER}");
                    if is_last {
                        return Ok(());
                    }
                }
            });
            let mut covered = attached(&node.namespace, &pod.device);
            while covered.as_ref().is_ok_and(Vec::is_empty) && created.elapsed() < COVERED_MAX {
                thread::sleep(Duration::from_millis(1));
                covered = attached(&node.namespace, &pod.device);
            }
            let covered_after = created.elapsed();
            is_covered.store(true, Ordering::Relaxed);
            asking.join().map_err(|_| anyhow!("it panicked"))??;
            ensure!(!covered?.is_empty(), "not covered");
            Ok(covered_after)
        })?;
        times.push(covered_after);
        pods.push(pod);
    }
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "a pod is covered after {:.0} ms (median of {PODS}; at most {:.0} ms)",
        median.as_secs_f64() * 1e3,
        worst.as_secs_f64() * 1e3
    );
    ensure!(median < COVERED_WITHIN, "{times:?}");
    for pod in &pods {
        let device = active(&daemon, &pod.device)?;
        ensure!(device["mode"] == "tc", "{device}");
        ensure!(is_by_kernel(&daemon, pod)?, "the socket has answered");
    }
    let links = Loaded::of(&daemon.programs()?)?.links.len();
    ensure!(links == usize::from(PODS), "{links} links");

    pods.truncate(2);
    let left: BTreeSet<String> = pods.iter().map(|pod| pod.device.clone()).collect();
    wait_for(&daemon, |report| devices(report) == left)?;
    let links = Loaded::of(&daemon.programs()?)?.links.len();
    ensure!(links == 2, "{links} links for {left:?}");
    // The same name again is another device.
    let again = node.pod(PODS)?;
    active(&daemon, &again.device)?;
    ensure!(is_by_kernel(&daemon, &again)?);
    Ok(())
}

fn there_before() -> Result<()> {
    let node = Node::new()?;
    let home = Home::shop()?;
    let pods = [node.pod(1)?, node.pod(2)?];
    let daemon = start(&node, &home, "pods", &[])?;
    for pod in &pods {
        active(&daemon, &pod.device)?;
        ensure!(is_by_kernel(&daemon, pod)?);
    }
    Ok(())
}

/// What a pod sends through a bridge is addressed to the bridge, and not to the port at which it comes in.
fn ports_of_a_bridge() -> Result<()> {
    let node = Node::new()?;
    node.bridge("cni0")?;
    node.bridge("other0")?;
    let home = Home::shop()?;
    let daemon = start(&node, &home, "pods:flannel", &[])?;
    let pods = [node.port("cni0", 2)?, node.port("cni0", 3)?];
    let other = node.port("other0", 4)?;
    for pod in &pods {
        active(&daemon, &pod.device)?;
        ensure!(is_by_kernel(&daemon, pod)?, "{}", daemon.log());
    }
    ensure!(!devices(&daemon.report()?).contains(&other.device));
    // The bridge gets another address.
    node.namespace
        .ip_batch("link set cni0 address 0a:58:0a:f5:00:02\n")?;
    let started = Instant::now();
    for pod in &pods {
        pod.namespace.ip_batch("neigh flush dev eth0\n")?;
        while !is_by_kernel(&daemon, pod)? {
            ensure!(
                started.elapsed() < Duration::from_secs(5),
                "the old address"
            );
        }
    }
    Ok(())
}

/// A bridge says of a port that has left it what is said of a device that is gone.
fn leaves_a_bridge() -> Result<()> {
    let node = Node::new()?;
    node.bridge("cni0")?;
    let home = Home::shop()?;
    let daemon = start(&node, &home, "pods", &[])?;
    let pod = node.pod(1)?;
    active(&daemon, &pod.device)?;
    let program = attached(&node.namespace, &pod.device)?;
    for change in ["master cni0", "nomaster"] {
        node.namespace
            .ip_batch(&format!("link set {} {change}\n", pod.device))?;
        // What comes later is seen later.
        let after = node.pod(2)?;
        active(&daemon, &after.device)?;
        let found = devices(&daemon.report()?);
        ensure!(found.contains(&pod.device), "{change}: {found:?}");
        let now = attached(&node.namespace, &pod.device)?;
        ensure!(now == program, "{change}: {now:?}, not {program:?}");
        drop(after);
        wait_for(&daemon, |report| devices(report).len() == 1)?;
    }
    ensure!(is_by_kernel(&daemon, &pod)?);
    Ok(())
}

fn selected() -> Result<()> {
    for (attach, more, expected) in [
        ("pods", &[][..], &["pod1", "pod2", "pod3"][..]),
        ("pods", &["--exclude", "pod2"], &["pod1", "pod3"]),
        ("pod[23]", &[], &["pod2", "pod3"]),
        ("pod+", &["--exclude", "pod1,pod2"], &["pod3"]),
        ("pods:calico,pod3", &[], &["pod3"]),
    ] {
        let node = Node::new()?;
        let home = Home::shop()?;
        // Both ends are here: no pod's.
        node.namespace
            .ip_batch("link add inner0 type veth peer name inner1\n")?;
        let _pods = [node.pod(1)?, node.pod(2)?, node.pod(3)?];
        let daemon = start(&node, &home, attach, more)?;
        let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        for name in &expected {
            active(&daemon, name)?;
        }
        let found = devices(&daemon.report()?);
        ensure!(found == expected, "{attach} {more:?}: {found:?}");
    }
    Ok(())
}

/// Events that do not fit the socket's buffer are lost; what is there is covered all the same, and what is gone is forgotten.
fn nothing_is_missed() -> Result<()> {
    let node = Node::new()?;
    let home = Home::shop()?;
    let daemon = start(&node, &home, "pods", &[])?;
    let place = node.place()?;
    let pod = node.pod(1)?;
    active(&daemon, &pod.device)?;
    signal(&daemon, libc::SIGSTOP)?;
    let mut lines = String::new();
    for number in 0..UNSEEN {
        writeln!(
            lines,
            "link add un{number} type veth peer name e{number} netns {}",
            place.name()
        )?;
    }
    node.namespace.ip_batch(&lines)?;
    lines.clear();
    // The first events are still in the buffer: it is the last that come which stay.
    for number in 0..UNSEEN - STAY {
        writeln!(lines, "link del un{number}")?;
    }
    writeln!(lines, "link del {}", pod.device)?;
    node.namespace.ip_batch(&lines)?;
    signal(&daemon, libc::SIGCONT)?;
    let expected: BTreeSet<String> = (UNSEEN - STAY..UNSEEN)
        .map(|number| format!("un{number}"))
        .collect();
    wait_for(&daemon, |report| devices(report) == expected)?;
    ensure!(
        daemon.log().contains("events of devices were lost"),
        "all events were seen: raise UNSEEN\n{}",
        daemon.log()
    );
    for name in &expected {
        ensure!(!attached(&node.namespace, name)?.is_empty(), "{name}");
    }
    let held = Loaded::of(&daemon.programs()?)?.links.len();
    ensure!(held == STAY, "{held} links");
    Ok(())
}

fn signal(daemon: &Daemon, signal: libc::c_int) -> Result<()> {
    daemon.signal(signal)?;
    // A stop takes a moment.
    thread::sleep(Duration::from_millis(50));
    Ok(())
}

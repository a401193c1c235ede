//! `hopzero serve --local-address`: an address of the node's own, as that of a cache on the node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, ensure};
use hopzero_tests::{
    client::{self, Query, rtype, summary},
    daemon::{Daemon, Home, ended},
    harness::Test,
    namespace::Namespace,
    network::dns,
    node::Node,
    pins::Pins,
};

use crate::accelerate;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 20, 10));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x20, 0, 0, 0, 0, 0, 0x10));
const NAME: &str = "checkout.shop.svc.cluster.local";
const EXPECTED: &str = "NOERROR 10.96.20.20";

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("node::local_address", answers),
        Test::new("node::local_address_after_a_kill", taken_over),
        Test::new("node::local_address_of_somebody_else", left_alone),
        Test::new("node::local_address_pinned", pinned),
    ]
}

fn start(node: &Node, home: &Home) -> Result<Daemon> {
    start_with(node, home, &[])
}

fn start_with(node: &Node, home: &Home, more: &[&str]) -> Result<Daemon> {
    let (v4, v6) = (V4.to_string(), V6.to_string());
    let mut arguments = vec![
        "--local-address",
        &v4,
        "--local-address",
        &v6,
        "--attach",
        "pods",
    ];
    arguments.extend(more);
    Daemon::spawn(home.serve(&node.namespace, &arguments)?, home)?.ready()
}

fn ask(from: &Namespace, server: IpAddr, qtype: u16) -> Result<String> {
    let name = if qtype == rtype::SOA {
        "cluster.local"
    } else {
        NAME
    };
    summary(&client::ask_udp(
        from,
        dns(server),
        &Query::new(name, qtype),
    )?)
}

/// All devices and addresses but for what grows and shrinks by itself.
fn addresses(node: &Node) -> Result<String> {
    node.namespace.exec(&["ip", "-brief", "address", "show"])
}

fn has_it(node: &Node) -> Result<bool> {
    Ok(addresses(node)?.contains(&V4.to_string()))
}

fn answers() -> Result<()> {
    let (node, home) = (Node::new()?, Home::shop()?);
    node.bridge("cni0")?;
    let pod = node.port("cni0", 2)?;
    let before = addresses(&node)?;
    let daemon = start(&node, &home)?;
    accelerate::active(&daemon, 1)?;
    println!("{}", addresses(&node)?);
    // A pod, in the kernel.
    let counted = daemon.counts()?;
    ensure!(ask(&pod.namespace, V4, rtype::A)? == EXPECTED);
    let now = daemon.counts()?;
    ensure!(
        (now.kernel, now.socket) == (counted.kernel + 1, counted.socket),
        "{counted:?} {now:?}"
    );
    // What the kernel leaves to the socket.
    ask(&pod.namespace, V4, rtype::SOA)?;
    ensure!(daemon.counts()?.socket == now.socket + 1);
    // A pod on the host's network, and the node: by the socket, over both families and both transports.
    for address in [V4, V6] {
        ensure!(
            ask(&node.namespace, address, rtype::A)? == EXPECTED,
            "{address}"
        );
        let query = Query::new(NAME, rtype::A);
        let answer = client::ask_tcp(&node.namespace, dns(address), &query)?;
        ensure!(summary(&answer)? == EXPECTED, "{address} over TCP");
    }
    ensure!(ended(daemon.stop(libc::SIGTERM)?) == "exit 0");
    let after = addresses(&node)?;
    ensure!(before == after, "before:\n{before}after:\n{after}");
    Ok(())
}

/// Killed, it leaves the address; the next one has it, and takes it with it.
fn taken_over() -> Result<()> {
    let (node, home) = (Node::new()?, Home::shop()?);
    let pod = node.pod(1)?;
    let before = addresses(&node)?;
    start(&node, &home)?.stop(libc::SIGKILL)?;
    ensure!(has_it(&node)?, "{}", addresses(&node)?);
    let daemon = start(&node, &home)?;
    ensure!(daemon.log().contains("taken over"), "{}", daemon.log());
    ensure!(ask(&pod.namespace, V4, rtype::A)? == EXPECTED);
    ensure!(ended(daemon.stop(libc::SIGTERM)?) == "exit 0");
    let after = addresses(&node)?;
    ensure!(before == after, "before:\n{before}after:\n{after}");
    // Without a daemon it can be taken away, too.
    start(&node, &home)?.stop(libc::SIGKILL)?;
    detach(&node, &Pins::new())?;
    ensure!(addresses(&node)? == before, "{}", addresses(&node)?);
    Ok(())
}

/// It goes with what is pinned, and not with a daemon.
fn pinned() -> Result<()> {
    let (node, home, next, pins) = (Node::new()?, Home::shop()?, Home::shop()?, Pins::new());
    node.bridge("cni0")?;
    let pod = node.port("cni0", 2)?;
    let before = addresses(&node)?;
    let pin = pins.path().display().to_string();
    let daemon = start_with(&node, &home, &["--pin", &pin])?;
    accelerate::active(&daemon, 1)?;
    let successor = start_with(&node, &next, &["--pin", &pin, "--detach-on-exit"])?;
    accelerate::active(&successor, 1)?;
    ensure!(ended(daemon.stop(libc::SIGTERM)?) == "exit 0");
    ensure!(
        ask(&pod.namespace, V4, rtype::A)? == EXPECTED,
        "another daemon's"
    );
    ensure!(has_it(&node)?, "{}", addresses(&node)?);
    ensure!(ended(successor.stop(libc::SIGTERM)?) == "exit 0");
    ensure!(addresses(&node)? == before, "{}", addresses(&node)?);
    // Without --detach-on-exit it stays until somebody takes all of it away.
    let daemon = start_with(&node, &home, &["--pin", &pin])?;
    ensure!(ended(daemon.stop(libc::SIGTERM)?) == "exit 0");
    ensure!(has_it(&node)?, "{}", addresses(&node)?);
    detach(&node, &pins)?;
    ensure!(addresses(&node)? == before, "{}", addresses(&node)?);
    Ok(())
}

/// As `hopzero detach` on the node.
fn detach(node: &Node, pins: &Pins) -> Result<()> {
    let removed = (node.namespace).within(|| Ok(hopzero::kernel::detach(pins.path(), false)?))?;
    ensure!(removed.addresses == 2, "{removed}");
    Ok(())
}

/// What was there stays.
fn left_alone() -> Result<()> {
    let (node, home) = (Node::new()?, Home::shop()?);
    let pod = node.pod(1)?;
    node.namespace
        .ip_batch(&format!("addr add {V4}/32 dev lo\n"))?;
    let before = addresses(&node)?;
    let daemon = start(&node, &home)?;
    ensure!(daemon.log().contains("somebody else's"), "{}", daemon.log());
    ensure!(ask(&pod.namespace, V4, rtype::A)? == EXPECTED);
    ensure!(ended(daemon.stop(libc::SIGTERM)?) == "exit 0");
    let after = addresses(&node)?;
    ensure!(
        before == after && has_it(&node)?,
        "before:\n{before}after:\n{after}"
    );
    // One that does not start leaves nothing either.
    let (v4, v6) = (V4.to_string(), V6.to_string());
    let arguments = [
        "--local-address",
        &v6,
        "--listen",
        "192.0.2.1:53",
        "--local-address",
        &v4,
    ];
    let mut daemon = Daemon::spawn(home.serve(&node.namespace, &arguments)?, &home)?;
    ensure!(ended(daemon.wait()?) == "exit 1", "{}", daemon.log());
    ensure!(addresses(&node)? == before, "{}", addresses(&node)?);
    Ok(())
}

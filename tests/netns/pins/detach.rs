//! What is pinned is removed, and nothing else.

use std::{fs, thread, time::Duration};

use anyhow::{Result, ensure};
use hopzero_tests::{
    daemon::{Daemon, Home, ended},
    harness::Test,
    loaded::{Loaded, attached},
    network::NODE_DEVICE,
};

use super::World;
use crate::{clsact::filters, setup::wait_for};

pub fn tests() -> Vec<Test> {
    let hooks = ["tc", "xdp-generic", "clsact"];
    let residue =
        hooks.map(|hook| Test::new(format!("pins::residue::{hook}"), move || residue(hook)));
    let others = [
        Test::new("pins::detach_on_exit", on_exit),
        Test::new("pins::detach_beside_a_daemon", beside_a_daemon),
        Test::new("pins::detach_nothing", nothing),
        Test::new("pins::not_a_bpffs", not_a_bpffs),
        Test::new("pins::detach_without_a_bpffs", without_a_bpffs),
        Test::new("pins::a_device_that_is_gone", device_gone),
        Test::new("pins::another_hook", another_hook),
        Test::new("pins::clsact_of_a_successor", clsact_of_a_successor),
    ];
    residue.into_iter().chain(others).collect()
}

/// All that can be seen of a node's devices: addresses, qdiscs, filters, XDP.
fn seen(world: &World) -> Result<String> {
    let node = &world.network.node;
    let mut seen = node.exec(&["ip", "-br", "address"])?;
    seen += &node.exec(&["ip", "link"])?;
    seen += &node.exec(&["tc", "qdisc"])?;
    seen += &filters(node)?;
    Ok(seen)
}

/// However it ends, `hopzero detach` leaves nothing.
fn residue(hook: &'static str) -> Result<()> {
    let (world, home) = (World::new()?, Home::shop()?);
    world.is_right(false)?;
    let before = seen(&world)?;
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let daemon = world.start(&home, &["--hook", hook])?;
        world.is_right(true)?;
        let ours = Loaded::of(&daemon.programs()?)?;
        world.pins.are_one_set(usize::from(hook != "clsact"))?;
        daemon.stop(signal)?;
        if hook != "clsact" {
            // It stays, and answers until the lease is over.
            ensure!(ours.left().links == ours.links && ours.links.len() == 1);
            world.is_right(true)?;
        }
        let (said, status) = world.detach(&home, &[])?;
        ensure!(status == "exit 0", "{status} {said}");
        println!("{said}");
        let links = if hook == "clsact" {
            "links: 0"
        } else {
            "links: 1"
        };
        ensure!(said.contains(links), "{said}");
        let is_left = hook == "clsact" && signal == libc::SIGKILL;
        let filters = format!("filters of clsact: {}", u8::from(is_left));
        ensure!(said.contains(&filters), "{said}");
        ours.is_gone()?;
        ensure!(!world.pins.path().exists(), "{:?}", world.pins.files());
        ensure!(attached(&world.network.node, NODE_DEVICE)?.is_empty());
        let after = seen(&world)?;
        ensure!(after == before, "{after}\nnot as before:\n{before}");
        world.is_right(false)?;
    }
    Ok(())
}

/// With --detach-on-exit nothing is left; but what another daemon has taken over is left to it.
fn on_exit() -> Result<()> {
    let (world, home, next) = (World::new()?, Home::shop()?, Home::shop()?);
    let before = seen(&world)?;
    let daemon = world.start(&home, &["--detach-on-exit"])?;
    let ours = Loaded::of(&daemon.programs()?)?;
    world.is_right(true)?;
    ensure!(ended(daemon.stop(libc::SIGTERM)?) == "exit 0");
    ours.is_gone()?;
    ensure!(!world.pins.path().exists(), "{:?}", world.pins.files());
    ensure!(seen(&world)? == before);

    let daemon = world.start(&home, &["--detach-on-exit"])?;
    let successor = world.start(&next, &[])?;
    ensure!(ended(daemon.stop(libc::SIGTERM)?) == "exit 0");
    world.is_right(true)?;
    world.pins.are_one_set(1)?;
    ensure!(ended(successor.stop(libc::SIGTERM)?) == "exit 0");
    world.pins.are_one_set(1)
}

fn beside_a_daemon() -> Result<()> {
    let (world, home, elsewhere) = (World::new()?, Home::shop()?, Home::shop()?);
    let daemon = world.start(&home, &[])?;
    // By its control socket, and by its lock.
    for home in [&home, &elsewhere] {
        let (said, status) = world.detach(home, &[])?;
        ensure!(status == "exit 1", "{status} {said}");
        ensure!(said.contains("alive") && said.contains("--force"), "{said}");
        world.is_right(true)?;
        world.pins.are_one_set(1)?;
    }
    let (said, status) = world.detach(&elsewhere, &["--force"])?;
    ensure!(
        status == "exit 0" && said.contains("links: 1"),
        "{status} {said}"
    );
    wait_for(&daemon, |report| {
        report
            .kernel
            .as_ref()
            .is_some_and(|kernel| kernel["taken_over"] == true)
    })?;
    ensure!(attached(&world.network.node, NODE_DEVICE)?.is_empty());
    world.is_right(false)?;
    ensure!(ended(daemon.stop(libc::SIGTERM)?) == "exit 0");
    ensure!(!world.pins.path().exists(), "{:?}", world.pins.files());
    Ok(())
}

fn nothing() -> Result<()> {
    let (world, home) = (World::new()?, Home::shop()?);
    let (said, status) = world.detach(&home, &[])?;
    ensure!(
        status == "exit 0" && said.contains("nothing is pinned"),
        "{status} {said}"
    );
    fs::create_dir(world.pins.path())?;
    let (said, status) = world.detach(&home, &[])?;
    ensure!(
        status == "exit 0" && said.contains("links: 0"),
        "{status} {said}"
    );
    ensure!(!world.pins.path().exists());
    Ok(())
}

fn not_a_bpffs() -> Result<()> {
    let (world, home) = (World::new()?, Home::shop()?);
    let elsewhere = home.path().join("pins");
    let elsewhere = elsewhere.display().to_string();
    let command = home.serve(
        &world.network.node,
        &[
            "--listen",
            "127.0.0.1:1053",
            "--attach",
            NODE_DEVICE,
            "--answer-for",
            "10.96.0.10",
            "--pin",
            &elsewhere,
        ],
    )?;
    let mut daemon = Daemon::spawn(command, &home)?;
    let status = daemon.wait()?;
    let log = daemon.log();
    ensure!(
        ended(status) == "exit 1" && log.contains("not on a bpffs") && log.contains("mount -t bpf"),
        "{log}"
    );
    let (said, status) = world.detach_at(&home, &elsewhere, &[])?;
    ensure!(
        status == "exit 1" && said.contains("not on a bpffs"),
        "{status} {said}"
    );
    Ok(())
}

/// What is there without any pin goes all the same: a killed daemon's filter and address.
fn without_a_bpffs() -> Result<()> {
    let (world, home) = (World::new()?, Home::shop()?);
    let before = seen(&world)?;
    let arguments = [
        "--local-address",
        "169.254.20.10",
        "--attach",
        NODE_DEVICE,
        "--hook",
        "clsact",
    ];
    let command = home.serve(&world.network.node, &arguments)?;
    let daemon = Daemon::spawn(command, &home)?.ready()?;
    daemon.stop(libc::SIGKILL)?;
    ensure!(filters(&world.network.node)?.contains("hopzero_tc"));
    let elsewhere = home.path().join("pins").display().to_string();
    let (said, status) = world.detach_at(&home, &elsewhere, &[])?;
    println!("{said}");
    for expected in [
        "pins: not looked at",
        "mount -t bpf",
        "filters of clsact: 1",
        "addresses: 1",
    ] {
        ensure!(said.contains(expected), "no {expected:?} in {said}");
    }
    ensure!(status == "exit 1", "{status}: pins may be left");
    let after = seen(&world)?;
    ensure!(after == before, "{after}\nnot as before:\n{before}");
    Ok(())
}

/// A link whose device is gone is removed, and does not stand for another device.
fn device_gone() -> Result<()> {
    let (world, home) = (World::new()?, Home::shop()?);
    let daemon = world.start(&home, &[])?;
    ensure!(ended(daemon.stop(libc::SIGKILL)?) == "signal 9");
    let links = world.pins.links()?;
    let node = &world.network.node;
    let index = node.exec(&["cat", "/sys/class/net/pod0/ifindex"])?;
    node.ip_batch(&format!("link del {NODE_DEVICE}\n"))?;
    let pod = world.network.pod.name();
    // With the number of the one before.
    node.ip_batch(&format!(
        "link add {NODE_DEVICE} index {} type veth peer name eth0 netns {pod}\n\
         addr add 10.244.0.1/24 dev {NODE_DEVICE}\nlink set {NODE_DEVICE} up\n",
        index.trim()
    ))?;
    world.network.pod.ip_batch(
        "addr add 10.244.0.2/24 dev eth0\nlink set eth0 up\nroute add default via 10.244.0.1\n",
    )?;
    let daemon = world.start(&home, &[])?;
    ensure!(
        daemon.log().contains("a link that is pinned is not used"),
        "{}",
        daemon.log()
    );
    world.is_right(true)?;
    ensure!(world.pins.links()? == links);
    world.pins.are_one_set(1)?;
    ensure!(ended(daemon.stop(libc::SIGKILL)?) == "signal 9");

    // And one that has no successor.
    let gone = links[0].with_file_name("tc-4711");
    fs::rename(&links[0], &gone)?;
    let daemon = world.start(&home, &[])?;
    let (now, log) = (world.pins.links()?, daemon.log());
    ensure!(!gone.exists() && now == links, "{now:?} {log}");
    Ok(())
}

/// What is pinned in another mode goes.
fn another_hook() -> Result<()> {
    let (world, home) = (World::new()?, Home::shop()?);
    for hook in ["tc", "xdp-generic", "xdp", "tc"] {
        let daemon = world.start(&home, &["--hook", hook])?;
        world.pins.are_one_set(1)?;
        let links = world.pins.links()?;
        ensure!(
            links[0].to_string_lossy().contains(&format!("/{hook}-")),
            "{links:?}"
        );
        let at_device = attached(&world.network.node, NODE_DEVICE)?;
        ensure!(at_device.len() == 1, "{at_device:?}");
        ensure!(ended(daemon.stop(libc::SIGKILL)?) == "signal 9");
    }
    Ok(())
}

/// A filter has no owner: the one of the successor, which is at the same place, is left alone.
fn clsact_of_a_successor() -> Result<()> {
    let (world, home, next) = (World::new()?, Home::shop()?, Home::shop()?);
    let daemon = world.start(&home, &["--hook", "clsact"])?;
    let successor = world.start(&next, &["--hook", "clsact"])?;
    world.is_right(true)?;
    ensure!(ended(daemon.stop(libc::SIGTERM)?) == "exit 0");
    thread::sleep(Duration::from_millis(50));
    world.is_right(true)?;
    ensure!(filters(&world.network.node)?.contains("hopzero_tc"));
    ensure!(ended(successor.stop(libc::SIGTERM)?) == "exit 0");
    ensure!(filters(&world.network.node)?.is_empty());
    Ok(())
}

//! A node with both families: the Service has an address of each.

use std::path::Path;

use anyhow::{Result, ensure};
use hopzero_tests::{
    client::{Client, Query, rtype, summary},
    network::{DNS_V4, DNS_V6, dns},
};

use crate::{accelerate::active, world::World};

/// What is asked at each address, and CoreDNS's answer.
const ASKED: [(&str, u16, &str); 4] = [
    (
        "web.shop.svc.cluster.local",
        rtype::A,
        "NOERROR 10.96.20.20",
    ),
    ("web.shop.svc.cluster.local", rtype::AAAA, "NOERROR"),
    (
        "dual.shop.svc.cluster.local",
        rtype::AAAA,
        "NOERROR fd00:10:96::21",
    ),
    ("nothing.shop.svc.cluster.local", rtype::AAAA, "NXDOMAIN"),
];

pub fn test(coredns: &Path, plane: &Path) -> Result<()> {
    let world = World::new(coredns, plane, 1)?;
    for server in [DNS_V4, DNS_V6] {
        world.forget_connections()?;
        ask(&world, server)?;
        let connections = world.connections()?;
        ensure!(connections > 0, "queries to {server} were not translated");
        println!("{server} without hopzero: {connections} connections");
    }
    let daemon = world.accelerate()?;
    active(&daemon, 1)?;
    for server in [DNS_V4, DNS_V6] {
        world.forget_connections()?;
        let before = daemon.counts()?.kernel;
        ask(&world, server)?;
        let by_kernel = daemon.counts()?.kernel - before;
        let connections = world.connections()?;
        println!(
            "{server} with hopzero: {by_kernel} answers of the kernel, {connections} connections"
        );
        ensure!(by_kernel == ASKED.len() as u64 && connections == 0);
    }
    Ok(())
}

/// Each from a socket of its own, connected to the server: who answers from elsewhere is not heard.
fn ask(world: &World, server: std::net::IpAddr) -> Result<()> {
    for (name, qtype, expected) in ASKED {
        let client = Client::new(&world.pods[0].namespace, dns(server))?;
        let answer = summary(&client.ask(&Query::new(name, qtype).bytes())?)?;
        ensure!(
            answer.starts_with(expected),
            "{server}: {name} {qtype}: {answer}"
        );
    }
    Ok(())
}

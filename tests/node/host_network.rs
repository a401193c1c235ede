//! Processes in the node's own network: its daemons, and pods with `hostNetwork`. Their queries pass no pod's device.

use std::{net::IpAddr, path::Path};

use anyhow::{Result, ensure};
use hopzero_tests::{
    client::{self, Client, Query, rtype, summary},
    daemon::{Counts, Daemon, Home, ended},
    harness::Test,
    network::{DNS_V4, DNS_V6, dns},
    node::Node,
};

use crate::{
    accelerate::active,
    world::{COREDNS, World},
};

const LOCAL: &str = "169.254.20.10";
/// Queries of each kind.
const QUERIES: u16 = 50;

/// The node's own queries are translated on their way out.
const RULES: &str = "
table ip nat {
  chain output {
    type nat hook output priority -100;
    ip daddr 10.96.0.10 udp dport 53 dnat to 10.245.0.1:53
  }
}
table ip6 nat {
  chain output {
    type nat hook output priority -100;
    ip6 daddr fd00:10:96::a udp dport 53 dnat to [fd00:10:245::1]:53
  }
}
";

pub fn tests() -> Vec<Test> {
    vec![Test::new("node::host_network_serve", serve)]
}

/// Beside CoreDNS: it answers, before and after.
pub fn accelerate(coredns: &Path, plane: &Path) -> Result<()> {
    let world = World::new(coredns, plane, 1)?;
    world.translate(RULES)?;
    // Where a node has its default route.
    let node = &world.node.namespace;
    node.ip_batch("route add default dev cni0\nroute add ::/0 dev cni0\n")?;
    let ask_both = || -> Result<()> {
        for server in [DNS_V4, DNS_V6] {
            let client = Client::new(node, dns(server))?;
            ask(&client, "web.shop.svc.cluster.local", "NOERROR 10.96.20.20")?;
        }
        Ok(())
    };
    ask_both()?;
    let daemon = world.accelerate()?;
    active(&daemon, 1)?;
    world.forget_connections()?;
    let before = daemon.counts()?.kernel;
    ask_both()?;
    let by_kernel = daemon.counts()?.kernel - before;
    let connections = world.connections()?;
    println!(
        "the node asks the Service: {by_kernel} answers of the kernel, {connections} connections"
    );
    ensure!(by_kernel == 0 && connections >= 2, "CoreDNS was not asked");
    // The pod beside it is answered in the kernel.
    let client = Client::new(&world.pods[0].namespace, dns(DNS_V4))?;
    ask(&client, "web.shop.svc.cluster.local", "NOERROR 10.96.20.20")?;
    ensure!(daemon.counts()?.kernel - before == u64::from(QUERIES));
    Ok(())
}

/// In place of CoreDNS, with an address on the node: the socket answers; and with `--attach lo` the kernel does, except from that
/// very address, which a socket has by itself that is bound to none: what comes from an address that is answered for passes.
fn serve() -> Result<()> {
    let (node, home) = (Node::new()?, Home::shop()?);
    node.bridge("cni0")?;
    let server: IpAddr = LOCAL.parse()?;
    let (unbound, bound) = ("0.0.0.0:0".parse()?, format!("{COREDNS}:0").parse()?);
    let shares = |more: &[&str]| -> Result<[Counts; 2]> {
        let arguments = [&["--local-address", LOCAL, "--attach", "pods"], more].concat();
        let daemon = Daemon::spawn(home.serve(&node.namespace, &arguments)?, &home)?.ready()?;
        let of = |from| -> Result<Counts> {
            let before = daemon.counts()?;
            let client = Client::from_port(&node.namespace, dns(server), from)?;
            ask(
                &client,
                "checkout.shop.svc.cluster.local",
                "NOERROR 10.96.20.20",
            )?;
            let now = daemon.counts()?;
            Ok(Counts {
                kernel: now.kernel - before.kernel,
                socket: now.socket - before.socket,
            })
        };
        let seen = [of(unbound)?, of(bound)?];
        let query = Query::new("checkout.shop.svc.cluster.local", rtype::A);
        let tcp = summary(&client::ask_tcp(&node.namespace, dns(server), &query)?)?;
        ensure!(tcp == "NOERROR 10.96.20.20", "over TCP: {tcp}");
        ensure!(ended(daemon.stop(libc::SIGTERM)?) == "exit 0");
        println!("{more:?}: from any address, and from {COREDNS}: {seen:?}");
        Ok(seen)
    };
    let (kernel, socket) = (
        Counts {
            kernel: u64::from(QUERIES),
            socket: 0,
        },
        Counts {
            kernel: 0,
            socket: u64::from(QUERIES),
        },
    );
    ensure!(shares(&[])? == [socket, socket]);
    ensure!(shares(&["--attach", "lo"])? == [socket, kernel]);
    Ok(())
}

fn ask(client: &Client, name: &str, expected: &str) -> Result<()> {
    for id in 0..QUERIES {
        let answer = summary(&client.ask(&Query::new(name, rtype::A).id(id).bytes())?)?;
        ensure!(answer == expected, "{answer}");
    }
    Ok(())
}

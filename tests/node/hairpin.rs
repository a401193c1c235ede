//! A pod that is an endpoint of the Service asks the Service: the node translates the query to the pod that has sent it, and its
//! own address to the node's, so that the answer finds the way back (kube-proxy's masquerade of hairpins).
//!
//! ```text
//!   pod 2  eth0 10.245.0.2: CoreDNS ── pod2 (hairpin on) ─ cni0   10.96.0.10 → 10.245.0.2:53
//!   pod 3  eth0 10.245.0.3 ─────────── pod3 ─────────────── │
//! ```
//!
//! Endpoints' addresses are answered for, and what comes from an address that is answered for passes: two servers that
//! ask each other must reach each other. So the endpoint's own queries stay CoreDNS's, and the other pod's are the kernel's.

use std::path::Path;

use anyhow::{Result, ensure};
use hopzero_tests::{
    client::{Client, Query, rtype, summary},
    network::{DNS_V4, dns},
    node::Pod,
};

use crate::{accelerate::active, world::World};

/// Queries of each pod; none may be lost.
const QUERIES: u16 = 300;
/// The pod with CoreDNS.
const ENDPOINT: &str = "10.245.0.2";

/// In place of the world's. Pods of one bridge answer each other directly, so all of them are masqueraded.
const RULES: &str = "
flush chain ip nat prerouting
table ip nat {
  chain prerouting {
    ip daddr 10.96.0.10 udp dport 53 dnat to 10.245.0.2:53
  }
  chain postrouting {
    type nat hook postrouting priority 100;
    ip saddr 10.245.0.0/24 ip daddr 10.245.0.2 udp dport 53 masquerade
  }
}
";

/// It knows the cluster by the node's own, at an address that is no endpoint any more.
const COREFILE: &str = ".:53 {
    bind 10.245.0.2
    errors
    forward . 10.245.0.254
}
";

/// The Service's only endpoint, in place of those of the world.
const SLICE: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns-1, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: IPv4
ports: [{name: dns, port: 53, protocol: UDP}]
endpoints: [{addresses: ['10.245.0.2'], conditions: {ready: true}}]
";

pub fn test(coredns: &Path, plane: &Path) -> Result<()> {
    let mut world = World::new(coredns, plane, 2)?;
    world.plane.kubectl(&["apply"], SLICE)?;
    let device = &world.pods[0].device;
    (world.node.namespace)
        .ip_batch(&format!("link set {device} type bridge_slave hairpin on\n"))?;
    world.start_in_pod(coredns, 0, COREFILE)?;
    world.translate(RULES)?;
    world.until("NOERROR 10.96.20.20")?;
    let (endpoint, other) = (&world.pods[0], &world.pods[1]);
    for pod in [endpoint, other] {
        world.forget_connections()?;
        ask(pod)?;
        ensure!(world.connections()? > 0, "nothing was translated");
    }

    let daemon = world.accelerate()?;
    active(&daemon, 2)?;
    // The endpoint: the same answers, by the same way.
    world.forget_connections()?;
    let before = daemon.counts()?.kernel;
    ask(endpoint)?;
    let by_kernel = daemon.counts()?.kernel - before;
    ensure!(
        by_kernel == 0,
        "{by_kernel} queries of an endpoint were answered in the kernel"
    );
    ensure!(world.connections()? > 0, "nothing was translated");
    // The other pod: all of them in the kernel, in nobody's account.
    world.forget_connections()?;
    ask(other)?;
    let by_kernel = daemon.counts()?.kernel - before;
    ensure!(
        by_kernel == u64::from(QUERIES),
        "{by_kernel} of {QUERIES} queries were answered in the kernel"
    );
    let connections = world.connections()?;
    ensure!(connections == 0, "{connections} connections");
    // And once more when it has gone.
    let mut daemon = daemon;
    daemon.signal(libc::SIGTERM)?;
    daemon.wait()?;
    for pod in [endpoint, other] {
        ask(pod)?;
    }
    println!(
        "{QUERIES} queries of each pod before, while and after: the kernel answered {by_kernel} of the other pod's, and none of {ENDPOINT}'s"
    );
    Ok(())
}

/// The socket is connected: an answer from another address than the Service's never arrives, and is missed.
fn ask(pod: &Pod) -> Result<()> {
    let client = Client::new(&pod.namespace, dns(DNS_V4))?;
    for id in 0..QUERIES {
        let query = Query::new("web.shop.svc.cluster.local", rtype::A).id(id);
        let answer = summary(&client.ask(&query.bytes())?)?;
        ensure!(answer == "NOERROR 10.96.20.20", "{answer}");
    }
    Ok(())
}

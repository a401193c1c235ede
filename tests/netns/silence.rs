//! Two nodes that are fed each other's answers fall silent: whatever comes back from one goes to the
//! other, and to itself, as if it were a query.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use hopzero_tests::{
    client::{Client, Query, rtype},
    daemon::counter,
    harness::Test,
    network::{DNS_V4, DNS_V6, dns},
};

use crate::setup::{Setup, with_each_hook};

/// An answer takes microseconds.
const SILENT_FOR: Duration = Duration::from_millis(200);

pub fn tests() -> Vec<Test> {
    with_each_hook("silence", silence)
}

fn silence(hook: &'static str) -> Result<()> {
    let nodes = [Setup::new(hook)?, Setup::new(hook)?];
    let queries = [
        Query::new("checkout.shop.svc.cluster.local", rtype::A),
        Query::new("checkout.shop.svc.cluster.local", rtype::A).edns(&[]),
        Query::new("nothing.shop.svc.cluster.local", rtype::AAAA),
        // By the socket.
        Query::new("cluster.local", rtype::SOA),
        Query::new("example.com", rtype::A),
    ];
    let (mut answers, mut fed) = (0, 0_u64);
    for server in [DNS_V4, DNS_V6].map(dns) {
        let clients = nodes
            .iter()
            .map(|node| client(node, server))
            .collect::<Result<Vec<_>>>()?;
        for query in &queries {
            for (node, other) in [(0, 1), (1, 0)] {
                let answer = clients[node].ask(&query.bytes())?;
                answers += 1;
                for receiver in [other, node] {
                    fed += 1;
                    let again = clients[receiver].ask(&answer);
                    ensure!(again.is_err(), "{query:?}: answered again: {again:02x?}");
                }
            }
        }
    }
    let passed = (nodes.iter())
        .map(|node| Ok(counter(&node.daemon.report()?, "response")))
        .sum::<Result<u64>>()?;
    println!("{hook}: {answers} answers, fed back {fed} times: no packet came");
    ensure!(passed == fed, "{passed} of {fed} were seen by the programs");
    Ok(())
}

fn client(node: &Setup, server: SocketAddr) -> Result<Client> {
    let client = Client::new(&node.network.pod, server)?;
    client.patience(SILENT_FOR)?;
    Ok(client)
}

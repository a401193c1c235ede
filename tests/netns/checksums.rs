//! Answers arrive whatever checksum offloads both ends of the veth have.
//!
//! A query that a local socket sent has no checksum yet (`CHECKSUM_PARTIAL`): the device that it leaves by
//! completes it, or a later one. The answer is the same buffer, and must leave no trace of that.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use hopzero_tests::{
    client::{Client, Query, rtype, summary},
    harness::Test,
    network::{DNS_V4, DNS_V6, NODE_DEVICE, POD_DEVICE, dns},
    offload::{Offload, Switches, switch},
};

use crate::setup::{Setup, with_each_hook};

/// Queries for each combination, half of them with EDNS.
const QUERIES: u16 = 2000;
/// After that an answer is lost: it comes in microseconds or not at all.
const LOST_AFTER: Duration = Duration::from_millis(200);
/// So many lost ones say enough.
const LOST_MAX: u32 = 5;

pub fn tests() -> Vec<Test> {
    with_each_hook("checksums", checksums)
}

fn checksums(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    let mut lost = BTreeMap::new();
    for switches in Switches::all() {
        for (namespace, device, checksums) in [
            (&setup.network.pod, POD_DEVICE, switches.pod_checksums),
            (&setup.network.node, NODE_DEVICE, switches.node_checksums),
        ] {
            switch(namespace, device, Offload::SendChecksum, checksums)?;
            switch(namespace, device, Offload::ReceiveChecksum, checksums)?;
            switch(namespace, device, Offload::Gro, switches.gro)?;
        }
        for address in [DNS_V4, DNS_V6] {
            let before = setup.daemon.counts()?;
            let client = Client::new(&setup.network.pod, dns(address))?;
            client.patience(LOST_AFTER)?;
            let missing = ask_all(&client)?;
            let after = setup.daemon.counts()?;
            ensure!(
                after.socket == before.socket,
                "the socket answered: {switches}, {address}"
            );
            if missing > 0 {
                lost.insert(format!("{switches}, {address}"), missing);
            }
        }
    }
    ensure!(lost.is_empty(), "answers were lost: {lost:#?}");
    Ok(())
}

/// How many answers did not come; each that came is right.
fn ask_all(client: &Client) -> Result<u32> {
    let questions = [
        (
            "checkout.shop.svc.cluster.local",
            rtype::A,
            "NOERROR 10.96.20.20",
        ),
        (
            "cart.shop.svc.cluster.local",
            rtype::AAAA,
            "NOERROR fd00:10:96::2030",
        ),
        (
            "db.data.svc.cluster.local",
            rtype::A,
            "NOERROR 10.244.1.10 10.244.2.10 10.244.3.10",
        ),
    ];
    let mut lost = 0;
    for (id, (name, qtype, expected)) in (0..QUERIES).zip(questions.into_iter().cycle()) {
        let mut query = Query::new(name, qtype).id(id);
        if id % 2 == 0 {
            query = query.edns(&[]);
        }
        match client.ask(&query.bytes()) {
            Ok(answer) => {
                let summary = summary(&answer)?;
                ensure!(summary == expected, "{query:?}: {summary}");
            }
            Err(_) => lost += 1,
        }
        if lost == LOST_MAX {
            break;
        }
    }
    Ok(lost)
}

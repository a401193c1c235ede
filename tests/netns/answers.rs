//! What the kernel answers, and that the socket would have said the same.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context, Result, ensure};
use hopzero_tests::{
    client::{self, Query, rtype},
    harness::Test,
    network::{DNS_V4, DNS_V6, NODE_V4, NODE_V6, dns},
};

use crate::setup::{By, Setup, with_each_hook};

pub fn tests() -> Vec<Test> {
    let rotated = with_each_hook("answers::rotated", rotated);
    with_each_hook("answers", answers)
        .into_iter()
        .chain(rotated)
        .collect()
}

/// Name or address, type, what hickory reads in the answer.
type Row = (&'static str, u16, &'static str);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // ClusterIP, of one family and of two.
    ("checkout.shop.svc.cluster.local", rtype::A, "NOERROR 10.96.20.20"),
    ("checkout.shop.svc.cluster.local", rtype::AAAA, "NOERROR fd00:10:96::2020"),
    ("search.shop.svc.cluster.local", rtype::A, "NOERROR 10.96.20.50"),
    ("kube-dns.kube-system.svc.cluster.local", rtype::A, "NOERROR 10.96.0.10"),
    // 0x20: the case of the question comes back as it was asked.
    ("ChEcKoUt.sHoP.sVc.ClUsTeR.lOcAl", rtype::A, "NOERROR 10.96.20.20"),
    ("CHECKOUT.SHOP.SVC.CLUSTER.LOCAL", rtype::AAAA, "NOERROR fd00:10:96::2020"),
    // Headless.
    ("db.data.svc.cluster.local", rtype::A, "NOERROR 10.244.1.10 10.244.2.10 10.244.3.10"),
    ("db.data.svc.cluster.local", rtype::AAAA, "NOERROR fd00:10:244:1::10 fd00:10:244:2::10 fd00:10:244:3::10"),
    ("cache.data.svc.cluster.local", rtype::A, "NOERROR 10.244.1.21 10.244.2.21"),
    ("10-244-1-21.cache.data.svc.cluster.local", rtype::A, "NOERROR 10.244.1.21"),
    // Host names of a StatefulSet.
    ("db-0.db.data.svc.cluster.local", rtype::A, "NOERROR 10.244.1.10"),
    ("DB-1.db.data.svc.cluster.local", rtype::AAAA, "NOERROR fd00:10:244:2::10"),
    // The way back.
    ("10.96.20.20", rtype::PTR, "NOERROR checkout.shop.svc.cluster.local."),
    ("10.244.1.10", rtype::PTR, "NOERROR db-0.db.data.svc.cluster.local."),
    ("fd00:10:96::2020", rtype::PTR, "NOERROR checkout.shop.svc.cluster.local."),
    ("fd00:10:244:3::10", rtype::PTR, "NOERROR db-2.db.data.svc.cluster.local."),
    // Services and text. Two addresses: CoreDNS gives each half the weight.
    ("_grpc._tcp.checkout.shop.svc.cluster.local", rtype::SRV,
        "NOERROR 0 50 9000 checkout.shop.svc.cluster.local."),
    ("dns-version.cluster.local", rtype::TXT, "NOERROR 1.1.0"),
    // The name is not there, or not yet ready.
    ("nothing.shop.svc.cluster.local", rtype::A, "NXDOMAIN"),
    ("checkout.shop.svc.cluster.local.shop.svc.cluster.local", rtype::A, "NXDOMAIN"),
    ("db-3.db.data.svc.cluster.local", rtype::A, "NXDOMAIN"),
    // The name is there, without this type; an empty non-terminal.
    ("search.shop.svc.cluster.local", rtype::AAAA, "NOERROR"),
    ("checkout.shop.svc.cluster.local", rtype::TXT, "NOERROR"),
    ("svc.cluster.local", rtype::A, "NOERROR"),
];

fn answers(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    for (name, qtype, expected) in ROWS {
        let query = match name.parse::<IpAddr>() {
            Ok(address) => Query::ptr(address),
            Err(_) => Query::new(*name, *qtype),
        };
        let padding = [0, 12, 0, 0];
        let variants = [
            query.clone(),
            query.clone().edns(&[]).id(0xffff),
            query.edns(&padding).id(0),
        ];
        for query in &variants {
            answer(&setup, query, expected).with_context(|| format!("{query:?}"))?;
        }
    }
    Ok(())
}

/// The kernel answers over both families, as the socket does, to the byte.
fn answer(setup: &Setup, query: &Query, expected: &str) -> Result<()> {
    for (cluster, node) in [(DNS_V4, NODE_V4), (DNS_V6, NODE_V6)] {
        let (by_kernel, by) = setup.ask(dns(cluster), query)?;
        ensure!(
            by == By::Kernel,
            "not answered by the kernel over {cluster}"
        );
        let summary = client::summary(&by_kernel)?;
        ensure!(summary == expected, "{summary} instead of {expected}");
        let question = &query.bytes()[12..];
        let question = &question[..query.name.trim_end_matches('.').len() + 6];
        ensure!(
            by_kernel[12..].starts_with(question),
            "the question comes back as {by_kernel:02x?}"
        );
        let (by_socket, by) = setup.ask(dns(node), query)?;
        ensure!(by == By::Socket, "{node} was answered by the kernel");
        ensure!(
            by_kernel == by_socket,
            "kernel and socket differ\nkernel {by_kernel:02x?}\nsocket {by_socket:02x?}"
        );
    }
    Ok(())
}

/// Without being told otherwise, kernel and socket let each address be the first in its turn.
fn rotated(hook: &'static str) -> Result<()> {
    // That one of three is not among so many happens once in millions of runs.
    const QUERIES: u16 = 40;
    let setup = Setup::with(hook, &[])?;
    for (server, by) in [(DNS_V4, By::Kernel), (NODE_V6, By::Socket)] {
        let mut first = BTreeSet::new();
        for id in 0..QUERIES {
            let query = Query::new("db.data.svc.cluster.local", rtype::A).id(id);
            let (answer, who) = setup.ask(dns(server), &query)?;
            ensure!(who == by, "answered by {who:?}");
            let found = client::summary(&answer)?;
            ensure!(
                found == "NOERROR 10.244.1.10 10.244.2.10 10.244.3.10",
                "{found}"
            );
            first.insert(client::parse(&answer)?.answers[0].data.to_string());
        }
        ensure!(first.len() == 3, "{by:?}: only {first:?} were the first");
    }
    Ok(())
}

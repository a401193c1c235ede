//! What the kernel passes, and the socket answers.

use anyhow::{Result, ensure};
use hopzero_tests::{
    client::{self, Query, rtype},
    harness::Test,
    network::{DNS_V4, DNS_V6, dns},
};

use crate::setup::{By, Setup, with_each_hook};

pub fn tests() -> Vec<Test> {
    let mut tests = with_each_hook("passed::udp", over_udp);
    tests.extend(with_each_hook("passed::tcp", over_tcp));
    tests
}

/// Name, type, what hickory reads in the answer.
type Row = (&'static str, u16, &'static str);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("cluster.local", rtype::NS, "NOERROR kube-dns.kube-system.svc.cluster.local."),
    // Reverse zones are not complete in the kernel.
    ("200.20.96.10.in-addr.arpa", rtype::PTR, "NXDOMAIN"),
    ("96.10.in-addr.arpa", rtype::PTR, "NOERROR"),
    // Nor is what lies below pod.
    ("10-244-1-10.shop.pod.cluster.local", rtype::A, "NXDOMAIN"),
    // ExternalName.
    ("payments.shop.svc.cluster.local", rtype::A, "NOERROR api.payments.example.com."),
    ("payments.shop.svc.cluster.local", rtype::CNAME, "NOERROR api.payments.example.com."),
    // Not ours.
    ("example.com", rtype::A, "REFUSED"),
    ("local", rtype::A, "REFUSED"),
];

fn over_udp(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    for (name, qtype, expected) in ROWS {
        for query in [
            Query::new(*name, *qtype),
            Query::new(*name, *qtype).edns(&[]),
        ] {
            for address in [DNS_V4, DNS_V6] {
                let (answer, by) = setup.ask(dns(address), &query)?;
                let found = client::summary(&answer)?;
                ensure!(
                    found == *expected,
                    "{query:?}: {found} instead of {expected}"
                );
                ensure!(by == By::Socket, "{query:?} was answered by the kernel");
            }
        }
    }
    let (answer, by) = setup.ask(dns(DNS_V4), &Query::new("cluster.local", rtype::SOA))?;
    let found = client::summary(&answer)?;
    ensure!(
        found.starts_with("NOERROR ns.dns.cluster.local. hostmaster.cluster.local. "),
        "{found}"
    );
    ensure!(by == By::Socket, "SOA was answered by the kernel");
    Ok(())
}

fn over_tcp(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    let names = [
        "checkout.shop.svc.cluster.local",
        "db.data.svc.cluster.local",
    ];
    for query in names.map(|name| Query::new(name, rtype::A)) {
        for address in [DNS_V4, DNS_V6] {
            let before = setup.daemon.counts()?;
            let by_tcp = client::ask_tcp(&setup.network.pod, dns(address), &query)?;
            let by = setup.who(before, &query)?;
            ensure!(by == By::Socket, "TCP was answered by the kernel");
            let (by_udp, by) = setup.ask(dns(address), &query)?;
            ensure!(by == By::Kernel, "UDP was not answered by the kernel");
            ensure!(by_tcp == by_udp, "{query:?}: TCP and the kernel differ");
        }
    }
    Ok(())
}

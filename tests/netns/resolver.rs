//! The C library's resolver, with the resolv.conf that the kubelet gives to a pod.

use anyhow::{Result, ensure};
use hopzero_tests::{
    harness::Test,
    network::{DNS_V4, DNS_V6},
};

use crate::setup::{Setup, with_each_hook};

pub fn tests() -> Vec<Test> {
    with_each_hook("resolver", getent)
}

/// Arguments of getent, and the first words of its lines in any order.
const ROWS: &[(&[&str], &[&str])] = &[
    (
        &["ahosts", "checkout"],
        &["10.96.20.20", "fd00:10:96::2020"],
    ),
    (&["ahostsv4", "db-1.db.data"], &["10.244.2.10"]),
    (
        &["ahostsv6", "db.data.svc"],
        &[
            "fd00:10:244:1::10",
            "fd00:10:244:2::10",
            "fd00:10:244:3::10",
        ],
    ),
    (
        &["ahosts", "search.shop.svc.cluster.local."],
        &["10.96.20.50"],
    ),
];

fn getent(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    let pod = &setup.network.pod;
    for nameserver in [DNS_V4, DNS_V6] {
        pod.write_etc(
            "resolv.conf",
            &format!(
                "search shop.svc.cluster.local svc.cluster.local cluster.local\n\
                 nameserver {nameserver}\n\
                 options ndots:5 timeout:2 attempts:1\n"
            ),
        )?;
        for (arguments, expected) in ROWS {
            let before = setup.daemon.counts()?;
            let output = pod.exec(&[&["getent"], *arguments].concat())?;
            let mut found: Vec<&str> = (output.lines())
                .filter_map(|line| line.split_whitespace().next())
                .collect();
            found.sort_unstable();
            found.dedup();
            ensure!(found == *expected, "getent {arguments:?}: {output}");
            let after = setup.daemon.counts()?;
            ensure!(
                after.kernel > before.kernel,
                "getent {arguments:?}: the kernel answered nothing"
            );
        }
        let output = pod.exec(&["getent", "hosts", "10.96.20.20"])?;
        ensure!(
            output.contains("checkout.shop.svc.cluster.local"),
            "the way back: {output}"
        );
        let missing = pod.exec(&["getent", "hosts", "nothing"]);
        ensure!(missing.is_err(), "nothing was found: {missing:?}");
    }
    Ok(())
}

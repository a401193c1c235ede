//! The resolvers of two C libraries, with the resolv.conf that the kubelet gives to a pod: glibc's through
//! `getent`, and that of musl, which Alpine's images have.

use std::{io, net::IpAddr, process::Command};

use anyhow::{Context, Result, ensure};
use hopzero_tests::{
    harness::Test,
    namespace::Namespace,
    network::{DNS_V4, DNS_V6},
};

use crate::setup::{Setup, with_each_hook};

pub fn tests() -> Vec<Test> {
    let missing = match Command::new("musl-gcc").arg("--version").output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Some("musl-gcc is missing: install musl-tools".to_owned())
        }
        _ => None,
    };
    let mut tests = with_each_hook("resolver::glibc", getent);
    let musl = with_each_hook("resolver::musl", musl);
    tests.extend(musl.into_iter().map(|test| test.unless(missing.clone())));
    tests
}

/// Lookups of each name by musl.
const MUSL_LOOKUPS: usize = 500;

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
        write_resolv_conf(pod, nameserver)?;
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

fn write_resolv_conf(pod: &Namespace, nameserver: IpAddr) -> Result<()> {
    pod.write_etc(
        "resolv.conf",
        &format!(
            "search shop.svc.cluster.local svc.cluster.local cluster.local\n\
             nameserver {nameserver}\n\
             options ndots:5 timeout:2 attempts:1\n"
        ),
    )
}

/// Many lookups in one process, with one attempt each: an answer that is lost is a failure.
fn musl(hook: &'static str) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let program = directory.path().join("getaddrinfo");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/netns/getaddrinfo.c");
    let status = Command::new("musl-gcc")
        .args(["-static", "-O1", "-o"])
        .arg(&program)
        .arg(source)
        .status()
        .context("cannot start musl-gcc")?;
    ensure!(status.success(), "musl-gcc: {status}");
    let program = program.to_str().context("a path of text")?;

    let setup = Setup::new(hook)?;
    let pod = &setup.network.pod;
    for nameserver in [DNS_V4, DNS_V6] {
        write_resolv_conf(pod, nameserver)?;
        for (name, expected) in [
            ("checkout", &["10.96.20.20", "fd00:10:96::2020"][..]),
            ("search.shop.svc.cluster.local.", &["10.96.20.50"]),
            (
                "db.data.svc",
                &[
                    "10.244.1.10",
                    "10.244.2.10",
                    "10.244.3.10",
                    "fd00:10:244:1::10",
                    "fd00:10:244:2::10",
                    "fd00:10:244:3::10",
                ],
            ),
        ] {
            let before = setup.daemon.counts()?;
            let output = pod.exec(&[program, &MUSL_LOOKUPS.to_string(), name])?;
            let mut found: Vec<&str> = output.lines().collect();
            found.sort_unstable();
            let each = found.len() / expected.len();
            found.dedup();
            ensure!(
                found == expected && each == MUSL_LOOKUPS,
                "{name}: {each} times {found:?}"
            );
            let after = setup.daemon.counts()?;
            let answered = after.kernel - before.kernel;
            ensure!(
                answered >= 2 * MUSL_LOOKUPS as u64 && after.socket == before.socket,
                "{name}: the kernel answered {answered}, the socket {}",
                after.socket - before.socket
            );
        }
        let missing = pod.exec(&[program, "1", "nothing"]);
        ensure!(missing.is_err(), "nothing was found: {missing:?}");
    }
    Ok(())
}

//! `hopzero kernel off` and `on`: at once, and until it is taken back.

use std::{process::Command, thread, time::Duration};

use anyhow::{Result, ensure};
use hopzero_tests::{
    client::{Query, rtype, summary},
    daemon::{binary, counter},
    harness::Test,
    network::{DNS_V4, DNS_V6, dns},
};
use serde_json::{Value, json};

use crate::setup::{By, Setup, with_each_hook};

/// For a change of the manifests to reach the zone.
const APPLIED_WITHIN: Duration = Duration::from_secs(10);

pub fn tests() -> Vec<Test> {
    let mut tests = with_each_hook("switches::hooks", hooks);
    tests.extend(with_each_hook("switches::zones", zones));
    tests.extend(with_each_hook("switches::refused", refused));
    tests
}

/// `hopzero kernel …`: status, output, errors.
fn kernel(setup: &Setup, arguments: &[&str]) -> Result<(i32, String, String)> {
    let output = Command::new(binary()?)
        .arg("kernel")
        .args(arguments)
        .arg("--control")
        .arg(setup.home.control())
        .output()?;
    Ok((
        output.status.code().unwrap_or(-1),
        String::from_utf8(output.stdout)?,
        String::from_utf8(output.stderr)?,
    ))
}

fn switch(setup: &Setup, arguments: &[&str], expected: &str) -> Result<()> {
    let (status, output, errors) = kernel(setup, arguments)?;
    ensure!(
        status == 0 && output == expected,
        "{arguments:?}: exit {status}: {output}{errors}"
    );
    Ok(())
}

/// Of a hook: `xdp-generic` has XDP's switch.
fn switch_of(hook: &str) -> &str {
    hook.split('-').next().unwrap_or(hook)
}

fn name() -> Query {
    Query::new("checkout.shop.svc.cluster.local", rtype::A)
}

fn asked(setup: &Setup, query: &Query, expected: By) -> Result<()> {
    for server in [DNS_V4, DNS_V6] {
        let (answer, by) = setup.ask(dns(server), query)?;
        ensure!(
            by == expected,
            "{query:?} was answered by the {by:?}: {}",
            summary(&answer)?
        );
    }
    Ok(())
}

fn hooks(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    let ours = switch_of(hook);
    let other = if ours == "tc" { "xdp" } else { "tc" };
    asked(&setup, &name(), By::Kernel)?;
    switch(
        &setup,
        &["off", "--hook", ours],
        &format!("hook {ours} is off\n"),
    )?;
    let before = setup.daemon.report()?;
    asked(&setup, &name(), By::Socket)?;
    let after = setup.daemon.report()?;
    ensure!(counter(&after, "switched_off") >= counter(&before, "switched_off") + 2);
    ensure!(after.kernel.unwrap_or_default()["hooks_off"] == json!([ours]));

    // It lasts over leases and changes of the zone, however long it takes.
    let added = "
apiVersion: v1
kind: Service
metadata: {name: added, namespace: shop}
spec: {clusterIP: 10.96.20.99, ports: [{port: 80}]}
";
    setup.home.write("added.yaml", added)?;
    let query = Query::new("added.shop.svc.cluster.local", rtype::A);
    let started = std::time::Instant::now();
    while summary(&setup.ask(dns(DNS_V4), &query)?.0)? != "NOERROR 10.96.20.99" {
        ensure!(started.elapsed() < APPLIED_WITHIN, "it is not applied");
        thread::sleep(Duration::from_millis(10));
    }
    asked(&setup, &query, By::Socket)?;

    switch(
        &setup,
        &["off", "--hook", other],
        "hook xdp is off\nhook tc is off\n",
    )?;
    switch(
        &setup,
        &["on", "--hook", other],
        &format!("hook {ours} is off\n"),
    )?;
    asked(&setup, &name(), By::Socket)?;
    switch(
        &setup,
        &["on"],
        "the kernel answers: nothing is switched off\n",
    )?;
    asked(&setup, &query, By::Kernel)?;
    switch(&setup, &["off"], "hook xdp is off\nhook tc is off\n")?;
    asked(&setup, &query, By::Socket)?;
    switch(
        &setup,
        &["on"],
        "the kernel answers: nothing is switched off\n",
    )?;
    asked(&setup, &name(), By::Kernel)
}

fn zones(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    let pointer = Query::ptr("10.96.20.20".parse()?);
    asked(&setup, &pointer, By::Kernel)?;
    let (status, output, _) = kernel(&setup, &["off", "--zone", "Cluster.Local.", "--json"])?;
    let output: Value = serde_json::from_str(&output)?;
    ensure!(status == 0 && output == json!({"hooks": [], "zones": ["cluster.local"]}));
    for query in [
        name(),
        // NODATA, NXDOMAIN.
        Query::new("checkout.shop.svc.cluster.local", rtype::TXT),
        Query::new("nothing.shop.svc.cluster.local", rtype::A),
    ] {
        asked(&setup, &query, By::Socket)?;
    }
    asked(&setup, &pointer, By::Kernel)?;
    // Every change of the zone renews its entry in the kernel.
    let touched = "
apiVersion: v1
kind: Service
metadata: {name: checkout, namespace: shop}
spec: {clusterIP: 10.96.20.98, ports: [{port: 80}]}
";
    setup.home.write("zz.yaml", touched)?;
    thread::sleep(Duration::from_secs(2));
    asked(&setup, &name(), By::Socket)?;
    let output = Command::new(binary()?)
        .arg("stats")
        .arg("--control")
        .arg(setup.home.control())
        .output()?;
    let table = String::from_utf8(output.stdout)?;
    for (field, value) in [("zones_off", "cluster.local"), ("hooks_off", "none")] {
        let mut lines = table.lines();
        ensure!(
            lines.any(|line| line.contains(field) && line.ends_with(value)),
            "{field}: {table}"
        );
    }
    switch(
        &setup,
        &["on", "--zone", "cluster.local"],
        "the kernel answers: nothing is switched off\n",
    )?;
    asked(&setup, &name(), By::Kernel)
}

fn refused(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    let (status, output, errors) = kernel(&setup, &["off", "--zone", "example.com"])?;
    ensure!(
        (status, output.as_str()) == (1, "") && errors.contains("in-addr.arpa"),
        "exit {status}: {output}{errors}"
    );
    asked(&setup, &name(), By::Kernel)
}

//! The kernel's answers follow the manifests.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hopzero_tests::{
    client::{Client, PATIENCE, Query, rtype, summary},
    harness::Test,
    network::{DNS_V4, dns},
};

use crate::setup::{By, Setup, with_each_hook};

/// From the file's event to the kernel's new answer.
const FOLLOWED_WITHIN: Duration = Duration::from_millis(100);
/// Edits that are measured. Half of them must keep the limit: the machine has other work, too.
const EDITS: u8 = 9;

pub fn tests() -> Vec<Test> {
    let mut tests = with_each_hook("edits::followed", followed);
    tests.extend(with_each_hook("edits::broken", broken));
    tests.extend(with_each_hook("edits::deleted", deleted));
    tests
}

fn web(address: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\n\
         spec:\n  clusterIP: {address}\n  ports: [{{name: http, port: 80}}]\n"
    )
}

fn query() -> Query {
    Query::new("web.shop.svc.cluster.local", rtype::A)
}

/// Asks until the answer is as expected; how long that took.
fn wait_for(setup: &Setup, query: &Query, expected: &str) -> Result<Duration> {
    let client = Client::new(&setup.network.pod, dns(DNS_V4))?;
    let started = Instant::now();
    loop {
        let found = summary(&client.ask(&query.bytes())?)?;
        let elapsed = started.elapsed();
        if found == expected {
            return Ok(elapsed);
        }
        ensure!(
            elapsed < PATIENCE,
            "{query:?}: still {found}, not {expected}"
        );
        thread::sleep(Duration::from_micros(500));
    }
}

fn answered_by(setup: &Setup, expected_by: By, expected: &str) -> Result<()> {
    let (answer, by) = setup.ask(dns(DNS_V4), &query())?;
    let found = summary(&answer)?;
    ensure!(found == expected, "{found} instead of {expected}");
    ensure!(by == expected_by, "{found} came from the {by:?}");
    Ok(())
}

fn followed(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    let mut times = Vec::new();
    for edit in 1..=EDITS {
        let address = format!("10.96.77.{edit}");
        setup.home.write("web.yaml", &web(&address))?;
        let expected = format!("NOERROR {address}");
        times.push(wait_for(&setup, &query(), &expected)?);
        answered_by(&setup, By::Kernel, &expected)?;
        // The way back follows as well, and the old one is gone.
        let back = Query::ptr(address.parse()?);
        let (answer, by) = setup.ask(dns(DNS_V4), &back)?;
        let found = summary(&answer)?;
        ensure!(found == "NOERROR web.shop.svc.cluster.local." && by == By::Kernel);
        if edit > 1 {
            let old = Query::ptr(format!("10.96.77.{}", edit - 1).parse()?);
            let (answer, by) = setup.ask(dns(DNS_V4), &old)?;
            ensure!(summary(&answer)? == "NXDOMAIN" && by == By::Socket);
        }
        // Longer than changes are gathered: each edit is one of its own.
        thread::sleep(Duration::from_millis(70));
    }
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "{hook}: an edit is in the kernel after {:.1} ms (median of {EDITS}; at most {:.1} ms)",
        median.as_secs_f64() * 1e3,
        worst.as_secs_f64() * 1e3
    );
    ensure!(median < FOLLOWED_WITHIN, "too slow: {times:?}");
    Ok(())
}

fn broken(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    setup.home.write("web.yaml", &web("10.96.77.1"))?;
    wait_for(&setup, &query(), "NOERROR 10.96.77.1")?;
    // The third line does not close its brace.
    setup.home.write(
        "web.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: web\nspec: 1\n",
    )?;
    let started = Instant::now();
    let log = loop {
        let log = setup.daemon.log();
        let line = (log.lines()).find(|line| line.contains("web.yaml") && line.contains("line"));
        if let Some(line) = line {
            break line.to_owned();
        }
        ensure!(started.elapsed() < PATIENCE, "nothing is logged:\n{log}");
        thread::sleep(Duration::from_millis(5));
    };
    println!("{hook}: {log}");
    for place in ["line 4", "column"] {
        ensure!(log.contains(place), "no {place} in: {log}");
    }
    answered_by(&setup, By::Kernel, "NOERROR 10.96.77.1")?;
    // Put right, it is followed again.
    setup.home.write("web.yaml", &web("10.96.77.2"))?;
    wait_for(&setup, &query(), "NOERROR 10.96.77.2")?;
    answered_by(&setup, By::Kernel, "NOERROR 10.96.77.2")
}

fn deleted(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    setup.home.write("web.yaml", &web("10.96.77.1"))?;
    wait_for(&setup, &query(), "NOERROR 10.96.77.1")?;
    fs::remove_file(setup.home.manifests().join("web.yaml"))?;
    let time = wait_for(&setup, &query(), "NXDOMAIN").context("deleted")?;
    println!(
        "{hook}: a deleted name is gone after {:.1} ms",
        time.as_secs_f64() * 1e3
    );
    answered_by(&setup, By::Kernel, "NXDOMAIN")?;
    let back = Query::ptr("10.96.77.1".parse()?);
    ensure!(summary(&setup.ask(dns(DNS_V4), &back)?.0)? == "NXDOMAIN");
    // The others are still there.
    let other = Query::new("cart.shop.svc.cluster.local", rtype::A);
    let (answer, by) = setup.ask(dns(DNS_V4), &other)?;
    ensure!(summary(&answer)? == "NOERROR 10.96.20.30" && by == By::Kernel);
    Ok(())
}

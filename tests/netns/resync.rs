//! Many changes at once are one step for a pod that asks all the time.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use hopzero_tests::{
    client::{Client, Query, rtype, summary},
    daemon::Home,
    harness::Test,
    network::{DNS_V4, dns},
};

use crate::setup::{Setup, figure, wait_for, with_each_hook};

/// Services of four names each: more than a batch has that is written name by name, and both states of them fit
/// the smallest table.
const SERVICES: u32 = 300;
/// How often all of them change.
const VERSIONS: u32 = 6;

pub fn tests() -> Vec<Test> {
    with_each_hook("resync::one_step", one_step)
}

/// All services in one file, which is one batch. Each says the version in its address.
fn write(home: &Home, version: u32) -> Result<()> {
    let mut yaml = String::new();
    for service in 0..SERVICES {
        writeln!(
            yaml,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: many-{service}, namespace: shop}}\n\
             spec: {{clusterIP: 10.{}.{}.{}, ports: [{{name: http, port: 80}}]}}",
            100 + version,
            service / 250,
            service % 250 + 1
        )?;
    }
    home.write("many.yaml", &yaml)
}

/// Once one name is seen in a version, none is seen in an older one. Returns the queries, and the versions seen.
fn ask(setup: &Setup, done: &AtomicBool) -> Result<(u64, u32)> {
    let client = Client::new(&setup.network.pod, dns(DNS_V4))?;
    let (mut queries, mut newest, mut seen) = (0, 0, 0);
    while !done.load(Ordering::Relaxed) {
        // Far from the one before, in whatever order they are published.
        let service = (queries * 151) % u64::from(SERVICES);
        let name = format!("many-{service}.shop.svc.cluster.local");
        let answer = client.ask(&Query::new(&name, rtype::A).bytes())?;
        let found = summary(&answer)?;
        let version = found.strip_prefix("NOERROR 10.").and_then(|rest| {
            let octet: u32 = rest.split('.').next()?.parse().ok()?;
            octet.checked_sub(100)
        });
        let version = version.with_context(|| format!("{name}: {found}"))?;
        ensure!(version >= newest, "{name}: {found} after {newest}");
        seen += u32::from(version > newest);
        newest = version;
        queries += 1;
    }
    Ok((queries, seen))
}

fn one_step(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    let flips = |expected: u64| {
        write(&setup.home, u32::try_from(expected)?)?;
        wait_for(&setup.daemon, |report| figure(report, "flips") == expected)
    };
    flips(1)?;
    let before = setup.daemon.counts()?;
    let done = AtomicBool::new(false);
    let (changed, asked) = thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&setup, &done));
        let changed = (2..=u64::from(VERSIONS)).try_for_each(|version| {
            thread::sleep(Duration::from_millis(100));
            flips(version).map(|_| ())
        });
        thread::sleep(Duration::from_millis(100));
        done.store(true, Ordering::Relaxed);
        (changed, asking.join().expect("no panic"))
    });
    let (queries, seen) = asked?;
    changed?;
    ensure!(seen == VERSIONS, "{seen} versions were seen");
    let (after, report) = (setup.daemon.counts()?, setup.daemon.report()?);
    ensure!(figure(&report, "growths") + figure(&report, "builds_failed") == 0);
    ensure!(
        after.kernel - before.kernel == queries && after.socket == before.socket,
        "{queries} queries: {before:?}, {after:?}"
    );
    println!(
        "{hook}: {queries} queries over {VERSIONS} versions, all answered by the kernel, none went back"
    );
    Ok(())
}

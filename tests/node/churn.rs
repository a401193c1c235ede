//! Pods come and go, a hundred a second: none is left behind, and those that stay are answered in the kernel all the time.

use std::{
    env,
    fmt::Write as _,
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::{
    client::{Client, Query, rtype, summary},
    daemon::{Daemon, Home, counter},
    harness::Test,
    loaded::Loaded,
    network::{DNS_V4, dns},
    node::Node,
};

/// Veths a second that come, and as many that go.
const RATE: u32 = 100;
/// For so long; `HOPZERO_CHURN_SECONDS` says otherwise.
const SECONDS: u64 = 60;
/// A step of so many at once.
const AT_ONCE: u32 = 10;
/// How many there are at a time.
const LIVING: u32 = 50;
/// What is there when all have gone may take so long.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// Resident memory may be larger by so much, kB: maps and programs of a device that is there, the allocator's leftovers.
const GROWTH_KB_MAX: u64 = 8 * 1024;

pub fn tests() -> Vec<Test> {
    vec![Test::new("node::churn", churn)]
}

/// What a process has.
#[derive(Clone, Copy, Debug)]
struct Has {
    files: usize,
    resident_kb: u64,
    links: usize,
}

fn has(daemon: &Daemon) -> Result<Has> {
    let process = format!("/proc/{}", daemon.child.id());
    let status = fs::read_to_string(format!("{process}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|text| text.split_whitespace().next());
    Ok(Has {
        files: fs::read_dir(format!("{process}/fd"))?.count(),
        resident_kb: resident.context("no VmRSS")?.parse()?,
        links: Loaded::of(&daemon.programs()?)?.links.len(),
    })
}

fn churn() -> Result<()> {
    let seconds = env::var("HOPZERO_CHURN_SECONDS").ok();
    let seconds = seconds.map_or(Ok(SECONDS), |text| text.parse())?;
    let node = Node::new()?;
    let stays = node.pod(1)?;
    let home = Home::shop()?;
    let (listen, answer_for) = (dns(DNS_V4).to_string(), DNS_V4.to_string());
    let arguments = [
        "--listen",
        &listen,
        "--attach",
        "pods",
        "--answer-for",
        &answer_for,
    ];
    let daemon = Daemon::spawn(home.serve(&node.namespace, &arguments)?, &home)?.ready()?;
    let place = node.place()?;
    // Once around, so that what is made at the first time is there.
    let mut made = 0;
    for _ in 0..10 {
        step(&node, place.name(), 0, &mut made)?;
    }
    settled(&daemon, &node, made)?;
    let before = has(&daemon)?;

    let started = Instant::now();
    let each = Duration::from_secs(1) * AT_ONCE / RATE;
    let (mut steps, first) = (0_u32, made);
    let (mut most, mut answered, mut slowest) = (0, 0_u64, Duration::ZERO);
    let client = Client::new(&stays.namespace, dns(DNS_V4))?;
    let query = Query::new("checkout.shop.svc.cluster.local", rtype::A).bytes();
    let counted = daemon.report()?;
    while started.elapsed() < Duration::from_secs(seconds) {
        step(&node, place.name(), first, &mut made)?;
        steps += 1;
        let asked = Instant::now();
        let found = summary(&client.ask(&query)?)?;
        ensure!(found == "NOERROR 10.96.20.20", "{found}");
        answered += 1;
        slowest = slowest.max(asked.elapsed());
        if steps.is_multiple_of(20) {
            most = most.max(has(&daemon)?.links);
        }
        thread::sleep((started + each * steps).saturating_duration_since(Instant::now()));
    }
    let rate = f64::from(made - first) / started.elapsed().as_secs_f64();
    let now = daemon.report()?;
    let by_kernel = counter(&now, "answered") - counter(&counted, "answered");
    let late = counter(&now, "lease");
    settled(&daemon, &node, made)?;
    let after = has(&daemon)?;
    println!(
        "{rate:.0} veths/s came and went for {seconds} s; at most {most} were covered at a time; \
         {answered} queries of a pod that stays, {by_kernel} answered in the kernel, the slowest in {:.1} ms",
        slowest.as_secs_f64() * 1e3
    );
    println!("before {before:?}, after {after:?}");
    ensure!(most > 1, "none of them was ever covered");
    ensure!(by_kernel >= answered, "the kernel has not answered all");
    ensure!(late == 0, "the lease has run out {late} times");
    ensure!(after.files <= before.files && after.links == before.links);
    ensure!(after.resident_kb < before.resident_kb + GROWTH_KB_MAX);
    Ok(())
}

/// So many come, as a group, and the oldest go of those since the `first`. (One by one they would not go so fast: each waits
/// for the kernel's grace periods. Those of namespaces that end go together, too.)
fn step(node: &Node, place: &str, first: u32, made: &mut u32) -> Result<()> {
    let mut lines = String::new();
    let group = *made / AT_ONCE + 1;
    for number in *made..*made + AT_ONCE {
        writeln!(
            lines,
            "link add c{number} up group {group} type veth peer name c{number} netns {place}"
        )?;
    }
    if *made >= first + LIVING {
        writeln!(lines, "link del group {}", group - LIVING / AT_ONCE)?;
    }
    *made += AT_ONCE;
    node.namespace.ip_batch(&lines)
}

/// All go, and the daemon knows only of the one that stays.
fn settled(daemon: &Daemon, node: &Node, made: u32) -> Result<()> {
    let mut lines = String::new();
    for group in (made - LIVING) / AT_ONCE..made / AT_ONCE {
        writeln!(lines, "link del group {}", group + 1)?;
    }
    node.namespace.ip_batch(&lines)?;
    let started = Instant::now();
    loop {
        let kernel = daemon.report()?.kernel.unwrap_or_default();
        let devices = kernel["devices"].as_array().cloned().unwrap_or_default();
        if devices.len() == 1 && devices[0]["active"] == true {
            return Ok(());
        }
        ensure!(
            started.elapsed() < SETTLED_WITHIN,
            "{} devices are left: {devices:?}\n{}",
            devices.len(),
            daemon.log()
        );
        thread::sleep(Duration::from_millis(50));
    }
}

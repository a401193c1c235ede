//! A table that is full grows, under the queries of a pod.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use hopzero_common::reason::Reason;
use hopzero_tests::{
    client::{Client, Query, rtype, summary},
    daemon::{Daemon, Home, attach, counter, listen},
    harness::Test,
    loaded::{Loaded, attached},
    network::{DNS_V4, NODE_DEVICE, Network, dns},
};

use crate::setup::{Setup, figure, wait_for, with_each_hook};

/// Services that are added: each has four names, so that the smallest table is full before a quarter of them.
const SERVICES: u32 = 6000;
/// They come in so many files, the last ones when the table has grown once.
const FILES: u32 = 3;
/// Files that a daemon may open in addition: enough to read manifests and to report, and less than it has maps.
const FILES_MORE: usize = 5;

pub fn tests() -> Vec<Test> {
    let mut tests = with_each_hook("growth::grown", grown);
    tests.extend(with_each_hook("growth::bounded", bounded));
    tests.extend(with_each_hook("growth::impossible", impossible));
    tests
}

fn address(service: u32) -> String {
    format!("10.97.{}.{}", service / 250, service % 250 + 1)
}

fn name(service: u32) -> String {
    format!("many-{service}.shop.svc.cluster.local")
}

/// A file of services, `of` many files in all.
fn write(home: &Home, file: u32, of: u32) -> Result<()> {
    let mut yaml = String::new();
    for service in (0..SERVICES).filter(|service| service % of == file) {
        writeln!(
            yaml,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: many-{service}, namespace: shop}}\n\
             spec: {{clusterIP: {}, ports: [{{name: http, port: 80}}]}}",
            address(service)
        )?;
    }
    home.write(&format!("many-{file}.yaml"), &yaml)
}

/// What a pod saw that asked all the time.
#[derive(Default)]
struct Asked {
    queries: u64,
    slowest: Duration,
}

/// Asks until `done`, one query after the other: each is answered, and right.
fn ask_all_the_time(setup: &Setup, done: &AtomicBool) -> Result<Asked> {
    let client = Client::new(&setup.network.pod, dns(DNS_V4))?;
    let query = Query::new("checkout.shop.svc.cluster.local", rtype::A);
    let mut asked = Asked::default();
    while !done.load(Ordering::Relaxed) {
        let id = u16::try_from(asked.queries % 65536)?;
        let started = Instant::now();
        let answer = client.ask(&query.clone().id(id).bytes());
        let answer = answer.with_context(|| format!("query {} is lost", asked.queries))?;
        let found = summary(&answer)?;
        ensure!(found == "NOERROR 10.96.20.20", "a wrong answer: {found}");
        asked.queries += 1;
        asked.slowest = asked.slowest.max(started.elapsed());
        thread::sleep(Duration::from_micros(200));
    }
    Ok(asked)
}

/// The counters only ever go up; returns how often they were looked at.
fn watch_counters(setup: &Setup, done: &AtomicBool) -> Result<u64> {
    let (mut before, mut looks) = (Vec::new(), 0);
    while !done.load(Ordering::Relaxed) {
        let report = setup.daemon.report()?;
        let counters: Vec<(&str, u64)> = (Reason::ALL.iter())
            .map(|reason| (reason.label(), counter(&report, reason.label())))
            .collect();
        for ((label, before), (_, after)) in before.iter().zip(&counters) {
            ensure!(before <= after, "{label} went from {before} to {after}");
        }
        (before, looks) = (counters, looks + 1);
        thread::sleep(Duration::from_millis(2));
    }
    Ok(looks)
}

fn grown(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    let first = setup.daemon.report()?;
    let old = Loaded::of(&setup.daemon.programs()?)?;
    ensure!(
        figure(&first, "capacity") < u64::from(SERVICES),
        "not small"
    );
    let done = AtomicBool::new(false);
    let (last, asked, looks) = thread::scope(|scope| {
        let asking = scope.spawn(|| ask_all_the_time(&setup, &done));
        let watching = scope.spawn(|| watch_counters(&setup, &done));
        let grown = (0..FILES).try_fold(first.clone(), |report, file| {
            write(&setup.home, file, FILES)?;
            // Four names a service, and what was there before.
            let names = figure(&report, "names") + u64::from(4 * SERVICES / FILES);
            wait_for(&setup.daemon, |report| figure(report, "names") >= names)
        });
        done.store(true, Ordering::Relaxed);
        let asked = asking.join().expect("no panic");
        let looks = watching.join().expect("no panic");
        anyhow::Ok((grown?, asked?, looks?))
    })?;
    ensure!(figure(&last, "growths") >= 1, "{:#?}", last.kernel);
    ensure!(figure(&last, "capacity") > 4 * u64::from(SERVICES));
    ensure!(looks > 1 && asked.queries > 100);
    println!(
        "{hook}: {} growths, {} flips, from {} to {} names; {} queries meanwhile, none lost, the slowest {:.1} ms",
        figure(&last, "growths"),
        figure(&last, "flips"),
        figure(&first, "capacity"),
        figure(&last, "capacity"),
        asked.queries,
        asked.slowest.as_secs_f64() * 1e3
    );
    let ours = Loaded::of(&setup.daemon.programs()?)?;
    ensure!(ours.links == old.links, "attached anew: {ours:?}");
    let links = BTreeSet::new();
    Loaded { links, ..old }.is_gone().context("the old ones")?;
    let on_device = attached(&setup.network.node, NODE_DEVICE)?;
    ensure!(
        on_device.len() == 1 && ours.programs.contains(&on_device[0]),
        "on the device: {on_device:?}"
    );
    // All of them come from the kernel, and what does not exist as well.
    let before = setup.daemon.counts()?;
    let client = Client::new(&setup.network.pod, dns(DNS_V4))?;
    for service in 0..SERVICES {
        let answer = client.ask(&Query::new(name(service), rtype::A).bytes())?;
        ensure!(summary(&answer)? == format!("NOERROR {}", address(service)));
    }
    let answer = client.ask(&Query::new(name(SERVICES), rtype::A).bytes())?;
    ensure!(summary(&answer)? == "NXDOMAIN");
    let after = setup.daemon.counts()?;
    ensure!(
        after.kernel - before.kernel == u64::from(SERVICES) + 1 && after.socket == before.socket,
        "{before:?}, {after:?}"
    );
    Ok(())
}

/// With `--names-max` the table does not grow: what has no room passes, and is answered.
fn bounded(hook: &'static str) -> Result<()> {
    let network = Network::new()?;
    let home = Home::shop()?;
    let bound = ["--names-max".to_owned(), "1000".to_owned()].to_vec();
    let arguments = [listen(), attach(hook), bound].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let daemon = Daemon::spawn(home.serve(&network.node, &arguments)?, &home)?.ready()?;
    let setup = Setup {
        daemon,
        network,
        home,
    };
    let capacity = figure(&setup.daemon.report()?, "capacity");
    write(&setup.home, 0, 1)?;
    let report = wait_for(&setup.daemon, |report| figure(report, "rejected") > 0)?;
    ensure!(figure(&report, "growths") + figure(&report, "growths_failed") == 0);
    ensure!(figure(&report, "capacity") == capacity);
    all_are_answered(&setup)
}

/// Growing fails: the old table answers what it has, and the socket the rest.
fn impossible(hook: &'static str) -> Result<()> {
    let setup = Setup::new(hook)?;
    let old = Loaded::of(&setup.daemon.programs()?)?;
    limit_open_files(&setup.daemon)?;
    write(&setup.home, 0, 1)?;
    let report = wait_for(&setup.daemon, |report| figure(report, "growths_failed") > 0)?;
    ensure!(figure(&report, "growths") == 0 && setup.daemon.log().contains("cannot be made"));
    ensure!(old.left() == old, "the old programs are gone");
    all_are_answered(&setup)?;
    let failures = figure(&setup.daemon.report()?, "growths_failed");
    ensure!(failures <= 2, "tried {failures} times within seconds");
    Ok(())
}

/// `setrlimit(RLIMIT_NOFILE)` of the daemon: files can be read, but not all the maps be made.
fn limit_open_files(daemon: &Daemon) -> Result<()> {
    let open: BTreeSet<u64> = fs::read_dir(format!("/proc/{}/fd", daemon.child.id()))?
        .filter_map(|file| file.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    // The limit is one of their numbers: so many below it are free.
    let mut free = (0..).filter(|number| !open.contains(number));
    let most = free.nth(FILES_MORE).context("numbers do not end")?;
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: most,
    };
    let pid = libc::pid_t::try_from(daemon.child.id())?;
    // SAFETY: prlimit() reads the limit, and writes no old one.
    let set = unsafe {
        libc::prlimit(
            pid,
            libc::RLIMIT_NOFILE,
            &raw const limit,
            std::ptr::null_mut(),
        )
    };
    ensure!(set == 0, "prlimit: {}", std::io::Error::last_os_error());
    Ok(())
}

/// By whomever, and rightly.
fn all_are_answered(setup: &Setup) -> Result<()> {
    let client = Client::new(&setup.network.pod, dns(DNS_V4))?;
    for service in (0..SERVICES).step_by(7) {
        let answer = client.ask(&Query::new(name(service), rtype::A).bytes())?;
        let found = summary(&answer)?;
        ensure!(
            found == format!("NOERROR {}", address(service)),
            "{service}: {found}"
        );
    }
    let answer = client.ask(&Query::new(name(SERVICES), rtype::A).bytes())?;
    ensure!(summary(&answer)? == "NXDOMAIN");
    Ok(())
}

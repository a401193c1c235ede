//! Before, while and after.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::{
    beside::{comparison::Comparison, question::Questions, reply::Seen},
    client::{self, Client, Query, rtype, summary},
    daemon::{Counts, Daemon},
    loaded::Loaded,
    network::{DNS_V4, dns},
    node::Pod,
};

use crate::world::World;

/// Queries that are compared before, while and after.
const QUERIES: usize = 2000;
/// How long what follows from a change may take.
const HAPPENS_WITHIN: Duration = Duration::from_secs(30);

/// Names that the kernel answers.
const NAMES: &str = "\
web.shop.svc.cluster.local
dual.shop.svc.cluster.local
db.shop.svc.cluster.local
db-0.db.shop.svc.cluster.local
_pg._tcp.db.shop.svc.cluster.local
_http._tcp.web.shop.svc.cluster.local
nothing.shop.svc.cluster.local
web.shop.svc.cluster.local.shop.svc.cluster.local
outside.shop.svc.cluster.local
kube-dns.kube-system.svc.cluster.local
kubernetes.default.svc.cluster.local
cluster.local
svc.cluster.local
shop.svc.cluster.local
1-2-3-4.shop.pod.cluster.local
20.20.96.10.in-addr.arpa
1.7.244.10.in-addr.arpa
9.9.9.9.in-addr.arpa
example.org
a2.up.test
";

pub fn test(coredns: &Path, plane: &Path) -> Result<()> {
    let world = World::new(coredns, plane, 2)?;
    let before = answers(&world.pods[0])?;
    world.forget_connections()?;
    ask(&world.pods[1], "web.shop.svc.cluster.local")?;
    let counted = world.connections()?;
    ensure!(counted == 1, "a query has left {counted} connections");

    let daemon = world.accelerate()?;
    active(&daemon, 2)?;
    let started = daemon.counts()?;
    let while_it_runs = answers(&world.pods[0])?;
    same(&before, &while_it_runs).context("before, and while it runs")?;
    let by_kernel = daemon.counts()?.kernel - started.kernel;
    println!("{by_kernel} of {QUERIES} queries were answered in the kernel");
    ensure!(by_kernel > QUERIES as u64 / 4, "{}", daemon.log());

    no_connections(&world, &daemon)?;
    new_pod(&world, &daemon)?;
    configured(&world, &daemon)?;

    stopped(&world, &daemon)?;
    killed(&world, daemon)?;
    let after = answers(&world.pods[0])?;
    same(&before, &after).context("before, and after")?;

    // Once more, and taken away as it should be.
    let daemon = world.accelerate()?;
    active(&daemon, 2)?;
    let loaded = Loaded::of(&daemon.programs()?)?;
    daemon.signal(libc::SIGTERM)?;
    let mut daemon = daemon;
    let status = daemon.wait()?;
    ensure!(status.success(), "{status}: {}", daemon.log());
    loaded.is_gone()?;
    same(&before, &answers(&world.pods[0])?)
}

/// All queries from a pod to the Service's address.
fn answers(pod: &Pod) -> Result<Vec<Seen>> {
    let client = Client::new(&pod.namespace, dns(DNS_V4))?;
    let asked = Questions::new(NAMES).take(QUERIES);
    asked
        .map(|asked| Ok(Seen::new(client.ask(&asked.bytes)?)))
        .collect()
}

/// Whether CoreDNS's answers and others are the same, but for known differences.
fn same(theirs: &[Seen], ours: &[Seen]) -> Result<()> {
    let mut comparison = Comparison::default();
    for (asked, (theirs, ours)) in Questions::new(NAMES).zip(theirs.iter().zip(ours)) {
        comparison.note(&asked, theirs, ours);
    }
    println!("{}", comparison.summary());
    comparison.end()
}

/// Asks for addresses from a socket of its own.
fn ask(pod: &Pod, name: &str) -> Result<String> {
    let query = Query::new(name, rtype::A);
    summary(&client::ask_udp(&pod.namespace, dns(DNS_V4), &query)?)
}

/// Waits until queries that were sent through so many devices have come back.
pub fn active(daemon: &Daemon, devices: usize) -> Result<()> {
    until("the devices are active", daemon, || {
        let kernel = daemon.report()?.kernel.unwrap_or_default();
        let listed = kernel["devices"].as_array().cloned().unwrap_or_default();
        let active = listed.iter().filter(|device| device["active"] == true);
        Ok(active.count() == devices)
    })
}

fn until(what: &str, daemon: &Daemon, holds: impl Fn() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !holds()? {
        ensure!(
            started.elapsed() < HAPPENS_WITHIN,
            "it does not happen that {what}: {:#?}\n{}",
            daemon.report(),
            daemon.log()
        );
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn no_connections(world: &World, daemon: &Daemon) -> Result<()> {
    const ASKED: u64 = 100;
    world.forget_connections()?;
    let before = daemon.counts()?;
    for _ in 0..ASKED {
        let found = ask(&world.pods[1], "web.shop.svc.cluster.local")?;
        ensure!(found == "NOERROR 10.96.20.20", "{found}");
    }
    let Counts { kernel, .. } = daemon.counts()?;
    let counted = world.connections()?;
    println!("{ASKED} queries answered in the kernel left {counted} connections");
    ensure!(kernel - before.kernel >= ASKED && counted == 0);
    // What passes is translated as before.
    ensure!(ask(&world.pods[1], "example.org")? == "NXDOMAIN");
    ensure!(world.connections()? > 0);
    Ok(())
}

/// A pod that comes while it runs.
fn new_pod(world: &World, daemon: &Daemon) -> Result<()> {
    let pod = world.node.port("cni0", 100)?;
    ensure!(ask(&pod, "web.shop.svc.cluster.local")? == "NOERROR 10.96.20.20");
    active(daemon, 3)?;
    let before = daemon.counts()?.kernel;
    ensure!(ask(&pod, "web.shop.svc.cluster.local")? == "NOERROR 10.96.20.20");
    ensure!(daemon.counts()?.kernel > before);
    drop(pod);
    until("the pod is forgotten", daemon, || {
        let kernel = daemon.report()?.kernel.unwrap_or_default();
        Ok(kernel["devices"]
            .as_array()
            .is_some_and(|all| all.len() == 2))
    })
}

/// A plugin that touches a name keeps it from the kernel, as soon as the `ConfigMap` says so.
fn configured(world: &World, daemon: &Daemon) -> Result<()> {
    let is_by_kernel = |name: &str| -> Result<bool> {
        let before = daemon.counts()?.kernel;
        ask(&world.pods[0], name)?;
        Ok(daemon.counts()?.kernel > before)
    };
    ensure!(is_by_kernel("web.shop.svc.cluster.local")?);
    world.configure("rewrite name exact web.shop.svc.cluster.local dual.shop.svc.cluster.local")?;
    until("a name is left to the plugin", daemon, || {
        Ok(!is_by_kernel("web.shop.svc.cluster.local")?)
    })?;
    ensure!(is_by_kernel("dual.shop.svc.cluster.local")?);
    // What cannot be read is not answered from.
    world.configure("nonsense")?;
    until("nothing is answered", daemon, || {
        Ok(!is_by_kernel("dual.shop.svc.cluster.local")?)
    })?;
    world.configure("")?;
    until("all is as before", daemon, || {
        is_by_kernel("web.shop.svc.cluster.local")
    })
}

/// Asks all the time, on its own, until it is dropped.
struct Asking {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    thread: Option<thread::JoinHandle<Result<()>>>,
}

impl Asking {
    fn start(pod: &Pod) -> Result<Self> {
        let client = Client::new(&pod.namespace, dns(DNS_V4))?;
        let (stop, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (ended, count) = (Arc::clone(&stop), Arc::clone(&asked));
        let thread = thread::spawn(move || {
            let query = Query::new("web.shop.svc.cluster.local", rtype::A);
            while !ended.load(Ordering::Relaxed) {
                let id = u16::try_from(count.load(Ordering::Relaxed) & 0xffff)?;
                let found = summary(&client.ask(&query.clone().id(id).bytes())?)?;
                ensure!(found == "NOERROR 10.96.20.20", "{found}");
                count.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_micros(500));
            }
            Ok(())
        });
        Ok(Asking {
            stop,
            asked,
            thread: Some(thread),
        })
    }

    fn end(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it has ended")?;
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("it panicked"))??;
        Ok(self.asked.load(Ordering::Relaxed))
    }
}

/// One that hangs loses its lease, and its place is left to CoreDNS; then it is back.
fn stopped(world: &World, daemon: &Daemon) -> Result<()> {
    // Not later: the answer to a query whose connection is forgotten comes from another address, and is lost.
    world.forget_connections()?;
    let asking = Asking::start(&world.pods[1])?;
    daemon.signal(libc::SIGSTOP)?;
    thread::sleep(Duration::from_secs(4));
    let before = world.connections()?;
    ask(&world.pods[0], "web.shop.svc.cluster.local")?;
    let counted = world.connections()?;
    daemon.signal(libc::SIGCONT)?;
    ensure!(counted > before, "a daemon that is stopped still answers");
    let asked = asking.end()?;
    println!("{asked} queries while it was stopped: all answered");
    until("it answers again", daemon, || {
        let before = daemon.counts()?.kernel;
        ask(&world.pods[0], "web.shop.svc.cluster.local")?;
        Ok(daemon.counts()?.kernel > before)
    })
}

/// One that is killed leaves nothing, and no query is lost.
fn killed(world: &World, daemon: Daemon) -> Result<()> {
    let asking = Asking::start(&world.pods[1])?;
    thread::sleep(Duration::from_millis(300));
    let loaded = Loaded::of(&daemon.programs()?)?;
    ensure!(loaded.links.len() == 2, "{loaded:?}");
    daemon.stop(libc::SIGKILL)?;
    thread::sleep(Duration::from_millis(300));
    loaded.is_gone()?;
    let asked = asking.end()?;
    println!("{asked} queries while it was killed: all answered");
    ensure!(asked > 100);
    Ok(())
}

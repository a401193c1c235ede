//! kubernetes#56903: a resolver asks for A and AAAA at once, from one socket. Both queries are the first of their connection, on
//! two CPUs, and each is translated to whatever endpoint its own throw of the dice says: only one of them can be entered
//! into the node's account of connections, and the other is dropped (`insert_failed`). The resolver waits five seconds.
//! Newer kernels give the second one what the first one has (`clash_resolve`): on 6.18 that is nine pairs of ten here, and none is lost.
//!
//! What the kernel answers at the pod's device is in nobody's account.

use std::{
    net::UdpSocket,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use hopzero_tests::{
    client::{Query, any, rtype},
    network::{DNS_V4, dns},
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::{accelerate::active, world::World};

/// Pairs of queries, each from a new port.
const PAIRS: usize = 2000;
/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_millis(300);
/// Two endpoints, as kube-proxy chooses them.
const RULES: &str = "
flush chain ip nat prerouting
table ip nat {
  chain prerouting {
    ip daddr 10.96.0.10 udp dport 53 dnat to numgen random mod 2 map { 0 : 10.245.0.1, 1 : 10.245.0.254 }
  }
}
";

/// What became of all pairs.
#[derive(Debug, Default)]
struct Seen {
    lost: usize,
    insert_failed: u64,
    clash_resolved: u64,
    connections: u64,
}

pub fn test(coredns: &Path, plane: &Path) -> Result<()> {
    let world = World::new(coredns, plane, 1)?;
    world.translate(RULES)?;
    let without = pairs(&world)?;
    println!("without hopzero, of {PAIRS} pairs: {without:?}");
    ensure!(
        without.connections > 0,
        "the queries were not translated: {without:?}"
    );
    let is_provoked = without.insert_failed + without.clash_resolved > 0;
    if !is_provoked {
        println!("this kernel, with these CPUs, does not show the race");
    }
    let daemon = world.accelerate()?;
    active(&daemon, 1)?;
    let before = daemon.counts()?.kernel;
    let with = pairs(&world)?;
    println!("with hopzero, of {PAIRS} pairs: {with:?}");
    ensure!(
        with.lost == 0 && with.insert_failed + with.clash_resolved == 0 && with.connections == 0,
        "{with:?}"
    );
    let answered = daemon.counts()?.kernel - before;
    ensure!(
        answered >= 2 * PAIRS as u64,
        "{answered} answers of the kernel"
    );
    Ok(())
}

/// Asks all pairs.
fn pairs(world: &World) -> Result<Seen> {
    world.forget_connections()?;
    let failed = world.account("insert_failed")?;
    let resolved = world.account("clash_resolve")?;
    let pod = &world.pods[0].namespace;
    let server = dns(DNS_V4);
    let query = |qtype, id| {
        Query::new("web.shop.svc.cluster.local", qtype)
            .id(id)
            .bytes()
    };
    let (first, second) = (query(rtype::A, 1), query(rtype::AAAA, 2));

    // The other thread sends as soon as its turn is there, on the other CPU.
    let turn = Arc::new(AtomicUsize::new(0));
    let socket = Arc::new(Mutex::new(None::<Arc<UdpSocket>>));
    let other = thread::spawn({
        let (turn, socket) = (Arc::clone(&turn), Arc::clone(&socket));
        move || -> Result<()> {
            pin(1)?;
            for pair in 1..=PAIRS {
                while turn.load(Ordering::Acquire) < pair {
                    std::hint::spin_loop();
                }
                let socket = socket
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                // The first one has given up.
                let Some(socket) = socket else { break };
                socket.send(&second)?;
            }
            Ok(())
        }
    });
    let mut seen = Seen::default();
    let mut ask = || -> Result<()> {
        pin(0)?;
        for pair in 1..=PAIRS {
            let own = Arc::new(pod.udp(any(server))?);
            own.connect(server)?;
            own.set_read_timeout(Some(PATIENCE))?;
            *socket.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&own));
            turn.store(pair, Ordering::Release);
            own.send(&first)?;
            let mut answer = [0; 512];
            for _ in 0..2 {
                if own.recv(&mut answer).is_err() {
                    seen.lost += 1;
                    break;
                }
            }
        }
        Ok(())
    };
    let asked = ask();
    *socket.lock().unwrap_or_else(PoisonError::into_inner) = None;
    turn.store(usize::MAX, Ordering::Release);
    let others = other.join().map_err(|_| anyhow!("it panicked"))?;
    asked.and(others)?;
    seen.insert_failed = world.account("insert_failed")? - failed;
    seen.clash_resolved = world.account("clash_resolve")? - resolved;
    seen.connections = world.connections()?;
    Ok(seen)
}

fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu % thread::available_parallelism()?.get())?;
    sched_setaffinity(Pid::from_raw(0), &set).context("pinning")
}

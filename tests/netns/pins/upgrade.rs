//! One daemon after the other, under queries.

use std::{
    env, fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use hopzero_tests::{
    client::{Query, rtype},
    daemon::{Daemon, Home, ended},
    harness::Test,
    network::{DNS_V4, NODE_DEVICE, Network, dns},
    pins::Pins,
    window::{self, Question, Sum},
};

use super::{World, questions};
use crate::setup::wait_for;

/// Queries, unless `HOPZERO_UPGRADE_QUERIES` says otherwise.
const QUERIES: u64 = 100_000;
/// Queries between two looks whether it is enough.
const ROUND: u64 = 10_000;
/// Daemons that take over at the least.
const UPGRADES_MIN: usize = 4;

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("pins::upgrade_beside", || upgrade(true)),
        Test::new("pins::upgrade_after", || upgrade(false)),
        Test::new("pins::upgrade_of_sockets", || sockets(false)),
        Test::new("pins::upgrade_of_a_corefile", || sockets(true)),
    ]
}

/// Asks until it is told that it is enough, and at least so many.
pub fn asking(
    world: &World,
    least: u64,
    is_enough: &Arc<AtomicBool>,
) -> thread::JoinHandle<Result<Sum>> {
    asking_at(&world.network, questions(), least, is_enough)
}

fn asking_at(
    network: &Arc<Network>,
    mut questions: Vec<Question>,
    least: u64,
    is_enough: &Arc<AtomicBool>,
) -> thread::JoinHandle<Result<Sum>> {
    let (network, is_enough) = (Arc::clone(network), Arc::clone(is_enough));
    let asked = AtomicU64::new(0);
    thread::spawn(move || {
        let mut sum = Sum::default();
        while !is_enough.load(Ordering::Relaxed) || asked.load(Ordering::Relaxed) < least {
            let round = window::ask(&network.pod, dns(DNS_V4), &mut questions, ROUND)?;
            asked.fetch_add(ROUND, Ordering::Relaxed);
            sum.answered += round.answered;
            sum.lost += round.lost;
            sum.overflowed += round.overflowed;
            ensure!(sum.lost == 0, "{sum:?}");
        }
        Ok(sum)
    })
}

/// The next daemon takes over from the one that runs, which then ends; or it starts when that has ended.
fn upgrade(is_beside: bool) -> Result<()> {
    let least = env::var("HOPZERO_UPGRADE_QUERIES").map_or(Ok(QUERIES), |text| text.parse())?;
    let world = World::new()?;
    let homes = [Home::shop()?, Home::shop()?];
    let mut daemon = world.start(&homes[0], &[])?;
    world.is_right(true)?;
    let (passed, started) = (world.behind.counts()?.socket, Instant::now());
    let is_enough = Arc::default();
    let asking = asking(&world, least, &is_enough);
    let mut upgrades = 0;
    while !asking.is_finished() {
        let home = &homes[(upgrades + 1) % 2];
        let before = world.pins.running()?;
        if is_beside {
            let next = world.start(home, &[])?;
            let old = std::mem::replace(&mut daemon, next);
            // It sees that it has been replaced, and lets go.
            let report = wait_for(&old, |report| {
                report
                    .kernel
                    .as_ref()
                    .is_some_and(|kernel| kernel["taken_over"] == true)
            })?;
            ensure!(report.kernel.unwrap_or_default()["devices"] == serde_json::json!([]));
            ensure!(ended(old.stop(libc::SIGTERM)?) == "exit 0");
        } else {
            ensure!(ended(daemon.stop(libc::SIGTERM)?) == "exit 0");
            daemon = world.start(home, &[])?;
        }
        upgrades += 1;
        world.pins.are_one_set(1)?;
        ensure!(world.pins.running()?.is_disjoint(&before));
        ensure!(
            daemon
                .programs()?
                .iter()
                .any(|id| world.pins.running().is_ok_and(|all| all.contains(id)))
        );
        if upgrades >= UPGRADES_MIN {
            is_enough.store(true, Ordering::Relaxed);
        }
    }
    let sum = asking.join().map_err(|_| anyhow!("it panicked"))??;
    let milliseconds = started.elapsed().as_millis().max(1);
    let rate = u128::from(sum.answered) * 1000 / milliseconds;
    let passed = world.behind.counts()?.socket - passed;
    let is_meant = sum.answered / 4;
    println!(
        "{upgrades} upgrades under {rate} queries a second: {} answered, {} lost; {passed} passed, {is_meant} of them meant to",
        sum.answered, sum.lost
    );
    ensure!(sum.lost == 0 && sum.answered >= least && sum.overflowed == 0);
    if is_beside {
        ensure!(passed == is_meant, "{passed} passed, of {is_meant}");
    }
    // The last one ends, and none comes: it answers until the lease is over, and passes then.
    ensure!(ended(daemon.stop(libc::SIGTERM)?) == "exit 0");
    world.is_right(true)?;
    world.pins.are_one_set(1)?;
    thread::sleep(Duration::from_millis(3500));
    world.is_right(false)
}

/// Daemons that have the sockets themselves: the next one listens beside the one that runs, which answers what it has and ends.
fn sockets(with_corefile: bool) -> Result<()> {
    let (network, pins) = (Arc::new(Network::new()?), Pins::new());
    let homes = [Home::shop()?, Home::shop()?];
    let argument = pins.argument();
    let start = |home: &Home| -> Result<Daemon> {
        let corefile = home.path().join("Corefile");
        let address = DNS_V4.to_string();
        fs::write(
            &corefile,
            format!(
                ".:53 {{\n bind {DNS_V4}\n health 127.0.0.1:8080\n ready 127.0.0.1:8181\n kubernetes cluster.local\n}}\n"
            ),
        )?;
        let listen = dns(DNS_V4).to_string();
        let corefile = corefile.display().to_string();
        let where_from = if with_corefile {
            ["--conf", &corefile]
        } else {
            ["--listen", &listen]
        };
        let arguments = [
            &where_from[..],
            &[
                "--attach",
                NODE_DEVICE,
                "--answer-for",
                &address,
                "--pin",
                &argument,
            ],
        ]
        .concat();
        Daemon::spawn(home.serve(&network.node, &arguments)?, home)?.ready()
    };
    let mut daemon = start(&homes[0])?;
    let is_enough = Arc::new(AtomicBool::new(false));
    let mut questions = questions();
    if with_corefile {
        // A server block whose plugins all pass it on says this.
        let query = Query::new("example.com", rtype::A);
        questions[3] = Question::new(&query, "SERVFAIL");
    }
    let asking = asking_at(&network, questions, QUERIES, &is_enough);
    let (mut upgrades, mut by_socket) = (0, 0);
    while !asking.is_finished() {
        let next = start(&homes[(upgrades + 1) % 2])?;
        let old = std::mem::replace(&mut daemon, next);
        by_socket += u32::from(old.counts()?.socket > 0);
        ensure!(ended(old.stop(libc::SIGTERM)?) == "exit 0");
        upgrades += 1;
        pins.are_one_set(1)?;
        if upgrades >= UPGRADES_MIN {
            is_enough.store(true, Ordering::Relaxed);
        }
    }
    let sum = asking.join().map_err(|_| anyhow!("it panicked"))??;
    println!(
        "{upgrades} upgrades: {} answered, {} lost; the sockets of {by_socket} daemons were asked",
        sum.answered, sum.lost
    );
    ensure!(by_socket >= 3, "{by_socket} of {upgrades}");
    ensure!(sum.lost == 0 && sum.answered >= QUERIES && sum.overflowed == 0);
    Ok(())
}

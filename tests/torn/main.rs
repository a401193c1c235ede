//! Torn reads: programs answer on one CPU while the maps are rewritten on the other, as fast as they can be; and
//! each answer is held against what was true while it was made.
//!
//! | module | concept |
//! |---|---|
//! | [`board`] | which versions may be true now |
//! | [`world`] | questions, and what is true of them in a version |
//! | [`raw`] | the fastest writer: one name at a time, straight into the table |
//! | [`services`] | the daemon's own way: changes, zone, publisher |
//! | [`resyncs`] | the same, everything at once |
//! | [`reader`] | the programs, read one by one and many at a time |
//! | [`judge`] | what was read, held against what was true |
//!
//! Most reads are made by `hopzero-torn`, whose programs are the daemon's code and maps with a loop around
//! them: a million a second and more, for every one of which the versions before and after are known. Some are
//! made by the daemon's own programs, one a system call.
//!
//! A test that finds nothing says something only if it would find what it looks for. So the same trial is run with a
//! program that does not check what it copied, and with writers that do what the daemon's never do; there, faults
//! must be found.

mod board;
mod judge;
#[path = "../../dns-ebpf/src/torn/layout.rs"]
mod layout;
mod progress;
mod raw;
mod reader;
mod resyncs;
mod services;
mod world;

use std::{
    env, fs, io,
    path::Path,
    process::ExitCode,
    sync::{Mutex, PoisonError, atomic::AtomicBool, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::maps::Map;
use hopzero::{
    kernel::{Kernel, OBJECT},
    publisher::{
        Publisher,
        memory::Words,
        programs::Programs,
        table::{Capacity, Table},
    },
};
use hopzero_common::layout::{Generation, ZoneEntry};
use hopzero_tests::{harness, packets::kernel::Loaded};
use libtest_mimic::{Failed, Trial};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use board::Board;
use judge::{Judge, Seen};
use progress::{Progress, per_second};
use raw::Fault;
use reader::{Batches, Limit, read_one_by_one};
use resyncs::Resyncs;
use world::World;

/// Reads, if `HOPZERO_TORN_READS` does not say.
const READS: u64 = 1_000_000;
/// One read in so many goes through the daemon's own programs.
const OWN_ONE_IN: u64 = 20;
/// Where there must be no fault: after so many it is known, and they need not be counted.
const FAULTS_MAX: u64 = 1000;
/// Updates a second, at least.
const RATE_MIN: f64 = 100_000.0;
/// Of resyncs no more than one read in so many may pass.
const PASSED_ONE_IN: u64 = 10_000;
/// Flips, at least.
const FLIPS_MIN: u64 = 2;
/// Where faults must be found: so many are enough, and after so many reads there are none.
const BROKEN: Limit = Limit {
    reads: 200_000_000,
    faults: 5,
};
/// Trials need both CPUs.
static ALONE: Mutex<()> = Mutex::new(());

type Body = fn() -> Result<()>;

fn main() -> ExitCode {
    let trials: [(&str, Body); 11] = [
        ("reads while names are rewritten", names),
        ("reads while services change", services),
        ("reads while resyncs flip the index", flips),
        ("the daemon's programs while names are rewritten", own_names),
        ("the daemon's programs while services change", own_services),
        (
            "the daemon's programs while resyncs flip the index",
            own_flips,
        ),
        ("torn answers of an unverified program are seen", unverified),
        ("stale answers are seen", stale),
        (
            "a name that is removed before it is written is seen",
            removed,
        ),
        ("an overflow that is marked too late is seen", marked_late),
        ("a resync that is no single step is seen", one_by_one),
    ];
    let names: Vec<String> = trials.iter().map(|(name, _)| (*name).to_owned()).collect();
    let trial = |(name, body): (&str, Body)| {
        Trial::test(name, move || {
            let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
            body().map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    harness::run(|| Ok(trials.into_iter().map(trial).collect()), &names)
}

/// What the writer did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Records written or removed.
    pub updates: u64,
    /// Versions that found no room.
    pub full: u64,
}

fn names() -> Result<()> {
    let limit = share(2)?;
    let (seen, rate) = raw_in_batches(&object("hopzero-torn")?, Fault::None, limit)?;
    is_clean(&seen, rate, limit)
}

fn services() -> Result<()> {
    let limit = share(2)?;
    let mut loaded = Loaded::empty(&object("hopzero-torn")?, services::capacity())?;
    let mut batches = Batches::new(&mut loaded.kernel)?;
    let board = batches.board()?;
    let mut writer = services::Writer::new(publisher_of(&mut loaded.kernel));
    let world = writer.world();
    let (seen, rate) = run(
        "services",
        &world,
        &board,
        |stop| writer.hammer(&board, stop),
        |judge| {
            batches.read(
                &mut loaded,
                judge,
                limit,
                Progress::new("services", limit.reads),
            )
        },
    )?;
    ensure!(
        writer.rejected() == 0,
        "{} names rejected",
        writer.rejected()
    );
    is_clean(&seen, rate, limit)
}

fn flips() -> Result<()> {
    let limit = share(4)?;
    let (seen, flips) = resyncs_in_batches(resyncs::Fault::None, limit)?;
    are_flips_clean(&seen, flips, limit)
}

fn own_flips() -> Result<()> {
    let limit = share(2 * OWN_ONE_IN)?;
    let mut loaded = Loaded::empty(own_object()?, resyncs::capacity())?;
    let board = Board::here();
    let publisher = publisher_of(&mut loaded.kernel);
    let mut writer = resyncs::Writer::new(publisher, resyncs::Fault::None);
    let progress = Progress::new("resyncs, one by one", limit.reads);
    let (seen, _) = run(
        "resyncs, one by one",
        &Resyncs,
        &board,
        |stop| writer.hammer(&board, stop),
        |judge| read_one_by_one(&mut loaded, judge, &board, limit, progress),
    )?;
    are_flips_clean(&seen, writer.flips(), limit)
}

fn own_names() -> Result<()> {
    let limit = share(2 * OWN_ONE_IN)?;
    let mut loaded = Loaded::empty(own_object()?, raw::capacity())?;
    let board = Board::here();
    let mut writer = raw::Writer::new(&mut loaded.kernel)?;
    let world = writer.world();
    let progress = Progress::new("names, one by one", limit.reads);
    let (seen, rate) = run(
        "names, one by one",
        &world,
        &board,
        |stop| writer.hammer(&board, Fault::None, stop),
        |judge| read_one_by_one(&mut loaded, judge, &board, limit, progress),
    )?;
    is_clean(&seen, rate, limit)
}

fn own_services() -> Result<()> {
    let limit = share(2 * OWN_ONE_IN)?;
    let mut loaded = Loaded::empty(own_object()?, services::capacity())?;
    let board = Board::here();
    let mut writer = services::Writer::new(publisher_of(&mut loaded.kernel));
    let world = writer.world();
    let progress = Progress::new("services, one by one", limit.reads);
    let (seen, rate) = run(
        "services, one by one",
        &world,
        &board,
        |stop| writer.hammer(&board, stop),
        |judge| read_one_by_one(&mut loaded, judge, &board, limit, progress),
    )?;
    is_clean(&seen, rate, limit)
}

fn unverified() -> Result<()> {
    let (seen, _) = raw_in_batches(&object("hopzero-unverified")?, Fault::None, BROKEN)?;
    ensure!(seen.faults() > 0, "no torn answer was found");
    Ok(())
}

fn stale() -> Result<()> {
    let (seen, _) = raw_in_batches(&object("hopzero-torn")?, Fault::ClaimsEarly, BROKEN)?;
    ensure!(seen.faults() > 0, "no stale answer was found");
    Ok(())
}

fn removed() -> Result<()> {
    let (seen, _) = raw_in_batches(&object("hopzero-torn")?, Fault::RemovesFirst, BROKEN)?;
    ensure!(seen.denied > 0, "no false NXDOMAIN was found");
    Ok(())
}

fn marked_late() -> Result<()> {
    let (seen, _) = raw_in_batches(&object("hopzero-torn")?, Fault::MarksLate, BROKEN)?;
    ensure!(seen.denied > 0, "no false NXDOMAIN was found");
    Ok(())
}

fn one_by_one() -> Result<()> {
    let (seen, flips) = resyncs_in_batches(resyncs::Fault::OneByOne, BROKEN)?;
    ensure!(flips == 0, "{flips} flips");
    ensure!(seen.faults() > 0, "no half of a resync was found");
    Ok(())
}

/// A part of the reads that are asked for.
fn share(one_in: u64) -> Result<Limit> {
    let reads = match env::var("HOPZERO_TORN_READS") {
        Ok(reads) => reads.parse().context("HOPZERO_TORN_READS")?,
        Err(_) => READS,
    };
    Ok(Limit {
        reads: reads / one_in,
        faults: FAULTS_MAX,
    })
}

fn is_clean(seen: &Seen, rate: f64, limit: Limit) -> Result<()> {
    is_right(seen, limit)?;
    ensure!(rate >= RATE_MIN, "{rate:.0} updates a second");
    Ok(())
}

/// How many updates come is told by the grace periods between flips, so it is flips that count.
fn are_flips_clean(seen: &Seen, flips: u64, limit: Limit) -> Result<()> {
    println!("  {flips} flips");
    is_right(seen, limit)?;
    ensure!(flips >= FLIPS_MIN, "{flips} flips");
    // What a build replaces is not used again while somebody may read it; only the SOA is.
    let unclear: u64 = seen.passes.values().sum();
    ensure!(
        unclear <= limit.reads / PASSED_ONE_IN,
        "{unclear} of {} reads passed",
        limit.reads
    );
    Ok(())
}

fn is_right(seen: &Seen, limit: Limit) -> Result<()> {
    ensure!(
        seen.faults() == 0,
        "{} wrong, {} denied, {} missed: {:#?}",
        seen.wrong,
        seen.denied,
        seen.missed,
        seen.told
    );
    ensure!(seen.reads == limit.reads, "{} reads", seen.reads);
    // It says little unless there was much of everything.
    for (count, what) in [
        (seen.records, "with records"),
        (seen.no_data, "NODATA"),
        (seen.no_name, "NXDOMAIN"),
    ] {
        ensure!(count > limit.reads / 50, "{count} answers {what}");
    }
    ensure!(
        seen.answered() > limit.reads / 2,
        "{} answered",
        seen.answered()
    );
    Ok(())
}

/// The daemon's programs.
fn own_object() -> Result<&'static [u8]> {
    OBJECT.context("the programs have not been built")
}

/// The programs of a test.
fn object(name: &str) -> Result<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../target/bpf/{name}.o"));
    fs::read(&path).with_context(|| format!("no {}", path.display()))
}

fn raw_in_batches(object: &[u8], fault: Fault, limit: Limit) -> Result<(Seen, f64)> {
    let mut loaded = Loaded::empty(object, raw::capacity())?;
    let mut batches = Batches::new(&mut loaded.kernel)?;
    let board = batches.board()?;
    let mut writer = raw::Writer::new(&mut loaded.kernel)?;
    let world = writer.world();
    run(
        &format!("names, {fault:?}"),
        &world,
        &board,
        |stop| writer.hammer(&board, fault, stop),
        |judge| {
            batches.read(
                &mut loaded,
                judge,
                limit,
                Progress::new("names", limit.reads),
            )
        },
    )
}

fn resyncs_in_batches(fault: resyncs::Fault, limit: Limit) -> Result<(Seen, u64)> {
    let mut loaded = Loaded::empty(&object("hopzero-torn")?, resyncs::capacity())?;
    let mut batches = Batches::new(&mut loaded.kernel)?;
    let board = batches.board()?;
    let mut writer = resyncs::Writer::new(publisher_of(&mut loaded.kernel), fault);
    let (seen, _) = run(
        &format!("resyncs, {fault:?}"),
        &Resyncs,
        &board,
        |stop| writer.hammer(&board, stop),
        |judge| {
            batches.read(
                &mut loaded,
                judge,
                limit,
                Progress::new("resyncs", limit.reads),
            )
        },
    )?;
    Ok((seen, writer.flips()))
}

/// The daemon's publisher, taken out of the kernel's half so that another thread can have that.
fn publisher_of(kernel: &mut Kernel) -> Publisher {
    struct Nowhere;
    impl Programs for Nowhere {
        fn set_zone(&mut self, _index: usize, _zone: &ZoneEntry) {}
        fn set_generation(&mut self, _generation: Generation) {}
        fn wait(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let nothing = Publisher::new(Table::heap(Capacity::new(1, 1), 0), Box::new(Nowhere));
    std::mem::replace(&mut kernel.publisher, nothing)
}

/// Writes on the first CPU and reads on the second; returns what was seen, and updates a second.
fn run(
    what: &str,
    world: &dyn World,
    board: &Board,
    write: impl FnOnce(&AtomicBool) -> Written + Send,
    read: impl FnOnce(&mut Judge) -> Result<()> + Send,
) -> Result<(Seen, f64)> {
    let stop = AtomicBool::new(false);
    let started = Instant::now();
    let (written, seen) = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            pin(0)?;
            anyhow::Ok(write(&stop))
        });
        let reader = scope.spawn(|| {
            pin(1)?;
            let mut judge = Judge::new(world, board);
            read(&mut judge)?;
            anyhow::Ok(judge.seen)
        });
        let seen = reader.join();
        stop.store(true, Ordering::Relaxed);
        (writer.join(), seen)
    });
    let took = started.elapsed();
    let written = written.map_err(|_| anyhow!("the writer panicked"))??;
    let seen = seen.map_err(|_| anyhow!("the reader panicked"))??;
    report(what, &seen, written, took);
    Ok((seen, per_second(written.updates, took)))
}

/// The memory of a map of the loaded programs.
fn map_words(kernel: &mut Kernel, name: &str, words: usize) -> Result<Words> {
    let Some(Map::Array(map)) = kernel.ebpf().map(name) else {
        anyhow::bail!("no map {name}");
    };
    Ok(Words::map(map.fd(), words)?)
}

fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("pinning to CPU {cpu}"))
}

fn report(what: &str, seen: &Seen, written: Written, took: Duration) {
    println!(
        "{what}: {} reads in {:.1} s ({:.0}/s); {} updates ({:.0}/s), {} without room",
        seen.reads,
        took.as_secs_f64(),
        per_second(seen.reads, took),
        written.updates,
        per_second(written.updates, took),
        written.full
    );
    let passes: Vec<String> = (seen.passes.iter())
        .map(|(reason, count)| format!("{} {count}", reason.label()))
        .collect();
    println!(
        "  records {}, NODATA {}, NXDOMAIN {}; passed: {}",
        seen.records,
        seen.no_data,
        seen.no_name,
        passes.join(", ")
    );
    println!(
        "  wrong {}, false NXDOMAIN or NODATA {}, missed {}",
        seen.wrong, seen.denied, seen.missed
    );
    for told in &seen.told {
        println!("  {told}");
    }
}

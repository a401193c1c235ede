//! Torn reads: the real program answers on one CPU while the real table is rewritten on the other, as
//! fast as it can be; and each answer is held against what was true while it was made.
//!
//! A test that finds nothing says something only if it would find what it looks for. So the same
//! trial is run with a program that does not check what it copied, and with writers that do what the
//! daemon's never do; there, faults must be found.

mod reader;
mod states;
mod writer;

use std::{
    env, fs,
    path::Path,
    process::ExitCode,
    sync::{Mutex, PoisonError, atomic::AtomicBool, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::Map;
use hopzero::{
    kernel::{Kernel, OBJECT},
    publisher::{
        memory::Words,
        table::{Capacity, Table},
    },
};
use hopzero_common::limits::CELL_WORDS;
use hopzero_tests::{
    harness,
    packets::{kernel::Loaded, world},
};
use libtest_mimic::{Failed, Trial};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use reader::Seen;
use states::{Board, NAMES};
use writer::{Fault, Written};

/// Reads, if `HOPZERO_TORN_READS` does not say.
const READS: u64 = 1_000_000;
/// Cells: hardly more than the names need, so that what is freed is used again at once.
const CELLS: u32 = 40;
/// Updates a second, at least.
const RATE_MIN: f64 = 100_000.0;
/// Faults that prove the point.
const ENOUGH: u64 = 5;
/// Trials need both CPUs.
static ALONE: Mutex<()> = Mutex::new(());

type Body = fn() -> Result<()>;

fn main() -> ExitCode {
    let trials: [(&str, Body); 4] = [
        ("every answer was true while it was made", nothing_is_torn),
        ("torn answers of an unverified program are seen", unverified),
        ("stale answers are seen", stale),
        ("a name that is missed for a moment is seen", missed),
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

fn nothing_is_torn() -> Result<()> {
    let reads = match env::var("HOPZERO_TORN_READS") {
        Ok(reads) => reads.parse().context("HOPZERO_TORN_READS")?,
        Err(_) => READS,
    };
    let (seen, rate) = run(programs()?, Fault::None, reads, u64::MAX)?;
    ensure!(seen.reads == reads, "{} reads", seen.reads);
    ensure!(
        seen.wrong + seen.missed == 0,
        "{} wrong, {} missed: {:#?}",
        seen.wrong,
        seen.missed,
        seen.told
    );
    ensure!(seen.answered > reads / 2, "{} answered", seen.answered);
    ensure!(rate >= RATE_MIN, "{rate:.0} updates a second");
    Ok(())
}

fn unverified() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/hopzero-unverified.o");
    let object = fs::read(&path).with_context(|| format!("no {}", path.display()))?;
    let (seen, _) = run(&object, Fault::None, 10 * READS, ENOUGH)?;
    ensure!(seen.wrong > 0, "no torn answer was found");
    Ok(())
}

fn stale() -> Result<()> {
    let (seen, _) = run(programs()?, Fault::ClaimsEarly, 10 * READS, ENOUGH)?;
    ensure!(seen.wrong > 0, "no stale answer was found");
    Ok(())
}

fn missed() -> Result<()> {
    let (seen, _) = run(programs()?, Fault::RemovesFirst, 10 * READS, ENOUGH)?;
    ensure!(seen.missed > 0, "no miss was found");
    Ok(())
}

fn programs() -> Result<&'static [u8]> {
    OBJECT.context("the programs have not been built")
}

/// Writes on the first CPU and reads on the second; returns what was seen, and updates a second.
fn run(object: &[u8], fault: Fault, reads: u64, enough: u64) -> Result<(Seen, f64)> {
    let names = u32::try_from(NAMES)?;
    let mut loaded = Loaded::empty(object, Capacity::new(names, CELLS))?;
    let mut table = table(&mut loaded.kernel)?;
    let (board, stop, zone) = (Board::new(), AtomicBool::new(false), world::zone());
    let started = Instant::now();
    let (written, seen) = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            pin(0)?;
            anyhow::Ok(writer::hammer(&mut table, &zone, &board, fault, &stop))
        });
        let reader = scope.spawn(|| {
            pin(1)?;
            reader::read(&mut loaded, &board, reads, enough)
        });
        let seen = reader.join();
        stop.store(true, Ordering::Relaxed);
        (writer.join(), seen)
    });
    let took = started.elapsed();
    let written = written.map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    let seen = seen.map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    report(fault, &seen, written, took);
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = written.updates as f64 / took.as_secs_f64();
    Ok((seen, rate))
}

/// A table of ours over the programs' maps; the publisher's own stays empty.
fn table(kernel: &mut Kernel) -> Result<Table> {
    let (capacity, seed) = {
        let table = kernel.publisher.table();
        (table.capacity(), table.seed())
    };
    let mut words = |name: &str, elements: u32| -> Result<Words> {
        let Some(Map::Array(map)) = kernel.ebpf().map(name) else {
            anyhow::bail!("no map {name}");
        };
        Ok(Words::map(map.fd(), elements as usize * CELL_WORDS)?)
    };
    let index = words("INDEX", capacity.index_buckets())?;
    let cells = words("CELLS", capacity.cells)?;
    Ok(Table::new(index, cells, capacity, seed))
}

fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("pinning to CPU {cpu}"))
}

fn report(fault: Fault, seen: &Seen, written: Written, took: Duration) {
    #[expect(clippy::cast_precision_loss, reason = "rates, to print")]
    let per_second = |count: u64| count as f64 / took.as_secs_f64();
    println!(
        "{fault:?}: {} reads ({:.0}/s), {} answered; {} updates ({:.0}/s), {} without room",
        seen.reads,
        per_second(seen.reads),
        seen.answered,
        written.updates,
        per_second(written.updates),
        written.full
    );
    let passes: Vec<String> = (seen.passes.iter())
        .map(|(reason, count)| format!("{} {count}", reason.label()))
        .collect();
    println!(
        "  passed: {}; wrong {}; missed {}",
        passes.join(", "),
        seen.wrong,
        seen.missed
    );
    for told in &seen.told {
        println!("  {told}");
    }
}

//! What is pinned has another layout.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::{
    Ebpf,
    programs::{
        SchedClassifier,
        links::{FdLink, PinnedLink},
    },
};
use hopzero_tests::{
    daemon::{Home, ended},
    harness::Test,
};

use super::{World, upgrade::asking};

pub fn tests() -> Vec<Test> {
    vec![Test::new("pins::another_layout", another_layout)]
}

/// As an earlier version would leave it: a directory of another layout version, in which what is called as ours are is something
/// else; and the link runs a program that has nothing to do with them.
fn another_layout() -> Result<()> {
    let (world, home) = (World::new()?, Home::shop()?);
    let daemon = world.start(&home, &[])?;
    ensure!(ended(daemon.stop(libc::SIGKILL)?) == "signal 9");
    let [ours] = &world.pins.generations()?[..] else {
        return Err(anyhow!("{:?}", world.pins.files()));
    };
    let theirs = ours.with_file_name("layout-3-00000001");
    fs::rename(ours, &theirs)?;
    let current = theirs.with_file_name("current");
    fs::remove_file(&current)?;
    symlink("layout-3-00000001", &current)?;
    // What was the index is a table of counters now.
    fs::remove_file(theirs.join("INDEX"))?;
    fs::rename(theirs.join("COUNTERS"), theirs.join("INDEX"))?;
    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/hopzero-foreign.o");
    let mut object = Ebpf::load_file(object)?;
    let program: &mut SchedClassifier = object
        .program_mut("foreign_goes_on")
        .context("no program")?
        .try_into()?;
    program.load()?;
    let [link] = &world.pins.links()?[..] else {
        return Err(anyhow!("{:?}", world.pins.files()));
    };
    let held = FdLink::from(PinnedLink::from_pin(link)?);
    program.attach_to_link(held.try_into()?)?;
    let before = world.pins.running()?;
    ensure!(before.contains(&program.info()?.id()));
    drop(object);
    world.is_right(false)?;

    let is_enough = Arc::default();
    let asking = asking(&world, 0, &is_enough);
    thread::sleep(Duration::from_millis(100));
    let daemon = world.start(&home, &[])?;
    world.pins.are_one_set(1)?;
    ensure!(world.pins.running()?.is_disjoint(&before));
    thread::sleep(Duration::from_millis(100));
    is_enough.store(true, Ordering::Relaxed);
    let sum = asking.join().map_err(|_| anyhow!("it panicked"))??;
    println!("{} queries answered, {} lost", sum.answered, sum.lost);
    ensure!(sum.lost == 0 && sum.answered > 0);
    world.is_right(true)?;
    ensure!(ended(daemon.stop(libc::SIGTERM)?) == "exit 0");
    Ok(())
}

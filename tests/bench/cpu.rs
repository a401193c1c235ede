//! Which CPU does what, and how busy it was.

use std::{fs, os::unix::process::CommandExt as _, process::Command, time::Instant};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// The server's side.
pub const SERVER_CPU: usize = 0;
/// The client, and what measures.
pub const CLIENT_CPU: usize = 1;
/// `USER_HZ`: /proc/stat counts in these, whatever the kernel's tick is.
const UNITS_PER_SECOND: f64 = 100.0;

/// What a CPU did in a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Busy {
    /// Seconds that passed.
    pub wall: f64,
    /// Seconds that it was not idle, nor taken away by the hypervisor.
    pub busy: f64,
}

/// Does `work` and says what the CPU did meanwhile.
pub fn busy_while(cpu: usize, work: impl FnOnce() -> Result<()>) -> Result<Busy> {
    let (started, before) = (Instant::now(), not_ours(cpu)?);
    work()?;
    let wall = started.elapsed().as_secs_f64();
    let busy = wall - (not_ours(cpu)? - before);
    Ok(Busy {
        wall,
        busy: busy.max(0.0),
    })
}

/// Seconds in which a CPU was idle or stolen. Time at work is not read: without `IRQ_TIME_ACCOUNTING` it
/// is counted by the tick, but idle time is measured at each entry and exit.
fn not_ours(cpu: usize) -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().find_map(|line| {
        let (name, rest) = line.split_once(' ')?;
        (name == format!("cpu{cpu}")).then_some(rest)
    });
    // user nice system idle iowait irq softirq steal
    let columns: Vec<f64> = (line.with_context(|| format!("no CPU {cpu}"))?)
        .split_whitespace()
        .filter_map(|column| column.parse().ok())
        .collect();
    ensure!(columns.len() >= 8, "/proc/stat has fewer columns");
    Ok((columns[3] + columns[4] + columns[7]) / UNITS_PER_SECOND)
}

/// This thread runs on that CPU alone from now on, and so do its children that are not told otherwise.
pub fn pin_this_thread(cpu: usize) -> Result<()> {
    let set = set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("pinning to CPU {cpu}"))
}

/// The command will run on that CPU alone, and end when we do.
pub fn pin(command: &mut Command, cpu: usize) -> Result<()> {
    let set = set(cpu)?;
    let prepare = move || {
        sched_setaffinity(Pid::from_raw(0), &set)?;
        // SAFETY: prctl is a plain system call: if we are killed, the child gets a SIGTERM.
        match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec only two plain system calls are made; the set is owned by the closure.
    unsafe { command.pre_exec(prepare) };
    Ok(())
}

/// All threads of a process run on that CPU alone: some servers choose CPUs for their threads themselves.
pub fn pin_threads(pid: u32, cpu: usize) -> Result<()> {
    let set = set(cpu)?;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread: i32 = (thread?.file_name().to_string_lossy()).parse()?;
        sched_setaffinity(Pid::from_raw(thread), &set)?;
    }
    Ok(())
}

fn set(cpu: usize) -> Result<CpuSet> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(set)
}

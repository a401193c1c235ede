//! `cargo xtask demo`: the main job, shown. A pod asks for the services of a shop, the kernel
//! answers, and the socket answers what the kernel passes.

mod ask;
mod daemon;
mod in_kernel;
mod network;
mod on_loopback;
mod privileges;
mod probe;
mod questions;
mod record;
mod report;
mod residue;
mod scratch;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::Result;

use crate::{EXIT_TO_DO, build_ebpf, progress, setup, signals, workspace};

/// How often each question of the table is asked for its latency.
const ASKS_PER_ROW: u16 = 200;
/// How often the question of the chart is asked.
const ASKS_PER_BAR: u16 = 2000;
/// What a shell calls "ended by SIGINT".
const EXIT_INTERRUPTED: u8 = 130;

#[derive(clap::Args)]
pub struct Args {
    /// Stay up until Ctrl-C, to be asked by hand
    #[arg(long)]
    keep: bool,
    /// Exit 1 unless every answer is the expected one, from where it is expected
    #[arg(long)]
    check: bool,
    /// Without eBPF: the same answers, through the socket, on loopback
    #[arg(long)]
    socket_only: bool,
    /// Where the kernel answers; `both` shows one after the other
    #[arg(long, value_enum, default_value = "both")]
    hook: Hook,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Hook {
    /// tcx ingress of the pod's veth, on the node's side
    Tc,
    /// XDP in generic mode, on the same device
    XdpGeneric,
    /// First tc, then xdp-generic
    Both,
}

impl Hook {
    /// The values for `hopzero serve --hook`.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Tc => &["tc"],
            Self::XdpGeneric => &["xdp-generic"],
            Self::Both => &["tc", "xdp-generic"],
        }
    }
}

/// What went wrong in a demo that went to its end.
#[derive(Clone, Copy, Debug, Default)]
struct Findings {
    asked: usize,
    wrong: usize,
    left_behind: usize,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    signals::install();
    let result = demo(args);
    // Whatever the demo made is gone here: its guards were dropped on the way.
    if signals::interrupted() && result.is_err() {
        println!("\nInterrupted. Everything that the demo made has been removed.");
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    }
    result
}

fn demo(args: &Args) -> Result<ExitCode> {
    let started = Instant::now();
    let reason = if args.socket_only {
        Some("--socket-only was given".to_owned())
    } else {
        privileges::why_no_ebpf()
    };
    // A user without rights may get them: said is what it takes, before anything less is shown.
    let may_be_had = reason.is_none() || (!args.socket_only && !workspace::is_root());
    if may_be_had && setup::ensure(setup::Item::TO_RUN)? == setup::Outcome::ToDo {
        return Ok(ExitCode::from(EXIT_TO_DO));
    }
    let findings = if let Some(reason) = &reason {
        println!("*** NO eBPF: {reason}. The socket answers everything. ***\n");
        let hopzero = build_daemon()?;
        on_loopback::show(args, &hopzero)?
    } else {
        let built = build_ebpf::build()?;
        println!("  {} bytes of eBPF, embedded in the daemon", built.bytes);
        let hopzero = build_daemon()?;
        in_kernel::show(args, &hopzero)?
    };
    println!("\nDone in {:.1} s.", started.elapsed().as_secs_f64());
    Ok(verdict(args, &findings, reason.is_some()))
}

/// What a finished demo exits with.
fn verdict(args: &Args, findings: &Findings, without_kernel: bool) -> ExitCode {
    let Findings {
        asked,
        wrong,
        left_behind,
    } = *findings;
    if !args.check {
        return ExitCode::SUCCESS;
    }
    println!("Checked {asked} answers: {wrong} wrong; {left_behind} things left behind.");
    if without_kernel && !args.socket_only {
        println!("--check wants answers from the kernel; --socket-only checks without it.");
        return ExitCode::FAILURE;
    }
    if wrong + left_behind > 0 || asked == 0 {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn build_daemon() -> Result<PathBuf> {
    let mut command = workspace::cargo();
    command.args(["build", "--release", "-p", "hopzero", "--bin", "hopzero"]);
    progress::run(
        "building hopzero (a few minutes the first time)",
        &mut command,
    )?;
    Ok(workspace::target_dir().join("release").join("hopzero"))
}

/// The shop's manifests.
fn manifests() -> PathBuf {
    workspace::root().join("tests/manifests/shop")
}

/// A path for a person to type: relative to the workspace where it lies in it.
fn shown(path: &Path) -> String {
    path.strip_prefix(workspace::root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// Waits until we are asked to stop.
fn wait_for_interrupt() {
    println!("\nCtrl-C ends the demo.");
    while signals::sleep(std::time::Duration::from_hours(1)).is_ok() {}
    println!();
}

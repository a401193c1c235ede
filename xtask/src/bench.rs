//! `cargo xtask bench kernel`: builds what is to be measured, and hands over to the benchmark.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::{EXIT_TO_DO, build_ebpf, setup, workspace};

#[derive(clap::Args)]
pub struct Args {
    /// What to measure
    #[arg(value_enum)]
    what: What,
    /// Fewer rounds: to see that it works, not to quote figures from
    #[arg(long)]
    quick: bool,
    /// Also write the results to this file
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
    /// Further arguments for the benchmark, after `--`
    #[arg(last = true)]
    more: Vec<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    /// The programs themselves, by `BPF_PROG_TEST_RUN`: verifier figures, ns per query
    Kernel,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    if setup::ensure(setup::Item::TO_RUN)? == setup::Outcome::ToDo {
        return Ok(ExitCode::from(EXIT_TO_DO));
    }
    build_ebpf::build()?;
    let mut command = workspace::cargo();
    command.args([
        "run",
        "--release",
        "-p",
        "hopzero-tests",
        "--bin",
        "bench",
        "--",
    ]);
    command.arg(match args.what {
        What::Kernel => "kernel",
    });
    if args.quick {
        command.arg("--quick");
    }
    if let Some(file) = &args.json {
        // The benchmark runs in the workspace's root, whatever directory we were called in.
        command.arg("--json").arg(std::path::absolute(file)?);
    }
    command.args(&args.more);
    let status = command.status().context("cannot start cargo")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

//! `cargo xtask bench kernel|growth|publisher|servers|socket|control`: builds what is to be measured, and hands over to the benchmark.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::{EXIT_TO_DO, build_ebpf, peers, setup, workspace};

/// What the help ends with.
const ABOUT: &str = "\
Each prints a table: the median of interleaved rounds, the lowest and the highest, and the target. \
Nothing else should run meanwhile, on either CPU: ratios are of one run and can be quoted, absolute \
times drift on a shared machine. What a figure contains is written at the head of its file in tests/bench/.

`servers` wants knot and nsd (Debian's packages of these names); what is missing is said to be SKIPPED.

`socket` wants knot and CoreDNS: the one of --coredns, or else one that is built by `go install` the first time and kept in $XDG_CACHE_HOME/hopzero (~/.cache/hopzero). \
`control` wants that CoreDNS and the control plane of tests/cluster, which is built and kept in the same way.";

#[derive(clap::Args)]
#[command(after_help = ABOUT)]
pub struct Args {
    /// What to measure
    #[arg(value_enum)]
    what: What,
    /// Fewer rounds, below two minutes: to see that it works, not to quote figures from
    #[arg(long)]
    quick: bool,
    /// Also write the figures to this file, with machine and versions
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
    /// The `CoreDNS` that `socket` and `control` are compared with
    #[arg(long, value_name = "PATH")]
    coredns: Option<std::path::PathBuf>,
    /// Further arguments for the benchmark, after `--`: `-- --services 10000`
    #[arg(last = true)]
    more: Vec<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    /// The programs: answers a second beside a bare reflector's (R1), ns a packet (R2), verifier
    /// figures (R6), a name's memory
    Kernel,
    /// ns of a hit on a random one of 1,000 to 1,000,000 names (R10), and a name's memory
    Growth,
    /// Record updates a second into the maps, one by one, in batches and all at once, and where the time goes
    Publisher,
    /// Answers per CPU-second of the server's side beside knot's and nsd's (R4)
    Servers,
    /// Cached and forwarded queries per CPU-second of the server's side beside `CoreDNS`'s (R7), latency, memory
    Socket,
    /// From an API server's event to the kernel's answer (R8); memory (R9), answers per CPU-second (R3) and what a
    /// node costs the API server, beside `CoreDNS`
    Control,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    if setup::ensure(setup::Item::TO_RUN)? == setup::Outcome::ToDo {
        return Ok(ExitCode::from(EXIT_TO_DO));
    }
    build_ebpf::build()?;
    let coredns = match args.what {
        What::Socket | What::Control => {
            build_daemon()?;
            Some(match &args.coredns {
                Some(given) => std::path::absolute(given)?,
                None => peers::coredns()?,
            })
        }
        _ => None,
    };
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
        What::Growth => "growth",
        What::Publisher => "publisher",
        What::Servers => "servers",
        What::Socket => "socket",
        What::Control => "control",
    });
    if args.quick {
        command.arg("--quick");
    }
    if let Some(file) = &args.json {
        // The benchmark runs in the workspace's root, whatever directory we were called in.
        command.arg("--json").arg(std::path::absolute(file)?);
    }
    if let Some(coredns) = coredns {
        command.arg("--coredns").arg(coredns);
    }
    if matches!(args.what, What::Control) {
        command.arg("--cluster").arg(peers::cluster()?);
    }
    command.args(&args.more);
    let status = command.status().context("cannot start cargo")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The benchmark runs it as users do.
fn build_daemon() -> Result<()> {
    let mut command = workspace::cargo();
    command.args(["build", "--release", "-p", "hopzero"]);
    let status = command.status().context("cannot start cargo")?;
    ensure!(status.success(), "hopzero does not build");
    Ok(())
}

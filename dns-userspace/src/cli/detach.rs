//! `hopzero detach`: what was pinned is removed, without a daemon.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::bail;
use clap::Parser;

use crate::{
    control::{self, FetchError},
    kernel::{DIRECTORY_DEFAULT, detach},
};

const AFTER_HELP: &str = "\
Removes below the directory what `serve --pin` and `accelerate --pin` have left: links, and with them the programs at
devices of whatever network namespace, maps, and the directory itself. In this network namespace also filters of
clsact that a daemon that was killed has left, their qdisc if nobody else has a filter there, and addresses that
`serve --local-address` has made. Other agents' programs stay. What was removed is printed; so is that no pins were looked for, where
the directory is not on a bpffs.

Examples:
  On a node from which hopzero was removed:
    hopzero detach

  Pinned somewhere else:
    hopzero detach --pin /sys/fs/bpf/dns

  Although a daemon is alive: it lets go of its devices within a second, and attaches to nothing any more:
    hopzero detach --force

Exit status: 0, also when there was nothing; 1 when a daemon is alive, or something cannot be removed or looked at; 2 on a
wrong command line.";

/// Remove what was pinned in the kernel, without a daemon.
#[derive(Debug, Parser)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// Where it is pinned.
    #[arg(long, value_name = "DIR", default_value = DIRECTORY_DEFAULT)]
    pin: PathBuf,

    /// The control socket by which a daemon is recognised.
    #[arg(long, value_name = "PATH", default_value = control::PATH_DEFAULT)]
    control: PathBuf,

    /// Also if a daemon is alive.
    #[arg(long)]
    force: bool,
}

pub(super) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    if !args.force {
        refuse_if_alive(args)?;
    }
    let removed = detach(&args.pin, args.force)?;
    let text = if removed.is_empty() {
        format!("nothing is pinned at {}\n", args.pin.display())
    } else {
        removed.to_string()
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(match removed.not_looked_at {
        Some(_) => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    })
}

/// A filter of clsact does not say whose it is: there the control socket does. (Pins are asked by [`detach`].)
fn refuse_if_alive(args: &Args) -> anyhow::Result<()> {
    match control::fetch(&args.control) {
        Err(FetchError::NoDaemon { .. }) => Ok(()),
        Ok(report) if report.kernel.is_none() => Ok(()),
        Ok(report) => bail!(
            "a daemon is alive (pid {}, control socket {}): stop it first, or use --force",
            report.pid,
            args.control.display()
        ),
        Err(error) => bail!("{error}; stop the daemon first, or use --force"),
    }
}

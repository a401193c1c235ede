//! `hopzero check-config`: reads a Corefile as `serve` would, and says what it means for the kernel.

use std::{net::IpAddr, path::PathBuf, process::ExitCode};

use clap::Parser;

use super::serve::{kernel::parse_destination, sites};
use crate::{
    plugin::Environment,
    server::{Allowance, Servers},
};

const AFTER_HELP: &str = "\
It reads the file and all that it imports, with the environment of this process, and builds every
plugin, but serves nothing and asks nobody.

Examples:
  hopzero check-config /etc/coredns/Corefile
  kubectl -n kube-system get configmap coredns -o jsonpath='{.data.Corefile}' > Corefile
  hopzero check-config Corefile

Exit status: 0 if `hopzero serve --conf` can use the file, 1 if not, 2 on a wrong command line.";

/// Check a Corefile, and say which names the kernel may answer.
#[derive(Debug, Parser)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The Corefile.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The address of `hopzero serve --answer-for`: matters where server blocks have `bind`. May be given several times.
    #[arg(long, value_name = "IP", value_parser = parse_destination)]
    answer_for: Vec<IpAddr>,
}

pub(super) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    // Some plugins start tasks of their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _entered = runtime.enter();
    let environment = Environment::default();
    let (_, servers) = sites::read(&args.file, &environment)?;
    show_blocks(&servers);
    println!();
    match servers.allowance(&environment.clusters(), &args.answer_for) {
        Some(allowance) => show_allowance(&allowance),
        None => println!("kernel: nothing, since no server block has `kubernetes`"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Where is what, with its plugins in their order.
fn show_blocks(servers: &Servers) {
    for (listen, server) in servers.iter() {
        println!("{}", listen.label());
        for (zone, plugins) in server.sites() {
            let names: Vec<&str> = plugins.iter().map(|plugin| plugin.name()).collect();
            println!("  {zone} {}", names.join(" "));
        }
    }
}

/// What the kernel may answer, and a table of what it may not.
fn show_allowance(allowance: &Allowance) {
    let zones = allowance.zone.read().map(|zone| {
        let zones = zone.config().zones().map(ToString::to_string);
        zones.collect::<Vec<_>>().join(" ")
    });
    let zones = zones.unwrap_or_default();
    let rotated = if allowance.rotate {
        ", addresses rotated"
    } else {
        ""
    };
    if allowance.claims.is_empty() {
        println!("kernel: all names of {zones}{rotated}");
        return;
    }
    println!("kernel: names of {zones}{rotated}, except");
    let rows = allowance.claims.iter();
    let rows: Vec<_> = rows
        .map(|claim| (claim.touch.to_string(), &claim.reason))
        .collect();
    let width = rows.iter().map(|(names, _)| names.len()).max();
    for (names, reason) in &rows {
        println!("  {names:<0$}  for {reason}", width.unwrap_or(0));
    }
}

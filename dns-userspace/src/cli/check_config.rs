//! `hopzero check-config`: reads a Corefile as `serve` would, and says what it means for the kernel.

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode};

use clap::Parser;

use super::serve::sites;
use crate::plugin::{Environment, Touch};

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
}

pub(super) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    // Some plugins start tasks of their own.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let _entered = runtime.enter();
    let environment = Environment::default();
    let servers = sites::read(&args.file, &environment)?;
    for (listen, server) in servers.iter() {
        println!("{}", listen.label());
        for (zone, plugins) in server.sites() {
            let names: Vec<&str> = plugins.iter().map(|plugin| plugin.name()).collect();
            println!("  {zone} {}", names.join(" "));
            let Some(kernel) = names.iter().position(|name| *name == "kubernetes") else {
                println!("    kernel: nothing, since no `kubernetes` answers here");
                continue;
            };
            let mut free = true;
            for plugin in &plugins[..kernel] {
                for touch in plugin.touches() {
                    free = false;
                    println!("    socket: {}, for `{}`", describe(&touch), plugin.name());
                }
            }
            let what = if free { "all" } else { "the other" };
            println!("    kernel: {what} names of the cluster");
        }
        let viewed: BTreeSet<_> = server.viewed().collect();
        for zone in viewed {
            println!("  socket: {zone} and all below, in every block, for `view`");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(touch: &Touch) -> String {
    match touch {
        Touch::Everything => "every name".to_owned(),
        Touch::Name(name) => name.to_string(),
        Touch::Below(name) => format!("{name} and all below"),
        Touch::Matching(regex) => format!("names that match {regex}, and all that do not exist"),
    }
}

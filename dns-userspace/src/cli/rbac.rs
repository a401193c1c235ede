//! `hopzero rbac`: what a service account must be allowed.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;

use super::serve::{sites, source};
use crate::{plugin::Environment, source::cluster::Wanted};

const AFTER_HELP: &str = "\
Examples:
  hopzero rbac | kubectl apply -f -
  hopzero rbac --conf Corefile        # with `pods verified`, pods are watched too

Exit status: 0, or 1 if the Corefile cannot be used, 2 on a wrong command line.";

/// Print the `ClusterRole` that `serve` needs, as YAML: exactly what it watches.
#[derive(Debug, Parser)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The Corefile that is to be served; without one, what `serve` watches by itself.
    #[arg(long, value_name = "FILE")]
    conf: Option<PathBuf>,

    /// The name of the role.
    #[arg(long, value_name = "NAME", default_value = "hopzero")]
    name: String,
}

pub(super) fn main(args: &Args) -> anyhow::Result<ExitCode> {
    let wanted = match &args.conf {
        None => Wanted::default(),
        Some(path) => {
            // Some plugins start tasks of their own.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let _entered = runtime.enter();
            let environment = Environment::default();
            sites::read(path, &environment)?;
            source::wanted(&environment.clusters())
        }
    };
    print!("{}", wanted.cluster_role(&args.name));
    Ok(ExitCode::SUCCESS)
}

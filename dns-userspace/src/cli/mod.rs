//! The command line: one file per subcommand.

mod accelerate;
mod check;
mod check_config;
mod detach;
mod kernel;
mod query;
mod rbac;
mod serve;
mod stats;
mod status;

use std::{fmt::Display, net::SocketAddr, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};

use crate::sandbox::{self, capabilities::Needs};

/// Where `serve` listens and `query` asks, unless told otherwise. No privilege is needed for it.
const SERVER_DEFAULT: &str = "127.0.0.1:1053";

const AFTER_HELP: &str = "\
Examples:
  Serve a directory of Kubernetes manifests, and ask it:
    hopzero serve --manifests ./manifests &
    hopzero query web.shop.svc.cluster.local
    hopzero status
    hopzero stats

  Answer the pods behind two veths in the kernel, for the cluster DNS address:
    hopzero serve --manifests ./manifests --listen 169.254.20.10:53 \\
        --attach veth1,veth2 --answer-for 10.96.0.10

  Answer every pod of the node in the kernel, beside CoreDNS, which stays as it is:
    hopzero accelerate --attach pods

  Stop answering in the kernel, at once:
    hopzero kernel off

  Something does not work:
    hopzero check

  Remove what was pinned (serve --pin, accelerate --pin), without a daemon:
    hopzero detach

`hopzero help COMMAND` says more about each command.";

/// Kubernetes DNS, answered in the kernel where a pod's query is first seen.
#[derive(Debug, Parser)]
#[command(name = "hopzero", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Args>),
    Accelerate(Box<accelerate::Args>),
    Query(query::Args),
    Status(status::Args),
    Stats(stats::Args),
    Check(Box<check::Args>),
    CheckConfig(check_config::Args),
    Kernel(kernel::Args),
    Detach(detach::Args),
    Rbac(rbac::Args),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve::main(*args),
        Command::Accelerate(args) => accelerate::main(*args),
        Command::Query(args) => query::main(&args),
        Command::Status(args) => Ok(status::main(&args)),
        Command::Stats(args) => stats::main(&args),
        Command::Check(args) => check::main(*args),
        Command::CheckConfig(args) => check_config::main(&args),
        Command::Kernel(args) => kernel::main(args),
        Command::Detach(args) => detach::main(&args),
        Command::Rbac(args) => rbac::main(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("hopzero: {error:#}");
        ExitCode::FAILURE
    })
}

/// Ends the process as clap does for a wrong command line of `command`: message, usage, status 2.
fn usage<A: CommandFactory>(command: &'static str, kind: ErrorKind, message: impl Display) -> ! {
    A::command().bin_name(command).error(kind, message).exit()
}

/// What a daemon gives up at its start.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Privileges")]
struct SandboxArgs {
    /// Keep every capability and system call, for debugging; else those that are not needed are given up at the start
    /// (docs/security.md). A kubeconfig that runs a command for its credentials needs it.
    #[arg(long)]
    no_sandbox: bool,
}

/// Gives up what `needs` does not say, and runs a daemon until it ends.
fn run(
    sandbox: &SandboxArgs,
    needs: Needs,
    daemon: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<ExitCode> {
    if sandbox.no_sandbox {
        tracing::warn!("--no-sandbox: capabilities and system calls that are not needed are kept");
    } else {
        // Before the runtime, which makes threads.
        sandbox::enter(needs)?;
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(daemon)?;
    Ok(ExitCode::SUCCESS)
}

fn parse_socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "expected an IP address and a port, such as 127.0.0.1:1053 or [::1]:1053".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}

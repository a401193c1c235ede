//! The benchmarks; `cargo xtask bench` builds and runs them.

mod control;
mod cpu;
mod figures;
mod frames;
mod generator;
mod growth;

mod kernel;
mod machine;
mod publisher;
mod reflector;
mod servers;
mod socket;
mod subject;
mod timing;
mod verifier;
mod world;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use hopzero_tests::cleanup;

/// Measures hopzero. Ratios are taken within one run, in turns; absolute times drift on a shared machine.
#[derive(Parser)]
struct Arguments {
    what: What,
    /// Fewer and shorter rounds, under two minutes: to see that it works, not to quote from
    #[arg(long)]
    quick: bool,
    /// Services of the zone
    #[arg(long, default_value_t = 100_000)]
    services: u32,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The CoreDNS that `socket` and `control` are compared with
    #[arg(long, value_name = "PATH")]
    coredns: Option<PathBuf>,
    /// The control plane of `control`
    #[arg(long, value_name = "PATH")]
    cluster: Option<PathBuf>,
    /// Only this part of `control`
    #[arg(long, value_enum)]
    part: Option<control::Part>,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// The programs: answers a second beside a bare reflector's, ns a packet, verifier figures
    Kernel,
    /// ns of a hit at 1,000 to 1,000,000 names, and a name's memory
    Growth,
    /// Record updates a second into the maps, and where the time goes
    Publisher,
    /// Answers per CPU-second of the server's side, beside knot's and nsd's
    Servers,
    /// Cached and forwarded queries per CPU-second of the server's side, beside `CoreDNS`'s
    Socket,
    /// From an event of the API server to the kernel's answer; memory, answers and load beside `CoreDNS`'s
    Control,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    machine::check()?;
    cleanup::install();
    let machine = machine::describe();
    machine::print(&machine);
    let (quick, services) = (arguments.quick, arguments.services);
    let figures = match arguments.what {
        What::Kernel => kernel::measure(quick, services)?,
        What::Growth => growth::measure(quick)?,
        What::Publisher => publisher::measure(quick, services)?,
        What::Servers => servers::measure(quick, services)?,
        What::Socket => socket::measure(quick, arguments.coredns.as_deref())?,
        What::Control => control::measure(
            quick,
            services,
            arguments.part,
            arguments.coredns.as_deref(),
            arguments.cluster.as_deref(),
        )?,
    };
    figures.print();
    if let Some(file) = arguments.json {
        figures.write(&machine, &file)?;
    }
    Ok(())
}

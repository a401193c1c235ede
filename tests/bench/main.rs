//! The benchmarks; `cargo xtask bench` builds and runs them.

mod figures;
mod generator;
mod kernel;
mod machine;
mod verifier;
mod world;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures hopzero. Ratios are taken within one run, in turns; absolute times drift on a shared machine.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The programs: answers per second beside a bare reflector's, ns per packet, verifier figures
    Kernel {
        /// Fewer and shorter rounds, under two minutes: to see that it works, not to quote from
        #[arg(long)]
        quick: bool,
        /// Services in the table
        #[arg(long, default_value_t = 100_000)]
        services: u32,
        /// Also write the figures to this file
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().what {
        What::Kernel {
            quick,
            services,
            json,
        } => {
            let machine = machine::describe();
            machine::print(&machine);
            let figures = kernel::measure(quick, services)?;
            figures.print();
            if let Some(file) = json {
                figures.write(&machine, &file)?;
            }
            Ok(())
        }
    }
}

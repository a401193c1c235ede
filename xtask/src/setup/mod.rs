//! `cargo xtask setup`: finds out what is missing, says why it is needed, and installs it.
//!
//! Where it may not install (not root, or no apt) it prints the commands and exits 2.

mod need;
mod needs;

use std::{process::ExitCode, time::Instant};

use anyhow::{Result, bail};

use self::need::Need;
pub use self::needs::Item;
use crate::{EXIT_TO_DO, progress, signals, workspace};

#[derive(clap::Args)]
pub struct Args {
    /// Also what CI needs: cargo-deny, rustfmt, clippy, musl and qemu
    #[arg(long)]
    dev: bool,
    /// Print the commands that are missing, and run none of them; exits 2 if there are any
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &Args) -> Result<ExitCode> {
    signals::install();
    let items = if args.dev { Item::ALL } else { Item::TO_RUN };
    if args.dry_run {
        let missing = missing(items)?;
        print_commands(&missing);
        return Ok(if missing.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(EXIT_TO_DO)
        });
    }
    match ensure(items)? {
        Outcome::NothingToDo => println!("Nothing to install: everything is here."),
        Outcome::Installed => println!("Everything is here now."),
        Outcome::ToDo => return Ok(ExitCode::from(EXIT_TO_DO)),
    }
    Ok(ExitCode::SUCCESS)
}

/// What [`ensure`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was missing.
    NothingToDo,
    /// What was missing is there now.
    Installed,
    /// We may not install; the commands have been printed.
    ToDo,
}

/// Installs those of `items` that are missing.
pub fn ensure(items: &[Item]) -> Result<Outcome> {
    let missing = missing(items)?;
    if missing.is_empty() {
        return Ok(Outcome::NothingToDo);
    }
    if let Some(reason) = why_not_install() {
        println!("Some things are missing, and {reason}. Please run:\n");
        print_commands(&missing);
        return Ok(Outcome::ToDo);
    }
    println!("Installing what is missing:");
    for need in &missing {
        println!("- {}: {}", need.what, need.why);
    }
    let started = Instant::now();
    for item in items {
        // Asked again, since what was installed before may change what this one needs.
        if let Some(need) = item.missing()? {
            install(*item, &need)?;
        }
    }
    println!("Installed in {:.0} s.\n", started.elapsed().as_secs_f64());
    Ok(Outcome::Installed)
}

fn missing(items: &[Item]) -> Result<Vec<Need>> {
    items
        .iter()
        .filter_map(|item| item.missing().transpose())
        .collect()
}

fn why_not_install() -> Option<&'static str> {
    if !workspace::is_root() {
        Some("only root can install them")
    } else if workspace::find("apt-get").is_none() {
        Some("this is not Debian (there is no apt-get), where they would be installed for you")
    } else {
        None
    }
}

/// Tries the ways in their order until nothing is missing any more.
fn install(item: Item, need: &Need) -> Result<()> {
    let mut failures = Vec::new();
    for way in &need.ways {
        match way
            .steps
            .iter()
            .try_for_each(|step| progress::run(&step.what, &mut step.command()))
        {
            Ok(()) => match item.missing()? {
                None => return Ok(()),
                Some(_) => failures.push("it ran without an error, but changed nothing".to_owned()),
            },
            Err(error) => failures.push(format!("{error:#}")),
        }
        signals::check()?;
    }
    if need.optional {
        println!("  {}: not to be had here, going on without it", need.what);
        return Ok(());
    }
    let commands: Vec<String> = need.ways.iter().map(need::Way::shell).collect();
    bail!(
        "{} could not be installed.\n{}\nThe commands were:\n{}",
        need.what,
        failures.join("\n"),
        commands.join("\n# or\n"),
    )
}

fn print_commands(missing: &[Need]) {
    for need in missing {
        println!("# {}: {}", need.what, need.why);
        // Of several ways the first is the one to recommend.
        match need.ways.first() {
            Some(way) => println!("{}\n", way.shell()),
            None => println!("# install rustup (https://rustup.rs), then run this again\n"),
        }
    }
}

//! Test layers that need the kernel: whether they can run, and what is said when they cannot.
//!
//! A test that cannot run is reported as ignored, and prints `SKIPPED <name>: <why>`. With `CI=true` the
//! layer then fails: one that is skipped there tests nothing.

use std::{env, process::ExitCode};

use anyhow::{Result, bail, ensure};
use hopzero::kernel::{Kernel, Options};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::cleanup;

/// Runs trials, and ends with libtest's line of results.
pub fn run(trials: impl FnOnce() -> Result<Vec<Trial>>, names: &[String]) -> ExitCode {
    let available = Kernel::check(&Options::default()).map_err(anyhow::Error::from);
    run_if(available.and_then(|()| trials()), names)
}

/// The same for a layer that is one trial.
pub fn run_one(name: &str, body: fn() -> Result<()>) -> ExitCode {
    run(
        || Ok(vec![Test::new(name, body).trial()]),
        &[name.to_owned()],
    )
}

fn run_if(trials: Result<Vec<Trial>>, names: &[String]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    let error = match trials {
        Ok(trials) => return libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => error,
    };
    for name in names {
        println!("SKIPPED {name}: {error:#}");
    }
    // What is ignored because it cannot run is not run by --ignored either.
    arguments.ignored = false;
    arguments.include_ignored = false;
    let ignored = names
        .iter()
        .map(|name| Trial::test(name, || Ok(())).with_ignored_flag(true));
    let ended = libtest_mimic::run(&arguments, ignored.collect()).exit_code();
    if env::var("CI").is_ok_and(|value| value == "true") {
        println!("CI=true: a layer that needs the kernel must run");
        return ExitCode::FAILURE;
    }
    ended
}

/// A test by its name and what it does.
pub struct Test {
    name: String,
    body: Box<dyn FnOnce() -> Result<()> + Send>,
    /// Why it cannot run.
    skipped: Option<String>,
}

impl Test {
    /// A test.
    pub fn new(
        name: impl Into<String>,
        body: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            body: Box::new(body),
            skipped: None,
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same, skipped for this reason if there is one. With `CI=true` `cargo xtask test` fails then.
    #[must_use]
    pub fn unless(self, skipped: Option<String>) -> Self {
        Self { skipped, ..self }
    }

    /// As libtest runs it.
    pub fn trial(self) -> Trial {
        let Self {
            name,
            body,
            skipped,
        } = self;
        if let Some(why) = &skipped {
            println!("SKIPPED {name}: {why}");
        }
        let ignored = skipped.is_some();
        Trial::test(name, move || {
            if ignored {
                return Err(Failed::from("it cannot run here"));
            }
            body().map_err(|error| Failed::from(format!("{error:#}")))
        })
        .with_ignored_flag(ignored)
    }
}

/// Runs tests that need nothing of the kernel; one that is skipped says so by itself ([`Test::unless`]).
pub fn run_plain(tests: Vec<Test>) -> ExitCode {
    let trials = tests.into_iter().map(Test::trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Runs tests that make network namespaces; those are removed when the run is interrupted, too.
pub fn run_in_namespaces(tests: impl IntoIterator<Item = Test>) -> ExitCode {
    cleanup::install();
    let tests: Vec<Test> = tests.into_iter().collect();
    let names: Vec<String> = tests.iter().map(|test| test.name.clone()).collect();
    let available = Kernel::check(&Options::default()).map_err(anyhow::Error::from);
    let available = available.and_then(|()| check_namespaces());
    run_if(
        available.map(|()| tests.into_iter().map(Test::trial).collect()),
        &names,
    )
}

/// Namespaces are made by root, with iproute2.
fn check_namespaces() -> Result<()> {
    // SAFETY: a system call without arguments that cannot fail.
    let user = unsafe { libc::geteuid() };
    ensure!(user == 0, "making network namespaces needs root");
    let has_ip = env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|directory| directory.join("ip").exists()));
    if !has_ip {
        bail!("ip is missing: install iproute2");
    }
    Ok(())
}

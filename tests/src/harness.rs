//! Test layers that need a kernel: whether they can run, and what is said when they cannot.
//!
//! A test that cannot run is reported as ignored, and prints `SKIPPED <name>: <why>`. With `CI=true` it
//! fails instead: a layer that is skipped there tests nothing.

use std::{env, process::ExitCode};

use anyhow::Result;
use hopzero::kernel::{Kernel, KernelError, Options};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::cleanup;

/// One test: its name and what it does.
pub struct Test {
    name: String,
    body: Box<dyn FnOnce() -> Result<()> + Send>,
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
        }
    }

    fn trial(self, missing: Option<&str>) -> Trial {
        let Self { name, body } = self;
        match missing {
            None => Trial::test(name, move || {
                body().map_err(|error| Failed::from(format!("{error:#}")))
            }),
            Some(why) if is_ci() => {
                let why = format!("cannot run, and CI=true: {why}");
                Trial::test(name, move || Err(why.into()))
            }
            Some(why) => {
                eprintln!("SKIPPED {name}: {why}");
                Trial::test(name, || Ok(())).with_ignored_flag(true)
            }
        }
    }
}

/// Runs the tests as the command line asks, and prints libtest's summary.
pub fn run(tests: impl IntoIterator<Item = Test>, missing: Option<&str>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    if missing.is_some() {
        // --ignored would run what cannot run.
        arguments.ignored = false;
        arguments.include_ignored = false;
    }
    cleanup::install();
    let trials = tests.into_iter().map(|test| test.trial(missing)).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// What is missing for loading and attaching programs.
pub fn missing_for_kernel() -> Option<String> {
    Kernel::check(&Options::default())
        .err()
        .map(|error: KernelError| error.to_string())
}

/// What is missing for network namespaces: they are made by root, with iproute2.
pub fn missing_for_namespaces() -> Option<String> {
    // SAFETY: a system call without arguments that cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return Some("making network namespaces needs root".to_owned());
    }
    let has_ip = env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|directory| directory.join("ip").exists()));
    (!has_ip).then(|| "ip is missing: install iproute2".to_owned())
}

/// Whether this is a run where nothing may be skipped.
pub fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true")
}

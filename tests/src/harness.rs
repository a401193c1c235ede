//! Runs the trials of a layer that needs the kernel, or says why it cannot.

use std::process::ExitCode;

use hopzero::kernel::{Kernel, Options};
use libtest_mimic::{Arguments, Trial};

/// Runs trials, and ends with libtest's line of results. Where the kernel cannot be had, every trial is ignored with the
/// reason; in CI (`CI=true`) that is a failure.
pub fn run(trials: impl FnOnce() -> anyhow::Result<Vec<Trial>>, names: &[String]) -> ExitCode {
    let arguments = Arguments::from_args();
    let available = Kernel::check(&Options::default()).map_err(anyhow::Error::from);
    match available.and_then(|()| trials()) {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            for name in names {
                println!("SKIPPED {name}: {error:#}");
            }
            let ignored = names.iter().map(|name| Trial::test(name, || Ok(())).with_ignored_flag(true));
            let ignored = libtest_mimic::run(&arguments, ignored.collect()).exit_code();
            if std::env::var_os("CI").is_some() {
                println!("CI: the kernel layers must run");
                return ExitCode::FAILURE;
            }
            ignored
        }
    }
}

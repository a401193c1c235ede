//! Real sockets across network namespaces: a pod asks, and its node's kernel or socket answers.

mod answers;
mod setup;

use std::process::ExitCode;

use hopzero_tests::harness;

fn main() -> ExitCode {
    let missing = harness::missing_for_namespaces().or_else(harness::missing_for_kernel);
    let tests = [answers::tests()];
    harness::run(tests.into_iter().flatten(), missing.as_deref())
}

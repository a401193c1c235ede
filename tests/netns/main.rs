//! Real sockets across network namespaces: a pod asks, and its node's kernel or socket answers.

mod answers;
mod checksums;
mod setup;

use std::process::ExitCode;

use hopzero_tests::harness;

fn main() -> ExitCode {
    let tests = [answers::tests(), checksums::tests()];
    harness::run_in_namespaces(tests.into_iter().flatten())
}

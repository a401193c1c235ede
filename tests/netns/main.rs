//! Real sockets across network namespaces: a pod asks, and its node's kernel or socket answers.

mod answers;
mod checksums;
mod edits;
mod passed;
mod residue;
mod resolver;
mod setup;

use std::process::ExitCode;

use hopzero_tests::harness;

fn main() -> ExitCode {
    let tests = [
        answers::tests(),
        checksums::tests(),
        passed::tests(),
        resolver::tests(),
        edits::tests(),
        residue::tests(),
    ];
    harness::run_in_namespaces(tests.into_iter().flatten())
}

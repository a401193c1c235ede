//! Real sockets across network namespaces: a pod asks, and its node's kernel or socket answers.

mod answers;
mod edits;
mod foreign;
mod lease;
mod offloads;
mod passed;
mod refusals;
mod residue;
mod resolver;
mod setup;
mod start;
mod traffic;

use std::process::ExitCode;

use hopzero_tests::harness;

fn main() -> ExitCode {
    let tests = [
        answers::tests(),
        passed::tests(),
        resolver::tests(),
        offloads::tests(),
        edits::tests(),
        residue::tests(),
        lease::tests(),
        traffic::tests(),
        foreign::tests(),
        refusals::tests(),
        start::tests(),
    ];
    harness::run_in_namespaces(tests.into_iter().flatten())
}

//! Real sockets across network namespaces: a pod asks, and its node's kernel or socket answers.

mod answers;
mod check;
mod clsact;
mod corefile;
mod edits;
mod foreign;
mod growth;
mod lease;
mod limit;
mod merged;
mod metrics;
mod offloads;
mod others;
mod passed;
mod pins;
mod pods;
mod refusals;
mod reload;
mod residue;
mod resolver;
mod resync;
mod sandbox;
mod selftest;
mod setup;
mod silence;
mod start;
mod switches;
mod traffic;
mod vlan;

use std::process::ExitCode;

use hopzero_tests::harness;

fn main() -> ExitCode {
    let tests = [
        answers::tests(),
        passed::tests(),
        resolver::tests(),
        offloads::tests(),
        merged::tests(),
        edits::tests(),
        residue::tests(),
        lease::tests(),
        growth::tests(),
        resync::tests(),
        traffic::tests(),
        foreign::tests(),
        refusals::tests(),
        start::tests(),
        vlan::tests(),
        limit::tests(),
        switches::tests(),
        corefile::tests(),
        reload::tests(),
        metrics::tests(),
        silence::tests(),
        pods::tests(),
        selftest::tests(),
        others::tests(),
        clsact::tests(),
        check::tests(),
        pins::tests(),
        sandbox::tests(),
    ];
    harness::run_in_namespaces(tests.into_iter().flatten())
}

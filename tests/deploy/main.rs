//! The chart and what is rendered from it: what it says, what it refuses, and that a real API server takes it.

mod chart;
mod refusals;
mod render;
mod server;
mod unit;

use std::process::ExitCode;

use hopzero_tests::{
    beside::plane,
    harness::{self, Test},
};

fn main() -> ExitCode {
    let no_helm = render::helm().err().map(|error| error.to_string());
    let no_plane = plane::binary().err().map(|error| error.to_string());
    let mut tests = Vec::new();
    for test in chart::tests().into_iter().chain(refusals::tests()) {
        tests.push(test.unless(no_helm.clone()));
    }
    let taken = Test::new("an API server takes every object", server::takes_it);
    tests.push(taken.unless(no_helm.or(no_plane)));
    tests.extend(unit::tests());
    harness::run_plain(tests)
}

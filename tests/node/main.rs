//! `hopzero accelerate` on a node in miniature, beside a real CoreDNS that follows a real API server: what pods are told is
//! the same before, while and after, and what the kernel answers leaves no connection in the node's account.

mod accelerate;
mod check;
mod churn;
mod local;
mod race;
mod throughput;
mod world;

use std::process::ExitCode;

use hopzero_tests::{
    beside::{peer, plane},
    harness::{self, Test},
};

fn main() -> ExitCode {
    let programs = peer::coredns().and_then(|coredns| Ok((coredns, plane::binary()?)));
    let skipped = programs.as_ref().err().map(ToString::to_string);
    let (coredns, plane) = programs.unwrap_or_default();
    let (own_coredns, own_plane) = (coredns.clone(), plane.clone());
    let (race_coredns, race_plane) = (coredns.clone(), plane.clone());
    let race = Test::new("node::conntrack_race", move || {
        race::test(&race_coredns, &race_plane)
    });
    let check = Test::new("node::check", move || check::test(&own_coredns, &own_plane));
    let test = Test::new("node::accelerate", move || {
        accelerate::test(&coredns, &plane)
    });
    let tests = [
        check.unless(skipped.clone()),
        race.unless(skipped.clone()),
        test.unless(skipped),
    ]
    .into_iter()
    .chain(churn::tests())
    .chain(throughput::tests())
    .chain(local::tests());
    harness::run_in_namespaces(tests)
}

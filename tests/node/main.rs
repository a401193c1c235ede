//! `hopzero accelerate` on a node in miniature, beside a real CoreDNS that follows a real API server: what pods are told is
//! the same before, while and after, and what the kernel answers leaves no connection in the node's account.

mod accelerate;
mod check;
mod churn;
mod dual_stack;
mod hairpin;
mod host_network;
mod local;
mod race;
mod throughput;
mod world;

use std::{path::Path, process::ExitCode};

use anyhow::Result;
use hopzero_tests::{
    beside::{peer, plane},
    harness::{self, Test},
};

/// With CoreDNS's program, and the control plane's.
type Beside = fn(&Path, &Path) -> Result<()>;
/// What takes both.
const BESIDE: [(&str, Beside); 6] = [
    ("node::check", check::test),
    ("node::conntrack_race", race::test),
    ("node::accelerate", accelerate::test),
    ("node::hairpin", hairpin::test),
    ("node::dual_stack", dual_stack::test),
    ("node::host_network_accelerate", host_network::accelerate),
];

fn main() -> ExitCode {
    let programs = peer::coredns().and_then(|coredns| Ok((coredns, plane::binary()?)));
    let skipped = programs.as_ref().err().map(ToString::to_string);
    let (coredns, plane) = programs.unwrap_or_default();
    let tests = BESIDE.map(|(name, test)| {
        let (coredns, plane) = (coredns.clone(), plane.clone());
        Test::new(name, move || test(&coredns, &plane)).unless(skipped.clone())
    });
    let tests = tests
        .into_iter()
        .chain(churn::tests())
        .chain(throughput::tests())
        .chain(local::tests())
        .chain(host_network::tests());
    harness::run_in_namespaces(tests)
}

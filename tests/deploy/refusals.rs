//! Values that are wrong are refused, and it is said which and why.

use anyhow::{Result, bail, ensure};
use hopzero_tests::harness::Test;

use crate::render;

/// What is set, and words of the message.
type Row = (&'static str, &'static [&'static str]);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("mode=replace", &["/mode", "'accelerate', 'serve'"]),
    ("mode=serve", &["cluster.dnsAddresses is empty", "resolv.conf", "10.96.0.10"]),
    ("cluster.dnsAddresses={10.32.0.300}", &["/cluster/dnsAddresses/0", "10.32.0.300", "not valid ipv4"]),
    ("cluster.dnsAddresses={10.32.0.10,10.32.0.10}", &["/cluster/dnsAddresses", "equal"]),
    ("cluster.reverseCIDRs={10.32.0.0}", &["/cluster/reverseCIDRs/0", "10.32.0.0"]),
    ("cluster.domain=cluster..local", &["/cluster/domain", "cluster..local"]),
    ("accelerate.configMap=coredns", &["/accelerate/configMap", "coredns"]),
    ("attach.hook=tcx", &["/attach/hook", "'xdp-generic'"]),
    ("attach.to={}", &["/attach/to", "minLength"]),
    ("serve.pods=all", &["/serve/pods", "'verified'"]),
    ("serve.ports.health=99999", &["/serve/ports/health", "65,535"]),
    ("serve.prots.health=8080", &["/serve", "'prots' not allowed"]),
    ("serve.stubDomains.example=10.1.2.3", &["/serve/stubDomains/example", "want array"]),
    ("updateStrategy.maxUnavailable=0", &["/updateStrategy/maxUnavailable", "want 1"]),
    ("pin.directory=/sys/fs/bpf/hopzero.v1", &["/pin/directory", "hopzero.v1"]),
    ("pin.directory=,pin.detachOnExit=true", &["pin.detachOnExit", "without pin.directory"]),
    ("image.digest=sha256:12", &["/image/digest", "sha256:12"]),
    ("podMonitor.enabled=true", &["podMonitor.enabled", "hopzero stats"]),
    ("networkpolicy.enabled=true", &["'networkpolicy' not allowed"]),
];

pub fn tests() -> Vec<Test> {
    let rows = ROWS
        .iter()
        .map(|&(set, words)| Test::new(format!("refused: {set}"), move || refused(set, words)));
    rows.collect()
}

fn refused(set: &str, words: &[&str]) -> Result<()> {
    let Err(message) = render::run(&["template", render::NAME], &["--set", set])? else {
        bail!("it is rendered");
    };
    for word in words {
        ensure!(message.contains(word), "no {word:?} in {message}");
    }
    Ok(())
}

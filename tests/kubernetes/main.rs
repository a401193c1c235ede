//! hopzero beside `CoreDNS` at one API server: the same objects, the same Corefile, the same questions; the replies must say
//! the same, but for what `docs/differences.md` has.

mod fixture;

use std::{
    fs,
    path::Path,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::{
    beside::{
        comparison::Comparison,
        peer::{self, Client, Peer, Software},
        plane::{self, Plane},
        question::{Asked, Questions},
        upstream,
    },
    harness::{self, Test},
};

use fixture::Fixture;

/// Questions of each set of options: more than 50,000 in all.
const QUESTIONS: usize = 4000;
/// How long it may take until a server has all objects.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
const NAME: &str = "as CoreDNS at the same API server";

/// Zones and lines of the directive, and lines behind it.
const OPTIONS: [(&str, &str, &str); 16] = [
    ("cluster.local in-addr.arpa ip6.arpa", "", ""),
    ("cluster.local in-addr.arpa ip6.arpa", "ttl 30", ""),
    (
        "cluster.local in-addr.arpa ip6.arpa",
        "pods disabled\nttl 0",
        "",
    ),
    ("cluster.local in-addr.arpa ip6.arpa", "pods insecure", ""),
    ("cluster.local in-addr.arpa ip6.arpa", "pods verified", ""),
    (
        "cluster.local in-addr.arpa ip6.arpa",
        "endpoint_pod_names",
        "",
    ),
    ("cluster.local in-addr.arpa ip6.arpa", "noendpoints", ""),
    (
        "cluster.local in-addr.arpa ip6.arpa",
        "ignore empty_service",
        "",
    ),
    (
        "cluster.local in-addr.arpa ip6.arpa",
        "namespaces ns-1 ns-2 ns-30",
        "",
    ),
    (
        "cluster.local in-addr.arpa ip6.arpa",
        "labels tier=front",
        "",
    ),
    (
        "cluster.local in-addr.arpa ip6.arpa",
        "namespace_labels team=even",
        "",
    ),
    (
        "cluster.local in-addr.arpa ip6.arpa",
        "fallthrough in-addr.arpa ip6.arpa",
        "forward . {$UPSTREAM}",
    ),
    (
        "cluster.local in-addr.arpa ip6.arpa",
        "fallthrough",
        "forward . {$UPSTREAM}",
    ),
    ("cluster.local 10.96.0.0/16 10.244.0.0/16", "", ""),
    (
        "cluster.local",
        "pods insecure\nfallthrough in-addr.arpa ip6.arpa\nttl 30",
        "forward . {$UPSTREAM}\ncache 30\nloadbalance",
    ),
    ("other.local cluster.local in-addr.arpa ip6.arpa", "", ""),
];

fn main() -> ExitCode {
    let programs = peer::coredns().and_then(|coredns| Ok((coredns, plane::binary()?)));
    let skipped = programs.as_ref().err().map(ToString::to_string);
    let (coredns, control_plane) = programs.unwrap_or_default();
    let test = Test::new(NAME, move || run(&coredns, &control_plane));
    harness::run_plain(vec![test.unless(skipped)])
}

fn run(coredns: &Path, control_plane: &Path) -> Result<()> {
    let begun = Instant::now();
    let plane = Plane::start(control_plane)?;
    let fixture = Fixture::new();
    plane.kubectl(&["create"], &fixture.objects)?;
    plane.kubectl(
        &["apply", "--server-side", "--subresource=status"],
        &fixture.statuses,
    )?;
    println!(
        "{} objects after {:.1} s",
        fixture.objects.matches("---\n").count(),
        begun.elapsed().as_secs_f32()
    );
    let names = fixture.names();
    let upstream = upstream::start()?.to_string();
    let kubeconfig = plane.kubeconfig().display().to_string();
    let variables = [("UPSTREAM", &*upstream), ("KUBECONFIG", &*kubeconfig)];
    let mut failed = Vec::new();
    for (zones, options, behind) in OPTIONS {
        let what = format!(
            "kubernetes {zones} {{ {} }} {}",
            options.replace('\n', "; "),
            behind.replace('\n', "; ")
        );
        let folder = tempfile::tempdir()?;
        let corefile = format!(
            ".:{{$PORT}} {{\nerrors\nkubernetes {zones} {{\nkubeconfig {{$KUBECONFIG}} hopzero\n{options}\n}}\n{behind}\n}}\n"
        );
        fs::write(folder.path().join("Corefile"), corefile)?;
        let theirs = Peer::start(Software::CoreDns(coredns), folder.path(), &variables)?;
        let ours = Peer::start(Software::Hopzero, folder.path(), &variables)?;
        let client = Client::new()?;
        for peer in [&theirs, &ours] {
            synchronised(peer, &client).with_context(|| format!("{what}\n{}", peer.log()))?;
        }
        let mut comparison = Comparison::default();
        for asked in Questions::new(&names).take(QUESTIONS) {
            let (theirs, ours) = (theirs.ask(&client, &asked)?, ours.ask(&client, &asked)?);
            comparison.note(&asked, &theirs, &ours);
        }
        println!("{what}: {}", comparison.summary());
        if let Err(error) = comparison.end() {
            failed.push(format!(
                "{what}\n{error:#}\nours:\n{}\ntheirs:\n{}",
                ours.log(),
                theirs.log()
            ));
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n\n"));
    Ok(())
}

/// Waits until a server knows the API server's own service, which every set of options has or none.
fn synchronised(peer: &Peer, client: &Client) -> Result<()> {
    let begun = Instant::now();
    loop {
        let asked = Asked::plain("cluster.local", 6);
        let seen = peer.ask(client, &asked)?;
        if seen.rcode == 0 {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "not synchronised: {seen}");
        thread::sleep(LOOK);
    }
}

//! hopzero beside `CoreDNS` at one API server: the same objects, the same Corefile, the same questions; the replies must say
//! the same, but for what `docs/differences.md` has.

mod asker;
mod changes;
mod fixture;
mod imports;
mod servers;

use std::{
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::{
    beside::{
        comparison::Comparison,
        peer,
        plane::{self, Plane},
        upstream,
    },
    harness::{self, Test},
    network::Network,
};

use changes::Changes;
use fixture::Fixture;
use servers::{Given, Servers, Way};

/// Questions of each set of options: more than 50,000 in all.
const QUESTIONS: usize = 4000;
/// Answers of the kernel to them: names that fall through, pass, and so do rare types.
const KERNEL_MIN: u64 = 200;
/// How long objects change.
const CHANGING: Duration = Duration::from_secs(15);
/// How long it may take until the last change is seen.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Zones and lines of the directive, and lines behind it.
const OPTIONS: [(&str, &str, &str); 20] = [
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
    (
        "cluster.local clusterset.local in-addr.arpa ip6.arpa",
        "multicluster clusterset.local",
        "",
    ),
    (
        "cluster.local clusterset.local",
        "multicluster clusterset.local\nnoendpoints\nignore empty_service\nttl 30",
        "",
    ),
    (
        "cluster.local clusterset.local in-addr.arpa ip6.arpa",
        "multicluster clusterset.local\nnamespace_labels team=even",
        "",
    ),
    (
        "cluster.local clusterset.local",
        "multicluster clusterset.local\nnamespaces ns-1\npods insecure\nfallthrough clusterset.local",
        "forward . {$UPSTREAM}",
    ),
];

type Body = fn(&Path, &Path, &Network) -> Result<()>;

fn main() -> ExitCode {
    let programs = peer::coredns().and_then(|coredns| Ok((coredns, plane::binary()?)));
    let skipped = programs.as_ref().err().map(ToString::to_string);
    let (coredns, control_plane) = programs.unwrap_or_default();
    let bodies: [(&str, Body); 2] = [
        ("as CoreDNS at the same API server", options),
        ("as CoreDNS while objects change", changing),
    ];
    harness::run_in_namespaces(bodies.map(|(name, body)| {
        let (coredns, control_plane) = (coredns.clone(), control_plane.clone());
        let test = Test::new(name, move || {
            let network = Network::new()?;
            // All that is started in there stays in there.
            (network.node).within(|| body(&coredns, &control_plane, &network))
        });
        test.unless(skipped.clone())
    }))
}

/// Every set of options, with objects that do not change.
fn options(coredns: &Path, control_plane: &Path, network: &Network) -> Result<()> {
    let begun = Instant::now();
    let plane = Plane::start(control_plane)?;
    let fixture = Fixture::new();
    plane.kubectl(&["create"], &fixture.objects)?;
    plane.kubectl(
        &["apply", "--server-side", "--subresource=status"],
        &fixture.statuses,
    )?;
    plane.define_imports()?;
    plane.kubectl(&["create"], &imports::objects())?;
    plane.kubectl(&["create"], imports::GONE)?;
    plane.kubectl(&["delete"], imports::GONE)?;
    println!(
        "{} objects after {:.1} s",
        fixture.objects.matches("---\n").count(),
        begun.elapsed().as_secs_f32()
    );
    let (names, imported) = (fixture.names(), imports::names());
    let upstream = upstream::start()?.to_string();
    let mut failed = Vec::new();
    for (zones, options, behind) in OPTIONS {
        let what = format!(
            "kubernetes {zones} {{ {} }} {}",
            options.replace('\n', "; "),
            behind.replace('\n', "; ")
        );
        let given = Given {
            coredns,
            kubeconfig: plane.kubeconfig(),
            upstream: upstream.clone(),
            zones,
            options,
            behind,
        };
        let servers = Servers::start(network, &given).with_context(|| what.clone())?;
        let mut comparison = Comparison::default();
        let names = if options.contains("multicluster") {
            &imported
        } else {
            &names
        };
        servers.compare(names, QUESTIONS, &mut comparison)?;
        let by_kernel = servers.answered_by_kernel()?;
        println!(
            "{what}: {}; {by_kernel} by the kernel",
            comparison.summary()
        );
        let ended = comparison.end().and_then(|()| {
            ensure!(
                by_kernel >= KERNEL_MIN,
                "the kernel answered {by_kernel} times"
            );
            Ok(())
        });
        if let Err(error) = ended {
            failed.push(format!("{what}\n{error:#}\n{}", servers.logs()));
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("\n\n"));
    Ok(())
}

/// Meanwhile no answer may be one that was true at no time; once it is quiet, all say the same.
fn changing(coredns: &Path, control_plane: &Path, network: &Network) -> Result<()> {
    let plane = Plane::start(control_plane)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let changes = runtime.block_on(Changes::begin(&plane))?;
    let given = Given {
        coredns,
        kubeconfig: plane.kubeconfig(),
        upstream: String::new(),
        zones: "cluster.local in-addr.arpa ip6.arpa",
        options: "",
        behind: "",
    };
    let servers = Servers::start(network, &given)?;
    let stop = AtomicBool::new(false);
    let (rate, crowds) = thread::scope(|scope| {
        let askers = [Way::Socket, Way::Kernel].map(|way| {
            let (changes, servers, stop) = (&changes, &servers, &stop);
            let asker = scope.spawn(move || {
                let socket = way.socket(network)?;
                asker::ask(&socket, servers.address(way), &changes.names, stop)
            });
            (way, asker)
        });
        let ended = runtime
            .block_on(async { tokio::try_join!(changes.run(CHANGING), changes.crowds(CHANGING)) });
        stop.store(true, Ordering::Relaxed);
        for (way, asker) in askers {
            let tally = asker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            println!(
                "{way:?}: {} answers, {} of them denials; none that was never true, the oldest replaced {} ms before",
                tally.answers,
                tally.denials,
                tally.oldest.as_millis()
            );
        }
        ended
    })?;
    println!(
        "{rate} changes a second; {} names in namespaces that came and went; {} answers of the kernel",
        crowds.len(),
        servers.answered_by_kernel()?
    );
    for way in [Way::CoreDns, Way::Socket, Way::Kernel] {
        settled(&servers, way, network, &changes)?;
    }
    let mut names: String = crowds.join("\n");
    for name in &changes.names {
        names += "\n";
        names += &name.name;
    }
    let mut comparison = Comparison::default();
    servers.compare(&names, QUESTIONS, &mut comparison)?;
    println!("quiet: {}", comparison.summary());
    comparison.end().with_context(|| servers.logs())
}

/// Waits until every name says what it was told last.
fn settled(servers: &Servers, way: Way, network: &Network, changes: &Changes) -> Result<()> {
    let begun = Instant::now();
    let socket = way.socket(network)?;
    for name in &changes.names {
        loop {
            let state = asker::state(&socket, servers.address(way), &name.name)?;
            let expected = name.history().last().cloned();
            if Some(&state) == expected.as_ref() {
                break;
            }
            ensure!(
                begun.elapsed() < SETTLED_WITHIN,
                "{way:?}: {} A is {state:?}, not {expected:?}\n{}",
                name.name,
                servers.logs()
            );
            thread::sleep(LOOK);
        }
    }
    println!("{way:?} is quiet after {} ms", begun.elapsed().as_millis());
    Ok(())
}

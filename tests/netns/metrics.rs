//! The kernel's answers among the metrics of the server blocks that they belong to.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use hopzero_tests::{
    client::{Query, rtype},
    harness::Test,
    network::{DNS_V4, DNS_V6, NODE_V4, NODE_V6, dns},
};

use crate::{
    corefile::serve,
    lease::signal,
    setup::{By, Setup, with_each_hook},
};

pub fn tests() -> Vec<Test> {
    with_each_hook("metrics::kernel_is_counted_as_socket", counted)
}

const COREFILE: &str = "
cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {
    kubernetes cluster.local in-addr.arpa ip6.arpa
    prometheus :9153
}
.:53 {
    whoami
}
";
/// Families whose labels must be the same whoever answers.
const FAMILIES: [&str; 3] = [
    "coredns_dns_requests_total{",
    "coredns_dns_do_requests_total{",
    "coredns_dns_responses_total{",
];
const RELOADED_WITHIN: Duration = Duration::from_secs(10);
/// HTTPS (RFC 9460), which browsers ask for.
const HTTPS: u16 = 65;
/// A type of which metrics do not have the name.
const UNNAMED: u16 = 99;

fn queries() -> Vec<Query> {
    let checkout = "checkout.shop.svc.cluster.local";
    let mut queries = vec![
        Query::new(checkout, rtype::A),
        Query::new(checkout, rtype::A).edns(&[]),
        Query::new(checkout, rtype::A).dnssec_ok(),
        Query::new("Checkout.Shop.svc.cluster.local", rtype::AAAA),
        Query::new("20.20.96.10.in-addr.arpa", rtype::PTR),
        Query::new("nothing.shop.svc.cluster.local", rtype::A),
        Query::new("nothing.shop.svc.cluster.local", rtype::SRV).dnssec_ok(),
    ];
    queries.extend(
        [rtype::TXT, rtype::CNAME, HTTPS, UNNAMED].map(|qtype| Query::new(checkout, qtype)),
    );
    queries
}

fn counted(hook: &'static str) -> Result<()> {
    let setup = serve(hook, COREFILE)?;
    ask_all(&setup, By::Kernel)?;
    let by_kernel = scrape(&setup)?;
    for (line, count) in [
        (
            r#"coredns_dns_requests_total{family="1",proto="udp",server="dns://:53",type="A",view="",zone="cluster.local."}"#,
            4,
        ),
        (
            r#"coredns_dns_requests_total{family="2",proto="udp",server="dns://:53",type="PTR",view="",zone="in-addr.arpa."}"#,
            1,
        ),
        (
            r#"coredns_dns_requests_total{family="1",proto="udp",server="dns://:53",type="other",view="",zone="cluster.local."}"#,
            1,
        ),
        (
            r#"coredns_dns_responses_total{plugin="kubernetes",rcode="NXDOMAIN",server="dns://:53",view="",zone="cluster.local."}"#,
            4,
        ),
        (
            r#"coredns_dns_do_requests_total{server="dns://:53",view="",zone="cluster.local."}"#,
            4,
        ),
    ] {
        ensure!(
            by_kernel.get(line) == Some(&count),
            "{line} {count}: {by_kernel:#?}"
        );
    }
    // The same once more: whatever the socket counts must be what the kernel has counted.
    ask_all(&setup, By::Socket)?;
    let by_both = scrape(&setup)?;
    let twice: BTreeMap<_, _> = (by_kernel.iter())
        .map(|(line, count)| (line.clone(), 2 * count))
        .collect();
    ensure!(by_both == twice, "{by_both:#?}\ninstead of\n{twice:#?}");
    reloaded(&setup, &by_both)
}

/// Under another configuration answers are counted under its names, and those before stay where they were.
fn reloaded(setup: &Setup, before: &BTreeMap<String, u64>) -> Result<()> {
    let corefile = ".:53 {\nkubernetes cluster.local in-addr.arpa ip6.arpa\nprometheus :9153\n}\n";
    fs::write(setup.home.manifests().with_file_name("Corefile"), corefile)?;
    signal(setup, libc::SIGUSR1)?;
    let is_of_root = |line: &str| line.contains(r#"zone=".""#);
    let query = Query::new("checkout.shop.svc.cluster.local", rtype::A);
    let started = Instant::now();
    let mut after = scrape(setup)?;
    while !after.keys().any(|line| is_of_root(line)) {
        ensure!(
            started.elapsed() < RELOADED_WITHIN,
            "{}",
            setup.daemon.log()
        );
        thread::sleep(Duration::from_millis(20));
        let (_, by) = setup.ask(dns(DNS_V4), &query)?;
        ensure!(by == By::Kernel, "the {by:?} answered");
        after = scrape(setup)?;
    }
    for (line, count) in before {
        let now = after.get(line).copied().unwrap_or(0);
        ensure!(now >= *count, "{line} went back from {count} to {now}");
    }
    Ok(())
}

fn ask_all(setup: &Setup, expected: By) -> Result<()> {
    let addresses = match expected {
        By::Kernel => [DNS_V4, DNS_V6],
        By::Socket => [NODE_V4, NODE_V6],
    };
    for query in queries() {
        for address in addresses {
            let (_, by) = setup.ask(dns(address), &query)?;
            ensure!(by == expected, "{query:?} was answered by the {by:?}");
        }
    }
    Ok(())
}

/// The counters of [`FAMILIES`].
fn scrape(setup: &Setup) -> Result<BTreeMap<String, u64>> {
    let page = setup.network.node.within(|| {
        let mut stream = TcpStream::connect("127.0.0.1:9153")?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    })?;
    let lines = page.lines();
    let counters = lines.filter(|line| FAMILIES.iter().any(|family| line.starts_with(family)));
    counters
        .map(|line| {
            let (name, count) = line.rsplit_once(' ').context("no count")?;
            Ok((name.to_owned(), count.parse()?))
        })
        .collect()
}

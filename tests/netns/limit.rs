//! The limit of answers to a network: a flood gets its share and TC=1 from then on, and nobody else
//! notices.

use std::{net::IpAddr, time::Instant};

use anyhow::{Result, ensure};
use hopzero_tests::{
    client::{Client, Query, ask_tcp, ask_udp, rtype, summary},
    daemon::{Daemon, Home, attach, counter, listen},
    harness::Test,
    network::{DNS_V4, DNS_V6, NODE_DEVICE, Network, POD_DEVICE, POD_V4, dns},
};

use crate::setup::Setup;

/// Answers a second.
const RATE: u16 = 20;
/// Queries of a flood.
const QUERIES: u16 = 1000;

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("limit::flood", flood),
        Test::new("limit::none_by_tc", || unlimited("tc", &[])),
        Test::new("limit::none_where_trusted", || {
            unlimited("xdp-generic", &["--trusted", NODE_DEVICE])
        }),
        Test::new("limit::none_on_a_veth_by_default", by_default),
    ]
}

fn setup(hook: &str, more: &[&str]) -> Result<Setup> {
    let network = Network::new()?;
    let home = Home::shop()?;
    let arguments = [listen(), attach(hook)].concat();
    let arguments: Vec<&str> = (arguments.iter().map(String::as_str))
        .chain(more.iter().copied())
        .collect();
    let daemon = Daemon::spawn(home.serve(&network.node, &arguments)?, &home)?.ready()?;
    Ok(Setup {
        daemon,
        network,
        home,
    })
}

fn limited(more: &[&str], hook: &str) -> Result<Setup> {
    let rate = RATE.to_string();
    setup(hook, &[&["--rate-limit", rate.as_str()], more].concat())
}

fn denied(id: u16) -> Query {
    Query::new("nothing.shop.svc.cluster.local", rtype::A).id(id)
}

/// Whole answers, and those that are TC=1 alone and no longer than the query.
fn ask_all(client: &Client) -> Result<(u16, u16)> {
    let (mut whole, mut cut) = (0, 0);
    for id in 0..QUERIES {
        let query = denied(id).bytes();
        let answer = client.ask(&query)?;
        ensure!(summary(&answer)? == "NXDOMAIN");
        if answer[2] & 2 == 0 {
            whole += 1;
        } else {
            ensure!(answer.len() <= query.len() && answer[6..12] == [0; 6]);
            cut += 1;
        }
    }
    Ok((whole, cut))
}

fn flood() -> Result<()> {
    let setup = limited(&[], "xdp-generic")?;
    let pod = &setup.network.pod;
    for server in [DNS_V4, DNS_V6] {
        let before = setup.daemon.report()?;
        let client = Client::new(pod, dns(server))?;
        let started = Instant::now();
        let (whole, cut) = ask_all(&client)?;
        let seconds = started.elapsed().as_secs_f64();
        let share = f64::from(RATE) * (1.0 + seconds) + 1.0;
        println!(
            "{server}: {QUERIES} queries in {seconds:.2} s: {whole} whole answers, {cut} of TC=1"
        );
        ensure!(
            f64::from(whole) <= share,
            "{whole} whole answers, {share} are its share"
        );
        ensure!(whole >= RATE, "{whole} whole answers");
        let after = setup.daemon.report()?;
        let moved = |label| counter(&after, label) - counter(&before, label);
        ensure!(
            (moved("answered"), moved("limited")) == (u64::from(whole), u64::from(cut)),
            "{} and {} were counted",
            moved("answered"),
            moved("limited")
        );
        ensure!(
            after.socket.queries == before.socket.queries,
            "the socket was asked"
        );

        // Who really asks gets it over TCP, and what is small as ever.
        let answer = ask_tcp(pod, dns(server), &denied(1))?;
        ensure!(summary(&answer)? == "NXDOMAIN" && answer[2] & 2 == 0);
        let small = Query::new("checkout.shop.svc.cluster.local", rtype::A);
        let answer = ask_udp(pod, dns(server), &small)?;
        ensure!(summary(&answer)? == "NOERROR 10.96.20.20");
    }
    // Somebody else, while the pod's network has nothing left.
    let other: IpAddr = "10.250.0.2".parse()?;
    (setup.network.pod).ip_batch(&format!("addr add {other}/32 dev {POD_DEVICE}\n"))?;
    (setup.network.node).ip_batch(&format!("route add {other}/32 via {POD_V4}\n"))?;
    let stranger = Client::from_port(pod, dns(DNS_V4), (other, 0).into())?;
    let flooding = Client::new(pod, dns(DNS_V4))?;
    for id in 0..RATE {
        while flooding.ask(&denied(id).bytes())?[2] & 2 == 0 {}
        let answer = stranger.ask(&denied(id).bytes())?;
        ensure!(
            answer[2] & 2 == 0,
            "query {id} of somebody else was limited"
        );
    }
    Ok(())
}

fn unlimited(hook: &'static str, more: &[&str]) -> Result<()> {
    let setup = limited(more, hook)?;
    all_whole(&setup)
}

fn by_default() -> Result<()> {
    all_whole(&setup("xdp-generic", &[])?)
}

fn all_whole(setup: &Setup) -> Result<()> {
    let client = Client::new(&setup.network.pod, dns(DNS_V4))?;
    let (whole, cut) = ask_all(&client)?;
    let report = setup.daemon.report()?;
    ensure!((whole, cut) == (QUERIES, 0), "{cut} answers of TC=1");
    ensure!(counter(&report, "answered") == u64::from(QUERIES));
    Ok(())
}

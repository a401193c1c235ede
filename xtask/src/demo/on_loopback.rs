//! The demo where eBPF cannot be had: the same questions, to the socket, on loopback.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
};

use anyhow::{Context, Result};

use super::{
    ASKS_PER_ROW, Args, Findings, ask,
    daemon::{Daemon, Wanted},
    manifests, probe,
    questions::{self, Over},
    report::{self, Row},
    scratch::Scratch,
    wait_for_interrupt,
};
use crate::{signals, workspace};

/// Shows what the socket answers.
pub fn show(args: &Args, hopzero: &Path) -> Result<Findings> {
    let scratch = Scratch::new()?;
    let server = free_port()?;
    let mut serve = workspace::command(&hopzero.to_string_lossy());
    serve.arg("serve").arg("--manifests").arg(manifests());
    serve.args(["--listen", &server.to_string()]);
    let daemon = Daemon::start(hopzero, serve, scratch.path(), Wanted::Socket)?;

    println!("\n== The socket on {server} answers ==\n");
    report::print_head();
    let mut findings = Findings::default();
    let mut asked_before: Vec<(String, &str)> = Vec::new();
    for mut question in questions::all() {
        signals::check()?;
        let name = (question.owner().to_ascii_lowercase(), question.rtype);
        // One way to ask is left, so a question is asked once.
        if question.over == Over::Libc || asked_before.contains(&name) {
            continue;
        }
        asked_before.push(name);
        question.over = Over::Ipv4;
        let before = daemon.counts()?;
        let reply = ask::with_query(hopzero, server, &question)?;
        let counts = daemon.counts()?.since(before);
        let query = probe::query(&question.owner(), question.rtype, true)?;
        let row = Row {
            question: &question,
            reply,
            counts,
            latency: probe::measure(server, &query, ASKS_PER_ROW).ok(),
        };
        row.print(None);
        findings.asked += 1;
        findings.wrong += usize::from(!row.is_answer_right());
    }
    if args.keep {
        println!("\nThe demo stays up. Ask it yourself:\n");
        let program = super::shown(hopzero);
        println!("  {program} query checkout.shop.svc.cluster.local --server {server}");
        println!("  {}", daemon.stats_command());
        wait_for_interrupt();
    }
    Ok(findings)
}

/// A port on loopback that nobody has, for UDP and TCP alike as far as one can know.
fn free_port() -> Result<SocketAddr> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|socket| socket.local_addr())
        .context("no free port on 127.0.0.1")
}

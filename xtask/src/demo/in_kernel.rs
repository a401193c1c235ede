//! The demo proper: a pod and a node, and answers from the kernel.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{
    ASKS_PER_BAR, ASKS_PER_ROW, Args, Findings, ask,
    daemon::{Daemon, Wanted},
    manifests,
    network::{self, DNS_IPV4, DNS_IPV6, NODE_DEVICE, NODE_IPV4, Network},
    probe::{self, Latency},
    questions::{self, Over, Question},
    record,
    report::{self, Row},
    scratch::Scratch,
    shown, wait_for_interrupt,
};
use crate::{signals, workspace};

/// How long the kernel may take to free a program after its last reference went.
const FREED_SECONDS: u64 = 3;

/// Shows each hook in turn.
pub fn show(args: &Args, hopzero: &Path) -> Result<Findings> {
    let mut findings = Findings::default();
    let mut programs = Vec::new();
    {
        let network = Network::new()?;
        let scratch = Scratch::new()?;
        let mut bars = Vec::new();
        let hooks = args.hook.names();
        for (number, hook) in hooks.iter().enumerate() {
            let stage = Stage {
                daemon: start(&network, &scratch, hopzero, hook)?,
                network: &network,
                hook,
            };
            let ids = stage.daemon.program_ids()?;
            stage.table(&mut findings)?;
            stage.compare(&mut bars)?;
            if number + 1 == hooks.len() {
                print_bars(&bars);
                println!("\nOne record, as the kernel holds it:");
                record::print(&ids, questions::to_compare().name)?;
                if args.keep {
                    stage.print_how_to_ask(&ids);
                    wait_for_interrupt();
                }
            }
            programs.extend(ids);
        }
    }
    findings.left_behind = left_behind(&programs);
    Ok(findings)
}

/// A running daemon with its hook.
struct Stage<'a> {
    daemon: Daemon,
    network: &'a Network,
    hook: &'static str,
}

fn start(
    network: &Network,
    scratch: &Scratch,
    hopzero: &Path,
    hook: &'static str,
) -> Result<Daemon> {
    let mut serve = workspace::command(&hopzero.to_string_lossy());
    serve.arg("serve").arg("--manifests").arg(manifests());
    for listen in [
        format!("{DNS_IPV4}:53"),
        format!("[{DNS_IPV6}]:53"),
        // Here the kernel does not answer: what the socket alone takes is measured with it.
        format!("{NODE_IPV4}:53"),
    ] {
        serve.args(["--listen", &listen]);
    }
    serve.args(["--attach", NODE_DEVICE, "--hook", hook]);
    serve.args(["--answer-for", DNS_IPV4, "--answer-for", DNS_IPV6]);
    network.node.enter(&mut serve)?;
    Daemon::start(hopzero, serve, scratch.path(), Wanted::Kernel)
}

impl Stage<'_> {
    fn table(&self, findings: &mut Findings) -> Result<()> {
        println!("\n== A pod asks; the kernel answers via {} ==\n", self.hook);
        report::print_head();
        for question in questions::all() {
            signals::check()?;
            let before = self.daemon.counts()?;
            let reply = ask::from_pod(self.network, &question)?;
            let counts = self.daemon.counts()?.since(before);
            let latency = self.latency(&question).ok().flatten();
            let row = Row {
                question: &question,
                reply,
                counts,
                latency,
            };
            row.print(Some(self.hook));
            findings.asked += 1;
            findings.wrong += usize::from(!row.is_answer_right() || !row.is_path_right());
        }
        Ok(())
    }

    fn latency(&self, question: &Question) -> Result<Option<Latency>> {
        if question.over == Over::Libc {
            return Ok(None);
        }
        let server = if question.over.is_ipv6() {
            DNS_IPV6
        } else {
            DNS_IPV4
        };
        self.probe(server, question, ASKS_PER_ROW).map(Some)
    }

    fn probe(&self, server: &str, question: &Question, asks: u16) -> Result<Latency> {
        let query = probe::query(&question.owner(), question.rtype, question.over.has_edns())?;
        let server = SocketAddr::new(server.parse()?, 53);
        self.network
            .pod
            .within(|| probe::measure(server, &query, asks))
    }

    /// The same question to the kernel and, once, past it.
    fn compare(&self, bars: &mut Vec<(String, Latency)>) -> Result<()> {
        let question = questions::to_compare();
        let kernel = self.probe(DNS_IPV4, &question, ASKS_PER_BAR)?;
        // The kernel's bars first, the socket's last.
        let label = format!("kernel via {}", self.hook);
        bars.insert(bars.len().saturating_sub(1), (label, kernel));
        if bars.len() == 1 {
            let before = self.daemon.counts()?;
            let socket = self
                .probe(NODE_IPV4, &question, ASKS_PER_BAR)
                .context("the socket on the node's own address")?;
            // A bar that says "socket" must not show the kernel's answers.
            let counts = self.daemon.counts()?.since(before);
            ensure!(counts.kernel == 0, "the kernel answered for {NODE_IPV4}");
            bars.push(("socket".to_owned(), socket));
        }
        Ok(())
    }

    fn print_how_to_ask(&self, programs: &[u64]) {
        let pod = self.network.pod.name();
        println!(
            "\nThe demo stays up, answering via {}. Ask it yourself:\n",
            self.hook
        );
        println!("  ip netns exec {pod} getent ahosts checkout");
        println!("  ip netns exec {pod} dig db-0.db.data.svc.cluster.local AAAA");
        println!("  ip netns exec {pod} dig -x 10.96.20.20");
        for program in programs {
            println!("  bpftool prog show id {program}");
        }
        println!("  {}", self.daemon.stats_command());
        println!(
            "\nIt serves {}: edit a file there, and ask again.",
            shown(&manifests())
        );
    }
}

fn print_bars(bars: &[(String, Latency)]) {
    let question = questions::to_compare();
    println!(
        "\n== {} {}, median of {ASKS_PER_BAR} asks, one at a time ==\n",
        question.name, question.rtype
    );
    report::print_bars(bars);
}

/// Counts, and names, what is still there of what the demo made.
fn left_behind(programs: &[u64]) -> usize {
    let deadline = Instant::now() + Duration::from_secs(FREED_SECONDS);
    let mut left: Vec<String>;
    loop {
        left = network::left_behind();
        left.extend(
            programs
                .iter()
                .filter(|&&program| record::is_loaded(program))
                .map(|program| format!("the eBPF program {program}")),
        );
        if left.is_empty() || Instant::now() > deadline {
            break;
        }
        // A program is freed after a grace period, not at once.
        std::thread::sleep(Duration::from_millis(20));
    }
    for what in &left {
        println!("LEFT BEHIND: {what}");
    }
    if left.is_empty() {
        println!("\nNothing is left behind: namespaces, programs and processes are gone.");
    }
    left.len()
}

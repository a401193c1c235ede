//! `cargo xtask test`: the layers of tests, one after the other, and one line that sums them up.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, ExitCode, ExitStatus, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{EXIT_TO_DO, build_ebpf, kernels, peers, setup, workspace};

#[derive(clap::Args)]
pub struct Args {
    /// The layers to run; none: host, packet and netns
    #[arg(value_enum)]
    layers: Vec<Layer>,
    /// Reads of the layer torn; 1,000,000 if not given
    #[arg(long)]
    reads: Option<u64>,
    /// Queries of the layer differential, 1,000,000 if not given; of each combination of the layer
    /// offloads, or of each configuration of the layer coredns, 2,000 if not given
    #[arg(long)]
    queries: Option<u64>,
    /// Packets of the layer hostile, 200,000 if not given; or messages of the layer malformed, 100,000
    #[arg(long)]
    packets: Option<u64>,
}

/// A layer of tests, the fast ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Layer {
    /// Unit and property tests; needs neither root nor the eBPF toolchain
    Host,
    /// The protocol between writer and reader, in every order (loom); needs neither
    Model,
    /// Forwarding, as transcripts; part of host
    Forward,
    /// All other plugins, as transcripts; part of host
    Plugins,
    /// The socket's replies beside those of `CoreDNS`, under the same Corefiles; needs Go, once
    Coredns,
    /// A real API server, watched by hopzero and by `CoreDNS`: the same replies, the kernel's too; needs root, and Go once
    Cluster,
    /// Broken messages and broken clients against the daemon's sockets
    Malformed,
    /// Corefiles of products and the language, text by text; part of host
    Corefile,
    /// The socket with ten thousand clients over TCP that are idle or slow, and with five thousand idle sessions of TLS
    Crowd,
    /// Packets through the loaded programs (`BPF_PROG_TEST_RUN`); needs root
    Packet,
    /// The kernel's answers against the socket's, generated; needs root
    Differential,
    /// Valid queries, changed at random; needs root
    Hostile,
    /// Sockets across network namespaces; needs root
    Netns,
    /// A node in miniature: a bridge, a Service's address translated to a real `CoreDNS`, a real API server; needs root, and Go, once
    Node,
    /// A part of netns: not one answer is lost, whatever offloads both ends of a veth have; needs root
    Offloads,
    /// Answers under rewriting, on two CPUs that nobody else needs; needs root
    Torn,
    /// The chart and what it renders; a real API server takes it; needs Go, once
    Deploy,
    /// Load, packets and attach modes on the host's kernel, and on others in virtual machines; needs root and qemu
    Kernels,
    /// Every layer, the slow ones included
    All,
}

impl Layer {
    fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Model => "model",
            Self::Forward => "forward",
            Self::Plugins => "plugins",
            Self::Coredns => "coredns",
            Self::Malformed => "malformed",
            Self::Cluster => "cluster",
            Self::Corefile => "corefile",
            Self::Crowd => "crowd",
            Self::Packet => "packet",
            Self::Differential => "differential",
            Self::Hostile => "hostile",
            Self::Netns => "netns",
            Self::Node => "node",
            Self::Offloads => "offloads",
            Self::Torn => "torn",
            Self::Deploy => "deploy",
            Self::Kernels => "kernels",
            Self::All => "all",
        }
    }

    /// The test target that has it.
    fn target(self) -> &'static str {
        match self {
            Self::Offloads => Self::Netns.name(),
            Self::Cluster => "kubernetes",
            _ => self.name(),
        }
    }

    fn is_in_kernel(self) -> bool {
        !matches!(
            self,
            Self::Host
                | Self::Model
                | Self::Forward
                | Self::Plugins
                | Self::Corefile
                | Self::Coredns
                | Self::Malformed
                | Self::Cluster
                | Self::Crowd
                | Self::Deploy
                | Self::All
        )
    }

    /// Whether it loads the programs.
    fn needs_programs(self) -> bool {
        self.is_in_kernel() || self == Self::Cluster
    }

    /// Whether it starts `hopzero` as a command.
    fn needs_daemon(self) -> bool {
        // (The layer kernels builds its own.)
        (self.is_in_kernel() && self != Self::Kernels)
            || matches!(
                self,
                Self::Coredns | Self::Malformed | Self::Cluster | Self::Deploy
            )
    }

    fn command(self, args: &Args) -> Command {
        let mut command = workspace::cargo();
        command.args(["test", "--no-fail-fast"]);
        if workspace::is_ci() {
            command.arg("--locked");
        }
        if self.is_in_kernel() {
            command.args(["-p", "hopzero-tests", "--test", self.target()]);
            if matches!(self, Self::Torn | Self::Differential | Self::Hostile) {
                // The slower the writer, the fewer torn reads there are to see; and many queries.
                command.arg("--release");
            }
            if self == Self::Node {
                add_peers(&mut command, self);
            }
            if let Some(reads) = args.reads {
                command.env("HOPZERO_TORN_READS", reads.to_string());
            }
            if let Some(packets) = args.packets {
                command.env("HOPZERO_HOSTILE_PACKETS", packets.to_string());
            }
            if let Some(queries) = args.queries {
                let variable = if self == Self::Offloads {
                    "HOPZERO_OFFLOAD_QUERIES"
                } else {
                    "HOPZERO_DIFFERENTIAL_QUERIES"
                };
                command.env(variable, queries.to_string());
            }
            if self == Self::Offloads {
                command.args(["--", "offloads::", "--test-threads=1"]);
            }
        } else if self == Self::Model {
            command.args(["-p", "hopzero", "--no-default-features"]);
            command.args(["--features", "loom", "--test", "model"]);
            // What was explored is said by tests that pass.
            command.args(["--", "--nocapture"]);
        } else if matches!(self, Self::Forward | Self::Plugins) {
            command.args(["-p", "hopzero", "--test", "transcripts"]);
            command.args(["--", self.name()]);
        } else if self == Self::Malformed {
            command.args(["-p", "hopzero-tests", "--test", self.name()]);
            command.args(["--", "--nocapture"]);
            if let Some(messages) = args.packets {
                command.env("HOPZERO_MALFORMED_MESSAGES", messages.to_string());
            }
        } else if matches!(self, Self::Coredns | Self::Cluster | Self::Deploy) {
            command.args(["-p", "hopzero-tests", "--test", self.target()]);
            if self == Self::Cluster {
                command.args(["--test", "access", "--test", "quickstart"]);
            }
            command.args(["--", "--nocapture"]);
            if self == Self::Cluster {
                command.arg("--test-threads=1");
            }
            add_peers(&mut command, self);
            if let Some(queries) = args.queries {
                command.env("HOPZERO_COREDNS_QUERIES", queries.to_string());
            }
        } else if self == Self::Corefile {
            command.args(["-p", "hopzero", "--test", "corefile"]);
        } else if self == Self::Crowd {
            command.args(["-p", "hopzero", "--test", "crowd", "--test", "idle_tls"]);
            command.args(["--", "--nocapture"]);
        } else {
            // The kernel's layers have `test = false`: they run only by name.
            command.arg("--workspace");
        }
        command
    }
}

/// Tells the tests where the programs are that a layer needs beside ours.
fn add_peers(command: &mut Command, layer: Layer) {
    let mut peers = match layer {
        Layer::Deploy => vec![("HOPZERO_HELM", peers::helm())],
        _ => vec![("HOPZERO_COREDNS", peers::coredns())],
    };
    if layer != Layer::Coredns {
        peers.push(("HOPZERO_CLUSTER", peers::cluster()));
    }
    for (variable, built) in peers {
        match built {
            Ok(path) => {
                command.env(variable, path);
            }
            // The tests say that they are skipped.
            Err(error) => println!("{error:#}"),
        }
    }
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let layers = selected(&args.layers);
    if layers.iter().any(|layer| layer.needs_programs()) {
        if setup::ensure(setup::Item::TO_RUN)? == setup::Outcome::ToDo {
            println!("\nWithout them: cargo xtask test host");
            return Ok(ExitCode::from(EXIT_TO_DO));
        }
        build_ebpf::build()?;
    }
    if layers.iter().any(|layer| layer.needs_daemon()) {
        build_daemon()?;
    }
    let mut all = Sum::default();
    let mut skipped = 0;
    for layer in layers {
        println!("\n== {} ==", layer.name());
        let sum = match layer {
            Layer::Kernels => kernels::run()?,
            _ => run_layer(layer, args)?,
        };
        if layer.needs_daemon() || layer.is_in_kernel() {
            skipped += sum.skipped;
        }
        all.add(&sum);
    }
    let refused = workspace::is_ci() && skipped > 0;
    if refused {
        println!("\nCI=true: {skipped} tests were skipped, which fails the run.");
    }
    println!("\n{}", all.line());
    Ok(if all.failed > 0 || refused {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The command that the namespace tests start, with the programs that were just built: `cargo test` builds
/// only what the tests link.
fn build_daemon() -> Result<()> {
    let mut command = workspace::cargo();
    command.args(["build", "-p", "hopzero"]);
    if workspace::is_ci() {
        command.arg("--locked");
    }
    let status = command.status().context("cannot start cargo")?;
    ensure!(
        status.success(),
        "cargo build -p hopzero ended with {status}"
    );
    Ok(())
}

/// The layers in their order, each once.
fn selected(wanted: &[Layer]) -> Vec<Layer> {
    const DEFAULT: [Layer; 3] = [Layer::Host, Layer::Packet, Layer::Netns];
    const EACH: [Layer; 18] = [
        Layer::Host,
        Layer::Model,
        Layer::Forward,
        Layer::Plugins,
        Layer::Coredns,
        Layer::Cluster,
        Layer::Malformed,
        Layer::Corefile,
        Layer::Crowd,
        Layer::Packet,
        Layer::Differential,
        Layer::Hostile,
        Layer::Netns,
        Layer::Node,
        Layer::Offloads,
        Layer::Torn,
        Layer::Deploy,
        Layer::Kernels,
    ];
    let wanted = if wanted.is_empty() { &DEFAULT } else { wanted };
    let all = wanted.contains(&Layer::All);
    EACH.into_iter()
        // What is part of another layer is not run twice.
        .filter(|layer| {
            let is_part = matches!(
                layer,
                Layer::Offloads | Layer::Forward | Layer::Plugins | Layer::Corefile
            );
            wanted.contains(layer) || (all && !is_part)
        })
        .collect()
}

/// Runs one layer, passing on what it prints.
fn run_layer(layer: Layer, args: &Args) -> Result<Sum> {
    let mut sum = Sum::default();
    let status = follow(&mut layer.command(args), |line| sum.read(line))?;
    sum.count_failure(layer.name(), status.success());
    Ok(sum)
}

/// Runs a command to its end, passing on what it prints, line by line.
///
/// # Errors
/// It cannot be started.
pub fn follow(command: &mut Command, mut read: impl FnMut(&str)) -> Result<ExitStatus> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let output = child.stdout.take().context("no standard output")?;
    let mut lines = BufReader::new(output);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        std::io::stdout().write_all(&line)?;
        read(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(child.wait()?)
}

/// How many tests ended how.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sum {
    passed: u64,
    failed: u64,
    /// Those that cannot run here.
    pub skipped: u64,
}

impl Sum {
    /// Adds what a test binary says at its end:
    /// `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; …`
    pub fn read(&mut self, line: &str) {
        let Some((_, result)) = line.split_once("test result: ") else {
            return;
        };
        let counts = result.split_once(". ").map_or("", |(_, counts)| counts);
        for part in counts.split(';') {
            let mut words = part.split_whitespace();
            let count = words.next().and_then(|word| word.parse::<u64>().ok());
            match (count, words.next()) {
                (Some(count), Some("passed")) => self.passed += count,
                (Some(count), Some("failed")) => self.failed += count,
                (Some(count), Some("ignored")) => self.skipped += count,
                _ => {}
            }
        }
    }

    /// What did not compile, or was ended as a whole, has no count that can be trusted.
    pub fn count_failure(&mut self, what: impl std::fmt::Display, succeeded: bool) {
        if !succeeded && self.failed == 0 {
            println!("{what}: did not come to its end");
            self.failed = 1;
        }
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    fn line(&self) -> String {
        format!(
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_what_test_binaries_print() {
        let mut sum = Sum::default();
        sum.read("running 3 tests\n");
        sum.read("test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s\n");
        sum.read("test result: FAILED. 7 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s\n");
        sum.read("test result: \u{1b}[32mok\u{1b}[0m. 1 passed; 0 failed; 0 ignored\n");
        assert_eq!(sum.line(), "13 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn layers_come_in_order_and_once() {
        assert_eq!(selected(&[]), [Layer::Host, Layer::Packet, Layer::Netns]);
        assert_eq!(selected(&[Layer::All]).len(), 14);
        assert_eq!(
            selected(&[Layer::Netns, Layer::Host, Layer::Host]),
            [Layer::Host, Layer::Netns]
        );
    }
}

//! hopzero's tasks. `cargo xtask demo` and `cargo xtask test` are the two commands a newcomer
//! needs; every other task is a part of them that can also be run alone.

mod bench;
mod build_ebpf;
mod cluster;
mod deb;
mod demo;
mod dist;
mod fuzz;
mod image;
mod kernels;
mod manifests;
mod peers;
mod progress;
#[cfg(test)]
mod readme;
mod setup;
mod signals;
mod test;
mod toolchain;
mod workspace;

use std::{panic, process::ExitCode};

use clap::{Parser, Subcommand};

/// What a task exits with when it has printed what a person has to do first.
const EXIT_TO_DO: u8 = 2;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// The main job, shown: a pod asks, the kernel answers
    Demo(demo::Args),
    /// Installs what is missing: the eBPF toolchain, system packages, the bpf file system
    Setup(setup::Args),
    /// Builds the eBPF programs into target/bpf/hopzero.o
    BuildEbpf(build_ebpf::Args),
    /// Runs the tests and ends with one line: N passed, N failed, N skipped
    Test(test::Args),
    /// A Kubernetes control plane on loopback: `up`, `down`, `status`, `kubectl`
    #[command(subcommand)]
    Cluster(cluster::Action),
    /// Builds an OCI image of one static program into target/image, without a container engine
    Image,
    /// Builds a Debian package with a systemd unit into target/deb
    Deb,
    /// Renders deploy/manifests from the chart
    Manifests,
    /// Looks for packets that the data plane treats wrongly, on the host, with libFuzzer
    Fuzz(fuzz::Args),
    /// Measures: `cargo xtask bench kernel`, `growth`, `publisher`, `servers`, `socket`, `control`
    Bench(bench::Args),
}

fn main() -> ExitCode {
    be_quiet_about_a_closed_pipe();
    let result = match Cli::parse().task {
        Task::Demo(args) => demo::run(&args),
        Task::Setup(args) => setup::run(&args),
        Task::BuildEbpf(args) => build_ebpf::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Cluster(action) => cluster::run(&action),
        Task::Image => image::run(),
        Task::Deb => deb::run(),
        Task::Manifests => manifests::run(),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Bench(args) => bench::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// `cargo xtask demo | head` ends the demo by a panic of `println!`, so that what it made is removed
/// on the way out; but nobody needs to read about it.
fn be_quiet_about_a_closed_pipe() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let message = info.payload_as_str().unwrap_or_default();
        if !message.starts_with("failed printing to stdout") {
            usual(info);
        }
    }));
}

//! What this kernel does with the programs: the same binary is run on the host and in virtual machines with other kernels
//! (`cargo xtask test kernels`). Lines that begin with `FOUND` are the rows of a table.

use std::{fs, process::ExitCode};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum as _;
use hopzero::{
    kernel::{Hook, Kernel, OBJECT, Options},
    publisher::table::Capacity,
};
use hopzero_tests::{
    client::{self, Query, rtype},
    daemon::{Daemon, Home, attach, listen},
    harness::{self, Test},
    network::{DNS_V4, DNS_V6, NODE_DEVICE, NODE_V4, NODE_V6, Network, POD_DEVICE, dns},
};

/// A quarter of what the verifier is ready to look at, on every kernel.
const INSTRUCTIONS_MAX: u32 = 250_000;
/// The first kernel with tcx.
const TCX_SINCE: (u32, u32) = (6, 6);

fn main() -> ExitCode {
    let mut tests = vec![Test::new("programs are verified", verified)];
    for hook in Hook::value_variants() {
        let value = hook.to_possible_value();
        let name = value.map(|value| value.get_name().to_owned());
        let name = name.unwrap_or_default();
        tests.push(Test::new(format!("attach: --hook {name}"), move || {
            attached(&name)
        }));
    }
    harness::run_in_namespaces(tests)
}

fn found(what: &str, value: impl std::fmt::Display) {
    println!("FOUND {what}: {value}");
}

/// Major and minor of the running kernel.
fn release() -> Result<(u32, u32)> {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = text.split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => bail!("not a release: {text}"),
    }
}

fn verified() -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    found("Linux", release.trim());
    let object = OBJECT.context("the programs have not been built")?;
    let mut kernel = Kernel::load_object(object, &Options::default(), Capacity::new(64, 256))?;
    kernel.load_programs()?;
    for name in ["hopzero_xdp", "hopzero_tc"] {
        let program = kernel.ebpf().program(name).context("no program")?;
        let instructions = program
            .info()?
            .verified_instruction_count()
            .context("the kernel does not say")?;
        found(name, format_args!("{instructions} instructions verified"));
        ensure!((1..=INSTRUCTIONS_MAX).contains(&instructions));
    }
    Ok(())
}

/// Attached by this hook a query of a pod is answered by the kernel, or the daemon says why the hook cannot be had.
fn attached(hook: &str) -> Result<()> {
    let network = Network::new()?;
    let home = Home::shop()?;
    // Native XDP transmits into a veth only if its other end has a program, too.
    let _receiver = match hook {
        "xdp" => Some(network.pod.within(receiver)?),
        _ => None,
    };
    let arguments = [listen(), attach(hook)].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let daemon = Daemon::spawn(home.serve(&network.node, &arguments)?, &home)?;
    let daemon = match daemon.ready() {
        Ok(daemon) => daemon,
        Err(error) => return refused(hook, &format!("{error:#}")),
    };
    let query = Query::new("checkout.shop.svc.cluster.local", rtype::A);
    for (cluster, node) in [(DNS_V4, NODE_V4), (DNS_V6, NODE_V6)] {
        let before = daemon.counts()?;
        let by_kernel = client::ask_udp(&network.pod, dns(cluster), &query)?;
        let after = daemon.counts()?;
        ensure!(
            (after.kernel - before.kernel, after.socket - before.socket) == (1, 0),
            "over {cluster} the socket answered: {}",
            daemon.log()
        );
        let by_socket = client::ask_udp(&network.pod, dns(node), &query)?;
        ensure!(by_kernel == by_socket, "kernel and socket differ");
        ensure!(client::summary(&by_kernel)? == "NOERROR 10.96.20.20");
    }
    let kernel = daemon.report()?.kernel.unwrap_or_default();
    let mode = kernel["devices"][0]["mode"].as_str().unwrap_or("?");
    found(
        &format!("--hook {hook}"),
        format_args!("answers, as {mode}"),
    );
    Ok(())
}

/// Our own XDP program on the pod's end, told to answer nothing.
fn receiver() -> Result<Kernel> {
    let options = Options {
        devices: vec![POD_DEVICE.to_owned()],
        hook: Hook::Xdp,
        ..Options::default()
    };
    let mut kernel = Kernel::load(&options, Capacity::new(16, 64))?;
    kernel.attach(&options)?;
    Ok(kernel)
}

/// Only tcx may be missing, where the kernel is too old for it; and that is said.
fn refused(hook: &str, log: &str) -> Result<()> {
    let refusal = (log.lines())
        .find_map(|line| line.split_once(&format!("cannot attach to {NODE_DEVICE} with tc: ")))
        .map(|(_, reason)| reason);
    match refusal {
        Some(reason) if hook == "tc" && release()? < TCX_SINCE => {
            ensure!(reason.contains("tcx needs Linux 6.6"), "{log}");
            found(&format!("--hook {hook}"), reason);
            Ok(())
        }
        _ => bail!("{log}"),
    }
}

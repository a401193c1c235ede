//! What cannot be done is refused, with the reason and the remedy.

use std::{io, os::unix::process::CommandExt, process::Command};

use anyhow::{Result, ensure};
use hopzero_tests::{
    client::{Query, rtype},
    daemon::{Daemon, Home, attach, ended, listen},
    harness::Test,
    loaded::attached,
    network::{DNS_V4, NODE_DEVICE, Network, dns},
};

use crate::setup::{By, Setup, with_each_hook};

/// Arguments, how it ends, words of the message.
type Row = (
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static [&'static str],
);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("unknown_device", &["--attach", "nosuch0", "--answer-for", "10.96.0.10"],
        "exit 1", &["nosuch0", "`ip link`"]),
    ("unknown_among_devices", &["--attach", "pod0,nosuch0", "--answer-for", "10.96.0.10"],
        "exit 1", &["nosuch0", "`ip link`"]),
    ("no_destination", &["--attach", "pod0"],
        "exit 2", &["--attach", "--answer-for 10.96.0.10"]),
    ("not_an_address", &["--attach", "pod0", "--answer-for", "kube-dns"],
        "exit 2", &["kube-dns", "--answer-for", "such as 10.96.0.10"]),
    ("unknown_hook", &["--attach", "pod0", "--hook", "tcx", "--answer-for", "10.96.0.10"],
        "exit 2", &["tcx", "--hook", "xdp-generic"]),
    ("foreign_listen", &["--listen", "192.0.2.1:53"],
        "exit 1", &["192.0.2.1:53", "ip address add 192.0.2.1/32"]),
    // A device without link-layer addresses has no place for XDP to answer from.
    ("no_ethernet", &["--attach", "tun0", "--hook", "xdp-generic", "--answer-for", "10.96.0.10"],
        "exit 1", &["tun0", "--hook tc"]),
];

pub fn tests() -> Vec<Test> {
    let mut tests: Vec<Test> = ROWS
        .iter()
        .map(|row| Test::new(format!("refusals::{}", row.0), move || refused(row)))
        .collect();
    for (name, capability) in [
        ("CAP_BPF", CAP_BPF),
        ("CAP_NET_ADMIN", CAP_NET_ADMIN),
        ("CAP_PERFMON", CAP_PERFMON),
    ] {
        tests.push(Test::new(format!("refusals::without_{name}"), move || {
            without_capability(name, capability)
        }));
    }
    tests.extend(with_each_hook("fewest_capabilities", fewest_capabilities));
    tests
}

fn refused(row: &Row) -> Result<()> {
    let (_, arguments, expected, words) = row;
    let network = Network::new()?;
    network
        .node
        .ip_batch("tuntap add dev tun0 mode tun\nlink set tun0 up\n")?;
    let home = Home::shop()?;
    ends(
        &network,
        &home,
        home.serve(&network.node, arguments)?,
        expected,
        words,
    )
}

/// It ends with this status, says this, and has left the device alone.
fn ends(
    network: &Network,
    home: &Home,
    command: Command,
    expected: &str,
    words: &[&str],
) -> Result<()> {
    let mut daemon = Daemon::spawn(command, home)?;
    let status = daemon.wait()?;
    let log = daemon.log();
    ensure!(ended(status) == expected, "{}: {log}", ended(status));
    for word in words {
        ensure!(log.contains(word), "no {word:?} in {log}");
    }
    let left = attached(&network.node, NODE_DEVICE)?;
    ensure!(left.is_empty(), "on the device: {left:?}");
    ensure!(
        !home.control().exists(),
        "the control socket is still there"
    );
    Ok(())
}

// From linux/capability.h.
const CAP_NET_BIND_SERVICE: u32 = 10;
const CAP_NET_ADMIN: u32 = 12;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;
const CAP_LAST: u32 = 40;

/// Leaves the command only these: what a container's securityContext would give it.
pub fn limit(command: &mut Command, kept: &'static [u32]) {
    // SAFETY: between fork and exec only prctl is called, a plain system call.
    unsafe {
        command.pre_exec(move || {
            for capability in (0..=CAP_LAST).filter(|capability| !kept.contains(capability)) {
                // EINVAL: a kernel that does not have it.
                if libc::prctl(
                    libc::PR_CAPBSET_DROP,
                    libc::c_ulong::from(capability),
                    0,
                    0,
                    0,
                ) != 0
                    && *libc::__errno_location() != libc::EINVAL
                {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
}

/// All that the daemon needs; port 53 is the fourth's reason.
pub const NEEDED: &[u32] = &[CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON, CAP_NET_BIND_SERVICE];

fn without_capability(name: &str, capability: u32) -> Result<()> {
    let network = Network::new()?;
    let home = Home::shop()?;
    let arguments = attach("tc");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = home.serve(&network.node, &arguments)?;
    limit(
        &mut command,
        match capability {
            CAP_BPF => &[CAP_NET_ADMIN, CAP_PERFMON],
            CAP_NET_ADMIN => &[CAP_BPF, CAP_PERFMON],
            _ => &[CAP_BPF, CAP_NET_ADMIN],
        },
    );
    ends(
        &network,
        &home,
        command,
        "exit 1",
        &[&format!("{name} is missing"), "run as root", "setcap"],
    )
}

fn fewest_capabilities(hook: &'static str) -> Result<()> {
    let network = Network::new()?;
    let home = Home::shop()?;
    let arguments = [listen(), attach(hook)].concat();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = home.serve(&network.node, &arguments)?;
    limit(&mut command, NEEDED);
    let daemon = Daemon::spawn(command, &home)?.ready()?;
    let setup = Setup {
        daemon,
        network,
        home,
    };
    let query = Query::new("checkout.shop.svc.cluster.local", rtype::A);
    let (_, by) = setup.ask(dns(DNS_V4), &query)?;
    ensure!(by == By::Kernel, "not answered by the kernel");
    Ok(())
}

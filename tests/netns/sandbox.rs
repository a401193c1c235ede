//! What the daemon has given up, as the kernel says of each of its threads; and that it works without.

use std::{fs, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result, ensure};
use hopzero::sandbox::{
    capabilities::{Needs, needed},
    syscalls,
};
use hopzero_tests::{
    client::{Query, rtype},
    daemon::{Daemon, Home, ended},
    harness::Test,
    network::{DNS_V4, NODE_DEVICE, Network, dns},
};

use serde_json::json;

use crate::setup::{By, Setup};

const KERNEL: Needs = Needs {
    kernel: true,
    addresses: false,
    sockets: false,
};
const SERVE: Needs = Needs {
    kernel: false,
    addresses: false,
    sockets: true,
};
const BOTH: Needs = Needs {
    sockets: true,
    ..KERNEL
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("sandbox::serve", || serve(&[], SERVE)),
        Test::new("sandbox::serve_attached", serve_attached),
        Test::new("sandbox::serve_addresses", || {
            let needs = Needs {
                addresses: true,
                ..SERVE
            };
            serve(&["--local-address", "169.254.20.10"], needs)
        }),
        Test::new("sandbox::accelerate", accelerate),
        Test::new("sandbox::off", off),
        Test::new("sandbox::forbidden", forbidden),
        Test::new("sandbox::exec_plugin", exec_plugin),
    ]
}

/// The value of a line of a thread's status.
fn value<'a>(status: &'a str, name: &str) -> Result<&'a str> {
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = (lines.find(|(key, _)| *key == name)).with_context(|| format!("no {name}"))?;
    Ok(value.trim())
}

/// The statuses of all threads.
fn threads(daemon: &Daemon) -> Result<Vec<String>> {
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.child.id()))?;
    let threads: Vec<String> = threads
        .map(|thread| Ok(fs::read_to_string(thread?.path().join("status"))?))
        .collect::<Result<_>>()?;
    ensure!(threads.len() > 1, "one thread only");
    Ok(threads)
}

/// Every thread has exactly what `needs` says.
fn is_confined(daemon: &Daemon, needs: Needs) -> Result<()> {
    let expected = needed(needs).fold(0, |set, row| set | row.capability.bitmask());
    for status in threads(daemon)? {
        for (name, expected) in [
            ("CapEff", expected),
            ("CapPrm", expected),
            ("CapBnd", expected),
            ("CapInh", 0),
            ("CapAmb", 0),
        ] {
            let value = u64::from_str_radix(value(&status, name)?, 16)?;
            ensure!(value == expected, "{name}, not {expected:x}: {status}");
        }
        for (name, expected) in [("NoNewPrivs", "1"), ("Seccomp", "2")] {
            ensure!(value(&status, name)? == expected, "{name}: {status}");
        }
    }
    Ok(())
}

fn serve(arguments: &[&str], needs: Needs) -> Result<()> {
    let network = Network::new()?;
    let home = Home::shop()?;
    let arguments = [&["--listen", "127.0.0.1:1053"], arguments].concat();
    let daemon = Daemon::spawn(home.serve(&network.node, &arguments)?, &home)?.ready()?;
    is_confined(&daemon, needs)?;
    ensure!(daemon.stop(libc::SIGTERM)?.success());
    Ok(())
}

fn serve_attached() -> Result<()> {
    let setup = Setup::new("tc")?;
    is_confined(&setup.daemon, BOTH)?;
    setup.by_kernel()?;
    let (_, by) = setup.ask(dns(DNS_V4), &Query::new("cluster.local", rtype::SOA))?;
    ensure!(by == By::Socket);
    is_confined(&setup.daemon, BOTH)
}

fn accelerate() -> Result<()> {
    let network = Network::new()?;
    let home = Home::shop()?;
    let corefile = home.path().join("Corefile");
    fs::write(&corefile, ".:53 {\n kubernetes cluster.local\n}\n")?;
    let (corefile, manifests) = (corefile.display().to_string(), home.manifests());
    let (manifests, address) = (manifests.display().to_string(), DNS_V4.to_string());
    #[rustfmt::skip]
    let arguments = [
        "--manifests", &manifests, "--conf", &corefile, "--attach", NODE_DEVICE, "--answer-for", &address,
    ];
    let command = home.command(&network.node, "accelerate", &arguments)?;
    is_confined(&Daemon::spawn(command, &home)?.ready()?, KERNEL)
}

fn off() -> Result<()> {
    let setup = Setup::with("tc", &["--no-sandbox"])?;
    for status in threads(&setup.daemon)? {
        ensure!(value(&status, "NoNewPrivs")? == "0", "{status}");
        ensure!(value(&status, "CapEff")? != "0000000000000000", "{status}");
    }
    ensure!(setup.daemon.log().contains("--no-sandbox"));
    Ok(())
}

/// A kubeconfig that runs a program for its credentials: refused, with the remedy, and run without the sandbox.
fn exec_plugin() -> Result<()> {
    let network = Network::new()?;
    let home = Home::empty()?;
    let (ran, file) = (home.path().join("ran"), home.path().join("config"));
    let user = json!({"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
        "command": "touch", "args": [ran]});
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "test", "user": {"exec": user}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}]});
    fs::write(&file, config.to_string())?;
    let file = file.display().to_string();
    for (more, is_run) in [(&[][..], false), (&["--no-sandbox"][..], true)] {
        let arguments = [&["--kubeconfig", file.as_str()], more].concat();
        let command = home.command(&network.node, "serve", &arguments)?;
        let mut daemon = Daemon::spawn(command, &home)?;
        // It says nothing on its output that could be taken for credentials.
        ensure!(ended(daemon.wait()?) == "exit 1");
        ensure!(ran.exists() == is_run, "{}", daemon.log());
        let last = daemon.log().lines().last().unwrap_or_default().to_owned();
        ensure!(last.contains("--no-sandbox") != is_run, "{last}");
    }
    Ok(())
}

/// What the filter takes away is gone, in a process that has every capability; each call works, or fails otherwise,
/// without it.
fn forbidden() -> Result<()> {
    for (name, call) in CALLS {
        for is_filtered in [false, true] {
            let mut command = Command::new("/bin/true");
            // SAFETY: between fork and exec this process has one thread, and the call is a plain system call; what it
            // returns ends the child, as an error of this hook.
            unsafe {
                command.pre_exec(move || {
                    if is_filtered {
                        syscalls::forbid_others().map_err(std::io::Error::other)?;
                    }
                    match call() {
                        -1 => Err(std::io::Error::last_os_error()),
                        _ => Ok(()),
                    }
                });
            }
            let error = command
                .status()
                .err()
                .and_then(|error| error.raw_os_error());
            let is_missing = error == Some(libc::ENOSYS);
            ensure!(
                is_missing == is_filtered,
                "{name}, filtered: {is_filtered}: {error:?}"
            );
        }
    }
    Ok(())
}

type Call = fn() -> libc::c_long;

/// Without the filter none says ENOSYS.
const CALLS: [(&str, Call); 7] = [
    // To nowhere: EFAULT.
    ("execve", || syscall(libc::SYS_execve, 0)),
    ("mount", || syscall(libc::SYS_mount, 0)),
    ("unshare", || {
        syscall(libc::SYS_unshare, libc::CLONE_NEWNS.into())
    }),
    // PTRACE_TRACEME.
    ("ptrace", || syscall(libc::SYS_ptrace, 0)),
    ("setns", || syscall(libc::SYS_setns, -1)),
    ("socket(AF_ALG)", || {
        syscall(libc::SYS_socket, libc::AF_ALG.into())
    }),
    ("socket(AF_PACKET)", || {
        syscall(libc::SYS_socket, libc::AF_PACKET.into())
    }),
];

fn syscall(number: libc::c_long, argument: libc::c_long) -> libc::c_long {
    // SAFETY: none of the calls above writes to memory with this argument and zeroes.
    unsafe { libc::syscall(number, argument, 0, 0, 0, 0) }
}

//! What can be missing, and what helps.

use std::io;

use aya::{EbpfError, maps::MapError, programs::ProgramError};

use super::PinError;
use crate::sandbox::capabilities::{self, Needs};

/// Why the kernel does not answer.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// No embedded object.
    #[error(
        "this hopzero was built without its eBPF programs: run `cargo xtask build-ebpf` and build it again"
    )]
    NoObject,
    /// The embedded object is not ours.
    #[error(
        "the embedded eBPF object has no {what}: run `cargo xtask build-ebpf` and build hopzero again"
    )]
    Object {
        /// The map or program.
        what: &'static str,
    },
    /// A capability is missing.
    #[error(
        "{missing} is missing, which {purpose} needs: run as root, or grant it (setcap {setcap}+ep, or capabilities.add in a pod's securityContext)"
    )]
    Capability {
        /// Its name.
        missing: &'static str,
        /// What for.
        purpose: &'static str,
        /// All that are needed, as setcap wants them.
        setcap: &'static str,
    },
    /// No such device.
    #[error("there is no network device {device}: `ip link` lists those of this network namespace")]
    NoDevice {
        /// Its name.
        device: String,
    },
    /// `--attach auto` leads nowhere.
    #[error("--attach auto: there is no {to} on this node: name the device instead (`ip route`)")]
    NoRoute {
        /// Which route there is not.
        to: String,
    },
    /// rtnetlink refused.
    #[error("cannot ask the kernel for {what}: {source}")]
    Netlink {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// `--local-address` cannot be made.
    #[error(
        "cannot make the address {address}: {source}; --local-address needs CAP_NET_ADMIN (without it: `ip address add {address} dev lo`, and --listen)"
    )]
    LocalAddress {
        /// It.
        address: std::net::IpAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The programs that run cannot be waited for.
    #[error("cannot wait for the programs that run: {source}")]
    Grace {
        /// What the kernel said.
        source: io::Error,
    },
    /// The self-test has failed.
    #[error("{device} does not answer with {hook}: {reason}; {remedy}")]
    Lost {
        /// The device.
        device: String,
        /// The hook.
        hook: &'static str,
        /// What came of the query that was sent through it.
        reason: String,
        /// What helps.
        remedy: &'static str,
    },
    /// The self-test cannot be made.
    #[error("cannot send a query through a device (BPF_PROG_TEST_RUN): {reason}")]
    Probe {
        /// What the kernel said.
        reason: String,
    },
    /// A device without an Ethernet address.
    #[error(
        "{device} has no Ethernet address: XDP can only answer on Ethernet devices; use --hook tc"
    )]
    NoMac {
        /// Its name.
        device: String,
    },
    /// The hook refused.
    #[error("cannot attach to {device} with {hook}: {reason}; {remedy}")]
    Attach {
        /// The device.
        device: String,
        /// The hook.
        hook: &'static str,
        /// What the kernel said.
        reason: String,
        /// What helps.
        remedy: &'static str,
    },
    /// Too many addresses.
    #[error("--answer-for was given {count} {family} addresses: at most {max} are possible")]
    Addresses {
        /// How many.
        count: usize,
        /// Of which family.
        family: &'static str,
        /// The limit.
        max: usize,
    },
    /// Too many XDP devices.
    #[error("XDP was asked for on more than {max} devices: attach fewer, or use --hook tc")]
    Devices {
        /// The limit.
        max: usize,
    },
    /// The verifier, or the loader.
    #[error("the kernel does not load the programs: {reason}")]
    Load {
        /// What it said.
        reason: String,
    },
    /// No thread to wait for the programs.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// mmap of a map.
    #[error("cannot map the memory of {name}: {source} (it needs Linux 5.5 or newer)")]
    Memory {
        /// The map.
        name: &'static str,
        /// What mmap said.
        source: io::Error,
    },
    /// The program that tells the tick.
    #[error("cannot read the kernel's tick (BPF_PROG_TEST_RUN): {reason}")]
    Clock {
        /// What the kernel said.
        reason: String,
    },
    /// Growing is not possible.
    #[error("the table has {names} names, and cannot be larger")]
    Largest {
        /// Its capacity.
        names: u32,
    },
    /// What is pinned.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// A map operation.
    #[error("cannot use a map: {0}")]
    Map(#[from] MapError),
}

impl KernelError {
    /// An error of the loader, with all that the kernel said.
    pub(super) fn from_load(error: &EbpfError) -> Self {
        KernelError::Load {
            reason: chain(error),
        }
    }

    /// An error of loading a program: the verifier's last lines.
    pub(super) fn from_program(error: &ProgramError) -> Self {
        let reason = match error {
            ProgramError::LoadError {
                io_error,
                verifier_log,
            } => {
                let log = verifier_log.to_string();
                let lines: Vec<&str> = log.lines().collect();
                let last = &lines[lines.len().saturating_sub(10)..];
                format!("{io_error}\n{}", last.join("\n"))
            }
            other => chain(other),
        };
        KernelError::Load { reason }
    }
}

/// An error and its sources in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// What answering in the kernel takes.
const KERNEL: Needs = Needs {
    kernel: true,
    addresses: false,
    sockets: false,
};
const SETCAP: &str = "cap_bpf,cap_net_admin,cap_perfmon";

/// The capabilities that this process lacks, each with what it is for.
pub(super) fn missing_capabilities() -> impl Iterator<Item = (&'static str, &'static str)> {
    capabilities::missing(KERNEL).map(|row| (row.name, row.why))
}

/// Names the first capability that is missing.
pub(super) fn check_capabilities() -> Result<(), KernelError> {
    match missing_capabilities().next() {
        None => Ok(()),
        Some((missing, purpose)) => Err(KernelError::Capability {
            missing,
            purpose,
            setcap: SETCAP,
        }),
    }
}

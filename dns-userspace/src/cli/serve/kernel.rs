//! The kernel's part of the daemon: what the command line asks for, and where it plugs in.

use std::{net::IpAddr, sync::Arc};

use clap::ValueEnum;
use hickory_proto::rr::Name;

use crate::zone::Zone;

/// The kernel's limit on a device's name, without the terminating zero (`IFNAMSIZ` - 1).
const DEVICE_NAME_BYTES_MAX: usize = 15;

/// Where on a device the programs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Hook {
    /// tcx ingress: a veth's packets, checksums offloaded or not.
    Tc,
    /// XDP in the driver: a network card's packets, before anything is allocated.
    Xdp,
    /// XDP on any device, in the network stack.
    XdpGeneric,
    /// The best of these that the device has.
    #[default]
    Auto,
}

/// What the command line asks of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelOptions {
    /// Where to attach; empty: not at all.
    pub devices: Vec<String>,
    /// Where on each device.
    pub hook: Hook,
    /// Destination addresses of the queries to answer.
    pub answer_for: Vec<IpAddr>,
    /// Capacity of the table of names.
    pub names_max: Option<u32>,
    /// The programs log their decisions.
    pub trace: bool,
}

/// Options that do not go together.
#[derive(Debug, thiserror::Error)]
#[error(
    "--attach answers nothing without --answer-for: name the address that pods send their queries to, such as --answer-for 10.96.0.10 (see nameserver in a pod's /etc/resolv.conf)"
)]
pub(super) struct NoDestination;

impl KernelOptions {
    pub(super) fn check(&self) -> Result<(), NoDestination> {
        if !self.devices.is_empty() && self.answer_for.is_empty() {
            return Err(NoDestination);
        }
        Ok(())
    }
}

/// Copies the zone to where it is answered from besides the socket.
pub trait Publish: Send + 'static {
    /// Called after each batch of changes with the names that it touched, in order.
    ///
    /// The zone is readable by others meanwhile, and does not change. Before the zone
    /// [is synchronised](Zone::is_synchronised) what it lacks may only not have come yet.
    fn publish(&mut self, zone: &Zone, touched: &[Name]);
}

/// Programs that are attached; dropped with its publisher, nothing of them is left.
pub struct Kernel {
    /// Writes the zone into the maps. Dropped last of all when the daemon stops.
    pub publisher: Box<dyn Publish>,
    /// The `kernel` part of the control socket's report.
    pub report: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
}

/// Attaches what the options ask for; `None` where they ask for nothing, or there is nothing that
/// could be attached.
#[expect(
    clippy::unnecessary_wraps,
    reason = "attaching fails where a device, a hook or a capability is missing"
)]
pub(super) fn attach(options: &KernelOptions) -> anyhow::Result<Option<Kernel>> {
    if !options.devices.is_empty() {
        tracing::warn!(
            devices = options.devices.join(","),
            "this build has no eBPF programs: serving from the socket only"
        );
    }
    Ok(None)
}

pub(super) fn parse_device(text: &str) -> Result<String, String> {
    // The kernel's own rule, dev_valid_name(), apart from names that no device has.
    let valid = (1..=DEVICE_NAME_BYTES_MAX).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
    if valid {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "expected a network device, at most {DEVICE_NAME_BYTES_MAX} characters, as `ip link` lists them"
        ))
    }
}

pub(super) fn parse_destination(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| "expected an IP address, such as 10.96.0.10".to_owned())?;
    if address.is_unspecified() || address.is_multicast() {
        return Err("expected a unicast address, such as 10.96.0.10".to_owned());
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        for valid in ["eth0", "veth1234567890a", "lo", "a.b"] {
            assert!(parse_device(valid).is_ok(), "{valid}");
        }
        for invalid in ["", "veth1234567890ab", ".", "..", "a/b", "a b", "eth0:1"] {
            assert!(parse_device(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn destinations() {
        for valid in ["10.96.0.10", "fd00::a", "127.0.0.1"] {
            assert!(parse_destination(valid).is_ok(), "{valid}");
        }
        for invalid in [
            "",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "10.96.0.0/16",
            "dns",
        ] {
            assert!(parse_destination(invalid).is_err(), "{invalid}");
        }
    }
}

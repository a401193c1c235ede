//! The kernel's part of the command line.

use std::net::IpAddr;

use crate::kernel::{Follower, KernelError, Options, VLANS};

/// The kernel's limit on a device's name, without the terminating zero (`IFNAMSIZ` - 1).
const DEVICE_NAME_BYTES_MAX: usize = 15;

/// Options that do not go together.
#[derive(Debug, thiserror::Error)]
pub(super) enum Contradiction {
    #[error(
        "--attach answers nothing without --answer-for: name the address that pods send their queries to, such as --answer-for 10.96.0.10 (see nameserver in a pod's /etc/resolv.conf)"
    )]
    NoDestination,
    #[error("--trusted {0} is not attached: name it in --attach, too")]
    NotAttached(String),
    #[error(
        "--vlan was given {0} times: at most {VLANS} are possible; attach to the VLANs' own devices instead"
    )]
    Vlans(usize),
}

pub(super) fn check(options: &Options) -> Result<(), Contradiction> {
    if !options.devices.is_empty() && options.answer_for.is_empty() {
        return Err(Contradiction::NoDestination);
    }
    if options.vlans.len() > VLANS {
        return Err(Contradiction::Vlans(options.vlans.len()));
    }
    let stranger = (options.trusted.iter()).find(|device| !options.devices.contains(device));
    match stranger {
        Some(device) => Err(Contradiction::NotAttached(device.clone())),
        None => Ok(()),
    }
}

/// Prepares what the options ask for; `None` where they ask for nothing, or the build has no programs.
pub(super) fn follower(options: Options) -> Result<Option<Follower>, KernelError> {
    if options.devices.is_empty() {
        return Ok(None);
    }
    match Follower::new(options) {
        Ok(follower) => Ok(Some(follower)),
        Err(error @ KernelError::NoObject) => {
            tracing::warn!("{error}; serving from the socket only");
            Ok(None)
        }
        Err(error) => Err(error),
    }
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

pub(in crate::cli) fn parse_destination(text: &str) -> Result<IpAddr, String> {
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

//! The kernel's part of the command line.

use std::net::IpAddr;

use crate::kernel::{Follower, KernelError, Options, VLANS};

/// Options that do not go together.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Contradiction {
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
    let attaches = !options.devices.is_empty() || options.pods.is_some();
    if attaches && options.answer_for.is_empty() {
        return Err(Contradiction::NoDestination);
    }
    check_without_destination(options)
}

/// The same where the destination is found out.
pub(in crate::cli) fn check_without_destination(options: &Options) -> Result<(), Contradiction> {
    if options.vlans.len() > VLANS {
        return Err(Contradiction::Vlans(options.vlans.len()));
    }
    let stranger = (options.trusted.iter()).find(|device| !options.devices.contains(device));
    match stranger {
        // It may come yet.
        Some(_) if options.pods.is_some() => Ok(()),
        Some(device) => Err(Contradiction::NotAttached(device.clone())),
        None => Ok(()),
    }
}

/// Prepares what the options ask for; `None` where they ask for nothing, or the build has no programs.
pub(super) fn follower(options: Options) -> Result<Option<Follower>, KernelError> {
    if !options.attaches() {
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

pub(in crate::cli) fn parse_destination(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| "expected an IP address, such as 10.96.0.10".to_owned())?;
    if address.is_unspecified() || address.is_multicast() {
        return Err("expected a unicast address, such as 10.96.0.10".to_owned());
    }
    Ok(address)
}

/// An address that a server can have on every node.
pub(super) fn parse_local(text: &str) -> Result<IpAddr, String> {
    let address = parse_destination(text)?;
    let is_elsewhere =
        address.is_loopback() || matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    if is_elsewhere {
        return Err(
            "expected an address that pods can ask, such as 169.254.20.10 or fd00::10".to_owned(),
        );
    }
    Ok(address)
}

/// Where something is attached, queries to these addresses are answered, too.
pub(super) fn answer_for_too(options: &mut Options, addresses: &[IpAddr]) {
    for address in addresses {
        if !options.answer_for.contains(address) {
            options.answer_for.push(*address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses() {
        for valid in ["169.254.20.10", "10.96.0.10", "fd00::10"] {
            assert!(parse_local(valid).is_ok(), "{valid}");
        }
        for invalid in ["127.0.0.53", "::1", "fe80::1", "0.0.0.0", "dns"] {
            assert!(parse_local(invalid).is_err(), "{invalid}");
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

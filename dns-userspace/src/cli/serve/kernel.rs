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
    if options.devices.is_empty() && options.pods.is_none() {
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

#[cfg(test)]
mod tests {
    use super::*;

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

//! Addresses of the node's own, made for a server that listens there, as 169.254.20.10.
//!
//! They are on a device of ours, [`DEVICE`], a dummy; or where the kernel has no such devices, on loopback. Each carries [`MARK`] as
//! the metric of its route, by which it is known as ours: one that a killed daemon has left is taken over by the next one. An
//! address that is there without it is somebody else's: it is used, and stays.
//!
//! They go with what is pinned: as long as links are, whether ours or the next daemon's, they stay, and `hopzero detach` removes them.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};
use tracing::{info, warn};

use super::{KernelError, attach, netlink, pins::Place};

/// Our device.
const DEVICE: &str = "hopzero0";
/// Where the kernel has no dummies.
const LOOPBACK: &str = "lo";
/// "hz". (`IFA_RT_PRIORITY`, Linux 4.18.)
const MARK: u32 = 0x687a;

/// Addresses that are there as long as this value is, and longer where something stays pinned.
#[derive(Debug)]
pub struct LocalAddresses {
    is_wanted: bool,
    pin: Option<PathBuf>,
}

impl LocalAddresses {
    /// Makes those that are missing. None is wanted: nothing is done, now and later. `pin` is where links are pinned, if at all.
    ///
    /// # Errors
    /// An address cannot be made; none is left then, unless something is pinned.
    pub fn take(addresses: &[IpAddr], pin: Option<&Path>) -> Result<Self, KernelError> {
        let taken = LocalAddresses {
            is_wanted: !addresses.is_empty(),
            pin: pin.map(Path::to_owned),
        };
        for address in addresses {
            take(*address).map_err(|source| KernelError::LocalAddress {
                address: *address,
                source,
            })?;
        }
        Ok(taken)
    }
}

impl Drop for LocalAddresses {
    fn drop(&mut self) {
        let place = self.pin.as_deref().map(Place::open);
        let is_pinned = matches!(place, Some(Ok(place)) if place.current().is_some());
        if self.is_wanted
            && !is_pinned
            && let Err(error) = remove_local_addresses()
        {
            warn!(%error, "addresses of ours stay");
        }
    }
}

/// Removes all that [`LocalAddresses`] has made, in whatever process. Says how many addresses there were.
///
/// # Errors
/// The kernel refuses.
pub(super) fn remove_local_addresses() -> io::Result<usize> {
    let ours: Vec<Found> = found()?.into_iter().filter(|found| found.is_ours).collect();
    for found in &ours {
        let message = message(found.address, found.index);
        unless_gone(netlink::request(RouteNetlinkMessage::DelAddress(message)))?;
        info!(address = %found.address, "the address is removed");
    }
    if let Ok(index) = attach::index_of(DEVICE) {
        let mut link = LinkMessage::default();
        link.header.index = index;
        unless_gone(netlink::request(RouteNetlinkMessage::DelLink(link)))?;
    }
    Ok(ours.len())
}

fn unless_gone<T>(result: io::Result<T>) -> io::Result<()> {
    match result.err().filter(|error| {
        !matches!(
            error.raw_os_error(),
            Some(libc::EADDRNOTAVAIL | libc::ENODEV)
        )
    }) {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

/// An address of the node.
struct Found {
    address: IpAddr,
    index: u32,
    is_ours: bool,
}

fn take(address: IpAddr) -> io::Result<()> {
    if let Some(there) = found()?.into_iter().find(|found| found.address == address) {
        if there.is_ours {
            info!(%address, "the address is there from before, and is taken over");
        } else {
            warn!(%address, "the address is somebody else's: it is used, and left alone");
        }
        return Ok(());
    }
    let (index, device) = device()?;
    netlink::create(RouteNetlinkMessage::NewAddress(message(address, index)))?;
    info!(%address, device, "the address is made");
    Ok(())
}

/// Our device, made if need be and up; or loopback.
fn device() -> io::Result<(u32, &'static str)> {
    let mut link = LinkMessage::default();
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    link.attributes = vec![
        LinkAttribute::IfName(DEVICE.to_owned()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Dummy)]),
    ];
    let device = match netlink::create(RouteNetlinkMessage::NewLink(link)) {
        Ok(_) => DEVICE,
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => DEVICE,
        // A kernel without the module, or one that does not load it for us.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => LOOPBACK,
        Err(error) => return Err(error),
    };
    let index = nix::net::if_::if_nametoindex(device)?;
    Ok((index, device))
}

/// An address with our mark.
fn message(address: IpAddr, index: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.scope = AddressScope::Universe;
    (message.header.family, message.header.prefix_len) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    // Nobody else has it: it is not looked for, and can be bound at once.
    message.header.flags = AddressHeaderFlags::Nodad;
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
        AddressAttribute::RoutePriority(MARK),
    ];
    message
}

fn found() -> io::Result<Vec<Found>> {
    let answers = netlink::dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
    Ok(answers
        .iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message) => read(message),
            _ => None,
        })
        .collect())
}

fn read(message: &AddressMessage) -> Option<Found> {
    let attributes = message.attributes.iter();
    // Of IPv6 there is IFA_LOCAL only where the device leads to one peer.
    let own = attributes.clone().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let any = attributes.clone().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    Some(Found {
        address: own.or(any)?,
        index: message.header.index,
        is_ours: attributes
            .clone()
            .any(|attribute| *attribute == AddressAttribute::RoutePriority(MARK)),
    })
}

//! Switches offloads of a device, as `ethtool -K` does.

use std::{fmt, io, mem, os::fd::AsRawFd};

use anyhow::{Context, Result, ensure};

use crate::{
    client::any,
    namespace::Namespace,
    network::{NODE_DEVICE, NODE_V4, Network, POD_DEVICE, dns},
};

/// From linux/sockios.h.
const SIOCETHTOOL: libc::c_ulong = 0x8946;

/// What can be switched: the numbers of the commands that set it, from linux/ethtool.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Offload {
    /// Checksums of received packets are verified by the device.
    ReceiveChecksum = 0x15,
    /// Checksums of sent packets are completed by the device.
    SendChecksum = 0x17,
    /// The same by the device itself, for TCP. Where a veth has it, its peer's NAPI is for TCP alone (`veth_xmit`).
    Tso = 0x1f,
    /// Segments of one big packet are made as late as can be.
    Gso = 0x24,
    /// Received packets are merged. On a veth this turns NAPI on.
    Gro = 0x2c,
    /// Tags of VLANs stand beside packets that are sent and received, and not in them.
    VlanTags = 0x26,
}

impl Offload {
    /// What the kernel calls "on": one, or flags.
    fn on(self) -> u32 {
        match self {
            // ETH_FLAG_TXVLAN, ETH_FLAG_RXVLAN
            Self::VlanTags => 1 << 7 | 1 << 8,
            _ => 1,
        }
    }
}

/// struct `ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// struct ifreq, with a pointer in its union.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    data: *mut Value,
    rest: [u8; 16],
}

/// Switches one on or off.
///
/// # Errors
/// The device cannot.
pub fn switch(namespace: &Namespace, device: &str, offload: Offload, on: bool) -> Result<()> {
    let socket = namespace.udp(any(dns(NODE_V4)))?;
    let mut name = [0; libc::IFNAMSIZ];
    ensure!(device.len() < name.len(), "{device}: too long");
    name[..device.len()].copy_from_slice(device.as_bytes());
    let set = offload as u32;
    let value_of = |on| if on { offload.on() } else { 0 };
    // Each command that reads has the number before the one that sets.
    for (command, data) in [(set, value_of(on)), (set - 1, value_of(!on))] {
        let mut value = Value { command, data };
        let mut request = Request {
            name,
            data: &raw mut value,
            rest: [0; mem::size_of::<Request>() - mem::size_of::<usize>() - libc::IFNAMSIZ],
        };
        // SAFETY: the kernel reads and writes a struct ifreq, as long as ours, and the value that it
        // points to; both outlive the call.
        let done = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        if done < 0 {
            return Err(io::Error::last_os_error())
                .with_context(|| format!("{device}: {offload:?}"));
        }
        ensure!(
            value.data == value_of(on),
            "{device}: {offload:?} stays {}",
            value.data
        );
    }
    Ok(())
}

/// How both ends of a veth pair are switched.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Switches {
    /// Checksums of the pod's end, sent and received.
    pub pod_checksums: bool,
    /// Checksums of the node's end, sent and received.
    pub node_checksums: bool,
    /// GSO of both ends.
    pub gso: bool,
    /// GRO of both ends.
    pub gro: bool,
}

impl Switches {
    /// All sixteen.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..16).map(|bits| Self {
            pod_checksums: bits & 1 == 0,
            node_checksums: bits & 2 == 0,
            gso: bits & 4 == 0,
            gro: bits & 8 != 0,
        })
    }

    /// Switches both ends.
    ///
    /// # Errors
    /// One of them cannot.
    pub fn apply(self, network: &Network) -> Result<()> {
        for (namespace, device, checksums) in [
            (&network.pod, POD_DEVICE, self.pod_checksums),
            (&network.node, NODE_DEVICE, self.node_checksums),
        ] {
            switch(namespace, device, Offload::SendChecksum, checksums)?;
            switch(namespace, device, Offload::ReceiveChecksum, checksums)?;
            switch(namespace, device, Offload::Gso, self.gso)?;
            switch(namespace, device, Offload::Gro, self.gro)?;
        }
        Ok(())
    }
}

impl fmt::Display for Switches {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |on| if on { "on" } else { "off" };
        write!(
            formatter,
            "checksums of the pod's end {}, of the node's {}, GSO {}, GRO {}",
            word(self.pod_checksums),
            word(self.node_checksums),
            word(self.gso),
            word(self.gro)
        )
    }
}

//! What the command line asks of the kernel.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use hopzero_common::limits::{NETWORKS_MAX, VLANS_MAX};

use super::{Hook, LEASE_DEFAULT, Selection, mode};

/// Answers a second to one network, unless configured: NSD's default. More than a node's resolver or a
/// few hosts ask of us, and next to nothing for a victim.
pub const RATE_LIMIT_DEFAULT: u32 = 200;
/// The largest limit; a second's worth of it fits a bucket.
pub const RATE_LIMIT_MAX: u32 = 1_000_000;
/// The most VLANs that are answered.
pub const VLANS: usize = VLANS_MAX;

/// What the command line asks of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Devices to attach to.
    pub devices: Vec<String>,
    /// Devices to attach to as they come.
    pub pods: Option<Selection>,
    /// Where on each device.
    pub hook: Hook,
    /// Destination addresses of the queries to answer.
    pub answer_for: Vec<IpAddr>,
    /// Capacity of the table of names; `None` for half as much again as the zone has, and more when that is full.
    pub names_max: Option<u32>,
    /// VLANs whose queries are answered.
    pub vlans: Vec<u16>,
    /// Answers a second to one network that asks by XDP; 0 for any number, `None` for
    /// [`RATE_LIMIT_DEFAULT`] on cards and any number elsewhere.
    pub rate_limit: Option<u32>,
    /// Devices without that limit.
    pub trusted: Vec<String>,
    /// How long the programs answer after a renewal.
    pub lease: Duration,
    /// The addresses of an answer are rotated from query to query.
    pub rotate: bool,
    /// The programs log their decisions.
    pub trace: bool,
    /// Where maps, programs and links are pinned: they outlast the daemon.
    pub pin: Option<PathBuf>,
    /// What is pinned goes with the daemon, unless it is killed.
    pub detach_on_exit: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            devices: Vec::new(),
            pods: None,
            hook: Hook::default(),
            answer_for: Vec::new(),
            names_max: None,
            vlans: Vec::new(),
            rate_limit: None,
            trusted: Vec::new(),
            lease: LEASE_DEFAULT,
            rotate: false,
            trace: false,
            pin: None,
            detach_on_exit: false,
        }
    }
}

impl Options {
    /// Whether anything is to be attached to.
    pub fn attaches(&self) -> bool {
        !self.devices.is_empty() || self.pods.is_some()
    }

    /// Whether answers by XDP on a device are limited.
    pub(super) fn limits(&self, device: &str) -> bool {
        let trusted = self.trusted.iter().any(|trusted| trusted == device);
        !trusted
            && self
                .rate_limit
                .map_or(mode::is_card(device), |rate| rate > 0)
    }

    /// Networks that there must be room for; a map has one element at the least.
    pub(super) fn networks(&self) -> u32 {
        let limited = self.rate_limit.is_some_and(|rate| rate > 0)
            || self.devices.iter().any(|device| self.limits(device));
        if limited && self.hook != Hook::Tc {
            u32::try_from(NETWORKS_MAX).unwrap_or(u32::MAX)
        } else {
            1
        }
    }
}

//! Where on a device the programs run, and in which order the places are tried.

use std::path::Path;

use clap::ValueEnum;

/// Where on a device the programs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Hook {
    /// tcx ingress (Linux 6.6): the host's side of a pod's veth
    Tc,
    /// A filter of clsact: the same for older kernels
    Clsact,
    /// XDP in the driver: a network card
    Xdp,
    /// XDP in the network stack: any device
    XdpGeneric,
    /// XDP in the driver for a network card, tcx or clsact for any other device; then XDP in the stack
    #[default]
    Auto,
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// tcx ingress.
    Tcx,
    /// A filter at the ingress of clsact.
    Clsact,
    /// XDP in the driver.
    XdpNative,
    /// XDP in the network stack.
    XdpGeneric,
}

impl Mode {
    /// As in `--hook`, metrics and JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Mode::Tcx => "tc",
            Mode::Clsact => "clsact",
            Mode::XdpNative => "xdp",
            Mode::XdpGeneric => "xdp-generic",
        }
    }

    /// Whether frames are known by their link-layer address alone.
    pub(super) const fn is_xdp(self) -> bool {
        matches!(self, Mode::XdpNative | Mode::XdpGeneric)
    }
}

/// A card has a device of its bus behind it.
pub(super) fn is_card(device: &str) -> bool {
    (Path::new("/sys/class/net").join(device).join("device")).exists()
}

/// The modes of a hook, in the order in which they are tried.
pub(super) fn modes(device: &str, hook: Hook) -> &'static [Mode] {
    match hook {
        Hook::Tc => &[Mode::Tcx],
        Hook::Clsact => &[Mode::Clsact],
        Hook::Xdp => &[Mode::XdpNative],
        Hook::XdpGeneric => &[Mode::XdpGeneric],
        // (Native XDP on the host's side of a veth would lose every reply.)
        Hook::Auto if is_card(device) => {
            &[Mode::XdpNative, Mode::XdpGeneric, Mode::Tcx, Mode::Clsact]
        }
        Hook::Auto => &[Mode::Tcx, Mode::Clsact, Mode::XdpGeneric],
    }
}

//! Attaching to devices, with links that the kernel removes when this process ends; where it has none for that, with a
//! filter ([`super::clsact`]).

use std::{collections::BTreeSet, path::Path};

use aya::{
    Ebpf,
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode,
        links::FdLink,
        tc::{SchedClassifierLink, TcAttachOptions},
        xdp::XdpLink,
    },
};
use clap::ValueEnum;
use tracing::warn;

use super::{
    KernelError,
    clsact::{self, Direction, Filter},
    error::chain,
    foreign,
};

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

/// An attached program; detached when dropped.
#[derive(Debug)]
pub struct Attached {
    /// The device.
    pub device: String,
    /// How.
    pub mode: Mode,
    /// Whether one network is sent only so many answers a second.
    pub limited: bool,
    holder: Holder,
}

/// What holds a program at a device.
#[derive(Debug)]
enum Holder {
    Link(FdLink),
    Filter(Filter),
}

/// Name of the tc program in the object.
pub(super) const TC: &str = "hopzero_tc";
/// Name of the XDP program in the object.
pub(super) const XDP: &str = "hopzero_xdp";

/// The kernel's number of a device of this network namespace.
pub(super) fn index_of(device: &str) -> Result<u32, KernelError> {
    nix::net::if_::if_nametoindex(device).map_err(|_| KernelError::NoDevice {
        device: device.to_owned(),
    })
}

/// A card has a device of its bus behind it.
pub(super) fn is_card(device: &str) -> bool {
    (Path::new("/sys/class/net").join(device).join("device")).exists()
}

/// The Ethernet address of a device.
pub(super) fn mac_of(device: &str) -> Result<[u8; 6], KernelError> {
    nix::ifaddrs::getifaddrs()
        .ok()
        .into_iter()
        .flatten()
        .filter(|interface| interface.interface_name == device)
        .find_map(|interface| interface.address?.as_link_addr()?.addr())
        .ok_or_else(|| KernelError::NoMac {
            device: device.to_owned(),
        })
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

/// Attaches in one mode.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    device: &str,
    index: u32,
    mode: Mode,
) -> Result<Attached, KernelError> {
    let holder = match mode {
        Mode::Tcx => attach_tcx(ebpf, device).map(as_link),
        Mode::Clsact => attach_clsact(ebpf, device, index),
        Mode::XdpNative => attach_xdp(ebpf, device, XdpMode::Driver).map(as_link),
        Mode::XdpGeneric => attach_xdp(ebpf, device, XdpMode::Skb).map(as_link),
    }?;
    let holder = holder.map_err(|error| {
        let reason = chain(&*error);
        let others = foreign::at(device, index, &BTreeSet::new());
        KernelError::Attach {
            device: device.to_owned(),
            hook: mode.label(),
            remedy: remedy(mode, &reason),
            reason: if others.is_empty() {
                reason
            } else {
                format!("{reason} (there: {})", foreign::listed(&others))
            },
        }
    })?;
    Ok(Attached {
        device: device.to_owned(),
        mode,
        limited: false,
        holder,
    })
}

fn as_link(link: Result<FdLink, Refusal>) -> Result<Holder, Refusal> {
    link.map(Holder::Link)
}

fn attach_clsact(
    ebpf: &mut Ebpf,
    device: &str,
    index: u32,
) -> Result<Result<Holder, Refusal>, KernelError> {
    let program: &mut SchedClassifier = loaded(ebpf, TC, SchedClassifier::load)?;
    let filter = clsact::attach(program, device, index, Direction::Ingress);
    Ok(filter.map(Holder::Filter))
}

/// The inner error is the attachment's, for which there is a remedy.
type AttachResult = Result<Result<FdLink, Refusal>, KernelError>;
pub(super) type Refusal = Box<dyn std::error::Error + Send + Sync>;

/// At the head: behind another program that redirects, ours would never run.
fn attach_tcx(ebpf: &mut Ebpf, device: &str) -> AttachResult {
    let program: &mut SchedClassifier = loaded(ebpf, TC, SchedClassifier::load)?;
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let link = program
        .attach_with_options(device, TcAttachType::Ingress, options)
        .and_then(|id| program.take_link(id))
        .map_err(Refusal::from)
        .and_then(|link| FdLink::try_from(link).map_err(Refusal::from));
    Ok(link)
}

/// A link of its own. aya falls back to a netlink attachment on EINVAL, which has no owner and would
/// survive us: converting it fails, and drops it.
fn attach_xdp(ebpf: &mut Ebpf, device: &str, xdp_mode: XdpMode) -> AttachResult {
    let program: &mut Xdp = loaded(ebpf, XDP, Xdp::load)?;
    let link = program
        .attach(device, xdp_mode)
        .and_then(|id| program.take_link(id))
        .map_err(Refusal::from)
        .and_then(|link| FdLink::try_from(link).map_err(Refusal::from));
    Ok(link)
}

/// Loads the program that a mode needs.
pub(super) fn load_for(ebpf: &mut Ebpf, mode: Mode) -> Result<(), KernelError> {
    match mode {
        Mode::Tcx | Mode::Clsact => loaded(ebpf, TC, SchedClassifier::load).map(|_| ()),
        Mode::XdpNative | Mode::XdpGeneric => loaded(ebpf, XDP, Xdp::load).map(|_| ()),
    }
}

impl Attached {
    /// Puts another object's program, which is loaded, in the place of the one that is attached. Link and filter stay
    /// (`BPF_LINK_UPDATE`): each packet meets one of the two, and the order among others' programs is as it was.
    pub(super) fn move_to(self, ebpf: &mut Ebpf, index: u32) -> Result<Self, KernelError> {
        let Attached {
            device,
            mode,
            limited,
            holder,
        } = self;
        let moved = match (holder, mode) {
            (Holder::Filter(filter), _) => {
                let program: &mut SchedClassifier = loaded(ebpf, TC, SchedClassifier::load)?;
                filter.move_to(program).map(Holder::Filter)
            }
            (Holder::Link(link), Mode::XdpNative | Mode::XdpGeneric) => {
                as_link(move_xdp(ebpf, link)?)
            }
            (Holder::Link(link), Mode::Tcx | Mode::Clsact) => as_link(move_tcx(ebpf, link)?),
        };
        match moved {
            Ok(holder) => Ok(Attached {
                device,
                mode,
                limited,
                holder,
            }),
            Err(error) => {
                // What held it is dropped, and it is detached: until the next line packets pass.
                warn!(device, %error, "the program is not replaced in place: attaching anew");
                let attached = attach(ebpf, &device, index, mode)?;
                Ok(Attached {
                    limited,
                    ..attached
                })
            }
        }
    }
}

fn move_tcx(ebpf: &mut Ebpf, link: FdLink) -> AttachResult {
    let program: &mut SchedClassifier = loaded(ebpf, TC, SchedClassifier::load)?;
    let link = SchedClassifierLink::try_from(link)
        .map_err(Refusal::from)
        .and_then(|link| program.attach_to_link(link).map_err(Refusal::from))
        .and_then(|id| program.take_link(id).map_err(Refusal::from))
        .and_then(|link| FdLink::try_from(link).map_err(Refusal::from));
    Ok(link)
}

fn move_xdp(ebpf: &mut Ebpf, link: FdLink) -> AttachResult {
    let program: &mut Xdp = loaded(ebpf, XDP, Xdp::load)?;
    let link = XdpLink::try_from(link)
        .map_err(Refusal::from)
        .and_then(|link| program.attach_to_link(link).map_err(Refusal::from))
        .and_then(|id| program.take_link(id).map_err(Refusal::from))
        .and_then(|link| FdLink::try_from(link).map_err(Refusal::from));
    Ok(link)
}

/// Loads the program that tells the tick.
pub(super) fn load_clock(ebpf: &mut Ebpf) -> Result<(), KernelError> {
    loaded(ebpf, super::lease::PROGRAM, SchedClassifier::load)?;
    Ok(())
}

/// Loads both programs.
pub(super) fn load(ebpf: &mut Ebpf) -> Result<(), KernelError> {
    loaded(ebpf, TC, SchedClassifier::load)?;
    loaded(ebpf, XDP, Xdp::load)?;
    Ok(())
}

/// The program of that name, loaded once.
pub(super) fn loaded<'a, P>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
    load: fn(&mut P) -> Result<(), ProgramError>,
) -> Result<&'a mut P, KernelError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf
        .program_mut(name)
        .ok_or(KernelError::Object { what: name })?;
    let program = <&mut P>::try_from(program).map_err(|_| KernelError::Object { what: name })?;
    match load(program) {
        Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(program),
        Err(error) => Err(KernelError::from_program(&error)),
    }
}

/// What helps when a mode is refused.
fn remedy(mode: Mode, reason: &str) -> &'static str {
    let is = |errno: i32| reason.contains(&format!("os error {errno})"));
    match mode {
        _ if is(libc::EPERM) => "run as root, or grant CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
        Mode::Tcx if is(libc::EINVAL) => "tcx needs Linux 6.6 or newer: use --hook clsact",
        Mode::Clsact if is(libc::EEXIST) => {
            "another program has our place among the filters, and is left alone: use --hook xdp-generic"
        }
        Mode::XdpNative if is(libc::EBUSY) => {
            "another XDP program is attached natively, and is left alone: use --hook tc"
        }
        Mode::XdpGeneric if is(libc::EBUSY) => {
            "another XDP program is attached in the stack, and is left alone: use --hook tc"
        }
        Mode::XdpNative | Mode::XdpGeneric if is(libc::EEXIST) => {
            "an XDP program is attached in another mode, and is left alone: use --hook tc"
        }
        Mode::XdpNative => {
            "its driver has no native XDP, or not with this configuration: use --hook auto"
        }
        Mode::Tcx | Mode::Clsact | Mode::XdpGeneric => {
            "use --hook auto, which takes what the device has"
        }
    }
}

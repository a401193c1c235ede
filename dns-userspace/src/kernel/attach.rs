//! Attaching to devices, with links that the kernel removes when this process ends; where it has none for that, with a
//! filter ([`super::clsact`]).

mod replace;

use std::{collections::BTreeSet, path::Path, sync::Arc};

use aya::{
    Ebpf,
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode, links::FdLink,
        tc::TcAttachOptions,
    },
};
use tracing::info;

use super::{
    KernelError, Mode,
    clsact::{self, Direction, Filter},
    error::chain,
    foreign,
    pins::{self, Pin, Place},
};
use replace::move_link;

/// An attached program; detached when dropped.
#[derive(Debug)]
pub struct Attached {
    /// The device.
    pub device: String,
    /// How.
    pub mode: Mode,
    /// Whether one network is sent only so many answers a second.
    pub limited: bool,
    /// Holds the link beyond this process. Dropped before the link, so that this is detached when that is.
    pin: Option<Pin>,
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

/// Attaches in one mode; where an earlier daemon has pinned a link, its program is replaced.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    device: &str,
    index: u32,
    mode: Mode,
    place: Option<&Arc<Place>>,
) -> Result<Attached, KernelError> {
    let Some(place) = place else {
        return attach_anew(ebpf, device, index, mode);
    };
    let _locked = place.lock_own()?;
    if mode == Mode::Clsact {
        // It has no link.
        return attach_anew(ebpf, device, index, mode);
    }
    if let Some((pin, link)) = pins::kept(place, mode, index) {
        match move_link(ebpf, link, mode)? {
            Ok(link) => {
                return Ok(Attached {
                    device: device.to_owned(),
                    mode,
                    limited: false,
                    pin: Some(pin),
                    holder: Holder::Link(link),
                });
            }
            // Most probably the device that it was at is gone, and this one has its number.
            Err(error) => info!(device, %error, "a link that is pinned is not used"),
        }
    }
    let mut attached = attach_anew(ebpf, device, index, mode)?;
    if let Holder::Link(link) = attached.holder {
        let (pin, link) = Pin::new(place, mode, index, link)?;
        attached.holder = Holder::Link(link);
        attached.pin = Some(pin);
    }
    Ok(attached)
}

fn attach_anew(
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
        pin: None,
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
    /// The file that holds its link.
    pub(super) fn pin(&self) -> Option<&Path> {
        self.pin.as_ref().map(Pin::path)
    }
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

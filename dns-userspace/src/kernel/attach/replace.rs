//! Another program in the place of the one that is attached.

use std::sync::Arc;

use aya::{
    Ebpf,
    programs::{SchedClassifier, Xdp, links::FdLink, tc::SchedClassifierLink, xdp::XdpLink},
};
use tracing::warn;

use super::{AttachResult, Attached, Holder, Refusal, TC, XDP, as_link, attach, loaded};
use crate::kernel::{KernelError, Mode, pins::Place};

impl Attached {
    /// Puts another object's program, which is loaded, in the place of the one that is attached. Link and filter stay
    /// (`BPF_LINK_UPDATE`): each packet meets one of the two, and the order among others' programs is as it was.
    pub(in crate::kernel) fn move_to(
        self,
        ebpf: &mut Ebpf,
        index: u32,
        place: Option<&Arc<Place>>,
    ) -> Result<Self, KernelError> {
        let Attached {
            device,
            mode,
            limited,
            pin,
            holder,
        } = self;
        let moved = match holder {
            Holder::Filter(filter) => {
                let program: &mut SchedClassifier = loaded(ebpf, TC, SchedClassifier::load)?;
                filter.move_to(program).map(Holder::Filter)
            }
            Holder::Link(link) => as_link(move_link(ebpf, link, mode)?),
        };
        match moved {
            Ok(holder) => Ok(Attached {
                device,
                mode,
                limited,
                pin,
                holder,
            }),
            Err(error) => {
                // What held it is dropped, and it is detached: until the next line but one packets pass.
                warn!(device, %error, "the program is not replaced in place: attaching anew");
                drop(pin);
                let attached = attach(ebpf, &device, index, mode, place)?;
                Ok(Attached {
                    limited,
                    ..attached
                })
            }
        }
    }
}

/// Has a link run a program, which is loaded if need be.
pub(super) fn move_link(ebpf: &mut Ebpf, link: FdLink, mode: Mode) -> AttachResult {
    if mode.is_xdp() {
        move_xdp(ebpf, link)
    } else {
        move_tcx(ebpf, link)
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

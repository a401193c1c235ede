//! Where the frames of a test are taken.

use aya::{
    Ebpf,
    programs::{LinkOrder, SchedClassifier, links::FdLink, tc::TcAttachOptions},
};

use super::{
    super::{
        Mode,
        attach::{self, Refusal},
        clsact::{self, Direction},
    },
    Device, TAKE,
};

/// The program that takes the frames of a test, where it stands; gone when this is.
pub(super) struct Takers {
    _links: Vec<Taker>,
}

#[expect(dead_code, reason = "held for as long as it is to stand there")]
enum Taker {
    Link(FdLink),
    Filter(clsact::Filter),
}

impl Takers {
    pub(super) fn new(ebpf: &mut Ebpf, device: &Device<'_>) -> Result<Self, Refusal> {
        let program: &mut SchedClassifier = attach::loaded(ebpf, TAKE, SchedClassifier::load)?;
        // tcx runs before clsact, so where our program is at clsact the test has to be there too.
        let links = match device.mode {
            Mode::Tcx => vec![by_tcx(program, device, Direction::Egress)?],
            Mode::Clsact => vec![by_clsact(program, device, Direction::Egress)?],
            Mode::XdpGeneric | Mode::XdpNative => {
                let behind = by_tcx(program, device, Direction::Ingress);
                vec![behind.or_else(|_| by_clsact(program, device, Direction::Ingress))?]
            }
        };
        Ok(Takers { _links: links })
    }
}

fn by_tcx(
    program: &mut SchedClassifier,
    device: &Device<'_>,
    direction: Direction,
) -> Result<Taker, Refusal> {
    let first = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program.attach_with_options(device.name, direction.attach_type(), first)?;
    let link = program.take_link(id)?;
    Ok(Taker::Link(link.try_into()?))
}

fn by_clsact(
    program: &mut SchedClassifier,
    device: &Device<'_>,
    direction: Direction,
) -> Result<Taker, Refusal> {
    clsact::attach(program, device.name, device.index, direction).map(Taker::Filter)
}

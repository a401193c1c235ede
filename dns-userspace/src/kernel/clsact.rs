//! Filters of tc at the qdisc `clsact`: how a program stands at a device where the kernel has no tcx (before Linux 6.6).
//!
//! Such a filter has no owner: it stays when its process ends. So it has a place that only we use (priority and handle) and our
//! program's name; it is taken away on the way out, and one that a killed daemon has left is found by these and removed before
//! anything is attached. (Until then it passes everything, since nobody renews its lease.) A qdisc that was made for it goes
//! with it, if nobody else has put a filter there meanwhile.

use std::{io, mem};

use aya::programs::{
    SchedClassifier, TcAttachType,
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact},
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcFilterBpfOption, TcHandle as Handle, TcHeader, TcMessage, TcOption},
};
use tracing::{info, warn};

use super::{attach::Refusal, netlink};

const QDISC: &str = "clsact";
/// The first of all filters: behind one that redirects, ours would never run. It shares this number with others that
/// want the same; the newest runs first.
const PRIORITY_FIRST: u16 = 1;
/// Ours among the filters of one priority: "hz".
const HANDLE: TcHandle = TcHandle::new(0, 0x687a);

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    pub(super) fn attach_type(self) -> TcAttachType {
        match self {
            Self::Ingress => TcAttachType::Ingress,
            Self::Egress => TcAttachType::Egress,
        }
    }

    fn parent(self) -> Handle {
        let minor = match self {
            Self::Ingress => Handle::MIN_INGRESS,
            Self::Egress => Handle::MIN_EGRESS,
        };
        Handle {
            major: Handle::CLSACT.major,
            minor,
        }
    }
}

/// A filter of ours; gone when this is.
#[derive(Debug)]
pub(super) struct Filter {
    link: Option<SchedClassifierLink>,
    index: u32,
    direction: Direction,
    /// The kernel's number of the program.
    program: u32,
    has_made_qdisc: bool,
}

/// A filter that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub name: String,
    pub id: u32,
    priority: u16,
    handle: TcHandle,
}

/// Puts a program that is loaded before all others.
pub(super) fn attach(
    program: &mut SchedClassifier,
    device: &str,
    index: u32,
    direction: Direction,
) -> Result<Filter, Refusal> {
    let mut filter = Filter {
        link: None,
        index,
        direction,
        program: program.info()?.id(),
        has_made_qdisc: false,
    };
    if !has_qdisc(index)? {
        qdisc_add_clsact(device)?;
        filter.has_made_qdisc = true;
    }
    let options = TcAttachOptions::Netlink(NlOptions {
        priority: PRIORITY_FIRST,
        handle: HANDLE,
        classid: None,
    });
    let id = program.attach_with_options(device, direction.attach_type(), options)?;
    filter.link = Some(program.take_link(id)?);
    Ok(filter)
}

impl Filter {
    /// Puts another program in the place of the one that is there: each packet meets one of the two.
    pub(super) fn move_to(mut self, program: &mut SchedClassifier) -> Result<Self, Refusal> {
        if let Some(link) = self.link.take() {
            let id = program.attach_to_link(link)?;
            self.link = Some(program.take_link(id)?);
            self.program = program.info()?.id();
        }
        Ok(self)
    }

    /// Whether it is this program that has the place.
    fn is_there(&self) -> bool {
        let found = filters(self.index, self.direction).unwrap_or_default();
        found.iter().any(|found| {
            found.id == self.program && found.handle == HANDLE && found.priority == PRIORITY_FIRST
        })
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        if self.is_there() {
            // aya takes the filter away.
            drop(self.link.take());
        } else {
            // By its place alone another daemon's would go, which has taken over.
            mem::forget(self.link.take());
        }
        if self.has_made_qdisc {
            // The device may be gone, and its qdisc with it.
            let _ = remove_qdisc(self.index);
        }
    }
}

/// Removes what a killed daemon has left at a device: filters in our place with our programs' names, and the qdisc if it is
/// empty then. Returns the names of the programs.
///
/// # Errors
/// What the kernel says.
pub(super) fn remove_leftovers(
    device: &str,
    index: u32,
    names: &[&str],
) -> io::Result<Vec<String>> {
    let mut removed = Vec::new();
    for direction in [Direction::Ingress, Direction::Egress] {
        for found in filters(index, direction)? {
            let is_ours = found.handle == HANDLE
                && found.priority == PRIORITY_FIRST
                && names.contains(&&*found.name);
            if is_ours {
                info!(
                    device,
                    program = found.name,
                    id = found.id,
                    "removing the filter that a daemon has left behind"
                );
                let kind = direction.attach_type();
                // Dropped, it detaches.
                drop(SchedClassifierLink::attached(
                    device,
                    kind,
                    found.priority,
                    found.handle,
                    None,
                )?);
                removed.push(found.name);
            }
        }
    }
    if !removed.is_empty() {
        remove_qdisc(index)?;
    }
    Ok(removed)
}

/// The programs at a device's clsact, in the order in which they run.
///
/// # Errors
/// What the kernel says.
pub(super) fn filters(index: u32, direction: Direction) -> io::Result<Vec<Found>> {
    if !has_qdisc(index)? {
        return Ok(Vec::new());
    }
    let question = message(index, direction.parent());
    let answers = netlink::dump(RouteNetlinkMessage::GetTrafficFilter(question))?;
    let found = answers.iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewTrafficFilter(filter) => read(filter),
        _ => None,
    });
    Ok(found.collect())
}

fn read(filter: &TcMessage) -> Option<Found> {
    // The head of a list of filters has no handle.
    if filter.header.handle == Handle::UNSPEC {
        return None;
    }
    let mut found = Found {
        name: String::new(),
        id: 0,
        priority: u16::try_from(filter.header.info >> 16).unwrap_or(0),
        handle: TcHandle::new(filter.header.handle.major, filter.header.handle.minor),
    };
    for attribute in &filter.attributes {
        match attribute {
            TcAttribute::Kind(kind) if found.name.is_empty() => found.name.clone_from(kind),
            TcAttribute::Options(options) => {
                for option in options {
                    match option {
                        TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => {
                            found.name.clone_from(name);
                        }
                        TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => found.id = *id,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(found)
}

fn has_qdisc(index: u32) -> io::Result<bool> {
    let question = message(index, Handle::UNSPEC);
    let answers = netlink::dump(RouteNetlinkMessage::GetQueueDiscipline(question))?;
    Ok(answers.iter().any(|answer| {
        matches!(answer, RouteNetlinkMessage::NewQueueDiscipline(qdisc)
            if qdisc.header.index == as_signed(index)
                && qdisc.attributes.contains(&TcAttribute::Kind(QDISC.to_owned())))
    }))
}

/// Removes an empty qdisc. Between the look and the removal another agent could put a filter there: a few microseconds, in which
/// it would have had to find a qdisc that it did not make.
fn remove_qdisc(index: u32) -> io::Result<()> {
    if !has_qdisc(index)? {
        return Ok(());
    }
    for direction in [Direction::Ingress, Direction::Egress] {
        if !filters(index, direction)?.is_empty() {
            return Ok(());
        }
    }
    let mut qdisc = message(index, Handle::CLSACT);
    qdisc.header.handle = Handle {
        major: Handle::CLSACT.major,
        minor: 0,
    };
    netlink::request(RouteNetlinkMessage::DelQueueDiscipline(qdisc))
        .inspect_err(|error| warn!(%error, index, "the empty qdisc stays"))?;
    Ok(())
}

fn message(index: u32, parent: Handle) -> TcMessage {
    let header = TcHeader {
        index: as_signed(index),
        parent,
        ..TcHeader::default()
    };
    TcMessage::from_parts(header, Vec::new())
}

fn as_signed(index: u32) -> i32 {
    i32::try_from(index).unwrap_or(0)
}

//! Other agents' programs at a device. They are named, and left alone.

use std::{collections::BTreeSet, fmt};

use aya::programs::{SchedClassifier, TcAttachType, loaded_programs};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkXdp},
};

use super::{
    clsact::{self, Direction},
    netlink,
};

/// A program that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    /// Where it stands.
    pub hook: &'static str,
    /// The kernel's number.
    pub id: u32,
    /// Its name, if we may know it: `CAP_SYS_ADMIN`, except for a filter of clsact.
    pub name: Option<String>,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{} {name} (id {})", self.hook, self.id),
            None => write!(f, "{} id {}", self.hook, self.id),
        }
    }
}

/// All that are there, the first to see a packet first. What may not be looked at is left out.
pub(super) fn at(device: &str, index: u32, ours: &BTreeSet<u32>) -> Vec<Foreign> {
    let mut found = at_xdp(index);
    // Each is opened for its name, which takes CAP_SYS_ADMIN.
    if let Ok((_, programs)) = SchedClassifier::query_tcx(device, TcAttachType::Ingress) {
        found.extend(programs.iter().map(|program| Foreign {
            hook: "tcx",
            id: program.id(),
            name: program.name_as_str().map(str::to_owned),
        }));
    }
    let filters = clsact::filters(index, Direction::Ingress).unwrap_or_default();
    found.extend(filters.into_iter().map(|filter| Foreign {
        hook: "clsact",
        id: filter.id,
        name: Some(filter.name),
    }));
    found.retain(|program| !ours.contains(&program.id));
    for program in &mut found {
        if program.name.is_none() {
            program.name = name_of(program.id);
        }
    }
    found
}

/// As one text, for people.
pub(super) fn listed(programs: &[Foreign]) -> String {
    let programs: Vec<String> = programs.iter().map(ToString::to_string).collect();
    programs.join(", ")
}

fn at_xdp(index: u32) -> Vec<Foreign> {
    let mut question = LinkMessage::default();
    question.header.index = index;
    let answers = netlink::request(RouteNetlinkMessage::GetLink(question)).unwrap_or_default();
    let mut found = Vec::new();
    for answer in &answers {
        let RouteNetlinkMessage::NewLink(link) = answer else {
            continue;
        };
        for attribute in &link.attributes {
            let LinkAttribute::Xdp(attributes) = attribute else {
                continue;
            };
            found.extend(attributes.iter().filter_map(|attribute| {
                let (hook, id) = match attribute {
                    LinkXdp::DrvProgId(id) => ("xdp", *id),
                    LinkXdp::SkbProgId(id) => ("xdp-generic", *id),
                    LinkXdp::HwProgId(id) => ("xdp-offload", *id),
                    _ => return None,
                };
                let name = None;
                Some(Foreign { hook, id, name })
            }));
        }
    }
    found
}

fn name_of(id: u32) -> Option<String> {
    let mut programs = loaded_programs().flatten();
    let program = programs.find(|program| program.id() == id)?;
    program.name_as_str().map(str::to_owned)
}

//! What a node looks like to somebody who wants to attach to it: for `hopzero check`, which leaves nothing behind.
//!
//! Its self-test answers for an address that nobody asks, so that no pod's query is answered meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use hickory_proto::rr::Name;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
    nsid::{NsidAttribute, NsidMessage},
};
use serde_json::Value;

use super::{
    Hook, Kernel, KernelError, LEASE_DEFAULT, Link, Options, Pod, Selection, attach, error,
    foreign::{self, Foreign},
    mode, netlink,
    probe::Questions,
};
use crate::{
    publisher::table::Capacity,
    source::Change,
    zone::{Zone, ZoneConfig},
};

/// Documentation's own (RFC 5737): no pod sends a query there.
const TESTED_FOR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 53));
/// What the test's zone needs, and more.
const NAMES: u32 = 16;
const CELLS: u32 = 64;
/// How all names of our programs begin.
const OURS: &str = "hopzero_";

/// A device of this network namespace.
#[derive(Clone, Debug)]
pub struct Seen {
    /// It, as a pod's would be followed.
    pub pod: Pod,
    /// Whether it is a network card.
    pub is_card: bool,
    /// Programs of others, the first to see a packet first, in words.
    pub others: Vec<String>,
    /// Programs of a hopzero.
    pub ours: Vec<String>,
}

/// The capabilities that this process lacks, each with what it is for.
pub fn missing_capabilities() -> Vec<(&'static str, &'static str)> {
    error::missing_capabilities().collect()
}

/// Loads all programs, with small maps, and forgets them again.
///
/// # Errors
/// What the kernel says.
pub fn try_to_load() -> Result<(), KernelError> {
    Kernel::load(&Options::default(), Capacity::new(NAMES, CELLS))?.load_programs()
}

/// The devices that are named, and those that a selection covers.
///
/// # Errors
/// The kernel does not list them; or one that is named is not there.
pub fn devices(named: &[String], selection: &Selection) -> Result<Vec<Seen>, KernelError> {
    let links = links().map_err(|source| KernelError::Netlink {
        what: "the devices",
        source,
    })?;
    for name in named {
        attach::index_of(name)?;
    }
    let by_index: BTreeMap<u32, &Link> = links.iter().map(|(link, _)| (link.index, link)).collect();
    let covered = links.iter().filter_map(|(link, _)| {
        let master = link
            .master
            .and_then(|master| by_index.get(&master).copied());
        let is_meant = named.contains(&link.name) || selection.covers(link, master);
        is_meant.then(|| Pod {
            link: link.clone(),
            bridge: master.and_then(|master| master.mac),
            birth: 0,
        })
    });
    Ok(covered.map(Seen::of).collect())
}

impl Seen {
    fn of(pod: Pod) -> Self {
        let there = foreign::at(&pod.link.name, pod.link.index, &BTreeSet::new());
        let is_ours =
            |program: &Foreign| (program.name.as_ref()).is_some_and(|name| name.starts_with(OURS));
        let (ours, others): (Vec<_>, Vec<_>) = there.iter().partition(|program| is_ours(program));
        let words = |programs: Vec<&Foreign>| programs.iter().map(ToString::to_string).collect();
        Seen {
            is_card: mode::is_card(&pod.link.name),
            pod,
            others: words(others),
            ours: words(ours),
        }
    }
}

/// Attaches to each device, sends a query through it, and detaches again, until there is no more time. Each as the daemon
/// describes a device.
///
/// # Errors
/// The programs cannot be loaded.
pub fn self_test(devices: &[Seen], hook: Hook, until: Instant) -> Result<Vec<Value>, KernelError> {
    let options = Options {
        hook,
        answer_for: vec![TESTED_FOR],
        ..Options::default()
    };
    Kernel::check(&options)?;
    let mut zone = Zone::new(ZoneConfig {
        origin: Name::from_ascii("check.invalid.").unwrap_or_default(),
        ..ZoneConfig::default()
    });
    zone.apply(vec![Change::Synchronised], 0);
    let questions = Questions::of(&zone);
    let mut kernel = Kernel::load(&options, Capacity::new(NAMES, CELLS))?;
    kernel.publisher.publish_all(&zone);
    kernel.load_for_pods(hook)?;
    let mut tested = Vec::new();
    for device in devices {
        if Instant::now() >= until {
            break;
        }
        kernel.renew_lease(LEASE_DEFAULT)?;
        kernel.answer(true);
        let index = device.pod.link.index;
        kernel.follow_pod(index, Some(device.pod.clone()), &options);
        while kernel.is_due() && Instant::now() < until {
            kernel.do_next(&options, &questions);
        }
        if let Value::Array(described) = kernel.describe_devices() {
            tested.extend(described);
        }
        kernel.follow_pod(index, None, &options);
    }
    Ok(tested)
}

/// The kernel's numbers of the network namespaces at the other ends of pods' devices.
///
/// # Errors
/// What the kernel says.
pub fn namespaces_of_pods() -> io::Result<BTreeSet<i32>> {
    Ok(links()?.into_iter().filter_map(|(_, id)| id).collect())
}

/// The kernel's number of the network namespace of a process, if it has one.
pub fn namespace_of(pid: u32) -> Option<i32> {
    let mut question = NsidMessage::default();
    question.attributes.push(NsidAttribute::Pid(pid));
    let answers = netlink::request(RouteNetlinkMessage::GetNsId(question)).ok()?;
    answers.iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewNsId(message) => {
            message
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    NsidAttribute::Id(id) if *id >= 0 => Some(*id),
                    _ => None,
                })
        }
        _ => None,
    })
}

/// All devices, with the namespace of the other end.
fn links() -> io::Result<Vec<(Link, Option<i32>)>> {
    let answers = netlink::dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    Ok(answers
        .iter()
        .filter_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(message) => {
                let id = message
                    .attributes
                    .iter()
                    .find_map(|attribute| match attribute {
                        LinkAttribute::LinkNetNsId(id) => Some(*id),
                        _ => None,
                    });
                Some((Link::of(message), id))
            }
            _ => None,
        })
        .collect())
}

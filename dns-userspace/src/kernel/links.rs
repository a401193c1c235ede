//! The node's devices as they come and go, by rtnetlink.
//!
//! ```text
//! RTNLGRP_LINK ─┐
//! dump          ─┴▶ what is known ─▶ is it a pod's? ─▶ Changes: the latest of each device
//! ```
//!
//! A dump and the events after it come by one socket, in the order in which they were true. When that socket overflows
//! (ENOBUFS) events are lost: everything is asked for anew, and what is not there any more is gone. So is nothing missed, only seen later.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};
use netlink_sys::{
    AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE,
};
use tokio::sync::Notify;
use tracing::warn;

use super::{netlink, select::Selection};

/// The multicast group of devices (`RTNLGRP_LINK`).
const GROUP_LINK: u32 = 1;
/// After an error that is not an overflow.
const PAUSE: Duration = Duration::from_secs(1);

/// A device, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is up, and so is what is at its other end.
    pub is_up: bool,
    /// Its Ethernet address.
    pub mac: Option<[u8; 6]>,
    /// Whether it is one end of a pair.
    pub is_veth: bool,
    /// The other end is in another network namespace.
    pub peer_is_elsewhere: bool,
    /// The bridge that it is a port of, or what else it is enslaved to.
    pub master: Option<u32>,
}

/// A pod's device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// It.
    pub link: Link,
    /// The Ethernet address of the bridge that it is a port of.
    pub bridge: Option<[u8; 6]>,
    /// Another one for each device that there was: numbers and names are used again.
    pub birth: u64,
}

/// What has become of pods' devices, the latest of each; `None`: it is gone, or no pod's any more.
#[derive(Debug, Default)]
pub struct Changes {
    pending: Mutex<Pending>,
    some: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    gone: BTreeSet<u32>,
    there: BTreeMap<u32, Pod>,
}

impl Changes {
    fn put(&self, index: u32, pod: Option<Pod>) {
        let mut pending = self.pending();
        if let Some(pod) = pod {
            pending.gone.remove(&index);
            pending.there.insert(index, pod);
        } else {
            pending.there.remove(&index);
            pending.gone.insert(index);
        }
        drop(pending);
        self.some.notify_one();
    }

    /// The next one, when there is one. Nothing is lost if this is dropped before.
    pub async fn next(&self) -> (u32, Option<Pod>) {
        loop {
            if let Some(next) = self.pending().next() {
                return next;
            }
            self.some.notified().await;
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    /// First what is gone, which is done at once; then the newest, since where they go as fast as they come the oldest are gone
    /// soonest.
    fn next(&mut self) -> Option<(u32, Option<Pod>)> {
        if let Some(gone) = self.gone.pop_first() {
            return Some((gone, None));
        }
        let (index, pod) = self.there.pop_last()?;
        Some((index, Some(pod)))
    }
}

impl Link {
    /// What a message says of a device.
    pub(super) fn of(message: &LinkMessage) -> Self {
        let mut link = Link {
            index: message.header.index,
            name: String::new(),
            is_up: (message.header.flags).contains(LinkFlags::Up | LinkFlags::LowerUp),
            mac: None,
            is_veth: false,
            peer_is_elsewhere: false,
            master: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(address) => link.mac = address.as_slice().try_into().ok(),
                LinkAttribute::Controller(master) => link.master = Some(*master),
                // Only said where it is another namespace than this one.
                LinkAttribute::LinkNetNsId(_) => link.peer_is_elsewhere = true,
                LinkAttribute::LinkInfo(infos) => {
                    link.is_veth = infos.contains(&LinkInfo::Kind(InfoKind::Veth));
                }
                _ => {}
            }
        }
        link
    }
}

/// Listens to what becomes of devices.
pub struct Watch {
    socket: TokioSocket,
    known: Known,
    sequence: u32,
    /// There is to be another dump when this one ends.
    again: bool,
}

impl Watch {
    /// Listens from now on in this thread's network namespace.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(selection: Selection) -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind_auto()?;
        socket.socket_ref().add_membership(GROUP_LINK)?;
        Ok(Watch {
            socket,
            known: Known::new(selection),
            sequence: 0,
            again: false,
        })
    }

    /// Says what there is, and what changes, for ever.
    pub async fn run(mut self, changes: &Changes) {
        let mut tell = |index, pod| changes.put(index, pod);
        self.ask().await;
        loop {
            match self.socket.recv_from_full().await {
                Ok((datagram, _)) => {
                    for message in netlink::decode(&datagram) {
                        self.take(message, &mut tell).await;
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    warn!("events of devices were lost: all of them are looked at");
                    self.ask().await;
                }
                Err(error) => {
                    warn!(%error, "events of devices cannot be read");
                    tokio::time::sleep(PAUSE).await;
                    self.ask().await;
                }
            }
        }
    }

    /// Asks for all devices; while that is answered already, once more after it.
    async fn ask(&mut self) {
        if self.known.is_listing() {
            self.again = true;
            return;
        }
        self.again = false;
        self.sequence = self.sequence.wrapping_add(1).max(1);
        let question = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let question = netlink::encode(question, NLM_F_DUMP, self.sequence);
        self.known.begin_list();
        if let Err(error) = (self.socket)
            .send_to(&question, &SocketAddr::new(0, 0))
            .await
        {
            warn!(%error, "the devices cannot be asked for");
            self.known.abandon_list();
        }
    }

    async fn take(
        &mut self,
        message: NetlinkMessage<RouteNetlinkMessage>,
        tell: &mut impl FnMut(u32, Option<Pod>),
    ) {
        let is_answer = message.header.sequence_number == self.sequence;
        // The list was changed while it was made.
        self.again |= is_answer && message.header.flags & NLM_F_DUMP_INTR != 0;
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message))
                if is_of_devices(&message) =>
            {
                self.known.upsert(Link::of(&message), tell);
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(message))
                if is_of_devices(&message) =>
            {
                self.known.remove(message.header.index, tell);
            }
            NetlinkPayload::Done(_) if is_answer => {
                if self.again {
                    self.known.abandon_list();
                    self.ask().await;
                } else {
                    self.known.end_list(tell);
                }
            }
            NetlinkPayload::Error(error) if is_answer && error.code.is_some() => {
                warn!(error = %error.to_io(), "the devices cannot be listed");
                self.known.abandon_list();
                tokio::time::sleep(PAUSE).await;
                self.ask().await;
            }
            _ => {}
        }
    }
}

/// A bridge speaks of its ports in the same group: one that has left it is not gone.
fn is_of_devices(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

/// All devices, and which of them have been told of.
struct Known {
    selection: Selection,
    links: BTreeMap<u32, (Link, u64)>,
    told: BTreeMap<u32, Pod>,
    births: u64,
    /// What was seen since the list began.
    listed: Option<BTreeSet<u32>>,
}

impl Known {
    fn new(selection: Selection) -> Self {
        Known {
            selection,
            links: BTreeMap::new(),
            told: BTreeMap::new(),
            births: 0,
            listed: None,
        }
    }

    fn is_listing(&self) -> bool {
        self.listed.is_some()
    }

    fn begin_list(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    fn abandon_list(&mut self) {
        self.listed = None;
    }

    fn end_list(&mut self, tell: &mut impl FnMut(u32, Option<Pod>)) {
        let Some(listed) = self.listed.take() else {
            return;
        };
        let is_gone = |index: &u32| !listed.contains(index);
        let gone: Vec<u32> = self.links.keys().copied().filter(is_gone).collect();
        for index in gone {
            self.remove(index, tell);
        }
    }

    fn upsert(&mut self, link: Link, tell: &mut impl FnMut(u32, Option<Pod>)) {
        let index = link.index;
        if let Some(listed) = &mut self.listed {
            listed.insert(index);
        }
        let known = self.links.get(&index).map(|(_, birth)| *birth);
        let birth = known.unwrap_or_else(|| {
            self.births += 1;
            self.births
        });
        self.links.insert(index, (link, birth));
        self.tell_of(index, tell);
        self.tell_of_ports(index, tell);
    }

    fn remove(&mut self, index: u32, tell: &mut impl FnMut(u32, Option<Pod>)) {
        self.links.remove(&index);
        self.tell_of(index, tell);
        self.tell_of_ports(index, tell);
    }

    /// A bridge may have another address, or only now be known.
    fn tell_of_ports(&mut self, bridge: u32, tell: &mut impl FnMut(u32, Option<Pod>)) {
        let ports = self.links.values();
        let ports = ports.filter(|(link, _)| link.master == Some(bridge));
        let ports: Vec<u32> = ports.map(|(link, _)| link.index).collect();
        for port in ports {
            self.tell_of(port, tell);
        }
    }

    fn tell_of(&mut self, index: u32, tell: &mut impl FnMut(u32, Option<Pod>)) {
        let pod = self.links.get(&index).and_then(|(link, birth)| {
            let master = link.master.and_then(|master| self.links.get(&master));
            let master = master.map(|(master, _)| master);
            self.selection.covers(link, master).then(|| Pod {
                link: link.clone(),
                bridge: master.and_then(|master| master.mac),
                birth: *birth,
            })
        });
        if pod.as_ref() == self.told.get(&index) {
            return;
        }
        match &pod {
            Some(pod) => self.told.insert(index, pod.clone()),
            None => self.told.remove(&index),
        };
        tell(index, pod);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn veth(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.to_owned(),
            is_up: true,
            mac: Some([2, 0, 0, 0, 0, 1]),
            is_veth: true,
            peer_is_elsewhere: true,
            master: None,
        }
    }

    /// What was told, in a form to compare.
    struct Told(Vec<(u32, Option<u64>)>);

    impl Told {
        fn tell(&mut self) -> impl FnMut(u32, Option<Pod>) + '_ {
            |index, pod| self.0.push((index, pod.map(|pod| pod.birth)))
        }

        fn take(&mut self) -> Vec<(u32, Option<u64>)> {
            std::mem::take(&mut self.0)
        }
    }

    fn known() -> (Known, Told) {
        (Known::new(Selection::pods()), Told(Vec::new()))
    }

    #[test]
    fn what_comes_and_goes_is_told_once() {
        let (mut known, mut told) = known();
        known.upsert(veth(3, "a"), &mut told.tell());
        known.upsert(veth(3, "a"), &mut told.tell());
        assert_eq!(told.take(), [(3, Some(1))]);
        known.remove(3, &mut told.tell());
        known.remove(3, &mut told.tell());
        assert_eq!(told.take(), [(3, None)]);
        // The same number and name is another device.
        known.upsert(veth(3, "a"), &mut told.tell());
        assert_eq!(told.take(), [(3, Some(2))]);
    }

    #[test]
    fn what_a_new_list_lacks_is_gone() {
        let (mut known, mut told) = known();
        for index in [3, 4, 5] {
            known.upsert(veth(index, "a"), &mut told.tell());
        }
        told.take();
        known.begin_list();
        known.upsert(veth(4, "a"), &mut told.tell());
        // It comes while the list is made, and may not be in it.
        known.upsert(veth(6, "b"), &mut told.tell());
        known.end_list(&mut told.tell());
        assert_eq!(told.take(), [(6, Some(4)), (3, None), (5, None)]);
    }

    #[test]
    fn ports_follow_their_bridge() {
        let (mut known, mut told) = known();
        let mut port = veth(3, "a");
        port.master = Some(9);
        known.upsert(port, &mut told.tell());
        assert_eq!(told.take(), [(3, Some(1))]);
        let mut bridge = veth(9, "cni0");
        bridge.is_veth = false;
        for mac in [[6; 6], [7; 6]] {
            bridge.mac = Some(mac);
            known.upsert(bridge.clone(), &mut told.tell());
            assert_eq!(told.take(), [(3, Some(1))]);
            assert_eq!(known.told[&3].bridge, Some(mac));
        }
    }

    #[tokio::test]
    async fn only_the_latest_of_a_device_is_left_to_do() {
        let changes = Changes::default();
        let pod = |birth| Pod {
            link: veth(3, "a"),
            bridge: None,
            birth,
        };
        changes.put(4, Some(pod(2)));
        changes.put(3, Some(pod(1)));
        changes.put(3, None);
        changes.put(2, None);
        changes.put(2, Some(pod(3)));
        assert_eq!(changes.next().await, (3, None));
        assert_eq!(changes.next().await, (4, Some(pod(2))));
        assert_eq!(changes.next().await.0, 2);
        assert!(changes.pending().next().is_none());
    }
}

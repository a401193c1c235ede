//! The node's devices as they come and go, by rtnetlink.
//!
//! ```text
//! RTNLGRP_LINK ─┐
//! dump          ─┴▶ what is known ─▶ is it a pod's? ─▶ Changes: the latest of each device
//! ```
//!
//! A dump and the events after it come by one socket, in the order in which they were true. When that socket overflows
//! (ENOBUFS) events are lost: everything is asked for anew, and what is not there any more is gone. So is nothing missed, only seen later.

mod changes;
mod known;

use std::{io, time::Duration};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_DUMP_INTR, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};
use netlink_sys::{
    AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE,
};
use tracing::warn;

pub use changes::Changes;
use known::Known;

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

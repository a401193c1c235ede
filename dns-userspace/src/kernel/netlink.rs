//! rtnetlink: a question to the kernel, and its answers. [`super::links`] listens to what it says by itself.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use tracing::debug;

/// Messages begin at multiples of this (`NLMSG_ALIGNTO`).
const ALIGNED_TO: usize = 4;
/// Shorter than a header.
const HEADER_BYTES: usize = 16;

/// Message as the kernel takes it.
pub(super) fn encode(message: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// All messages of a datagram. What this library cannot read is left out: a kernel may be newer.
pub(super) fn decode(
    datagram: &[u8],
) -> impl Iterator<Item = NetlinkMessage<RouteNetlinkMessage>> + '_ {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = NetlinkBuffer::new_checked(rest).ok()?.length() as usize;
        if length < HEADER_BYTES {
            return None;
        }
        let (message, behind) = rest.split_at_checked(length)?;
        rest = behind
            .get(length.next_multiple_of(ALIGNED_TO) - length..)
            .unwrap_or_default();
        Some(NetlinkMessage::deserialize(message))
    })
    .filter_map(|message| {
        message
            .inspect_err(|error| debug!(%error, "a netlink message that cannot be read"))
            .ok()
    })
}

/// Everything that there is of a kind.
///
/// # Errors
/// What the kernel says.
pub(super) fn dump(question: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    ask(question, NLM_F_DUMP)
}

/// Asks for one thing, or changes one.
///
/// # Errors
/// What the kernel says.
pub(super) fn request(question: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    ask(question, NLM_F_ACK)
}

/// Makes one thing, which must not be there.
///
/// # Errors
/// What the kernel says.
pub(super) fn create(thing: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    ask(thing, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)
}

fn ask(question: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&encode(question, flags, 1), 0)?;
    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        for message in decode(&datagram) {
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                // The end of a dump, or an acknowledgement.
                NetlinkPayload::Done(_) | NetlinkPayload::Error(_) => return Ok(answers),
                _ => {}
            }
        }
    }
}

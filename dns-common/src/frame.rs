//! Ethernet, IPv4, IPv6, UDP: is this packet a query to an address that we answer for?
//!
//! ```text
//! Ethernet 14 │ IPv4 20, IHL 5, no fragment │ UDP 8 │ DNS      DNS at 42
//! Ethernet 14 │ IPv6 40, next header 17     │ UDP 8 │ DNS      DNS at 62
//! ```
//!
//! # VLAN
//!
//! A tag (IEEE 802.1Q) of a VLAN in [`Control::vlans`] is let through and stays in the answer as it was; any
//! other passes, and so do two. It can be in two places:
//!
//! * in the frame, four bytes before the type of what it carries. The rest of the frame is then parsed
//!   as if it began four bytes later. XDP in a driver sees tags so, unless the card strips them: then it sees
//!   none, answers without one, and the answer is lost on its way. Such a card must not
//!   (`ethtool -K DEV rxvlan off`).
//! * beside the packet, where the stack puts it before tc (Linux 3.18, `skb_vlan_untag`). What the program
//!   leaves beside the packet leaves with it.
//!
//! XDP in the stack runs before that: it sees a tag in the frame, but not one that a device has stripped or
//! never wrote (a veth whose other end is a VLAN device). The stack keeps such a tag over `XDP_TX`, so that
//! answers arrive; only that the VLAN is not asked whether it is configured.

use crate::{
    layout::{Control, Frame, LIMIT_NONE, MAC_LIMITED},
    limits::ADDRESSES_MAX,
    packet::Packet,
    reason::Reason,
};

/// Offset of the network header.
pub const L3: usize = 14;
/// Offset of the DNS message behind IPv4.
pub const DNS_V4: usize = L3 + 20 + 8;
/// Offset of the DNS message behind IPv6.
pub const DNS_V6: usize = L3 + 40 + 8;
/// A VLAN tag: its type, then priority and VLAN.
const TAG_BYTES: usize = 4;
/// The VLAN among the bits of a tag; above it are priority and drop eligibility.
const VLAN_MASK: u16 = 0xfff;

const DNS_PORT: u16 = 53u16.to_be();
const ETHERTYPE_IPV4: u16 = 0x0800u16.to_be();
const ETHERTYPE_IPV6: u16 = 0x86ddu16.to_be();
const ETHERTYPE_VLAN: u16 = 0x8100u16.to_be();
const ETHERTYPE_QINQ: u16 = 0x88a8u16.to_be();
const UDP: u8 = 17;

/// What is known of the link layer before its header is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLayer {
    /// The kernel has classified the packet as for this device (tc: `PACKET_HOST`).
    Ours,
    /// The kernel has classified it as for another address than the device's (tc). That may be ours all the same, if it is in
    /// [`Control::macs`]: what comes in at a port of a bridge is for the bridge.
    Foreign,
    /// Nothing (XDP): the destination must be in [`Control::macs`].
    Unknown,
}

/// A tag beside the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its type, network order.
    pub protocol: u16,
    /// Priority and VLAN, host order.
    pub control: u16,
}

/// Parses and judges the headers below DNS.
///
/// # Errors
/// Why the packet is not for us.
#[inline(always)]
pub fn parse(
    packet: Packet,
    control: &Control,
    link: LinkLayer,
    beside: Option<Tag>,
) -> Result<Frame, Reason> {
    if let Some(tag) = beside {
        judge_vlan(control, tag.protocol, tag.control)?;
    }
    let ethernet = packet.head::<L3>().ok_or(Reason::NotIp)?;
    let mut frame = match ethernet.read::<u16, 12>() {
        ETHERTYPE_IPV4 => parse_v4(packet, control)?,
        ETHERTYPE_IPV6 => parse_v6(packet, control)?,
        ETHERTYPE_VLAN if beside.is_none() => parse_tagged(packet, control)?,
        ETHERTYPE_VLAN | ETHERTYPE_QINQ => return Err(Reason::Vlan),
        _ => return Err(Reason::NotIp),
    };
    if link == LinkLayer::Ours {
        return Ok(frame);
    }
    // The upper half-word is neither the packet's address nor the device's.
    let destination = ethernet.read::<u64, 0>() << 16;
    let device = control
        .macs
        .iter()
        .take(control.macs_count as usize)
        .find(|mac| **mac << 16 == destination);
    let mac = device.ok_or(Reason::DestinationMac)?;
    if link == LinkLayer::Unknown {
        frame.limit = (mac / MAC_LIMITED) as u32 & 1;
    }
    Ok(frame)
}

/// A frame with a tag in it.
#[inline(always)]
fn parse_tagged(packet: Packet, control: &Control) -> Result<Frame, Reason> {
    let header = packet.head::<{ L3 + TAG_BYTES }>().ok_or(Reason::Vlan)?;
    let tag = u16::from_be(header.read::<u16, L3>());
    judge_vlan(control, ETHERTYPE_VLAN, tag)?;
    // From here on the network header is where it would be without the tag.
    let inner = packet.skip(TAG_BYTES).ok_or(Reason::Vlan)?;
    let mut frame = match header.read::<u16, { L3 + 2 }>() {
        ETHERTYPE_IPV4 => parse_v4(inner, control)?,
        ETHERTYPE_IPV6 => parse_v6(inner, control)?,
        ETHERTYPE_VLAN | ETHERTYPE_QINQ => return Err(Reason::Vlan),
        _ => return Err(Reason::NotIp),
    };
    frame.dns += TAG_BYTES as u32;
    Ok(frame)
}

/// Whether this is a tag of a VLAN that we answer in. VLAN 0 is none: only a priority.
#[inline(always)]
fn judge_vlan(control: &Control, protocol: u16, tag: u16) -> Result<(), Reason> {
    let vlan = tag & VLAN_MASK;
    let configured = control.vlans.contains(&vlan);
    if protocol == ETHERTYPE_VLAN && vlan != 0 && configured {
        Ok(())
    } else {
        Err(Reason::Vlan)
    }
}

#[inline(always)]
fn parse_v4(packet: Packet, control: &Control) -> Result<Frame, Reason> {
    const UDP_AT: usize = L3 + 20;
    let header = packet.head::<DNS_V4>().ok_or(Reason::Length)?;
    // The protocol and the port first: most packets are not for us, and leave here.
    if header.read::<u8, { L3 + 9 }>() != UDP {
        return Err(Reason::NotUdp);
    }
    if header.read::<u8, L3>() != 0x45 {
        return Err(Reason::IpOptions);
    }
    // More-fragments, or an offset; don't-fragment and the reserved bit may be anything.
    if header.read::<u16, { L3 + 6 }>() & 0x3fff_u16.to_be() != 0 {
        return Err(Reason::Fragment);
    }
    if header.read::<u16, { UDP_AT + 2 }>() != DNS_PORT {
        return Err(Reason::NotDns);
    }
    let destination = header.read::<u32, { L3 + 16 }>();
    if !among(&control.v4, control.v4_count, destination) {
        return Err(Reason::Destination);
    }
    let source = header.read::<u32, { L3 + 12 }>();
    // First octet, in network order the lowest byte: "this network", loopback, multicast and above.
    let octet = source as u8;
    if octet == 0 || octet == 127 || octet >= 224 || among(&control.v4, control.v4_count, source) {
        return Err(Reason::Source);
    }
    let total = u32::from(u16::from_be(header.read::<u16, { L3 + 2 }>()));
    let udp_len = u32::from(u16::from_be(header.read::<u16, { UDP_AT + 4 }>()));
    if total != udp_len + 20 {
        return Err(Reason::Length);
    }
    let message_len = judge_udp(packet, UDP_AT, udp_len, header.read::<u16, UDP_AT>())?;
    Ok(Frame {
        dns: DNS_V4 as u32,
        message_len,
        v6: 0,
        limit: LIMIT_NONE,
    })
}

#[inline(always)]
fn parse_v6(packet: Packet, control: &Control) -> Result<Frame, Reason> {
    const UDP_AT: usize = L3 + 40;
    let header = packet.head::<DNS_V6>().ok_or(Reason::Length)?;
    if header.read::<u8, { L3 + 6 }>() != UDP {
        return Err(Reason::NotUdp);
    }
    if header.read::<u8, L3>() >> 4 != 6 {
        return Err(Reason::IpOptions);
    }
    if header.read::<u16, { UDP_AT + 2 }>() != DNS_PORT {
        return Err(Reason::NotDns);
    }
    let destination = [
        header.read::<u64, { L3 + 24 }>(),
        header.read::<u64, { L3 + 32 }>(),
    ];
    if !among(&control.v6, control.v6_count, destination) {
        return Err(Reason::Destination);
    }
    let source = [
        header.read::<u64, { L3 + 8 }>(),
        header.read::<u64, { L3 + 16 }>(),
    ];
    // Multicast; unspecified (::) and loopback (::1) share fifteen zero bytes.
    let multicast = source[0] as u8 == 0xff;
    let unspecified = source[0] == 0 && source[1] & !(1 << 56) == 0;
    if multicast || unspecified || among(&control.v6, control.v6_count, source) {
        return Err(Reason::Source);
    }
    let payload = u32::from(u16::from_be(header.read::<u16, { L3 + 4 }>()));
    let udp_len = u32::from(u16::from_be(header.read::<u16, { UDP_AT + 4 }>()));
    if payload != udp_len {
        return Err(Reason::Length);
    }
    let message_len = judge_udp(packet, UDP_AT, udp_len, header.read::<u16, UDP_AT>())?;
    Ok(Frame {
        dns: DNS_V6 as u32,
        message_len,
        v6: 1,
        limit: LIMIT_NONE,
    })
}

/// The length of the message behind a UDP header at `udp`.
#[inline(always)]
fn judge_udp(packet: Packet, udp: usize, udp_len: u32, source_port: u16) -> Result<u32, Reason> {
    if source_port == 0 || source_port == DNS_PORT {
        return Err(Reason::SourcePort);
    }
    if udp_len < 8 || udp + udp_len as usize > packet.len() {
        return Err(Reason::Length);
    }
    Ok(udp_len - 8)
}

/// Whether one of the first `count` elements is `value`.
#[inline(always)]
fn among<T: PartialEq + Copy, const N: usize>(list: &[T; N], count: u32, value: T) -> bool {
    const { assert!(N == ADDRESSES_MAX) };
    for (index, element) in list.iter().enumerate() {
        if index as u32 >= count {
            break;
        }
        if *element == value {
            return true;
        }
    }
    false
}

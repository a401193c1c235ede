//! Ethernet, IPv4, IPv6, UDP: is this packet a query to an address that we answer for?
//!
//! ```text
//! Ethernet 14 │ IPv4 20, IHL 5, no fragment │ UDP 8 │ DNS      DNS at 42
//! Ethernet 14 │ IPv6 40, next header 17     │ UDP 8 │ DNS      DNS at 62
//! ```

use crate::{
    layout::{Control, Frame},
    limits::{ADDRESSES_MAX, MACS_MAX},
    packet::Packet,
    reason::Reason,
};

/// Offset of the network header.
pub const L3: usize = 14;
/// Offset of the DNS message behind IPv4.
pub const DNS_V4: usize = L3 + 20 + 8;
/// Offset of the DNS message behind IPv6.
pub const DNS_V6: usize = L3 + 40 + 8;

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
    /// The kernel has classified it as for somebody else.
    Foreign,
    /// It carries a VLAN tag beside its bytes.
    Tagged,
    /// Nothing (XDP): the destination must be in [`Control::macs`].
    Unknown,
}

/// Parses and judges the headers below DNS.
///
/// # Errors
/// Why the packet is not for us.
#[inline(always)]
pub fn parse(packet: Packet, control: &Control, link: LinkLayer) -> Result<Frame, Reason> {
    if link == LinkLayer::Tagged {
        return Err(Reason::Vlan);
    }
    let ethernet = packet.head::<L3>().ok_or(Reason::NotIp)?;
    let frame = match ethernet.read::<u16, 12>() {
        ETHERTYPE_IPV4 => parse_v4(packet, control)?,
        ETHERTYPE_IPV6 => parse_v6(packet, control)?,
        ETHERTYPE_VLAN | ETHERTYPE_QINQ => return Err(Reason::Vlan),
        _ => return Err(Reason::NotIp),
    };
    let ours = match link {
        LinkLayer::Unknown => {
            let destination = ethernet.read::<u64, 0>() & 0xffff_ffff_ffff;
            among(&control.macs, control.macs_count, destination)
        }
        _ => link == LinkLayer::Ours,
    };
    if ours {
        Ok(frame)
    } else {
        Err(Reason::DestinationMac)
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
        reserved: 0,
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
        reserved: 0,
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
    const { assert!(N == ADDRESSES_MAX || N == MACS_MAX) };
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

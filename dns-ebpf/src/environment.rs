//! The two kinds of packet that programs see.

use core::sync::atomic::AtomicU64;

use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_F_MARK_MANGLED_0,
    helpers::{bpf_jiffies64, bpf_l4_csum_replace, bpf_skb_change_tail, bpf_xdp_adjust_tail},
    programs::{TcContext, XdpContext},
};
use hopzero_common::{
    checksum,
    counter::Hook,
    frame::{LinkLayer, Tag},
    layout::Frame,
    limit::Buckets,
    limits::{BUCKET_ENTRIES, CELL_WORDS},
    lookup::Table,
    packet::Packet,
    respond::{Environment, NoRoom},
};

use crate::maps;

/// `skb->pkt_type` of a packet whose link-layer destination is this device (`PACKET_HOST`).
const PACKET_HOST: u32 = 0;

/// The kernel's tick. On 64-bit machines the verifier replaces the call by a load (Linux 5.6).
#[inline(always)]
pub fn jiffies() -> u64 {
    // SAFETY: a helper call without arguments.
    unsafe { bpf_jiffies64() }
}

const UDP_HEADER_BYTES: usize = 8;
/// Offset of the checksum in the UDP header.
const UDP_CHECKSUM: usize = 6;

/// A packet at an XDP hook.
pub struct Xdp<'a>(pub &'a XdpContext);

impl Environment for Xdp<'_> {
    const HOOK: Hook = Hook::Xdp;

    #[inline(always)]
    fn packet(&self) -> Packet {
        // SAFETY: the kernel's bounds of the packet; nothing else refers to it during the run.
        unsafe { Packet::new(self.0.data() as *mut u8, self.0.data_end() as *mut u8) }
    }

    #[inline(always)]
    fn resize(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let delta = bytes as i32 - self.packet().len() as i32;
        // SAFETY: the context is the program's own.
        match unsafe { bpf_xdp_adjust_tail(self.0.ctx, delta) } {
            0 => Ok(()),
            _ => Err(NoRoom),
        }
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        jiffies()
    }

    #[inline(always)]
    fn link_layer(&self) -> LinkLayer {
        LinkLayer::Unknown
    }
}

/// A packet at a tc hook.
pub struct Tc<'a>(pub &'a TcContext);

impl Tc<'_> {
    /// The device that the packet came in by.
    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        // SAFETY: the context is the program's own.
        unsafe { (*self.0.skb.skb).ifindex }
    }
}

impl Environment for Tc<'_> {
    const HOOK: Hook = Hook::Tc;

    #[inline(always)]
    fn packet(&self) -> Packet {
        // SAFETY: the kernel's bounds of the linear part; nothing else refers to it during the run.
        unsafe { Packet::new(self.0.data() as *mut u8, self.0.data_end() as *mut u8) }
    }

    #[inline(always)]
    fn resize(&mut self, bytes: usize) -> Result<(), NoRoom> {
        // SAFETY: the context is the program's own.
        match unsafe { bpf_skb_change_tail(self.0.as_ptr().cast(), bytes as u32, 0) } {
            0 => Ok(()),
            _ => Err(NoRoom),
        }
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        jiffies()
    }

    #[inline(always)]
    fn link_layer(&self) -> LinkLayer {
        // SAFETY: the context is the program's own.
        if unsafe { (*self.0.skb.skb).pkt_type } == PACKET_HOST {
            LinkLayer::Ours
        } else {
            LinkLayer::Foreign
        }
    }

    #[inline(always)]
    fn tag(&self) -> Option<Tag> {
        // SAFETY: the context is the program's own.
        let skb = unsafe { &*self.0.skb.skb };
        (skb.vlan_present != 0).then(|| Tag {
            protocol: skb.vlan_proto as u16,
            control: skb.vlan_tci as u16,
        })
    }

    /// A query that a local socket sent is `CHECKSUM_PARTIAL`: its field holds the pseudo-header's sum, and
    /// the rest is added by whoever sends the packet last. The answer is the same skb, and no helper takes
    /// that state away: a device without checksum offload would add its sum to our finished checksum, and
    /// the client would drop the answer. Nor can a program see the state. But `bpf_l4_csum_replace` sees it:
    /// a difference that is not of the pseudo-header is applied only if the skb is *not* partial
    /// (`inet_proto_csum_replace_by_diff`, the same since Linux 4.8). So the field gets what a partial skb
    /// must have, and the difference from there to the finished checksum.
    #[inline(always)]
    fn settle_checksum(&mut self, frame: &Frame) {
        let (udp, v6) = (frame.dns as usize - UDP_HEADER_BYTES, frame.v6 != 0);
        let packet = self.packet();
        let field = udp + UDP_CHECKSUM;
        let (Some(finished), Some(sum)) = (
            packet.read::<u16>(field),
            checksum::pseudo_header(packet, v6, udp),
        ) else {
            return;
        };
        let partial = !sum.finish();
        if packet.write(field, partial).is_none() {
            return;
        }
        let difference = u64::from(partial) + u64::from(!finished);
        // Over IPv4 0 means "not computed", as we want it; over IPv6 a computed 0 is sent as all ones.
        let flags = if v6 {
            u64::from(BPF_F_MARK_MANGLED_0)
        } else {
            0
        };
        // SAFETY: the context is the program's own. It cannot fail: the field was just written.
        unsafe { bpf_l4_csum_replace(self.0.as_ptr().cast(), field as u32, 0, difference, flags) };
    }
}

macro_rules! table_is_the_maps {
    ($($environment:ident),+) => {$(
        impl Table for $environment<'_> {
            const VERIFIES: bool = crate::VERIFIES;
            #[inline(always)]
            fn bucket(&self, index: u32) -> Option<&[AtomicU64; BUCKET_ENTRIES]> {
                maps::bucket(index)
            }
            #[inline(always)]
            fn cell(&self, index: u32) -> Option<&[AtomicU64; CELL_WORDS]> {
                maps::cell(index)
            }
        }

        impl Buckets for $environment<'_> {
            #[inline(always)]
            fn of(&self, network: u64) -> Option<&AtomicU64> {
                maps::network(network)
            }
            #[inline(always)]
            fn add(&self, network: u64, bucket: u64) -> bool {
                maps::add_network(network, bucket)
            }
        }
    )+};
}

table_is_the_maps!(Xdp, Tc);

//! The two kinds of packet that programs see.

use core::sync::atomic::AtomicU64;

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_skb_change_tail, bpf_xdp_adjust_tail},
    programs::{TcContext, XdpContext},
};
use hopzero_common::{
    frame::LinkLayer,
    limits::{BUCKET_ENTRIES, CELL_WORDS},
    lookup::Table,
    packet::Packet,
    respond::{Environment, NoRoom},
};

use crate::maps;

/// `skb->pkt_type` of a packet whose link-layer destination is this device (`PACKET_HOST`).
const PACKET_HOST: u32 = 0;

/// A packet at an XDP hook.
pub struct Xdp<'a>(pub &'a XdpContext);

impl Environment for Xdp<'_> {
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
    fn link_layer(&self) -> LinkLayer {
        // SAFETY: the context is the program's own.
        let skb = unsafe { &*self.0.skb.skb };
        if skb.vlan_present != 0 {
            LinkLayer::Tagged
        } else if skb.pkt_type == PACKET_HOST {
            LinkLayer::Ours
        } else {
            LinkLayer::Foreign
        }
    }
}

macro_rules! table_is_the_maps {
    ($($environment:ident),+) => {$(
        impl Table for $environment<'_> {
            #[inline(always)]
            fn bucket(&self, index: u32) -> Option<&[AtomicU64; BUCKET_ENTRIES]> {
                maps::bucket(index)
            }
            #[inline(always)]
            fn cell(&self, index: u32) -> Option<&[AtomicU64; CELL_WORDS]> {
                maps::cell(index)
            }
        }
    )+};
}

table_is_the_maps!(Xdp, Tc);

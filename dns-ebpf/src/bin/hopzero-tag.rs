//! Stands in for a VLAN device at a pod's end of a veth, for tests on kernels without such devices: queries
//! leave with a tag, and answers with the same tag arrive without it. Not part of the daemon.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::TC_ACT_UNSPEC,
    helpers::{bpf_skb_vlan_pop, bpf_skb_vlan_push},
    macros::classifier,
    programs::TcContext,
};
use hopzero_common::packet::Packet;

const DOT1Q: u16 = 0x8100u16.to_be();
/// Priority 5, drop eligible, VLAN 100.
const TAG: u16 = 0xb000 | 100;
const UDP: u8 = 17;
const PORT: u16 = 53u16.to_be();

/// Whether it is a UDP packet to port 53. Neighbours look for each other without a tag.
fn is_query(packet: Packet) -> bool {
    let is = |protocol, port| {
        packet.read::<u8>(protocol) == Some(UDP) && packet.read::<u16>(port) == Some(PORT)
    };
    is(14 + 9, 14 + 20 + 2) || is(14 + 6, 14 + 40 + 2)
}

/// At egress.
#[classifier]
pub fn tag_push(ctx: TcContext) -> i32 {
    // SAFETY: the kernel's bounds of the packet.
    let packet = unsafe { Packet::new(ctx.data() as *mut u8, ctx.data_end() as *mut u8) };
    if is_query(packet) {
        // SAFETY: the context is the program's own.
        unsafe { bpf_skb_vlan_push(ctx.skb.skb, DOT1Q, TAG) };
    }
    TC_ACT_UNSPEC
}

/// At ingress. Any other tag, or the same with another priority, stays: nobody takes it.
#[classifier]
pub fn tag_pop(ctx: TcContext) -> i32 {
    // SAFETY: the context is the program's own.
    let skb = unsafe { &*ctx.skb.skb };
    if skb.vlan_present != 0 && skb.vlan_proto as u16 == DOT1Q && skb.vlan_tci as u16 == TAG {
        // SAFETY: as above.
        unsafe { bpf_skb_vlan_pop(ctx.skb.skb) };
    }
    TC_ACT_UNSPEC
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

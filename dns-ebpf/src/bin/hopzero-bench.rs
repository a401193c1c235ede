//! Programs for the benchmarks only: they write a query into the packet and tail-call the program that
//! is measured, since a program that answers changes the packet that it is run on.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::{
        TC_ACT_SHOT, TC_ACT_UNSPEC,
        xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
    },
    btf_maps::{Array, ProgramArray},
    helpers::{bpf_redirect, bpf_skb_change_tail, bpf_xdp_adjust_tail},
    macros::{btf_map, classifier, xdp},
    programs::{TcContext, XdpContext},
};
use hopzero_common::packet::{Packet, opaque};

/// Words of the longest query.
const QUERY_WORDS: usize = 32;

/// The query that is written.
#[repr(C)]
pub struct Template {
    /// Bytes of the packet.
    len: u32,
    /// Names to choose from; 0 leaves the name as it is.
    names: u32,
    /// Where the first label's eight characters stand.
    label: u32,
    /// The device that `bench_feed` sends it out by.
    feed: u32,
    /// State of the random numbers.
    state: u64,
    /// The packet.
    words: [u64; QUERY_WORDS],
}

/// The query.
#[btf_map]
static TEMPLATE: Array<Template, 1> = Array::new();

/// Answers that `bench_answers` has swallowed.
#[repr(C)]
pub struct Answers {
    /// All of them.
    all: u64,
    /// NXDOMAIN.
    denials: u64,
}

/// How many.
#[btf_map]
static ANSWERS: Array<Answers, 1> = Array::new();

/// The program to measure: 0 for XDP.
#[btf_map]
static JUMP_XDP: ProgramArray<1> = ProgramArray::new();

/// The program to measure: 0 for tc.
#[btf_map]
static JUMP_TC: ProgramArray<1> = ProgramArray::new();

/// Writes the query into a packet that has its length.
#[inline(always)]
fn write(packet: Packet, template: &mut Template) -> Option<()> {
    let len = template.len as usize;
    for index in 0..QUERY_WORDS {
        let offset = index * 8;
        if offset + 8 > len {
            break;
        }
        packet.write(offset, template.words[index])?;
    }
    let whole = len / 8;
    let mut rest = *template.words.get(opaque(whole))?;
    let mut offset = whole * 8;
    if len & 4 != 0 {
        packet.write(offset, rest as u32)?;
        rest >>= 32;
        offset += 4;
    }
    if len & 2 != 0 {
        packet.write(offset, rest as u16)?;
        rest >>= 16;
        offset += 2;
    }
    if len & 1 != 0 {
        packet.write(offset, rest as u8)?;
    }
    if template.names != 0 {
        // Knuth's MMIX generator; the high bits are good.
        template.state = (template.state.wrapping_mul(6_364_136_223_846_793_005))
            .wrapping_add(1_442_695_040_888_963_407);
        let number = ((template.state >> 32) * u64::from(template.names)) >> 32;
        packet.write(template.label as usize, label(number))?;
    }
    Some(())
}

/// A number below 2^20 as eight letters from `a` to `p`.
#[inline(always)]
fn label(number: u64) -> u64 {
    let digits = number & 0xf
        | (number & 0xf0) << 4
        | (number & 0xf00) << 8
        | (number & 0xf000) << 12
        | (number & 0xf_0000) << 16;
    digits + 0x6161_6161_6161_6161
}

#[inline(always)]
fn packet_of(start: usize, end: usize) -> Packet {
    // SAFETY: the kernel's bounds of the packet.
    unsafe { Packet::new(start as *mut u8, end as *mut u8) }
}

/// Restores the query; returns the template, or nothing if there is no room.
#[inline(always)]
fn restore(ctx: &XdpContext) -> Option<&'static Template> {
    // SAFETY: the only program that uses the map, and it is run on one CPU.
    let template = unsafe { &mut *TEMPLATE.get_ptr_mut(0)? };
    let delta = template.len as i32 - packet_of(ctx.data(), ctx.data_end()).len() as i32;
    // SAFETY: the context is the program's own.
    if delta != 0 && unsafe { bpf_xdp_adjust_tail(ctx.ctx, delta) } != 0 {
        return None;
    }
    write(packet_of(ctx.data(), ctx.data_end()), template)?;
    Some(template)
}

/// Restores the query, then runs the program in JUMP_XDP.
#[xdp]
pub fn bench_xdp(ctx: XdpContext) -> u32 {
    if restore(&ctx).is_some() {
        // SAFETY: the programs in the map are XDP programs.
        unsafe { JUMP_XDP.tail_call(&ctx, 0) };
    }
    XDP_DROP
}

/// Restores the query, then sends it out by a device, whose peer receives it.
#[xdp]
pub fn bench_feed(ctx: XdpContext) -> u32 {
    match restore(&ctx) {
        // SAFETY: a helper call without pointers.
        Some(template) => unsafe { bpf_redirect(template.feed, 0) as u32 },
        None => XDP_DROP,
    }
}

/// Restores the query, then runs the program in JUMP_TC.
#[classifier]
pub fn bench_tc(ctx: TcContext) -> i32 {
    // SAFETY: the only program that uses the map, and it is run on one CPU.
    let Some(template) = (unsafe { TEMPLATE.get_ptr_mut(0).map(|template| &mut *template) }) else {
        return TC_ACT_SHOT;
    };
    // SAFETY: the context is the program's own.
    if ctx.len() != template.len
        && unsafe { bpf_skb_change_tail(ctx.skb.skb.cast(), template.len, 0) } != 0
    {
        return TC_ACT_SHOT;
    }
    if write(packet_of(ctx.data(), ctx.data_end()), template).is_none() {
        return TC_ACT_SHOT;
    }
    // SAFETY: the programs in the map are tc programs.
    unsafe { JUMP_TC.tail_call(&ctx, 0) };
    TC_ACT_SHOT
}

/// Runs the program in JUMP_TC on a packet as it came; attached, so that what is measured can change.
#[classifier]
pub fn bench_hook_tc(ctx: TcContext) -> i32 {
    // SAFETY: the programs in the map are tc programs.
    unsafe { JUMP_TC.tail_call(&ctx, 0) };
    TC_ACT_SHOT
}

/// Swaps the link-layer addresses.
#[inline(always)]
fn swap(packet: Packet) -> Option<()> {
    let (destination4, destination2) = (packet.read::<u32>(0)?, packet.read::<u16>(4)?);
    let (source4, source2) = (packet.read::<u32>(6)?, packet.read::<u16>(10)?);
    packet.write(0, source4)?;
    packet.write(4, source2)?;
    packet.write(6, destination4)?;
    packet.write(10, destination2)
}

/// Swaps the link-layer addresses and sends the packet back: the least that a responder does.
#[xdp]
pub fn bench_reflect(ctx: XdpContext) -> u32 {
    match swap(packet_of(ctx.data(), ctx.data_end())) {
        Some(()) => XDP_TX,
        None => XDP_DROP,
    }
}

/// The same at tc: the packet leaves by the device that it came in by.
#[classifier]
pub fn bench_reflect_tc(ctx: TcContext) -> i32 {
    match swap(packet_of(ctx.data(), ctx.data_end())) {
        // SAFETY: the context is the program's own, and the helper takes no pointers.
        Some(()) => unsafe { bpf_redirect((*ctx.skb.skb).ifindex, 0) as i32 },
        None => TC_ACT_SHOT,
    }
}

/// Does nothing.
#[xdp]
pub fn bench_empty(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

/// Does nothing but swallow.
#[xdp]
pub fn bench_drop(_ctx: XdpContext) -> u32 {
    XDP_DROP
}

/// Grows the packet by an A record, as an answer does, and nothing else.
#[xdp]
pub fn bench_grow(ctx: XdpContext) -> u32 {
    // SAFETY: the context is the program's own.
    unsafe { bpf_xdp_adjust_tail(ctx.ctx, 16) };
    XDP_PASS
}

/// Does nothing but swallow.
#[classifier]
pub fn bench_drop_tc(_ctx: TcContext) -> i32 {
    TC_ACT_SHOT
}

/// The port of the client whose answers are counted.
const CLIENT_PORT: u16 = 5300;

/// Counts and swallows answers to the client over IPv4.
#[classifier]
pub fn bench_answers(ctx: TcContext) -> i32 {
    match count(&ctx) {
        Some(()) => TC_ACT_SHOT,
        None => TC_ACT_UNSPEC,
    }
}

/// Answers of equal length that a server has sent as one (UDP_SEGMENT) come as one, and are all taken for what the first is.
#[inline(always)]
fn count(ctx: &TcContext) -> Option<()> {
    // Ethernet, IPv4 without options, UDP: the type of the frame, the protocol, the destination's port.
    let ours = ctx.load::<u16>(12).ok()? == 0x0800_u16.to_be()
        && ctx.load::<u8>(14).ok()? == 0x45
        && ctx.load::<u8>(23).ok()? == 17
        && ctx.load::<u16>(36).ok()? == CLIENT_PORT.to_be();
    if !ours {
        return None;
    }
    const NXDOMAIN: u8 = 3;
    let rcode = ctx.load::<u8>(42 + 3).ok()? & 15;
    // SAFETY: the context is the program's own.
    let segments = u64::from(unsafe { (*ctx.skb.skb).gso_segs }.max(1));
    // SAFETY: all answers of a device are taken in on one CPU, and nobody else writes here.
    let answers = unsafe { &mut *ANSWERS.get_ptr_mut(0)? };
    answers.all += segments;
    if rcode == NXDOMAIN {
        answers.denials += segments;
    }
    Some(())
}

/// Does nothing.
#[classifier]
pub fn bench_empty_tc(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// Grows the packet by an A record, as an answer does, and nothing else.
#[classifier]
pub fn bench_grow_tc(ctx: TcContext) -> i32 {
    // SAFETY: the context is the program's own.
    unsafe { bpf_skb_change_tail(ctx.skb.skb.cast(), ctx.len() + 16, 0) };
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

//! `hopzero_xdp` without the check of the copied record. Never attached, and not part of the daemon: `cargo
//! xtask test torn` runs it to show that the test sees torn answers where there are some.
#![no_std]
#![no_main]

#[path = "../environment.rs"]
#[expect(dead_code, reason = "tc's half")]
mod environment;
#[path = "../maps.rs"]
mod maps;

use aya_ebpf::{
    bindings::{
        TC_ACT_UNSPEC,
        xdp_action::{XDP_PASS, XDP_TX},
    },
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use hopzero_common::respond::respond;

/// What is broken.
const VERIFIES: bool = false;

#[xdp]
pub fn hopzero_xdp(ctx: XdpContext) -> u32 {
    let (Some(control), Some(scratch)) = (maps::control(), maps::scratch()) else {
        return XDP_PASS;
    };
    let reason = respond(&mut environment::Xdp(&ctx), control, scratch);
    maps::count(reason);
    if reason.is_answer() { XDP_TX } else { XDP_PASS }
}

/// Only because the loader wants both programs.
#[classifier]
pub fn hopzero_tc(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// As in the daemon's programs.
#[classifier]
pub fn hopzero_clock(_ctx: TcContext) -> i32 {
    maps::set_clock(environment::jiffies());
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

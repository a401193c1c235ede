//! Stands in for another agent's programs, for tests. Not part of the daemon.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::{TC_ACT_OK, TC_ACT_UNSPEC, xdp_action::XDP_PASS},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};

/// Lets every packet into the stack, past all programs behind it.
#[classifier]
pub fn foreign_ends(_ctx: TcContext) -> i32 {
    TC_ACT_OK as i32
}

/// Lets the programs behind it decide.
#[classifier]
pub fn foreign_goes_on(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// Passes everything.
#[xdp]
pub fn foreign_xdp(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

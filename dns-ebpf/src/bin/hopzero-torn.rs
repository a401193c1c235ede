//! The daemon's programs as readers that keep what they read. Never attached, and not part of the daemon:
//! `cargo xtask test torn` runs it.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

#[path = "../environment.rs"]
mod environment;
#[path = "../maps.rs"]
mod maps;
#[path = "../torn/mod.rs"]
mod torn;

/// As in the daemon's programs.
const VERIFIES: bool = true;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

//! `hopzero-torn` without the check of the copied record. Never attached, and not part of the daemon: `cargo
//! xtask test torn` runs it to show that the test sees torn answers where there are some.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

#[path = "../environment.rs"]
mod environment;
#[path = "../maps.rs"]
mod maps;
#[path = "../torn/mod.rs"]
mod torn;

/// What is broken.
const VERIFIES: bool = false;

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

//! The self-test of a device (`hopzero_common::probe`).

use aya_ebpf::{bindings::BPF_F_INGRESS, programs::TcContext};
use hopzero_common::{
    packet::Packet,
    probe::{Direction, SEEN, direction},
};

use crate::maps;

/// Puts a copy of the packet into the ingress of the device that it came in by: the way on which a veth hands over
/// what its other end has sent (`dev_forward_skb`).
#[inline(always)]
pub fn send(ctx: &TcContext) {
    // SAFETY: the context is the program's own.
    let device = unsafe { (*ctx.skb.skb).ifindex };
    // What cannot be sent does not come back, and that is seen.
    let _ = ctx.clone_redirect(device, u64::from(BPF_F_INGRESS));
}

/// Whether the frame is of a test: those are not counted.
#[inline(always)]
pub fn is_test(packet: Packet) -> bool {
    let Some(probe) = maps::probe() else {
        return false;
    };
    // SAFETY: map memory outlives the program. Mostly there is no test, and this one word says so.
    let mac = unsafe { (*probe).mac };
    if mac == 0 {
        return false;
    }
    let (Some(destination), Some(source)) = (packet.read(0), packet.read(6)) else {
        return false;
    };
    direction(mac, destination, source).is_some()
}

/// Notes a frame of the test; `None` for any other.
#[inline(always)]
pub fn note(ctx: &TcContext) -> Option<()> {
    let probe = maps::probe()?;
    // SAFETY: map memory outlives the program; the daemon writes these words before the test begins.
    let test = unsafe { *probe };
    let destination: u64 = ctx.load(0).ok()?;
    let source: u64 = ctx.load(6).ok()?;
    let direction = direction(test.mac, destination, source)?;
    let message: u32 = ctx.load(test.message as usize).ok()?;
    let seen = SEEN | u64::from(message);
    // SAFETY: an aligned word of a map, stored whole; there is one frame of each kind in a test.
    unsafe {
        match direction {
            Direction::Answer => (&raw mut (*probe).answered).write_volatile(seen),
            Direction::Query => (&raw mut (*probe).passed).write_volatile(seen),
        }
    }
    Some(())
}

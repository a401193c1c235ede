//! The eBPF programs: two thin entry points over `hopzero-common`, and the maps.
//!
//! The programs read what the daemon wrote and decide nothing. Every way out but an answer is
//! "pass": `XDP_PASS` and `TC_ACT_UNSPEC`, which lets the programs behind ours run as if ours were not
//! there. No program that answers drops or aborts.
#![no_std]
#![no_main]

mod environment;
mod maps;
mod probe;

use aya_ebpf::{
    bindings::{
        TC_ACT_SHOT, TC_ACT_UNSPEC,
        xdp_action::{XDP_PASS, XDP_TX},
    },
    helpers::bpf_redirect,
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use aya_log_ebpf::debug;
use hopzero_common::{
    counter,
    reason::Reason,
    respond::{Environment, respond},
};

use environment::{Tc, Xdp, jiffies};

/// Network cards, and any device in generic mode: the answer leaves where the query came in.
#[xdp]
#[inline(always)] // The macro makes it a function of its own, whose call costs 8 ns.
pub fn hopzero_xdp(ctx: XdpContext) -> u32 {
    let reason = run(&mut Xdp(&ctx));
    // Pruned by the verifier unless the daemon was started with --trace.
    debug!(
        &ctx,
        "xdp: reason {}",
        reason.map_or(u32::MAX, |reason| reason as u32)
    );
    match reason {
        Some(reason) if reason.is_answer() => XDP_TX,
        _ => XDP_PASS,
    }
}

/// tc(x) ingress on the host's side of a pod's veth.
#[classifier]
#[inline(always)]
pub fn hopzero_tc(ctx: TcContext) -> i32 {
    let mut environment = Tc(&ctx);
    let reason = run(&mut environment);
    debug!(
        &ctx,
        "tc: reason {}",
        reason.map_or(u32::MAX, |reason| reason as u32)
    );
    match reason {
        // SAFETY: a helper call without pointers; it only notes the device for after the return.
        Some(reason) if reason.is_answer() => unsafe {
            bpf_redirect(environment.ifindex(), 0) as i32
        },
        _ => TC_ACT_UNSPEC,
    }
}

/// Tells the daemon the kernel's tick, which no file or system call does. It is never attached: the
/// daemon runs it itself (`BPF_PROG_TEST_RUN`), whenever it renews the lease.
#[classifier]
pub fn hopzero_clock(_ctx: TcContext) -> i32 {
    maps::set_clock(jiffies());
    TC_ACT_UNSPEC
}

/// The self-test of a device: puts a query into its ingress. Never attached; the daemon runs it (`BPF_PROG_TEST_RUN`)
/// with that device as the one that the packet came in by.
#[classifier]
pub fn hopzero_probe_send(ctx: TcContext) -> i32 {
    probe::send(&ctx);
    TC_ACT_UNSPEC
}

/// The self-test of a device: attached for as long as it takes. It drops the frames of the test, which are the daemon's
/// own; every other one goes on.
#[classifier]
pub fn hopzero_probe(ctx: TcContext) -> i32 {
    match probe::note(&ctx) {
        Some(()) => TC_ACT_SHOT as i32,
        None => TC_ACT_UNSPEC,
    }
}

/// A copy that does not agree with its check is not answered.
const VERIFIES: bool = true;

#[inline(always)]
fn run<E: Environment>(environment: &mut E) -> Option<Reason> {
    let control = maps::control()?;
    let scratch = maps::scratch()?;
    let reason = respond(environment, control, scratch);
    if !probe::is_test(environment.packet()) {
        maps::count(counter::place(E::HOOK, reason, scratch));
    }
    Some(reason)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

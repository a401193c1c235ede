//! Programs that read as `hopzero_xdp` and `hopzero_tc` do, with the same code and from the same maps, but
//! many times in one system call: each read restores a query, answers it, and leaves what came out beside
//! the versions that were true before and after. `cargo xtask test torn` judges that.

pub mod layout;

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::{BPF_F_MMAPABLE, TC_ACT_UNSPEC, xdp_action::XDP_PASS},
    btf_maps::Array,
    helpers::{
        bpf_loop, bpf_skb_load_bytes, bpf_skb_store_bytes, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
    },
    macros::{btf_map, classifier, xdp},
    programs::{TcContext, XdpContext},
};
use hopzero_common::{
    layout::Scratch,
    packet::launder,
    respond::{Environment, respond},
};

use crate::{
    environment::{Tc, Xdp, jiffies},
    maps,
};
use layout::{
    ANSWER_BYTES_MAX, Cursor, QUERIES_MAX, QUERY_BYTES_MAX, Query, READS_MAX, Read, SOA, UNITS_MAX,
    Unit,
};

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;

/// What is asked.
#[btf_map]
static QUERIES: Array<Query, QUERIES_MAX, MMAPABLE> = Array::new();

/// What the writer has said.
#[btf_map]
static UNITS: Array<Unit, UNITS_MAX, MMAPABLE> = Array::new();

/// What was read.
#[btf_map]
static READS: Array<Read, READS_MAX, MMAPABLE> = Array::new();

/// How far the run is.
#[btf_map]
static CURSOR: Array<Cursor, 1, MMAPABLE> = Array::new();

/// Reads through the code of XDP.
#[xdp]
pub fn hopzero_xdp(ctx: XdpContext) -> u32 {
    many(read_xdp, &ctx);
    XDP_PASS
}

/// Reads through the code of tc.
#[classifier]
pub fn hopzero_tc(ctx: TcContext) -> i32 {
    many(read_tc, &ctx);
    TC_ACT_UNSPEC
}

/// The body of a loop in the kernel: it gets its number, and returns 0 to go on.
type Body<C> = extern "C" fn(u64, &C) -> u64;

extern "C" fn read_xdp(_number: u64, ctx: &XdpContext) -> u64 {
    u64::from(read(&mut Xdp(ctx)).is_none())
}

extern "C" fn read_tc(_number: u64, ctx: &TcContext) -> u64 {
    u64::from(read(&mut Tc(ctx)).is_none())
}

/// Reads as often as it is to. The loop is here, since `repeat` of `BPF_PROG_TEST_RUN` waits for two grace periods
/// of RCU with XDP.
#[inline(always)]
fn many<C>(body: Body<C>, ctx: &C) {
    let Some(cursor) = CURSOR.get(0) else {
        return;
    };
    // SAFETY: the kernel calls `body` with a number and `ctx`, which outlives the loop (Linux 5.17).
    unsafe {
        bpf_loop(
            cursor.count as u32,
            body as *mut c_void,
            core::ptr::from_ref(ctx).cast_mut().cast(),
            0,
        )
    };
}

/// As in the daemon's programs.
#[classifier]
pub fn hopzero_clock(_ctx: TcContext) -> i32 {
    maps::set_clock(jiffies());
    TC_ACT_UNSPEC
}

/// A packet whose bytes can be copied from and to a map.
trait Hook: Environment {
    /// Writes the first bytes of the packet.
    fn store(&mut self, from: *const u8, len: u32) -> Option<()>;
    /// Copies the first bytes of the packet.
    fn load(&self, to: *mut u8, len: u32) -> Option<()>;
}

impl Hook for Xdp<'_> {
    #[inline(always)]
    fn store(&mut self, from: *const u8, len: u32) -> Option<()> {
        // SAFETY: the context is the program's own; the verifier sees that `from` has `len` bytes.
        let error = unsafe { bpf_xdp_store_bytes(self.0.ctx, 0, from.cast_mut().cast(), len) };
        (error == 0).then_some(())
    }

    #[inline(always)]
    fn load(&self, to: *mut u8, len: u32) -> Option<()> {
        // SAFETY: as above.
        let error = unsafe { bpf_xdp_load_bytes(self.0.ctx, 0, to.cast(), len) };
        (error == 0).then_some(())
    }
}

impl Hook for Tc<'_> {
    #[inline(always)]
    fn store(&mut self, from: *const u8, len: u32) -> Option<()> {
        // SAFETY: the context is the program's own; the verifier sees that `from` has `len` bytes.
        let error = unsafe { bpf_skb_store_bytes(self.0.as_ptr().cast(), 0, from.cast(), len, 0) };
        (error == 0).then_some(())
    }

    #[inline(always)]
    fn load(&self, to: *mut u8, len: u32) -> Option<()> {
        // SAFETY: as above.
        let error = unsafe { bpf_skb_load_bytes(self.0.as_ptr(), 0, to.cast(), len) };
        (error == 0).then_some(())
    }
}

/// One read. If it comes to nothing, the cursor stays, and the test sees that.
#[inline(always)]
fn read<H: Hook>(hook: &mut H) -> Option<()> {
    let control = maps::control()?;
    let scratch = maps::scratch()?;
    let cursor = CURSOR.get_ptr_mut(0)?;
    // SAFETY: the maps outlive the run, and the test runs one program at a time and looks at them in between.
    // Only UNITS are written meanwhile, by whole words, which `word` reads.
    let (number, read) = unsafe {
        let number = (*cursor).next;
        (number, READS.get_ptr_mut(number as u32)?)
    };
    // SAFETY: as above.
    let query = unsafe { &*QUERIES.get_ptr((*read).query as u32)? };
    let unit = UNITS.get_ptr(query.unit)?;
    let soa = UNITS.get_ptr(SOA as u32)?;
    restore(hook, query, scratch)?;

    // SAFETY: as above.
    unsafe {
        (*read).oldest = (&raw const (*unit).finished).read_volatile();
        (*read).soa_oldest = (&raw const (*soa).finished).read_volatile();
    }
    // What is read below is read after that, and before what is read at the end.
    // SAFETY: as above.
    unsafe { full_barrier(&raw mut (*cursor).barrier) };
    let reason = respond(hook, control, scratch);
    // SAFETY: as above.
    unsafe { full_barrier(&raw mut (*cursor).barrier) };
    // SAFETY: as above.
    unsafe {
        (*read).newest = (&raw const (*unit).started).read_volatile();
        (*read).soa_newest = (&raw const (*soa).started).read_volatile();
        (*read).reason = reason as u32;
    }

    let len = launder(&mut scratch.laundry, hook.packet().len() as u64);
    if len == 0 || len > ANSWER_BYTES_MAX as u64 {
        return None;
    }
    let len = len as u32;
    // SAFETY: as above.
    unsafe {
        (*read).len = len;
        hook.load((&raw mut (*read).packet).cast(), len)?;
        (*cursor).next = number + 1;
    }
    Some(())
}

/// No load or store passes it: an exchange is fully ordered on every architecture (Linux 5.12). `core` has
/// neither exchanges nor fences for BPF.
///
/// # Safety
/// `word` is valid, and of this CPU alone.
#[inline(always)]
unsafe fn full_barrier(word: *mut u64) {
    // SAFETY: an aligned word that may be written, by the caller. Memory is a clobber unless told otherwise.
    unsafe {
        core::arch::asm!("{0} = xchg_64({1} + 0, {0})", inout(reg) 0_u64 => _, in(reg) word, options(nostack));
    }
}

/// Makes the packet the query.
#[inline(always)]
fn restore<H: Hook>(hook: &mut H, query: &Query, scratch: &mut Scratch) -> Option<()> {
    let len = launder(&mut scratch.laundry, u64::from(query.len));
    if len == 0 || len > QUERY_BYTES_MAX as u64 {
        return None;
    }
    if hook.packet().len() != len as usize {
        hook.resize(len as usize).ok()?;
    }
    hook.store(query.packet.as_ptr(), len as u32)
}

//! Frames made by the kernel (`BPF_F_TEST_XDP_LIVE_FRAMES`), and the devices that they go through.
//!
//! ```text
//! XDP: bench_xdp writes the query and calls the program; XDP_TX ─► hzbench0 ═ hzbench1: XDP swallows
//!
//! tc:  bench_feed writes the query; redirect ─► hzbench2 ═ hzbench3: NAPI makes an skb of the frame,
//!      tcx calls the program; redirect ─► hzbench3 ═ hzbench2: backlog, tcx swallows
//! ```
//!
//! All of it happens on the CPU of the caller, within its system call: frames a second are frames a CPU-second. The
//! time is the kernel's own, as everywhere here (see [`Generator::ns`]).
//! What arrives at the far end is counted, so a program that loses frames cannot look fast.

use anyhow::{Context as _, ensure};
use aya::{
    TestRun as _, TestRunAttrs, TestRunOptions,
    programs::{TcAttachType, XdpMode},
};
use hopzero_tests::{
    namespace::Namespace,
    offload::{self, Offload},
};

use crate::generator::{Generator, Query};

/// Frames that the kernel makes at a time.
const BATCH: u32 = 64;
/// The reflecting end of XDP's pair, and the end that swallows.
const XDP_PAIR: [&str; 2] = ["hzbench0", "hzbench1"];
/// The pod's end of tc's pair, and the node's, where the program is.
const TC_PAIR: [&str; 2] = ["hzbench2", "hzbench3"];
/// The address of the node's end: tc answers only what is for its device.
pub const TC_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x53];

/// Makes the devices and attaches what swallows. The calling thread must be in the namespace.
pub fn prepare(namespace: &Namespace, generator: &mut Generator) -> anyhow::Result<()> {
    let [reflecting, swallowing] = XDP_PAIR;
    let [pod, node] = TC_PAIR;
    namespace.ip_batch(&format!(
        "link add {reflecting} type veth peer name {swallowing}\n\
         link add {pod} type veth peer name {node} address 02:00:00:00:00:53\n\
         link set {reflecting} up\nlink set {swallowing} up\n\
         link set {pod} up\nlink set {node} up\n"
    ))?;
    // The peer takes redirected frames only while it has XDP itself; the reflecting end needs it for its
    // receive queue, which frames are said to come from.
    let empty = generator.xdp("bench_empty")?;
    empty.attach(reflecting, XdpMode::Driver)?;
    let drop = generator.xdp("bench_drop")?;
    drop.attach(swallowing, XdpMode::Driver)?;
    // Or while it has NAPI, which a veth has when GRO is on.
    offload::switch(namespace, node, Offload::Gro, true)?;
    let hook = generator.tc("bench_hook_tc")?;
    hook.attach(node, TcAttachType::Ingress)?;
    let drop = generator.tc("bench_drop_tc")?;
    drop.attach(pod, TcAttachType::Ingress)?;
    generator.feed = nix::net::if_::if_nametoindex(pod)?;
    Ok(())
}

/// Which frames come to the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Sent back by an XDP program of ours, or by the one that it calls.
    Xdp(&'static str),
    /// Sent back by the tc program that is called.
    Tc,
    /// None of them: the tc program swallows them.
    TcSwallowed,
}

/// Frames a second that go this way and are sent back.
pub fn per_second(
    generator: &mut Generator,
    way: Way,
    query: &Query,
    frames: u32,
) -> anyhow::Result<f64> {
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
    let mut context = [0u8; 24];
    context[4..8].copy_from_slice(&u32::try_from(query.packet.len())?.to_le_bytes());
    let (program, counted, whole) = match way {
        Way::Xdp(program) => {
            let ifindex = nix::net::if_::if_nametoindex(XDP_PAIR[0])?;
            context[12..16].copy_from_slice(&ifindex.to_le_bytes());
            (program, XDP_PAIR[1], true)
        }
        // Without a device frames are from `lo`, which is in the same namespace.
        Way::Tc => ("bench_feed", TC_PAIR[0], true),
        Way::TcSwallowed => ("bench_feed", TC_PAIR[1], false),
    };
    let before = received(counted)?;
    let result = generator.xdp(program)?.test_run(TestRunOptions {
        data_in: Some(&query.packet),
        ctx_in: Some(&context),
        repeat: frames,
        attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
        ..TestRunOptions::default()
    })?;
    let arrived = received(counted)? - before;
    // A few are still under way when the call returns, and the first batches start from other pages.
    ensure!(
        !whole || arrived >= u64::from(frames) * 99 / 100,
        "{way:?}: only {arrived} of {frames} frames arrived"
    );
    Ok(1.0 / result.duration.as_secs_f64())
}

/// Packets that a device has received, as XDP counts them too.
fn received(device: &str) -> anyhow::Result<u64> {
    let statistics = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    let line = statistics
        .lines()
        .find_map(|line| line.trim().strip_prefix(&format!("{device}:")));
    let packets = line
        .and_then(|line| line.split_whitespace().nth(1))
        .context("no statistics")?;
    Ok(packets.parse()?)
}

//! The programs that write queries and call the program that is measured.

use std::{path::Path, process::Command, time::Instant};

use anyhow::{Context as _, bail, ensure};
use aya::{
    Ebpf, TestRun as _, TestRunAttrs, TestRunOptions,
    maps::{Array, ProgramArray},
    programs::{ProgramFd, SchedClassifier, Xdp, XdpMode},
};
use hopzero_tests::packets::kernel::Program;

/// Bytes of the map's value: five fields and 32 words.
const TEMPLATE_BYTES: usize = 24 + 256;
/// Frames that the kernel makes at a time.
const BATCH: u32 = 64;
/// The reflecting end of the pair of devices, and the end that swallows.
const DEVICES: [&str; 2] = ["hzbench0", "hzbench1"];

/// A query to write.
pub struct Query {
    /// The packet.
    pub packet: Vec<u8>,
    /// How many names to choose from by their first label; 0 for just this one.
    pub names: u32,
}

/// The loaded generators, in a network namespace of this process.
pub struct Generator {
    ebpf: Ebpf,
    ifindex: u32,
}

impl Generator {
    /// Loads the generators and makes the devices. The process is in a namespace of its own after that, which ends with
    /// it.
    pub fn new(object: &Path) -> anyhow::Result<Self> {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).context("unshare")?;
        let [reflecting, swallowing] = DEVICES;
        ip(&[
            "link", "add", reflecting, "type", "veth", "peer", "name", swallowing,
        ])?;
        for device in DEVICES {
            ip(&["link", "set", device, "up"])?;
        }
        let bytes = std::fs::read(object)
            .with_context(|| format!("no {}: run `cargo xtask build-ebpf`", object.display()))?;
        let mut ebpf = Ebpf::load(&bytes)?;
        for name in [
            "bench_xdp",
            "bench_reflect",
            "bench_empty",
            "bench_drop",
            "bench_grow",
        ] {
            xdp(&mut ebpf, name)?.load()?;
        }
        for name in ["bench_tc", "bench_empty_tc", "bench_grow_tc"] {
            tc(&mut ebpf, name)?.load()?;
        }
        // The peer takes redirected frames only while it has XDP itself; the reflecting end needs it for its
        // receive queue, which frames are said to come from.
        xdp(&mut ebpf, "bench_empty")?.attach(reflecting, XdpMode::Driver)?;
        xdp(&mut ebpf, "bench_drop")?.attach(swallowing, XdpMode::Driver)?;
        let ifindex = nix::net::if_::if_nametoindex(reflecting)?;
        Ok(Generator { ebpf, ifindex })
    }

    /// The query that is written from now on.
    pub fn write(&mut self, query: &Query) -> anyhow::Result<()> {
        // Ethernet, IPv4, UDP, DNS header, the label's length byte.
        const LABEL: u32 = 42 + 12 + 1;
        ensure!(
            query.packet.len() <= 256,
            "a longer query than the generator writes"
        );
        let mut template = [0u8; TEMPLATE_BYTES];
        let mut field =
            |at: usize, bytes: &[u8]| template[at..at + bytes.len()].copy_from_slice(bytes);
        field(0, &u32::try_from(query.packet.len())?.to_le_bytes());
        field(4, &query.names.to_le_bytes());
        field(8, &LABEL.to_le_bytes());
        field(16, &1u64.to_le_bytes());
        field(24, &query.packet);
        let map = self.ebpf.map_mut("TEMPLATE").context("no TEMPLATE")?;
        Array::<_, [u8; TEMPLATE_BYTES]>::try_from(map)?.set(0, template, 0)?;
        Ok(())
    }

    /// The program that is called from now on.
    pub fn call(&mut self, kind: Program, program: &ProgramFd) -> anyhow::Result<()> {
        let map = match kind {
            Program::Xdp => "JUMP_XDP",
            Program::Tc => "JUMP_TC",
        };
        let map = self.ebpf.map_mut(map).context("no jump map")?;
        ProgramArray::try_from(map)?.set(0, program, 0)?;
        Ok(())
    }

    /// One of our own programs, to be called.
    pub fn own(&self, name: &str) -> anyhow::Result<ProgramFd> {
        Ok(self
            .ebpf
            .program(name)
            .context("no program")?
            .fd()?
            .try_clone()?)
    }

    /// Mean ns of writing the query and running the called program, over `repeat` runs.
    pub fn ns(&mut self, kind: Program, query: &Query, repeat: u32) -> anyhow::Result<f64> {
        // The time is a whole number of ns a run: the wall clock has more digits, and less its fixed cost.
        let options = |repeat| TestRunOptions {
            data_in: Some(&query.packet),
            repeat,
            ..TestRunOptions::default()
        };
        let mut timed = |repeat| -> anyhow::Result<f64> {
            let started = Instant::now();
            match kind {
                Program::Xdp => xdp(&mut self.ebpf, "bench_xdp")?.test_run(options(repeat))?,
                Program::Tc => tc(&mut self.ebpf, "bench_tc")?.test_run(options(repeat))?,
            };
            Ok(started.elapsed().as_secs_f64() * 1e9)
        };
        let few = repeat / 100 + 2;
        let (short, long) = (timed(few)?, timed(repeat)?);
        Ok((long - short) / f64::from(repeat - few))
    }

    /// Runs the called program once on the query and says what it returned.
    pub fn action(&mut self, kind: Program, query: &Query) -> anyhow::Result<u32> {
        let options = TestRunOptions {
            data_in: Some(&query.packet),
            ..TestRunOptions::default()
        };
        Ok(match kind {
            Program::Xdp => xdp(&mut self.ebpf, "bench_xdp")?.test_run(options)?,
            Program::Tc => tc(&mut self.ebpf, "bench_tc")?.test_run(options)?,
        }
        .return_value)
    }

    /// Frames a second through `program` (one of ours), sent back by it and swallowed by the peer.
    pub fn frames_per_second(
        &mut self,
        program: &str,
        query: &Query,
        frames: u32,
    ) -> anyhow::Result<f64> {
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
        let mut context = [0u8; 24];
        context[4..8].copy_from_slice(&u32::try_from(query.packet.len())?.to_le_bytes());
        context[12..16].copy_from_slice(&self.ifindex.to_le_bytes());
        let before = received(DEVICES[1])?;
        let started = Instant::now();
        xdp(&mut self.ebpf, program)?.test_run(TestRunOptions {
            data_in: Some(&query.packet),
            ctx_in: Some(&context),
            repeat: frames,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        })?;
        let seconds = started.elapsed().as_secs_f64();
        let arrived = received(DEVICES[1])? - before;
        // A few are still under way when the call returns, and the first batches start from other pages.
        if arrived < u64::from(frames) * 99 / 100 {
            bail!("{program}: only {arrived} of {frames} frames arrived");
        }
        Ok(f64::from(frames) / seconds)
    }
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut Xdp> {
    Ok(ebpf
        .program_mut(name)
        .with_context(|| format!("no {name}"))?
        .try_into()?)
}

fn tc<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut SchedClassifier> {
    Ok(ebpf
        .program_mut(name)
        .with_context(|| format!("no {name}"))?
        .try_into()?)
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

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("cannot run ip")?;
    ensure!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

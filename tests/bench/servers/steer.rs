//! Which CPU takes in what a device receives, and how often it is interrupted for it.

use std::{collections::BTreeSet, fs};

use anyhow::{Result, ensure};
use hopzero_tests::{
    network::{NODE_DEVICE, Network, POD_DEVICE},
    offload::{self, Offload},
};

use crate::cpu::{self, CLIENT_CPU, SERVER_CPU};

/// Nanoseconds that a device holds back what it has received.
const HELD_BACK: u32 = 100_000;

/// What comes in at the node is CPU 0's work, what comes in at the pod CPU 1's.
pub fn steer(network: &Network) -> Result<()> {
    for (namespace, device, cpu) in [
        (&network.node, NODE_DEVICE, SERVER_CPU),
        (&network.pod, POD_DEVICE, CLIENT_CPU),
    ] {
        offload::switch(namespace, device, Offload::Gro, true)?;
        offload::switch(namespace, device, Offload::Tso, false)?;
        let before = pollers(device)?;
        // `ip netns exec` shows the namespace's own devices in /sys.
        let write = format!(
            "cd /sys/class/net/{device} && echo 10 > napi_defer_hard_irqs && echo {HELD_BACK} > gro_flush_timeout && echo 1 > threaded"
        );
        namespace.exec(&["sh", "-c", &write])?;
        let ours: Vec<u32> = pollers(device)?.difference(&before).copied().collect();
        ensure!(!ours.is_empty(), "{device}: nobody polls it");
        for thread in ours {
            cpu::pin_threads(thread, cpu)?;
        }
    }
    Ok(())
}

/// Threads of the kernel that poll devices of that name.
fn pollers(device: &str) -> Result<BTreeSet<u32>> {
    let name = format!("napi/{device}-");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
            continue;
        };
        // It may have ended by now.
        let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if comm.starts_with(&name) {
            found.insert(pid);
        }
    }
    Ok(found)
}

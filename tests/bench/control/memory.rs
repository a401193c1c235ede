//! How much memory a process takes, and how much the BPF maps that it holds.
//!
//! The daemon writes its maps through memory, and what it has mapped is part of its resident set. So that nothing
//! is counted twice, the resident set is taken without those mappings, and the maps are what the kernel has charged for
//! them (`memlock` in `/proc/PID/fdinfo`), all of it, touched or not.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};

/// Megabytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// The resident set, without mapped BPF maps.
    pub resident: f64,
    /// The BPF maps.
    pub maps: f64,
}

impl Memory {
    /// Of a process, now.
    pub fn of(pid: u32) -> Result<Self> {
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
        let (mut resident, mut is_map) = (0.0, false);
        for line in smaps.lines() {
            let first = line.split_whitespace().next().unwrap_or("");
            if !first.ends_with(':') {
                // The head of a mapping: from-to, rights, offset, device, inode, name.
                is_map = line.contains("bpf-map") || line.contains("bpf_map");
            } else if first == "Rss:" && !is_map {
                resident += kilobytes(line)?;
            }
        }
        let mut maps = BTreeMap::new();
        for file in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
            // It may be closed by now.
            let Ok(text) = fs::read_to_string(file?.path()) else {
                continue;
            };
            let field = |name: &str| {
                let line = text.lines().find(|line| line.starts_with(name))?;
                line.split_whitespace().nth(1)?.parse::<u64>().ok()
            };
            if let (Some(id), Some(bytes)) = (field("map_id:"), field("memlock:")) {
                maps.insert(id, bytes);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let maps = maps.into_values().sum::<u64>() as f64 / 1e6;
        Ok(Self {
            resident: resident / 1000.0,
            maps,
        })
    }

    /// Together.
    pub fn sum(self) -> f64 {
        self.resident + self.maps
    }
}

/// A field of `/proc/PID/status` in megabytes: `VmRSS:`, or `VmHWM:`, the highest since the start or [`forget_peak`].
pub fn status(pid: u32, field: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(field));
    Ok(kilobytes(line.with_context(|| format!("no {field}"))?)? / 1000.0)
}

/// The highest resident set is that of now.
pub fn forget_peak(pid: u32) -> Result<()> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

fn kilobytes(line: &str) -> Result<f64> {
    let number = line.split_whitespace().nth(1).context("no number")?;
    Ok(number.parse()?)
}

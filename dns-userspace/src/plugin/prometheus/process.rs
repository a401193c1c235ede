//! `process_*`: the process itself, as Linux tells of it in `/proc/self`.

use std::{fmt, fs};

use nix::unistd::{SysconfVar, sysconf};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use crate::plugin::metrics::Families;

/// Nothing is kept: each page reads anew.
#[derive(Clone, Debug, Default)]
pub(super) struct Process;

impl Families for Process {
    fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(stat) = Stat::read() else {
            return Ok(());
        };
        let cpu = encoder.encode_descriptor(
            "process_cpu_seconds",
            "CPU time, user's and system's",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(stat.cpu_seconds).encode(cpu)?;
        let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Memory in RAM",
                stat.resident_bytes,
            ),
            (
                "process_virtual_memory_bytes",
                "Address space",
                stat.virtual_bytes,
            ),
            (
                "process_start_time_seconds",
                "Unix time of the start",
                stat.started,
            ),
            ("process_open_fds", "Open file descriptors", float(open)),
            (
                "process_max_fds",
                "The limit of file descriptors",
                files_max(),
            ),
        ] {
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(gauge)?;
        }
        Ok(())
    }
}

/// Some fields of `proc_pid_stat(5)`.
struct Stat {
    cpu_seconds: f64,
    started: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is the program's name in parentheses, spaces and all; then comes the third.
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<f64> = (rest.split(' '))
            .map(|field| field.trim().parse().unwrap_or(0.0))
            .collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let ticks = number(SysconfVar::CLK_TCK)?;
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
        Some(Stat {
            cpu_seconds: (field(14)? + field(15)?) / ticks,
            started: boot.parse::<f64>().ok()? + field(22)? / ticks,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * number(SysconfVar::PAGE_SIZE)?,
        })
    }
}

fn number(variable: SysconfVar) -> Option<f64> {
    sysconf(variable)
        .ok()?
        .and_then(|value| usize::try_from(value).ok())
        .map(float)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "metrics are floating point, and these numbers are small"
)]
fn float(value: usize) -> f64 {
    value as f64
}

fn files_max() -> f64 {
    number(SysconfVar::OPEN_MAX).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::Stat;

    #[test]
    fn this_process_is_found() {
        let stat = Stat::read().unwrap();
        assert!(stat.resident_bytes > 1e6 && stat.virtual_bytes >= stat.resident_bytes);
        assert!(stat.started > 1.6e9);
    }
}

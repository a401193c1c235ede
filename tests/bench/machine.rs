//! The machine that figures are of.

use std::{fs, process::Command};

use anyhow::ensure;
use serde_json::{Value, json};

/// With statistics on, the kernel reads the clock twice in each run of a program: about 40 ns, as much as is measured.
pub fn check() -> anyhow::Result<()> {
    let stats = read("/proc/sys/kernel/bpf_stats_enabled");
    ensure!(
        stats != "1",
        "kernel.bpf_stats_enabled is 1, which adds about 40 ns to every run of a program: \
         sysctl kernel.bpf_stats_enabled=0"
    );
    Ok(())
}

/// Processor, kernel, mitigations, versions.
pub fn describe() -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        cpuinfo
            .lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split(": ").nth(1))
            .unwrap_or("unknown")
            .to_owned()
    };
    let mitigation = |name: &str| {
        fs::read_to_string(format!("/sys/devices/system/cpu/vulnerabilities/{name}"))
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    json!({
        "machine": {
            "processor": field("model name"),
            "cpus": std::thread::available_parallelism().map_or(0, usize::from),
            "kernel": read("/proc/sys/kernel/osrelease"),
            "spectre_v2": mitigation("spectre_v2"),
            "spec_rstack_overflow": mitigation("spec_rstack_overflow"),
            "bpf_stats_enabled": read("/proc/sys/kernel/bpf_stats_enabled"),
        },
        "versions": {
            "hopzero": env!("CARGO_PKG_VERSION"),
            "rustc": first_line("rustc", &["-V"]),
            "bpf-linker": first_line("bpf-linker", &["--version"]),
        },
    })
}

/// Two lines for people.
pub fn print(machine: &Value) {
    for part in ["machine", "versions"] {
        let fields: Vec<String> = (machine[part].as_object().into_iter().flatten())
            .map(|(name, value)| {
                format!(
                    "{name}: {}",
                    value.as_str().map_or(value.to_string(), str::to_owned)
                )
            })
            .collect();
        println!("{}", fields.join(" | "));
    }
}

fn read(file: &str) -> String {
    fs::read_to_string(file)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    Command::new(program)
        .args(arguments)
        .output()
        .map(|output| {
            String::from_utf8_lossy(&output.stdout)
                .lines()
                .next()
                .unwrap_or("")
                .to_owned()
        })
        .unwrap_or_default()
}

//! The kernel, and what this process may do with it.

use std::{fs, path::Path};

use serde_json::json;

use super::{
    outcome::{Hints, Outcome},
    surroundings::{Surroundings, blocking},
};
use crate::kernel::survey;

/// Links that hold XDP programs; without them nothing is attached (docs/kernels.md).
const OLDEST: (u32, u32) = (5, 9);
/// tcx, and a first place among its programs.
const BEST: (u32, u32) = (6, 6);
const BTF: &str = "/sys/kernel/btf/vmlinux";
const BPFFS: &str = "/sys/fs/bpf";

pub(super) async fn kernel(_: &mut Surroundings) -> Outcome {
    let release = nix::sys::utsname::uname()
        .map(|names| names.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    let facts = json!({"release": release});
    let hints = |meaning| Hints {
        meaning,
        see: "uname -r",
        fix: "a newer kernel: docs/kernels.md has what was seen on which",
    };
    let outcome = match version(&release) {
        Some(version) if version >= BEST => Outcome::ok(format!("Linux {release}")),
        Some(version) if version >= OLDEST => Outcome::warning(
            format!("Linux {release} has no tcx"),
            &hints(
                "programs are attached as filters of clsact, which stay (and pass everything) when a daemon is killed; tcx came with Linux 6.6",
            ),
        ),
        _ => Outcome::failure(
            format!("Linux {release} is too old: 5.9 is the oldest that can work"),
            &hints("nothing is answered in the kernel; `hopzero serve` answers from its socket"),
        ),
    };
    outcome.facts(facts)
}

/// `6.18.44-generic`: major and minor.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

pub(super) async fn capabilities(_: &mut Surroundings) -> Outcome {
    let missing = survey::missing_capabilities();
    if missing.is_empty() {
        return Outcome::ok("CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are there");
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    let purposes: Vec<String> = missing
        .iter()
        .map(|(name, purpose)| format!("{name} is for {purpose}"))
        .collect();
    Outcome::failure(
        format!("{} missing", names.join(", ")),
        &Hints {
            meaning: &format!(
                "nothing can be answered in the kernel: {}",
                purposes.join("; ")
            ),
            see: "grep CapEff /proc/self/status; capsh --decode=…",
            fix: "run as root, or grant them: capabilities.add in the pod's securityContext (the chart does it), setcap cap_bpf,cap_net_admin,cap_perfmon+ep, AmbientCapabilities= in a systemd unit",
        },
    )
    .facts(json!({"missing": names}))
}

pub(super) async fn programs(_: &mut Surroundings) -> Outcome {
    if !survey::missing_capabilities().is_empty() {
        return Outcome::skipped("not loaded without the capabilities");
    }
    match blocking(survey::try_to_load).await {
        Ok(Ok(())) => Outcome::ok("the kernel loads the eBPF programs"),
        Ok(Err(error)) => Outcome::failure(
            format!("the eBPF programs cannot be loaded: {error}"),
            &Hints {
                meaning: "nothing is answered in the kernel; queries go where they would go without hopzero",
                see: "bpftool feature probe kernel; dmesg; the container's seccomp profile",
                fix: "EPERM or ENOSYS: a seccomp profile that forbids bpf(2), or lockdown=confidentiality; E2BIG or a verifier's message: the kernel (docs/kernels.md); ENOMEM: the memory limit of the container",
            },
        ),
        Err(error) => Outcome::skipped(error),
    }
}

pub(super) async fn btf(_: &mut Surroundings) -> Outcome {
    match fs::File::open(BTF) {
        Ok(_) => Outcome::ok("the kernel describes its types (BTF)"),
        Err(error) => Outcome::warning(
            format!("no BTF of the kernel: {BTF}: {error}"),
            &Hints {
                meaning: "hopzero works without it; tools that look at its programs, such as bpftrace, do not",
                see: "ls /sys/kernel/btf; zgrep CONFIG_DEBUG_INFO_BTF /proc/config.gz",
                fix: "a kernel with CONFIG_DEBUG_INFO_BTF=y; or in a container: /sys mounted as it is",
            },
        ),
    }
}

pub(super) async fn bpffs(_: &mut Surroundings) -> Outcome {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    if mounted(&mounts, BPFFS).is_some_and(|kind| kind == "bpf") {
        return Outcome::ok(format!("a BPF file system is mounted at {BPFFS}"));
    }
    let there = if Path::new(BPFFS).is_dir() {
        "is there, but no BPF file system is mounted on it"
    } else {
        "is not there"
    };
    Outcome::warning(
        format!("{BPFFS} {there}"),
        &Hints {
            meaning: "nothing can be pinned: other tools' pins are missing, and between the end of a daemon and the start of the next one queries go where they would go without hopzero",
            see: "findmnt -t bpf",
            fix: "mount -t bpf bpf /sys/fs/bpf (systemd does it at the boot); in a pod: a hostPath volume of /sys/fs/bpf",
        },
    )
}

/// The kind of the file system that is seen at a place: the last that was mounted there.
fn mounted<'a>(mounts: &'a str, at: &str) -> Option<&'a str> {
    let lines = mounts.lines().rev();
    let mut found = lines.filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        (words.next()? == at).then(|| words.next())?
    });
    found.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(version("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(version("5.9"), Some((5, 9)));
        assert_eq!(version("next"), None);
        assert!(version("5.10.0-28-amd64") > Some(OLDEST));
        assert!(version("6.1.0") < Some(BEST));
    }

    #[test]
    fn the_last_mount_counts() {
        let mounts = "sysfs /sys sysfs rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n";
        assert_eq!(mounted(mounts, BPFFS), Some("bpf"));
        let hidden = format!("{mounts}none /sys/fs/bpf tmpfs rw 0 0\n");
        assert_eq!(mounted(&hidden, BPFFS), Some("tmpfs"));
        assert_eq!(mounted("", BPFFS), None);
    }
}

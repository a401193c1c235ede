//! Whether eBPF can be had here, and if not, why.

use std::{fs, io, thread};

/// `CAP_NET_ADMIN`: attach to a device.
const NET_ADMIN: u32 = 12;
/// `CAP_SYS_ADMIN`: make network namespaces.
const SYS_ADMIN: u32 = 21;
/// `CAP_PERFMON`: load a program with variable packet offsets.
const PERFMON: u32 = 38;
/// `CAP_BPF`: load programs, create maps.
const BPF: u32 = 39;
/// The command of bpf(2) that creates a map (`include/uapi/linux/bpf.h`).
const BPF_MAP_CREATE: libc::c_int = 0;
/// The plainest type of map.
const BPF_MAP_TYPE_ARRAY: u32 = 2;

/// Why the kernel path cannot be shown here; none if it can.
pub fn why_no_ebpf() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let missing = missing_capabilities(effective(&status)?);
    if !missing.is_empty() {
        return Some(format!("this process lacks {}", missing.join(", ")));
    }
    if let Err(error) = create_map() {
        return Some(format!("the kernel refuses bpf(2): {error}"));
    }
    if let Err(error) = create_namespace() {
        return Some(format!("no network namespace can be made: {error}"));
    }
    None
}

/// The effective capabilities in a `/proc/<pid>/status`.
fn effective(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn missing_capabilities(effective: u64) -> Vec<&'static str> {
    [
        (BPF, "CAP_BPF"),
        (NET_ADMIN, "CAP_NET_ADMIN"),
        (PERFMON, "CAP_PERFMON"),
        (SYS_ADMIN, "CAP_SYS_ADMIN"),
    ]
    .into_iter()
    .filter(|(bit, _)| effective & (1 << bit) == 0)
    .map(|(_, name)| name)
    .collect()
}

/// Creates the smallest map, and lets it go: a seccomp filter or lockdown can refuse bpf(2) to
/// one who has every capability.
fn create_map() -> io::Result<()> {
    /// The beginning of `union bpf_attr` for `BPF_MAP_CREATE`.
    #[repr(C)]
    struct Attributes {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
    }
    let attributes = Attributes {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        map_flags: 0,
    };
    // SAFETY: the kernel reads `size` bytes from `attributes`, which outlives the call, and takes
    // what follows in its union as zero.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_CREATE,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    let Ok(fd) = libc::c_int::try_from(fd) else {
        return Err(io::Error::other("not a file descriptor"));
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is ours, and nothing else has it.
    unsafe { libc::close(fd) };
    Ok(())
}

/// Moves a thread into a new network namespace, which ends with the thread.
fn create_namespace() -> io::Result<()> {
    let tried = thread::spawn(|| {
        // SAFETY: unshare changes this thread only, which does nothing else.
        match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    });
    tried
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing() {
        let status = "Name:\tx\nCapPrm:\t0\nCapEff:\t00000000a80425fb\n";
        let capabilities = effective(status).unwrap();
        assert_eq!(
            missing_capabilities(capabilities),
            ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON", "CAP_SYS_ADMIN"]
        );
        assert!(missing_capabilities(u64::MAX).is_empty());
    }
}

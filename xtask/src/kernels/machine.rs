//! A virtual machine, emulated in full: it runs wherever qemu does, in a container, too.

use std::{path::Path, process::Command};

use crate::workspace;

const QEMU: &str = "qemu-system-x86_64";
/// A machine that hangs is ended after so long.
const PATIENCE_SECONDS: u32 = 300;
/// The files of the tests are in it twice while they are unpacked.
const MEMORY: &str = "1024";

/// Why there is none.
pub fn missing() -> Option<String> {
    if cfg!(not(target_arch = "x86_64")) {
        return Some("the kernels are those of x86-64".to_owned());
    }
    [QEMU, "busybox", "apt-get"]
        .into_iter()
        .find(|program| workspace::find(program).is_none())
        .map(|program| format!("{program} is missing: `cargo xtask setup --dev`, on Debian 12"))
}

/// Boots; the machine's serial line is the command's output.
pub fn command(kernel: &Path, initramfs: &Path) -> Command {
    let mut command = workspace::command("timeout");
    command
        .arg("--kill-after=5")
        .arg(PATIENCE_SECONDS.to_string())
        .arg(QEMU)
        // KVM inside of a virtual machine is not to be relied on.
        .args(["-accel", "tcg,thread=multi", "-smp", "2"])
        .args(["-cpu", "max", "-M", "q35", "-m", MEMORY])
        .args(["-nodefaults", "-display", "none", "-no-reboot"])
        .args(["-serial", "stdio", "-kernel"])
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        // A panic ends the machine.
        .args(["-append", "console=ttyS0 quiet panic=-1"])
        .stdin(std::process::Stdio::null());
    command
}

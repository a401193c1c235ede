//! The daemon as it is shipped: one static program, the same from every run.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, ensure};

use crate::{build_ebpf, setup, workspace};

/// Rust links musl in: no library of the system is needed, whichever it is.
const TARGET: &str = "x86_64-unknown-linux-musl";

/// Version of the daemon, which is this crate's.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Builds it, with the programs embedded, unless something has to be installed first.
///
/// # Errors
/// It does not build, or not as it has to be.
pub fn build() -> Result<Option<PathBuf>> {
    let needed = [setup::Item::TO_RUN, setup::Item::TO_SHIP].concat();
    if setup::ensure(&needed)? == setup::Outcome::ToDo {
        return Ok(None);
    }
    build_ebpf::build()?;
    let mut command = workspace::cargo();
    command.args(["build", "-p", "hopzero", "--profile", "dist", "--locked"]);
    command.args(["--target", TARGET]);
    // Where it was built is no part of it.
    let remapped = [
        (workspace::root().to_owned(), "/src"),
        (workspace::cargo_home(), "/cargo"),
    ]
    .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    command.env(
        "CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS",
        remapped.join(" "),
    );
    command.env("CC_x86_64_unknown_linux_musl", "musl-gcc");
    let status = command.status()?;
    ensure!(status.success(), "cargo build ended with {status}");
    let binary = workspace::target_dir().join(TARGET).join("dist/hopzero");
    let linked = Command::new("ldd").arg(&binary).output()?;
    let linked = String::from_utf8_lossy(&linked.stdout).into_owned();
    ensure!(
        !linked.contains("=>"),
        "{} is not static:\n{linked}",
        binary.display()
    );
    Ok(Some(binary))
}

//! `cargo xtask build-ebpf`: the eBPF programs, built into one object that `hopzero` embeds.
//!
//! The crate stands outside the workspace: it has another target, another panic strategy and
//! another toolchain. It is always optimised, since the verifier takes nothing else.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

use crate::{
    progress, signals,
    toolchain::{self, Choice},
    workspace,
};

const TARGET: &str = "bpfel-unknown-none";
const BINARY: &str = "hopzero-ebpf";
/// The benchmarks' generators, the readers of a test, those that it wants broken, and those that stand in
/// for a VLAN device and for another agent.
const OTHER_BINARIES: [&str; 5] = [
    "hopzero-bench",
    "hopzero-torn",
    "hopzero-unverified",
    "hopzero-tag",
    "hopzero-foreign",
];

#[derive(clap::Args)]
pub struct Args {
    /// Accepted for symmetry with cargo: the programs are always built optimised
    #[arg(long)]
    release: bool,
}

pub fn run(_args: &Args) -> Result<ExitCode> {
    signals::install();
    let built = build()?;
    println!("{} ({} bytes)", built.object.display(), built.bytes);
    Ok(ExitCode::SUCCESS)
}

/// An object that was built.
pub struct Built {
    /// Where it is.
    pub object: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// Builds the object and puts it where the daemon's build looks for it.
pub fn build() -> Result<Built> {
    let crate_dir = workspace::root().join("dns-ebpf");
    if !crate_dir.join("Cargo.toml").exists() {
        bail!(
            "there is no {}: is this checkout complete?",
            crate_dir.display()
        );
    }
    let target_dir = workspace::target_dir().join("ebpf");
    progress::run(
        "building the eBPF programs",
        &mut command(&crate_dir, &target_dir)?,
    )?;
    let built = target_dir.join(TARGET).join("release").join(BINARY);
    // Not CARGO_TARGET_DIR: this is where the daemon's build script looks.
    let object = workspace::root().join("target/bpf/hopzero.o");
    install(&built, &object)?;
    for other in OTHER_BINARIES {
        let beside = object.with_file_name(format!("{other}.o"));
        install(&built.with_file_name(other), &beside)?;
    }
    Ok(Built {
        bytes: fs::metadata(&object)?.len(),
        object,
    })
}

fn command(crate_dir: &Path, target_dir: &Path) -> Result<Command> {
    let Choice::Ready(toolchain) = toolchain::discover()? else {
        bail!("no Rust toolchain with rust-src: run `cargo xtask setup`");
    };
    if workspace::find("bpf-linker").is_none() {
        bail!("bpf-linker is not installed: run `cargo xtask setup`");
    }
    let mut command = toolchain.cargo();
    command
        .current_dir(crate_dir)
        // The target, its flags and build-std stand in the crate's own .cargo/config.toml.
        .args(["build", "--release", "--target-dir"])
        .arg(target_dir)
        // Flags in the environment would replace those of the crate.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_BPFEL_UNKNOWN_NONE_RUSTFLAGS");
    if workspace::is_ci() {
        command.arg("--locked");
    }
    Ok(command)
}

/// Copies `built` to `object` if it differs: a new time stamp would rebuild the daemon.
fn install(built: &Path, object: &Path) -> Result<()> {
    let new = fs::read(built).with_context(|| format!("no {}", built.display()))?;
    if fs::read(object).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let directory = object.parent().context("an object without a directory")?;
    fs::create_dir_all(directory)?;
    // Written beside and renamed: another build never sees half an object.
    let beside = object.with_extension(format!("o.{}", std::process::id()));
    File::create(&beside)
        .and_then(|mut file| file.write_all(&new))
        .and_then(|()| fs::rename(&beside, object))
        .with_context(|| format!("cannot write {}", object.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_equal_object_is_left_alone() {
        let directory = std::env::temp_dir().join(format!("hz-object-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (built, object) = (directory.join("built"), directory.join("bpf/hopzero.o"));
        fs::write(&built, "one").unwrap();
        install(&built, &object).unwrap();
        let before = fs::metadata(&object).unwrap().modified().unwrap();
        install(&built, &object).unwrap();
        assert_eq!(fs::metadata(&object).unwrap().modified().unwrap(), before);
        fs::write(&built, "two").unwrap();
        install(&built, &object).unwrap();
        assert_eq!(fs::read(&object).unwrap(), b"two");
        assert_eq!(fs::read_dir(directory.join("bpf")).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }
}

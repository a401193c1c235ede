//! Where things are, and commands that do not inherit what `cargo run` set for us.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// The root of the workspace that this xtask was built from.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a member of the workspace")
}

/// Where cargo puts what it builds.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Cargo's home, where its installed commands are.
pub fn cargo_home() -> PathBuf {
    env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cargo"),
        PathBuf::from,
    )
}

/// A command in the workspace's root, without the variables that `cargo run` adds for its child:
/// some of them select a toolchain, others make a nested cargo build everything again.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    for (name, _) in env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let from_cargo = [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_CRATE_",
            "CARGO_BIN_",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix));
        if from_cargo || matches!(name, "CARGO" | "RUSTUP_TOOLCHAIN" | "LD_LIBRARY_PATH") {
            command.env_remove(name);
        }
    }
    command.env("PATH", search_path());
    command
}

/// Cargo in the workspace's root, by the toolchain that built this xtask.
pub fn cargo() -> Command {
    of_our_toolchain("cargo")
}

/// The compiler that [`cargo`] calls.
pub fn rustc() -> Command {
    of_our_toolchain("rustc")
}

fn of_our_toolchain(program: &str) -> Command {
    let mut command = command(program);
    if let Some(toolchain) = env::var_os("RUSTUP_TOOLCHAIN") {
        command.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    command
}

/// PATH, with cargo's own commands, the administrator's (bpftool, ip) and Go's usual place at the end.
fn search_path() -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = [
        cargo_home().join("bin"),
        "/usr/sbin".into(),
        "/sbin".into(),
        "/usr/local/go/bin".into(),
    ];
    env::join_paths(env::split_paths(&path).chain(more)).unwrap_or(path)
}

/// The file that `program` names, if it is installed.
pub fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path())
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// Whether this process is root's.
pub fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Whether we run in continuous integration, where a skipped kernel test is a failure.
pub fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

//! Which Rust toolchain builds the eBPF programs.
//!
//! `core` has to be built from source for `bpfel-unknown-none`, so the toolchain needs rust-src.
//! The order of discovery: what `HOPZERO_BPF_TOOLCHAIN` names; a rustup toolchain that has
//! rust-src, a nightly one first; the distribution's own compiler. Building `core` is an unstable
//! feature: a stable compiler does it with `RUSTC_BOOTSTRAP=1`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// The variable that overrides the discovery: a rustup toolchain's name, or [`SYSTEM`].
pub const OVERRIDE: &str = "HOPZERO_BPF_TOOLCHAIN";
/// The name of the distribution's toolchain.
pub const SYSTEM: &str = "system";
/// The oldest compiler that builds the programs.
pub const RUST_MIN: (u32, u32) = (1, 95);
/// The LLVM versions that bpf-linker has a feature for.
pub const LLVM_SUPPORTED: std::ops::RangeInclusive<u32> = 21..=23;

/// A toolchain on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// rustup's name for it, or [`SYSTEM`].
    pub name: String,
    /// Its libLLVM.
    pub libllvm: PathBuf,
    /// Whether rust-src is there.
    pub has_src: bool,
    /// Its version of Rust.
    pub rust: (u32, u32),
    /// Its version of LLVM: bpf-linker must read what this one writes.
    pub llvm: u32,
}

impl Toolchain {
    fn is_nightly(&self) -> bool {
        self.name.starts_with("nightly")
    }

    fn is_usable(&self) -> bool {
        self.rust >= RUST_MIN && LLVM_SUPPORTED.contains(&self.llvm)
    }

    /// Its cargo.
    pub fn cargo(&self) -> Command {
        let mut command = if self.name == SYSTEM {
            let mut command = workspace::command("/usr/bin/cargo");
            command.env("RUSTC", "/usr/bin/rustc");
            command
        } else {
            let mut command = workspace::command("rustup");
            command.args(["run", &self.name, "cargo"]);
            command
        };
        if !self.is_nightly() {
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        command
    }
}

/// What the discovery came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This toolchain can build the programs as it is.
    Ready(Toolchain),
    /// None can. rust-src added to one of these would do, the best first.
    AddSrc(Vec<Toolchain>),
}

/// Looks at this machine.
pub fn discover() -> Result<Choice> {
    let mut found = rustup_toolchains();
    found.extend(system_toolchain());
    choose(env::var(OVERRIDE).ok().as_deref(), found)
}

/// The decision, apart from the machine.
fn choose(wanted: Option<&str>, mut found: Vec<Toolchain>) -> Result<Choice> {
    if let Some(wanted) = wanted {
        let names = names(&found);
        found.retain(|toolchain| {
            toolchain.name == wanted || toolchain.name.starts_with(&format!("{wanted}-"))
        });
        let Some(toolchain) = found.first() else {
            bail!("{OVERRIDE}={wanted}: no such toolchain here (there are: {names}); unset it");
        };
        if !toolchain.is_usable() {
            bail!(
                "{OVERRIDE}={wanted}: Rust {}.{} with LLVM {} cannot build the programs; \
                 they need Rust {}.{} or newer and LLVM {} to {}",
                toolchain.rust.0,
                toolchain.rust.1,
                toolchain.llvm,
                RUST_MIN.0,
                RUST_MIN.1,
                LLVM_SUPPORTED.start(),
                LLVM_SUPPORTED.end(),
            );
        }
    }
    found.retain(Toolchain::is_usable);
    // A nightly compiler first, then any other rustup toolchain, the distribution's last.
    found.sort_by_key(|toolchain| (toolchain.name == SYSTEM, !toolchain.is_nightly()));
    match found.iter().find(|toolchain| toolchain.has_src) {
        Some(toolchain) => Ok(Choice::Ready(toolchain.clone())),
        None => Ok(Choice::AddSrc(found)),
    }
}

fn names(found: &[Toolchain]) -> String {
    let names: Vec<&str> = found.iter().map(|toolchain| &*toolchain.name).collect();
    names.join(", ")
}

/// rustup's toolchains; none if there is no rustup.
fn rustup_toolchains() -> Vec<Toolchain> {
    let listed = workspace::command("rustup")
        .args(["toolchain", "list", "-v"])
        .output();
    let Ok(output) = listed else {
        return Vec::new();
    };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let (name, root) = parse_listed(line)?;
            inspect(name.to_owned(), root).ok()
        })
        .collect()
}

/// `stable-x86_64-unknown-linux-gnu (active, default) /home/a/.rustup/toolchains/stable-…`
fn parse_listed(line: &str) -> Option<(&str, &Path)> {
    let name = line.split_whitespace().next()?;
    let root = &line[line.find('/')?..];
    Some((name, Path::new(root)))
}

fn inspect(name: String, root: &Path) -> Result<Toolchain> {
    let (libllvm, llvm) = find_llvm(&root.join("lib"))?;
    Ok(Toolchain {
        has_src: has_src(root),
        rust: rust_version(&root.join("bin/rustc"))?,
        llvm,
        name,
        libllvm,
    })
}

fn has_src(sysroot: &Path) -> bool {
    sysroot
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .exists()
}

fn rust_version(rustc: &Path) -> Result<(u32, u32)> {
    let output = Command::new(rustc)
        .arg("-V")
        .output()
        .with_context(|| format!("cannot run {}", rustc.display()))?;
    parse_rust_version(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("{} -V says no version", rustc.display()))
}

/// `rustc 1.95.0 (59807616e 2026-04-14)`
fn parse_rust_version(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.split_whitespace().nth(1)?.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

/// From the names in a toolchain's library directory: asking rustc costs ten times as much.
fn find_llvm(lib: &Path) -> Result<(PathBuf, u32)> {
    fs::read_dir(lib)
        .with_context(|| format!("cannot list {}", lib.display()))?
        .flatten()
        // `libLLVM-22-….so` is a linker script that names this one.
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("libLLVM.so.")
        })
        .find_map(|entry| Some((entry.path(), llvm_major(entry.file_name().to_str()?)?)))
        .with_context(|| format!("no libLLVM.so in {}", lib.display()))
}

/// `libLLVM.so.22.1-rust-1.95.0-stable`, `libLLVM-22-rust-1.95.0-stable.so`, `libLLVM.so.22.1`
pub fn llvm_major(file: &str) -> Option<u32> {
    let rest = file.strip_prefix("libLLVM")?;
    let rest = rest
        .strip_prefix(".so.")
        .or_else(|| rest.strip_prefix('-'))?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// The distribution's rustc, which links its own LLVM.
fn system_toolchain() -> Option<Toolchain> {
    let rustc = Path::new("/usr/bin/rustc");
    if !rustc.exists() || !Path::new("/usr/bin/cargo").exists() {
        return None;
    }
    let output = Command::new(rustc).arg("-vV").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let llvm = text
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    let llvm = llvm.split('.').next()?.parse().ok()?;
    Some(Toolchain {
        name: SYSTEM.to_owned(),
        libllvm: PathBuf::from(format!("/usr/lib/llvm-{llvm}/lib/libLLVM.so")),
        has_src: has_src(Path::new("/usr")),
        rust: parse_rust_version(text.lines().next()?)?,
        llvm,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain(name: &str, has_src: bool) -> Toolchain {
        Toolchain {
            name: name.to_owned(),
            libllvm: PathBuf::new(),
            has_src,
            rust: RUST_MIN,
            llvm: 22,
        }
    }

    fn chosen(wanted: Option<&str>, found: &[Toolchain]) -> String {
        match choose(wanted, found.to_vec()) {
            Ok(Choice::Ready(toolchain)) => toolchain.name,
            Ok(Choice::AddSrc(to)) => format!("add to {}", names(&to)),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn nightly_with_source_comes_first() {
        let found = [
            toolchain(SYSTEM, true),
            toolchain("stable-x86_64", true),
            toolchain("nightly-x86_64", true),
        ];
        assert_eq!(chosen(None, &found), "nightly-x86_64");
        assert_eq!(chosen(None, &found[..2]), "stable-x86_64");
        assert_eq!(chosen(None, &found[..1]), SYSTEM);
    }

    #[test]
    fn source_counts_more_than_nightly() {
        let found = [toolchain("nightly-x", false), toolchain("stable-x", true)];
        assert_eq!(chosen(None, &found), "stable-x");
    }

    #[test]
    fn without_source_it_is_added_to_nightly_then_stable() {
        let found = [toolchain("stable-x", false), toolchain("nightly-x", false)];
        assert_eq!(chosen(None, &found), "add to nightly-x, stable-x");
        assert_eq!(chosen(None, &[]), "add to ");
    }

    #[test]
    fn too_old_does_not_count() {
        let mut old = toolchain("nightly-x", true);
        old.rust = (1, 94);
        assert_eq!(
            chosen(None, &[old, toolchain("stable-x", false)]),
            "add to stable-x"
        );
    }

    #[test]
    fn the_override_wins_or_says_why_not() {
        let mut old = toolchain("1.80.0-x", true);
        old.rust = (1, 80);
        let found = [
            toolchain("nightly-x", true),
            toolchain("stable-x", true),
            old,
        ];
        assert_eq!(chosen(Some("stable"), &found), "stable-x");
        assert!(chosen(Some("beta"), &found).contains("no such toolchain"));
        assert!(chosen(Some("1.80.0"), &found).contains("cannot build"));
    }

    #[test]
    fn reads_what_rustup_and_rustc_print() {
        let line = "stable-x86_64-unknown-linux-gnu (active, default) /home/a b/toolchains/stable";
        let (name, root) = parse_listed(line).unwrap();
        assert_eq!(name, "stable-x86_64-unknown-linux-gnu");
        assert_eq!(root, Path::new("/home/a b/toolchains/stable"));
        assert_eq!(
            parse_rust_version("rustc 1.97.0-nightly (e50aa6fba 2026-05-19)"),
            Some((1, 97))
        );
    }

    #[test]
    fn reads_llvm_from_file_names() {
        assert_eq!(llvm_major("libLLVM.so.22.1-rust-1.95.0-stable"), Some(22));
        assert_eq!(llvm_major("libLLVM-22-rust-1.95.0-stable.so"), Some(22));
        assert_eq!(llvm_major("libLLVM.so"), None);
        assert_eq!(llvm_major("librustc_driver-e.so"), None);
    }
}

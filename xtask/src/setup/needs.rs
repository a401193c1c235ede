//! The things that can be missing, in the order in which they build on each other.

use std::{fs, io::Read, path::Path};

use anyhow::Result;

use super::need::{Need, Step, Way};
use crate::{
    toolchain::{self, Choice, SYSTEM, Toolchain},
    workspace,
};

/// The linker that turns LLVM bitcode into an eBPF object.
const BPF_LINKER: &str = "0.13.0";
/// Where the bpf file system belongs.
const BPFFS: &str = "/sys/fs/bpf";
/// Each command that we call, and its package.
const PACKAGES: [(&str, Package); 4] = [
    (
        "ip",
        Package {
            debian: "iproute2",
            fedora: "iproute",
            arch: "iproute2",
        },
    ),
    (
        "bpftool",
        Package {
            debian: "bpftool",
            fedora: "bpftool",
            arch: "bpf",
        },
    ),
    (
        "dig",
        Package {
            debian: "bind9-dnsutils",
            fedora: "bind-utils",
            arch: "bind",
        },
    ),
    (
        "kdig",
        Package {
            debian: "knot-dnsutils",
            fedora: "knot-utils",
            arch: "knot",
        },
    ),
];

/// What a package is called. Only Debian's is installed; the others are for the commands we print.
#[derive(Clone, Copy)]
struct Package {
    debian: &'static str,
    fedora: &'static str,
    arch: &'static str,
}

/// Something that a task needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A Rust toolchain with the source of `core`.
    RustSrc,
    /// bpf-linker, with the LLVM of that toolchain.
    BpfLinker,
    /// The commands of [`PACKAGES`].
    Packages,
    /// The bpf file system.
    Bpffs,
    /// rustfmt and clippy.
    Components,
    /// cargo-deny.
    CargoDeny,
    /// musl, and its compiler.
    Musl,
    /// What a node in miniature is made of.
    Node,
    /// Rust's library for musl.
    MuslTarget,
    /// Virtual machines for other kernels.
    Machines,
}

impl Item {
    /// What building and running the programs needs.
    pub const TO_RUN: &[Self] = &[Self::RustSrc, Self::BpfLinker, Self::Packages, Self::Bpffs];
    /// And what CI needs besides.
    pub const ALL: &[Self] = &[
        Self::RustSrc,
        Self::BpfLinker,
        Self::Packages,
        Self::Bpffs,
        Self::Components,
        Self::CargoDeny,
        Self::Musl,
        Self::Node,
        Self::MuslTarget,
        Self::Machines,
    ];
    /// What a static program needs besides.
    pub const TO_SHIP: &[Self] = &[Self::Musl, Self::MuslTarget];

    /// How to get it, if it is missing.
    pub fn missing(self) -> Result<Option<Need>> {
        match self {
            Self::RustSrc => rust_src(),
            Self::BpfLinker => bpf_linker(),
            Self::Packages => Ok(packages(|program| workspace::find(program).is_some())),
            Self::Bpffs => Ok(bpffs(&fs::read_to_string("/proc/self/mounts")?)),
            Self::Components => Ok(components()),
            Self::CargoDeny => Ok(cargo_deny()),
            Self::Musl => Ok(musl(|program| workspace::find(program).is_some())),
            Self::Node => Ok(node(|program| workspace::find(program).is_some())),
            Self::MuslTarget => musl_target(),
            Self::Machines => Ok(machines(|program| workspace::find(program).is_some())),
        }
    }
}

fn apt(packages: &[&str]) -> Vec<Step> {
    let mut install = vec!["apt-get", "install", "-y", "--no-install-recommends"];
    install.extend(packages);
    vec![
        Step::root(
            "refreshing the list of packages",
            &["apt-get", "update", "-q"],
        ),
        Step::root(format!("installing {}", packages.join(", ")), &install)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    ]
}

fn rust_src() -> Result<Option<Need>> {
    let Choice::AddSrc(candidates) = toolchain::discover()? else {
        return Ok(None);
    };
    let mut ways: Vec<Way> = candidates
        .iter()
        .filter(|toolchain| toolchain.name != SYSTEM)
        .map(|toolchain| Way {
            steps: vec![Step::new(
                format!("adding rust-src to {}", toolchain.name),
                &[
                    "rustup",
                    "component",
                    "add",
                    "rust-src",
                    "--toolchain",
                    &toolchain.name,
                ],
            )],
        })
        .collect();
    if workspace::find("rustup").is_some() {
        ways.push(Way {
            steps: vec![Step::new(
                "installing a nightly toolchain with rust-src",
                &[
                    "rustup",
                    "toolchain",
                    "install",
                    "nightly",
                    "--profile",
                    "minimal",
                    "--component",
                    "rust-src",
                ],
            )],
        });
    }
    if workspace::find("apt-get").is_some() {
        ways.push(Way {
            steps: apt(&["rustc-web", "cargo-web", "rust-web-src", "llvm-22-dev"]),
        });
    }
    Ok(Some(Need {
        what: "the source of Rust's core library (rust-src)".to_owned(),
        why: "core is built from it for the eBPF target",
        ways,
        optional: false,
    }))
}

fn bpf_linker() -> Result<Option<Need>> {
    // Without rust-src yet: the toolchain that will get it.
    let toolchain = match toolchain::discover()? {
        Choice::Ready(toolchain) => toolchain,
        Choice::AddSrc(candidates) => match candidates.into_iter().next() {
            Some(toolchain) => toolchain,
            None => return Ok(Some(linker_need(&system_to_come()))),
        },
    };
    Ok((!linker_suits(&toolchain)).then(|| linker_need(&toolchain)))
}

/// What the distribution's packages will be, once they are installed.
fn system_to_come() -> Toolchain {
    Toolchain {
        name: SYSTEM.to_owned(),
        libllvm: "/usr/lib/llvm-22/lib/libLLVM.so".into(),
        has_src: true,
        rust: toolchain::RUST_MIN,
        llvm: 22,
    }
}

/// Whether bpf-linker is there, runs, and reads what this toolchain writes.
fn linker_suits(toolchain: &Toolchain) -> bool {
    let Some(path) = workspace::find("bpf-linker") else {
        return false;
    };
    // A toolchain update can take away the libLLVM that it was linked with.
    let runs = workspace::command("bpf-linker").arg("--version").output();
    let Ok(output) = runs else { return false };
    output.status.success()
        && String::from_utf8_lossy(&output.stdout).contains(BPF_LINKER)
        && linked_llvm(&path).is_none_or(|llvm| llvm >= toolchain.llvm)
}

/// The LLVM version that an executable asks the dynamic linker for; none if it holds LLVM itself.
fn linked_llvm(executable: &Path) -> Option<u32> {
    let mut bytes = Vec::new();
    fs::File::open(executable)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .ok()?;
    bytes
        .split(|&byte| byte == 0)
        .filter(|word| word.starts_with(b"libLLVM"))
        .find_map(|word| toolchain::llvm_major(std::str::from_utf8(word).ok()?))
}

fn linker_need(toolchain: &Toolchain) -> Need {
    let build = |prefix: &str| {
        Step::new(
            format!("building bpf-linker {BPF_LINKER} (about a minute)"),
            &[
                "cargo",
                "install",
                "bpf-linker",
                "--version",
                BPF_LINKER,
                "--locked",
                "--force",
                "--no-default-features",
                "--features",
                &format!("llvm-{}", toolchain.llvm),
            ],
        )
        .env("LLVM_PREFIX", prefix)
    };
    let steps = if toolchain.name == SYSTEM {
        vec![build(&format!("/usr/lib/llvm-{}", toolchain.llvm))]
    } else {
        // llvm-sys wants a prefix with lib/libLLVM.so: ours are links into the toolchain.
        let prefix = workspace::cargo_home().join("bpf-llvm");
        let lib = prefix.join("lib").to_string_lossy().into_owned();
        let libllvm = toolchain.libllvm.to_string_lossy();
        let generic = format!("{lib}/libLLVM.so");
        let what = "linking to the toolchain's LLVM";
        vec![
            Step::new(what, &["mkdir", "-p", &lib]),
            Step::new(what, &["ln", "-sf", &libllvm, &lib]),
            Step::new(what, &["ln", "-sf", &libllvm, &generic]),
            build(&prefix.to_string_lossy()),
        ]
    };
    Need {
        what: format!("bpf-linker {BPF_LINKER} with LLVM {}", toolchain.llvm),
        why: "it links the eBPF programs, by the same LLVM that compiled them",
        ways: vec![Way { steps }],
        optional: false,
    }
}

fn packages(is_there: impl Fn(&str) -> bool) -> Option<Need> {
    let missing: Vec<Package> = PACKAGES
        .iter()
        .filter(|(program, _)| !is_there(program))
        .map(|&(_, package)| package)
        .collect();
    if missing.is_empty() {
        return None;
    }
    let names = |of: fn(&Package) -> &'static str| missing.iter().map(of).collect::<Vec<_>>();
    let (debian, what) = (names(|package| package.debian), "installing the packages");
    let steps = if is_there("apt-get") {
        apt(&debian)
    } else if is_there("dnf") {
        let argv = [
            &["dnf", "install", "-y"],
            &names(|package| package.fedora)[..],
        ]
        .concat();
        vec![Step::root(what, &argv)]
    } else if is_there("pacman") {
        let argv = [
            &["pacman", "-S", "--needed"],
            &names(|package| package.arch)[..],
        ]
        .concat();
        vec![Step::root(what, &argv)]
    } else {
        apt(&debian)
    };
    Some(Need {
        what: debian.join(", "),
        why: "network namespaces, a look into the kernel, and plain resolvers to ask with",
        ways: vec![Way { steps }],
        optional: false,
    })
}

fn musl(is_there: impl Fn(&str) -> bool) -> Option<Need> {
    (!is_there("musl-gcc")).then(|| Need {
        what: "musl-tools".to_owned(),
        why: "a second C library: its resolver asks in the tests, and what is shipped has it inside",
        ways: vec![Way {
            steps: apt(&["musl-tools"]),
        }],
        optional: false,
    })
}

fn node(is_there: impl Fn(&str) -> bool) -> Option<Need> {
    let missing = lacking(&[("nft", "nftables"), ("conntrack", "conntrack")], is_there);
    (!missing.is_empty()).then(|| Need {
        what: missing.join(", "),
        why: "a node in miniature translates a Service's address, and keeps account of connections",
        ways: vec![Way {
            steps: apt(&missing),
        }],
        optional: false,
    })
}

/// Those whose programs are missing.
fn lacking<'a>(packages: &[(&str, &'a str)], is_there: impl Fn(&str) -> bool) -> Vec<&'a str> {
    let missing = packages.iter().filter(|(program, _)| !is_there(program));
    missing.map(|(_, package)| *package).collect()
}

fn musl_target() -> Result<Option<Need>> {
    const TARGET: &str = "x86_64-unknown-linux-musl";
    // By the toolchain that cargo takes here.
    let found = workspace::rustc()
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()?;
    let directory = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    let is_there = found.status.success() && Path::new(&directory).is_dir();
    Ok((!is_there).then(|| Need {
        what: format!("Rust's library for {TARGET}"),
        why: "what is shipped is one static program",
        ways: vec![Way {
            steps: vec![Step::new(
                format!("adding the target {TARGET}"),
                &["rustup", "target", "add", TARGET],
            )],
        }],
        optional: false,
    }))
}

fn machines(is_there: impl Fn(&str) -> bool) -> Option<Need> {
    const PACKAGES: &[(&str, &str)] = &[
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("busybox", "busybox-static"),
    ];
    let missing = lacking(PACKAGES, is_there);
    (!missing.is_empty()).then(|| Need {
        what: missing.join(", "),
        why: "the tests boot other kernels in virtual machines",
        ways: vec![Way {
            steps: apt(&missing),
        }],
        optional: false,
    })
}

fn bpffs(mounts: &str) -> Option<Need> {
    let mounted = mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some(BPFFS) && words.next() == Some("bpf")
    });
    (!mounted).then(|| Need {
        what: format!("the bpf file system on {BPFFS}"),
        why: "programs and maps that shall outlive the daemon are pinned there",
        ways: vec![Way {
            steps: vec![Step::root(
                format!("mounting {BPFFS}"),
                &["mount", "-t", "bpf", "bpf", BPFFS],
            )],
        }],
        optional: true,
    })
}

fn components() -> Option<Need> {
    let there = |program: &str| {
        workspace::cargo()
            .args([program, "--version"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let missing: Vec<&str> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(program, _)| !there(program))
        .map(|(_, component)| component)
        .collect();
    (!missing.is_empty()).then(|| {
        let mut argv = vec!["rustup", "component", "add"];
        argv.extend(&missing);
        Need {
            what: missing.join(", "),
            why: "CI checks format and lints",
            ways: vec![Way {
                steps: vec![Step::new(format!("adding {}", missing.join(", ")), &argv)],
            }],
            optional: false,
        }
    })
}

fn cargo_deny() -> Option<Need> {
    workspace::find("cargo-deny").is_none().then(|| Need {
        what: "cargo-deny".to_owned(),
        why: "CI checks the licences and sources of what we depend on",
        ways: vec![Way {
            steps: vec![Step::new(
                "building cargo-deny (a few minutes)",
                &["cargo", "install", "cargo-deny", "--locked"],
            )],
        }],
        optional: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(need: &Need) -> String {
        let ways: Vec<String> = need.ways.iter().map(Way::shell).collect();
        ways.join("\n")
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        assert!(packages(|_| true).is_none());
        let need = packages(|program| program != "dig").unwrap();
        assert_eq!(need.what, "bind9-dnsutils");
        let line = "apt-get install -y --no-install-recommends bind9-dnsutils";
        assert!(commands(&need).ends_with(line), "{}", commands(&need));
    }

    #[test]
    fn another_distribution_gets_its_own_command() {
        let fedora = packages(|program| !matches!(program, "apt-get" | "dig" | "ip")).unwrap();
        let line = "dnf install -y iproute bind-utils";
        assert!(commands(&fedora).ends_with(line), "{}", commands(&fedora));
        let arch = packages(|program| matches!(program, "pacman" | "ip" | "dig" | "kdig")).unwrap();
        let line = "pacman -S --needed bpf";
        assert!(commands(&arch).ends_with(line), "{}", commands(&arch));
    }

    #[test]
    fn musl_is_known_by_its_compiler() {
        assert!(musl(|program| program == "musl-gcc").is_none());
        let need = musl(|_| false).unwrap();
        let line = "apt-get install -y --no-install-recommends musl-tools";
        assert!(commands(&need).ends_with(line), "{}", commands(&need));
    }

    #[test]
    fn a_node_needs_what_is_missing_of_it() {
        assert!(node(|_| true).is_none());
        let need = node(|program| program == "nft").unwrap();
        let line = "apt-get install -y --no-install-recommends conntrack";
        assert!(commands(&need).ends_with(line), "{}", commands(&need));
    }

    #[test]
    fn bpffs_is_found_among_the_mounts() {
        assert!(bpffs("proc /proc proc rw 0 0\n").is_some());
        assert!(bpffs("tmpfs /sys/fs/bpf tmpfs rw 0 0\n").is_some());
        assert!(bpffs("none /sys/fs/bpf bpf rw,relatime 0 0\n").is_none());
    }

    #[test]
    fn the_linker_is_built_with_the_toolchains_llvm() {
        let mut toolchain = system_to_come();
        assert!(commands(&linker_need(&toolchain)).contains("LLVM_PREFIX=/usr/lib/llvm-22 cargo"));
        "nightly-x".clone_into(&mut toolchain.name);
        toolchain.libllvm = "/toolchains/nightly/lib/libLLVM.so.23".into();
        toolchain.llvm = 23;
        let text = commands(&linker_need(&toolchain));
        assert!(
            text.contains("--no-default-features --features llvm-23"),
            "{text}"
        );
        assert!(
            text.contains("ln -sf /toolchains/nightly/lib/libLLVM.so.23 "),
            "{text}"
        );
    }

    #[test]
    fn reads_the_llvm_an_executable_wants() {
        let file = std::env::temp_dir().join(format!("hz-linked-{}", std::process::id()));
        fs::write(
            &file,
            b"\x7fELF\0libc.so.6\0libLLVM.so.22.1-rust-1.97.0-nightly\0",
        )
        .unwrap();
        assert_eq!(linked_llvm(&file), Some(22));
        fs::write(&file, b"\x7fELF\0libc.so.6\0").unwrap();
        assert_eq!(linked_llvm(&file), None);
        fs::remove_file(&file).unwrap();
    }
}

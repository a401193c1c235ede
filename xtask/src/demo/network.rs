//! Two network namespaces, a pod's and a node's, with a veth pair between them.
//!
//! ```text
//!   pod                                 node
//!   eth0 10.244.0.2, fd00:10:244::2 ─── pod0 10.244.0.1, fd00:10:244::1
//!                                       lo   10.96.0.10, fd00:10:96::a: the cluster's DNS
//! ```
//!
//! Neither has a way out: whatever is asked in them stays in them.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context, Result, anyhow, bail};

use super::residue;
use crate::{signals, workspace};

/// The cluster's DNS, as pods know it.
pub const DNS_IPV4: &str = "10.96.0.10";
/// The same over IPv6.
pub const DNS_IPV6: &str = "fd00:10:96::a";
/// The node's end of the veth: an address for which only the socket answers.
pub const NODE_IPV4: &str = "10.244.0.1";
/// The node's end of the veth.
pub const NODE_DEVICE: &str = "pod0";

/// Files for a namespace: `ip netns exec` mounts them over those in /etc.
const ETC_NETNS: &str = "/etc/netns";
/// Where `ip netns` keeps namespaces.
const RUN_NETNS: &str = "/run/netns";
/// What a pod's resolver gets from the kubelet.
const RESOLV_CONF: &str = "\
search shop.svc.cluster.local svc.cluster.local cluster.local
nameserver 10.96.0.10
nameserver fd00:10:96::a
options ndots:5
";

/// Both namespaces; gone when this value is.
pub struct Network {
    /// The pod's namespace.
    pub pod: Namespace,
    /// The node's namespace.
    pub node: Namespace,
}

/// One namespace, by the name that `ip netns` knows.
pub struct Namespace {
    name: String,
}

impl Network {
    /// Makes them.
    pub fn new() -> Result<Self> {
        remove_stale();
        // The value is there before what it removes: an interrupt at any time leaves nothing.
        let network = Self {
            pod: Namespace {
                name: residue::name("pod"),
            },
            node: Namespace {
                name: residue::name("node"),
            },
        };
        network.build()?;
        Ok(network)
    }

    fn build(&self) -> Result<()> {
        let (pod, node) = (self.pod.name(), self.node.name());
        let etc = self.pod.etc();
        fs::create_dir_all(&etc).with_context(|| format!("cannot create {}", etc.display()))?;
        fs::write(etc.join("resolv.conf"), RESOLV_CONF)?;

        ip(&["netns", "add", pod])?;
        ip(&["netns", "add", node])?;
        let veth = [
            "link",
            "add",
            NODE_DEVICE,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
        ];
        ip(&[&["-n", node], &veth[..], &["netns", pod]].concat())?;
        for (namespace, device) in [
            (pod, "lo"),
            (pod, "eth0"),
            (node, "lo"),
            (node, NODE_DEVICE),
        ] {
            ip(&["-n", namespace, "link", "set", device, "up"])?;
        }
        let dns = [format!("{DNS_IPV4}/32"), format!("{DNS_IPV6}/128")];
        let node_address = format!("{NODE_IPV4}/24");
        for (namespace, device, address) in [
            (node, "lo", dns[0].as_str()),
            (node, "lo", &dns[1]),
            (node, NODE_DEVICE, &node_address),
            (node, NODE_DEVICE, "fd00:10:244::1/64"),
            (pod, "eth0", "10.244.0.2/24"),
            (pod, "eth0", "fd00:10:244::2/64"),
        ] {
            // nodad: an address that is still being checked for duplicates cannot be used.
            let nodad = address.contains(':').then_some("nodad");
            let arguments = ["-n", namespace, "addr", "add", address, "dev", device];
            let arguments: Vec<&str> = arguments.into_iter().chain(nodad).collect();
            ip(&arguments)?;
        }
        ip(&["-n", pod, "route", "add", "default", "via", NODE_IPV4])?;
        ip(&[
            "-n",
            pod,
            "-6",
            "route",
            "add",
            "default",
            "via",
            "fd00:10:244::1",
        ])
    }
}

impl Namespace {
    /// The name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn etc(&self) -> PathBuf {
        Path::new(ETC_NETNS).join(&self.name)
    }

    fn open(&self) -> Result<File> {
        let path = Path::new(RUN_NETNS).join(&self.name);
        File::open(&path).with_context(|| format!("cannot open {}", path.display()))
    }

    /// Makes `command` run in here. Unlike `ip netns exec` this leaves the mounts alone, so bpffs
    /// stays visible.
    pub fn enter(&self, command: &mut Command) -> Result<()> {
        let namespace = self.open()?;
        // SAFETY: between fork and exec only setns is called, which is a plain system call; the
        // descriptor is owned by the closure.
        unsafe { command.pre_exec(move || set_namespace(&namespace)) };
        Ok(())
    }

    /// Runs `work` in a thread in here. If the thread cannot enter, `work` does not run: nothing
    /// is ever sent outside.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let namespace = self.open()?;
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    set_namespace(&namespace).context("cannot enter the namespace")?;
                    work()
                })
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a thread panicked")))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

fn set_namespace(namespace: &File) -> io::Result<()> {
    // SAFETY: setns reads nothing but the descriptor, which is open, and moves this thread only.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs `ip` to its end, whoever interrupts us meanwhile.
fn ip(arguments: &[&str]) -> Result<()> {
    signals::check()?;
    run_ip(arguments)
}

fn run_ip(arguments: &[&str]) -> Result<()> {
    let output = workspace::command("ip")
        .args(arguments)
        .process_group(0)
        .output()
        .context("cannot start ip: install iproute2")?;
    if !output.status.success() {
        bail!(
            "ip {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

fn remove(name: &str) {
    if Path::new(RUN_NETNS).join(name).exists()
        && let Err(error) = run_ip(&["netns", "del", name])
    {
        eprintln!("cannot remove the namespace {name}: {error:#}");
    }
    let etc = Path::new(ETC_NETNS).join(name);
    if etc.exists()
        && let Err(error) = fs::remove_dir_all(&etc)
    {
        eprintln!("cannot remove {}: {error}", etc.display());
    }
    // Ours only if nobody else has anything in it; otherwise this fails, as it should.
    let _ = fs::remove_dir(ETC_NETNS);
}

/// What is still there of this demo's namespaces.
pub fn left_behind() -> Vec<String> {
    residue::of_this_demo(&[Path::new(RUN_NETNS), Path::new(ETC_NETNS)])
        .iter()
        .map(|path| path.display().to_string())
        .collect()
}

/// Removes what a demo that was killed could not.
fn remove_stale() {
    for path in residue::of_dead_demos(&[Path::new(RUN_NETNS), Path::new(ETC_NETNS)]) {
        remove(&path.file_name().unwrap_or_default().to_string_lossy());
    }
}

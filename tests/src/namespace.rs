//! A network namespace of a test's own.

use std::{
    fs::{self, File},
    io::{self, Write},
    net::{SocketAddr, TcpListener, UdpSocket},
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, anyhow, bail};

use crate::cleanup::{self, Cleanup};

/// Files for a namespace: `ip netns exec` mounts them over those in /etc.
const ETC_NETNS: &str = "/etc/netns";
/// Where `ip netns` keeps namespaces.
const RUN_NETNS: &str = "/run/netns";

/// The first `ip netns add` mounts /run/netns, which two at once get wrong.
static ADDING: Mutex<()> = Mutex::new(());
static STALE: Once = Once::new();
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A namespace; gone when this value is.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    _cleanup: Cleanup,
}

impl Namespace {
    /// Makes one; `role` is a part of its name, for people.
    ///
    /// # Errors
    /// `ip` cannot make it.
    pub fn new(role: &str) -> Result<Self> {
        STALE.call_once(remove_stale);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{number}-{role}", cleanup::prefix());
        let removed = name.clone();
        // The value is there before what it removes: an interrupt at any time leaves nothing.
        let namespace = Self {
            _cleanup: Cleanup::new(move || remove(&removed)),
            name,
        };
        let adding = ADDING.lock().unwrap_or_else(PoisonError::into_inner);
        ip(&["netns", "add", namespace.name()])?;
        drop(adding);
        namespace.ip_batch("link set lo up\n")?;
        Ok(namespace)
    }

    /// The name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Commands of `ip`, one a line, in here.
    ///
    /// # Errors
    /// One of them fails.
    pub fn ip_batch(&self, lines: &str) -> Result<()> {
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("cannot start ip: install iproute2")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(lines.as_bytes())?;
        }
        check(lines, &child.wait_with_output()?)
    }

    /// A file that programs run by [`Self::exec`] see in /etc.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_etc(&self, file: &str, contents: &str) -> Result<()> {
        let directory = self.etc();
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        fs::write(directory.join(file), contents)?;
        Ok(())
    }

    fn etc(&self) -> PathBuf {
        Path::new(ETC_NETNS).join(&self.name)
    }

    /// Runs a command by `ip netns exec`: with its own /etc and /sys.
    ///
    /// # Errors
    /// It cannot be started, or fails.
    pub fn exec(&self, command: &[&str]) -> Result<String> {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.name])
            .args(command)
            .stdin(Stdio::null())
            .process_group(0)
            .output()
            .context("cannot start ip")?;
        check(&command.join(" "), &output)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Makes `command` run in here. Unlike `ip netns exec` this leaves the mounts alone.
    ///
    /// # Errors
    /// The namespace is not there.
    pub fn enter(&self, command: &mut Command) -> Result<()> {
        let namespace = self.open()?;
        // SAFETY: between fork and exec only setns is called, which is a plain system call; the
        // descriptor is owned by the closure.
        unsafe { command.pre_exec(move || set_namespace(&namespace)) };
        Ok(())
    }

    /// Runs `work` in a thread in here. If the thread cannot enter, `work` does not run: nothing
    /// is ever sent outside.
    ///
    /// # Errors
    /// Those of `work`, and its panics.
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

    /// A UDP socket in here; it stays in here whichever thread uses it.
    ///
    /// # Errors
    /// It cannot be bound.
    pub fn udp(&self, address: SocketAddr) -> Result<UdpSocket> {
        self.within(|| UdpSocket::bind(address).with_context(|| format!("binding {address}")))
    }

    /// A TCP listener in here.
    ///
    /// # Errors
    /// It cannot be bound.
    pub fn tcp(&self, address: SocketAddr) -> Result<TcpListener> {
        self.within(|| TcpListener::bind(address).with_context(|| format!("binding {address}")))
    }

    fn open(&self) -> Result<File> {
        let path = Path::new(RUN_NETNS).join(&self.name);
        File::open(&path).with_context(|| format!("cannot open {}", path.display()))
    }
}

fn set_namespace(namespace: &File) -> io::Result<()> {
    // SAFETY: setns reads nothing but the descriptor, which is open, and moves this thread only.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .process_group(0) // Ctrl-C reaches us alone
        .output()
        .context("cannot start ip: install iproute2")?;
    check(&format!("ip {}", arguments.join(" ")), &output)
}

fn check(what: &str, output: &Output) -> Result<()> {
    if !output.status.success() {
        bail!(
            "{what}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

fn remove(name: &str) {
    if Path::new(RUN_NETNS).join(name).exists()
        && let Err(error) = ip(&["netns", "del", name])
    {
        eprintln!("cannot remove the namespace {name}: {error:#}");
    }
    let etc = Path::new(ETC_NETNS).join(name);
    if etc.exists()
        && let Err(error) = fs::remove_dir_all(&etc)
    {
        eprintln!("cannot remove {}: {error}", etc.display());
    }
    // Only if nobody else has anything in it; otherwise this fails, as it should.
    let _ = fs::remove_dir(ETC_NETNS);
}

/// Removes what a run that was killed could not.
fn remove_stale() {
    for directory in [RUN_NETNS, ETC_NETNS] {
        for path in cleanup::stale(Path::new(directory)) {
            remove(&path.file_name().unwrap_or_default().to_string_lossy());
        }
    }
}

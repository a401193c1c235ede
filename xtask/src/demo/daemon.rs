//! The daemon under demonstration: started, asked for its counters, and stopped.

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{progress, signals, workspace};

/// How long the daemon may take until it has read its manifests.
const READY_SECONDS: u64 = 15;

/// A running `hopzero serve`; stopped when this value goes.
pub struct Daemon {
    child: Child,
    hopzero: PathBuf,
    control: PathBuf,
    log: PathBuf,
}

/// How often kernel and socket have answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By the programs.
    pub kernel: u64,
    /// By the socket.
    pub socket: u64,
}

impl Counts {
    /// What came after `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            kernel: self.kernel.saturating_sub(earlier.kernel),
            socket: self.socket.saturating_sub(earlier.socket),
        }
    }
}

/// What has to answer before the daemon counts as ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The socket, with all of the manifests.
    Socket,
    /// The kernel too.
    Kernel,
}

impl Wanted {
    fn is_ready(self, stats: &Value) -> bool {
        stats["synchronised"] == true
            && (self == Self::Socket || !read_program_ids(stats).is_empty())
    }
}

impl Daemon {
    /// Starts `serve`, which has its arguments already, and waits until `wanted` answers.
    pub fn start(
        hopzero: &Path,
        mut serve: Command,
        directory: &Path,
        wanted: Wanted,
    ) -> Result<Self> {
        signals::check()?;
        let (control, log) = (directory.join("control.sock"), directory.join("log"));
        let _ = fs::remove_file(&control);
        serve.arg("--control").arg(&control);
        let output = File::create(&log)?;
        // SAFETY: prctl is a plain system call: if we are killed, the daemon gets a SIGTERM.
        unsafe {
            serve.pre_exec(
                || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                },
            );
        }
        let child = serve
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0) // Ctrl-C reaches us alone; we stop the daemon in order
            .spawn()
            .with_context(|| format!("cannot start {}", hopzero.display()))?;
        let mut daemon = Self {
            child,
            hopzero: hopzero.to_owned(),
            control,
            log,
        };
        daemon.wait_until_ready(wanted)?;
        Ok(daemon)
    }

    fn wait_until_ready(&mut self, wanted: Wanted) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(READY_SECONDS);
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "hopzero serve ended at once ({status}):\n{}",
                    self.log_tail()
                );
            }
            if self.control.exists() && self.stats().is_ok_and(|stats| wanted.is_ready(&stats)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "hopzero serve was not ready after {READY_SECONDS} s:\n{}",
                    self.log_tail()
                );
            }
            signals::sleep(Duration::from_millis(20))?;
        }
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        progress::tail(&self.log, 20).unwrap_or_default()
    }

    /// What `hopzero stats` says.
    pub fn stats(&self) -> Result<Value> {
        let output = workspace::command(&self.hopzero.to_string_lossy())
            .args(["stats", "--json", "--control"])
            .arg(&self.control)
            .process_group(0)
            .output()?;
        if !output.status.success() {
            bail!(
                "hopzero stats: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        serde_json::from_slice(&output.stdout).context("hopzero stats: not JSON")
    }

    /// How often each has answered.
    pub fn counts(&self) -> Result<Counts> {
        Ok(read_counts(&self.stats()?))
    }

    /// How a person asks for the counters.
    pub fn stats_command(&self) -> String {
        format!(
            "{} stats --control {}",
            super::shown(&self.hopzero),
            self.control.display()
        )
    }

    /// The kernel's numbers of our programs.
    pub fn program_ids(&self) -> Result<Vec<u64>> {
        Ok(read_program_ids(&self.stats()?))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        progress::stop(&mut self.child);
    }
}

fn read_counts(stats: &Value) -> Counts {
    let number = |pointer: &str| stats.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    Counts {
        kernel: number("/kernel/counters/answered"),
        socket: number("/socket/queries/udp") + number("/socket/queries/tcp"),
    }
}

fn read_program_ids(stats: &Value) -> Vec<u64> {
    stats["kernel"]["programs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|program| program["id"].as_u64())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_the_counters() {
        let stats = json!({
            "synchronised": true,
            "kernel": {"programs": [{"name": "tc", "id": 7}], "counters": {"answered": 5}},
            "socket": {"queries": {"udp": 2, "tcp": 1}},
        });
        let counts = read_counts(&stats);
        assert_eq!(
            counts,
            Counts {
                kernel: 5,
                socket: 3
            }
        );
        assert_eq!(read_program_ids(&stats), [7]);
    }

    #[test]
    fn without_a_kernel_the_socket_counts_alone() {
        let stats = json!({"kernel": null, "socket": {"queries": {"udp": 2, "tcp": 0}}});
        assert_eq!(
            read_counts(&stats),
            Counts {
                kernel: 0,
                socket: 2
            }
        );
        assert!(read_program_ids(&stats).is_empty());
        let stats = json!({"synchronised": true, "kernel": null});
        assert!(Wanted::Socket.is_ready(&stats) && !Wanted::Kernel.is_ready(&stats));
    }
}

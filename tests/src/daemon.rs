//! The built `hopzero`, started in a node's namespace and stopped again.

use std::{
    env, fs, io,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Once,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use hopzero::control::{self, Report};
use tempfile::TempDir;

use crate::{
    cleanup::{self, Cleanup},
    namespace::Namespace,
    network::{DNS_V4, DNS_V6, NODE_DEVICE, NODE_V4, NODE_V6, dns},
};

/// How long the daemon may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(20);
static STALE: Once = Once::new();

/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// The command under test: `HOPZERO_BIN`, or what was built beside this test.
///
/// # Errors
/// It is not there.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("HOPZERO_BIN") {
        return Ok(path.into());
    }
    // target/debug/deps/netns-… → target/debug/hopzero
    let test = env::current_exe()?;
    let built = test.ancestors().nth(2).context("no target directory")?;
    let binary = built.join("hopzero");
    ensure!(
        binary.exists(),
        "{} is missing: run `cargo build -p hopzero`, or set HOPZERO_BIN",
        binary.display()
    );
    Ok(binary)
}

/// A directory with the manifests, the control socket and the log; gone when this value is.
#[derive(Debug)]
pub struct Home {
    directory: PathBuf,
    _cleanup: Cleanup,
}

impl Home {
    /// With the shop's manifests.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn shop() -> Result<Self> {
        let home = Self::empty()?;
        let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/shop");
        for file in fs::read_dir(shop)? {
            let file = file?;
            fs::copy(file.path(), home.manifests().join(file.file_name()))?;
        }
        Ok(home)
    }

    /// Without manifests.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn empty() -> Result<Self> {
        STALE.call_once(|| {
            for path in cleanup::stale(&env::temp_dir()) {
                let _ = fs::remove_dir_all(path);
            }
        });
        let directory = TempDir::with_prefix(cleanup::prefix())?.keep();
        let removed = directory.clone();
        let home = Self {
            directory,
            _cleanup: Cleanup::new(move || {
                let _ = fs::remove_dir_all(removed);
            }),
        };
        fs::create_dir(home.manifests())?;
        Ok(home)
    }

    /// The directory that is served.
    pub fn manifests(&self) -> PathBuf {
        self.directory.join("manifests")
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// The control socket.
    pub fn control(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    /// Writes a manifest as an editor does: beside it, then renamed over it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, file: &str, contents: &str) -> Result<()> {
        let new = self.directory.join(file);
        fs::write(&new, contents)?;
        fs::rename(new, self.manifests().join(file))?;
        Ok(())
    }

    /// `hopzero serve` with these manifests, in `node`; `arguments` follow.
    ///
    /// # Errors
    /// The binary is not there.
    pub fn serve(&self, node: &Namespace, arguments: &[&str]) -> Result<Command> {
        let manifests = self.manifests();
        let manifests = ["--manifests", manifests.to_str().context("a path")?];
        self.command(node, "serve", &[&manifests, arguments].concat())
    }

    /// Another command of hopzero that stays, in `node`.
    ///
    /// # Errors
    /// The binary is not there.
    pub fn command(&self, node: &Namespace, name: &str, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command
            .arg(name)
            .arg("--control")
            .arg(self.control())
            .args(arguments)
            .env_remove("RUST_LOG")
            .process_group(0)
            .stdin(Stdio::null());
        node.enter(&mut command)?;
        // SAFETY: prctl is a plain system call: if we are killed, the daemon gets a SIGTERM.
        unsafe {
            command.pre_exec(
                || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                },
            );
        }
        Ok(command)
    }
}

/// Arguments to listen on both of the cluster's DNS addresses, and on both of the node's.
pub fn listen() -> Vec<String> {
    [DNS_V4, DNS_V6, NODE_V4, NODE_V6]
        .iter()
        .flat_map(|address| ["--listen".to_owned(), dns(*address).to_string()])
        .collect()
}

/// Arguments to answer in the kernel for the cluster's DNS addresses.
pub fn attach(hook: &str) -> Vec<String> {
    let (v4, v6) = (DNS_V4.to_string(), DNS_V6.to_string());
    let arguments = [
        "--attach",
        NODE_DEVICE,
        "--hook",
        hook,
        "--answer-for",
        &v4,
        "--answer-for",
        &v6,
    ];
    arguments.map(str::to_owned).to_vec()
}

/// How often kernel and socket were asked, and the kernel has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Answers of the kernel.
    pub kernel: u64,
    /// Queries to the socket.
    pub socket: u64,
}

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    /// Its process.
    pub child: Child,
    home: PathBuf,
}

impl Daemon {
    /// Starts it with [`listen`] and [`attach`], and waits until the zone is complete.
    ///
    /// # Errors
    /// It ends, or takes too long.
    pub fn start(node: &Namespace, home: &Home, hook: &str) -> Result<Self> {
        Self::start_with(node, home, hook, &[])
    }

    /// The same with further arguments.
    ///
    /// # Errors
    /// It ends, or takes too long.
    pub fn start_with(
        node: &Namespace,
        home: &Home,
        hook: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        let own = [listen(), attach(hook)].concat();
        let own = own.iter().map(String::as_str);
        let arguments: Vec<&str> = own.chain(arguments.iter().copied()).collect();
        let daemon = Self::spawn(home.serve(node, &arguments)?, home)?;
        daemon.ready()
    }

    /// Starts a command of [`Home::serve`] without waiting.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(mut command: Command, home: &Home) -> Result<Self> {
        let log = fs::File::create(home.directory.join("log"))?;
        let child = command
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start hopzero")?;
        Ok(Self {
            child,
            home: home.directory.clone(),
        })
    }

    /// Waits until the zone is complete, and in the kernel.
    ///
    /// # Errors
    /// It ends, or takes too long.
    pub fn ready(mut self) -> Result<Self> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("hopzero serve ended ({status}):\n{}", self.log());
            }
            if self.report().is_ok_and(|report| report.synchronised) {
                return Ok(self);
            }
            if started.elapsed() > PATIENCE {
                bail!("hopzero serve is not ready:\n{}", self.log());
            }
            thread::sleep(LOOK);
        }
    }

    /// What it says about itself.
    ///
    /// # Errors
    /// It does not answer.
    pub fn report(&self) -> Result<Report> {
        Ok(control::fetch(&self.home.join("control.sock"))?)
    }

    /// How often kernel and socket have answered.
    ///
    /// # Errors
    /// It does not answer.
    pub fn counts(&self) -> Result<Counts> {
        let report = self.report()?;
        Ok(Counts {
            kernel: counter(&report, "answered"),
            socket: report.socket.queries.values().sum(),
        })
    }

    /// The numbers of its loaded programs.
    ///
    /// # Errors
    /// It does not answer.
    pub fn programs(&self) -> Result<Vec<u32>> {
        let kernel = self.report()?.kernel.unwrap_or_default();
        let programs = kernel["programs"].as_array().cloned().unwrap_or_default();
        Ok(programs
            .iter()
            .filter_map(|program| program["id"].as_u64())
            .filter_map(|id| u32::try_from(id).ok())
            .collect())
    }

    /// Its log until now.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    /// Sends the signal and waits for the end.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(mut self, signal: libc::c_int) -> Result<ExitStatus> {
        self.signal(signal)?;
        self.wait()
    }

    /// Sends the signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: libc::c_int) -> Result<()> {
        let pid = libc::pid_t::try_from(self.child.id())?;
        // SAFETY: kill() touches no memory of ours, and the child is not reaped yet, so that the
        // number is still its own.
        ensure!(unsafe { libc::kill(pid, signal) } == 0, "no such process");
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(
                started.elapsed() < PATIENCE,
                "does not end:\n{}",
                self.log()
            );
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A counter of the programs.
pub fn counter(report: &Report, label: &str) -> u64 {
    let kernel = report.kernel.as_ref();
    kernel
        .and_then(|kernel| kernel["counters"][label].as_u64())
        .unwrap_or(0)
}

/// An exit status as people say it: `exit 1`, `signal 9`.
pub fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    }
}

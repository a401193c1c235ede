//! `cargo xtask cluster`: a Kubernetes control plane on loopback, to try things with.

use std::{
    env,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{peers, workspace};

#[derive(clap::Subcommand)]
pub enum Action {
    /// Start an API server with etcd and the controllers that DNS depends on; says where its kubeconfig is
    Up,
    /// End it, and remove what it has stored
    Down,
    /// Say whether it runs; exit status 1 if not
    Status,
    /// Run kubectl against it
    Kubectl {
        /// What kubectl is told
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// How long it may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(100);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

pub fn run(action: &Action) -> Result<ExitCode> {
    match action {
        Action::Up => up(),
        Action::Down => down(),
        Action::Status => Ok(status()),
        Action::Kubectl { args } => kubectl(args),
    }
}

/// Where it keeps its files: `HOPZERO_CLUSTER_DIR`, so that a test need not end the one that somebody works with.
fn directory() -> PathBuf {
    env::var_os("HOPZERO_CLUSTER_DIR").map_or_else(
        || workspace::target_dir().join("cluster"),
        |directory| workspace::root().join(directory),
    )
}

fn kubeconfig() -> PathBuf {
    directory().join("kubeconfig")
}

fn pid_file() -> PathBuf {
    directory().join("pid")
}

/// The process, if it runs: a number of another program is not it.
fn running() -> Option<i32> {
    let pid = fs::read_to_string(pid_file()).ok()?;
    let executable = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let is_ours = executable.file_name().is_some_and(|name| name == "cluster");
    is_ours.then(|| pid.parse().ok()).flatten()
}

fn up() -> Result<ExitCode> {
    if running().is_some() {
        return Ok(status());
    }
    let binary = peers::cluster()?;
    // A store of one that was not ended properly.
    clear(&directory())?;
    fs::create_dir_all(directory())?;
    let output = directory().join("up.log");
    let log = File::create(&output)?;
    let mut child = Command::new(binary)
        .arg("up")
        .arg(directory())
        .arg("--keep")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // A signal to this command's terminal is not for it.
        .process_group(0)
        .spawn()
        .context("cannot start the control plane")?;
    fs::write(pid_file(), child.id().to_string())?;
    let begun = Instant::now();
    loop {
        let lines = BufReader::new(File::open(&output)?)
            .lines()
            .map_while(Result::ok);
        let lines: Vec<String> = lines.collect();
        if lines.iter().any(|line| line == "ready") {
            return Ok(status());
        }
        if let Some(ended) = child.try_wait()? {
            bail!("the control plane ended ({ended}):\n{}", lines.join("\n"));
        }
        if begun.elapsed() > PATIENCE {
            bail!(
                "the control plane is not ready: see the logs in {}",
                directory().display()
            );
        }
        thread::sleep(LOOK);
    }
}

fn down() -> Result<ExitCode> {
    if let Some(pid) = running() {
        // SAFETY: kill() touches no memory of ours; the number was seen to be the control plane's.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let begun = Instant::now();
        while running().is_some() {
            if begun.elapsed() > PATIENCE {
                bail!("process {pid} does not end");
            }
            thread::sleep(LOOK);
        }
    }
    clear(&directory())?;
    println!("no cluster");
    Ok(ExitCode::SUCCESS)
}

fn clear(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| directory.display().to_string())
        }
        _ => Ok(()),
    }
}

fn status() -> ExitCode {
    let Some(pid) = running() else {
        println!("no cluster: start one with `cargo xtask cluster up`");
        return ExitCode::FAILURE;
    };
    println!("a control plane runs (process {pid})");
    println!("export KUBECONFIG={}", kubeconfig().display());
    ExitCode::SUCCESS
}

fn kubectl(args: &[String]) -> Result<ExitCode> {
    let status = Command::new(peers::cluster()?)
        .arg("kubectl")
        .args(args)
        .env("KUBECONFIG", kubeconfig())
        .status()
        .context("cannot start kubectl")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

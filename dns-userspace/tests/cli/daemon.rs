//! Running the built command, and a daemon of a test's own.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// Long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const MANIFESTS: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.10
  clusterIPs: [10.96.0.10, 'fd00::a']
  ipFamilies: [IPv4, IPv6]
  ports: [{name: http, port: 80, protocol: TCP}]
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop}
spec:
  clusterIP: 10.96.0.11
  ports: [{name: grpc, port: 9000, protocol: TCP}]
";

/// What a finished command left.
#[derive(Debug)]
pub struct Output {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopzero"));
    command.env_remove("RUST_LOG");
    command
}

/// Runs the command to its end, which must come by itself.
pub fn run(args: &[&str]) -> Output {
    let output = command().args(args).output().unwrap();
    Output {
        code: output.status.code().expect("an exit code"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `hopzero serve` on a port of its own; killed when dropped.
pub struct Daemon {
    pub child: Child,
    pub directory: TempDir,
    /// The event `serving`.
    pub serving: Value,
    stderr: BufReader<ChildStderr>,
}

impl Daemon {
    /// Starts with [`MANIFESTS`], and waits until it serves.
    pub fn start(args: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("manifests")).unwrap();
        fs::write(directory.path().join("manifests/shop.yaml"), MANIFESTS).unwrap();
        let manifests = directory.path().join("manifests");
        let manifests = manifests.to_str().unwrap().to_owned();
        Self::start_in(directory, &[&["--manifests", &manifests], args].concat())
    }

    /// Starts with files of its own, and waits until it serves.
    pub fn start_in(directory: TempDir, args: &[&str]) -> Self {
        let mut child = command()
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .arg("--control")
            .arg(directory.path().join("run/control.sock"))
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut log = String::new();
        let serving = loop {
            let from = log.len();
            let read = stderr.read_line(&mut log).unwrap();
            assert!(read > 0, "ended without serving: {log}");
            let event: Value = serde_json::from_str(&log[from..]).expect("a JSON line");
            if event["message"] == "serving" {
                break event;
            }
        };
        Self {
            child,
            directory,
            serving,
            stderr,
        }
    }

    /// The first address that it serves.
    pub fn address(&self) -> &str {
        let listen = self.serving["listen"].as_str().unwrap();
        listen.split(',').next().unwrap()
    }

    pub fn control(&self) -> PathBuf {
        self.directory.path().join("run/control.sock")
    }

    pub fn query(&self, args: &[&str]) -> Output {
        run(&[&["query", "--server", self.address()], args].concat())
    }

    /// Sends the signal and waits for the end: status, and the rest of the log.
    pub fn stop(mut self, signal: libc::c_int) -> (ExitStatus, String) {
        let pid = libc::pid_t::try_from(self.child.id()).unwrap();
        // SAFETY: kill() touches no memory of ours, and the child is not reaped yet, so that the
        // number is still its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        let status = self.wait();
        let mut log = String::new();
        self.stderr.read_to_string(&mut log).unwrap();
        (status, log)
    }

    fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

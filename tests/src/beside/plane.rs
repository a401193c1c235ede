//! A Kubernetes control plane of our own (`tests/cluster`), ended with this process.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use tempfile::TempDir;

use crate::namespace::Namespace;

/// The control plane's program.
///
/// # Errors
/// `HOPZERO_CLUSTER` does not name one.
pub fn binary() -> Result<PathBuf> {
    let path = env::var_os("HOPZERO_CLUSTER").ok_or_else(|| {
        anyhow!("HOPZERO_CLUSTER names no control plane: `cargo xtask test cluster` builds one")
    })?;
    let path = PathBuf::from(path);
    ensure!(
        path.is_file(),
        "HOPZERO_CLUSTER: {} is no file",
        path.display()
    );
    Ok(path)
}

/// What makes `ServiceImport` a kind: the names and the version are those of the Multi-Cluster Services API.
const SERVICE_IMPORT: &str = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: serviceimports.multicluster.x-k8s.io}
spec:
  group: multicluster.x-k8s.io
  scope: Namespaced
  names: {plural: serviceimports, singular: serviceimport, kind: ServiceImport, listKind: ServiceImportList}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, x-kubernetes-preserve-unknown-fields: true}
";

/// A running one; ended when dropped.
pub struct Plane {
    binary: PathBuf,
    child: Child,
    /// It ends when this is closed.
    stdin: Option<ChildStdin>,
    directory: TempDir,
    namespace: Option<String>,
}

impl Plane {
    /// Starts it on loopback, and waits until it is ready.
    ///
    /// # Errors
    /// It is not.
    pub fn start(binary: &Path) -> Result<Self> {
        Self::run(binary, Command::new(binary))
    }

    /// The same on a namespace's loopback.
    ///
    /// # Errors
    /// It is not ready.
    pub fn start_in(binary: &Path, namespace: &Namespace) -> Result<Self> {
        let mut command = Command::new(binary);
        namespace.enter(&mut command)?;
        let mut plane = Self::run(binary, command)?;
        plane.namespace = Some(namespace.name().to_owned());
        Ok(plane)
    }

    fn run(binary: &Path, mut command: Command) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut child = command
            .arg("up")
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let output = child.stdout.take().context("no output")?;
        let plane = Plane {
            binary: binary.to_owned(),
            stdin: child.stdin.take(),
            child,
            directory,
            namespace: None,
        };
        for line in BufReader::new(output).lines() {
            let line = line?;
            println!("{line}");
            if line == "ready" {
                return Ok(plane);
            }
        }
        bail!("the control plane ended before it was ready")
    }

    /// How it is reached.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// Lets there be `ServiceImport`s.
    ///
    /// # Errors
    /// It does not want to.
    pub fn define_imports(&self) -> Result<()> {
        self.kubectl(&["create"], SERVICE_IMPORT)?;
        let established = ["wait", "--for=condition=Established", "--timeout=30s"];
        self.kubectl(&established, SERVICE_IMPORT)?;
        Ok(())
    }

    /// Runs kubectl with what is to stand in the file `-f` names.
    ///
    /// # Errors
    /// It says no.
    pub fn kubectl(&self, args: &[&str], file: &str) -> Result<String> {
        let path = self.directory.path().join("objects.yaml");
        fs::write(&path, file)?;
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(&self.binary);
                command
            }
            None => Command::new(&self.binary),
        };
        let output = command
            .arg("kubectl")
            .args(args)
            .arg("-f")
            .arg(&path)
            .env("KUBECONFIG", self.kubeconfig())
            .output()?;
        ensure!(
            output.status.success(),
            "kubectl {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

//! `CoreDNS`, a Kubernetes control plane and helm, built once and kept outside of the checkout: the judges of what a reply
//! and a chart should be.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::workspace;

const COREDNS: &str = "github.com/coredns/coredns";
const COREDNS_VERSION: &str = "v1.15.0";
const HELM: &str = "helm.sh/helm/v3/cmd/helm";
const HELM_VERSION: &str = "v3.22.0";
/// As in `tests/cluster/go.mod`.
const KUBERNETES_VERSION: &str = "v1.37.2";

/// The binary: `HOPZERO_COREDNS`, or built from source where it is not in the cache yet, which takes some minutes.
///
/// # Errors
/// There is no Go, or it does not build.
pub fn coredns() -> Result<PathBuf> {
    if let Some(path) = env::var_os("HOPZERO_COREDNS") {
        return Ok(path.into());
    }
    install("coredns", COREDNS, COREDNS_VERSION, "HOPZERO_COREDNS")
}

/// `HOPZERO_HELM`, or built from source where it is not in the cache yet.
///
/// # Errors
/// There is no Go, or it does not build.
pub fn helm() -> Result<PathBuf> {
    if let Some(path) = env::var_os("HOPZERO_HELM") {
        return Ok(path.into());
    }
    install("helm", HELM, HELM_VERSION, "HOPZERO_HELM")
}

/// A program by `go install`, kept.
fn install(name: &str, package: &str, version: &str, variable: &str) -> Result<PathBuf> {
    let directory = cache()?.join(format!("{name}-{version}"));
    let binary = directory.join(name);
    if binary.is_file() {
        return Ok(binary);
    }
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    println!(
        "Building {name} {version} into {}: some minutes",
        directory.display()
    );
    let status = go(&format!("{name} is"), variable)?
        .args(["install", &format!("{package}@{version}")])
        .env("GOBIN", &directory)
        .status()
        .context("cannot start go")?;
    ensure!(
        status.success(),
        "go install {package}@{version} ended with {status}"
    );
    Ok(binary)
}

/// The control plane of `tests/cluster`: `HOPZERO_CLUSTER`, or built from source where its sources are not those of the
/// cache, which takes ten minutes the first time, and seconds later.
///
/// # Errors
/// There is no Go, or it does not build.
pub fn cluster() -> Result<PathBuf> {
    if let Some(path) = env::var_os("HOPZERO_CLUSTER") {
        return Ok(path.into());
    }
    let sources = workspace::root().join("tests/cluster");
    let directory = cache()?.join(format!("cluster-{:016x}", fingerprint(&sources)?));
    let binary = directory.join("cluster");
    if binary.is_file() {
        return Ok(binary);
    }
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    println!(
        "Building a Kubernetes control plane into {}: 10 minutes, the first time",
        directory.display()
    );
    let version = "k8s.io/component-base/version.git";
    let status = go("the control plane is", "HOPZERO_CLUSTER")?
        .current_dir(&sources)
        .args(["build", "-trimpath", "-ldflags"])
        .arg(format!(
            "-s -w -X {version}Version={KUBERNETES_VERSION} -X {version}Major=1 -X {version}Minor=37"
        ))
        .arg("-o")
        .arg(&binary)
        .arg(".")
        .status()
        .context("cannot start go")?;
    ensure!(
        status.success(),
        "go build in {} ended with {status}",
        sources.display()
    );
    Ok(binary)
}

/// Of all files of a folder.
fn fingerprint(folder: &Path) -> Result<u64> {
    let mut files = Vec::new();
    for file in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        files.push(file?.path());
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.file_name().hash(&mut hasher);
        fs::read(&file)
            .with_context(|| file.display().to_string())?
            .hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// The Go command, so that two cores and some gigabytes are enough.
fn go(what: &str, variable: &str) -> Result<Command> {
    let Some(go) = workspace::find("go") else {
        bail!("{what} built with Go 1.26 or later: install it, or name a built one by {variable}");
    };
    let mut command = workspace::command(&go.to_string_lossy());
    // One process of the compiler takes up to 3 GB.
    command.env("GOFLAGS", "-p=2");
    Ok(command)
}

/// Where what takes long to build is kept from one checkout to the next.
///
/// # Errors
/// There is no home.
pub fn cache() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = base
        .or_else(home)
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(base.join("hopzero"))
}

//! `CoreDNS`, built once and kept outside of the checkout: the judge of what a reply should be.

use std::{env, fs, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::workspace;

const COREDNS: &str = "github.com/coredns/coredns";
const COREDNS_VERSION: &str = "v1.15.0";

/// The binary: `HOPZERO_COREDNS`, or built from source where it is not in the cache yet, which takes some minutes.
///
/// # Errors
/// There is no Go, or it does not build.
pub fn coredns() -> Result<PathBuf> {
    if let Some(path) = env::var_os("HOPZERO_COREDNS") {
        return Ok(path.into());
    }
    let directory = cache()?.join(format!("coredns-{COREDNS_VERSION}"));
    let binary = directory.join("coredns");
    if binary.is_file() {
        return Ok(binary);
    }
    let Some(go) = workspace::find("go") else {
        bail!(
            "CoreDNS is built with Go 1.25 or later: install it, or name a CoreDNS by HOPZERO_COREDNS"
        );
    };
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    println!(
        "Building CoreDNS {COREDNS_VERSION} into {}: some 200 s",
        directory.display()
    );
    let status = workspace::command(&go.to_string_lossy())
        .args(["install", &format!("{COREDNS}@{COREDNS_VERSION}")])
        // Two at once stay below 1.5 GB of memory.
        .env("GOFLAGS", "-p=2")
        .env("GOBIN", &directory)
        .status()
        .context("cannot start go")?;
    ensure!(
        status.success(),
        "go install {COREDNS}@{COREDNS_VERSION} ended with {status}"
    );
    Ok(binary)
}

/// Where what takes long to build is kept from one checkout to the next.
fn cache() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = base
        .or_else(home)
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(base.join("hopzero"))
}

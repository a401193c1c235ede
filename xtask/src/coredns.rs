//! The `CoreDNS` that we are compared with: given, or built once and kept outside of the checkout.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

/// The version whose behaviour is ours.
const VERSION: &str = "1.15.0";

/// Where it is.
pub fn binary(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(given) = given {
        let given = std::path::absolute(given)?;
        ensure!(given.is_file(), "--coredns: no {}", given.display());
        return Ok(given);
    }
    let directory = cache()?.join(format!("coredns-{VERSION}"));
    let binary = directory.join("coredns");
    if !binary.is_file() {
        build(&directory)?;
    }
    Ok(binary)
}

fn cache() -> Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.filter(|path| path.is_absolute()).or_else(home);
    Ok(cache
        .context("neither XDG_CACHE_HOME nor HOME is set")?
        .join("hopzero"))
}

fn build(directory: &Path) -> Result<()> {
    println!("building CoreDNS {VERSION} into {} …", directory.display());
    fs::create_dir_all(directory).with_context(|| format!("no {}", directory.display()))?;
    let mut command = Command::new("go");
    command
        .arg("install")
        .arg(format!("github.com/coredns/coredns@v{VERSION}"))
        .env("GOBIN", directory);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("go install: {status}; --coredns PATH takes one that is there"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(anyhow!(
            "no CoreDNS, and no Go to build it with: --coredns PATH takes one that is there, \
             https://go.dev/dl has Go 1.25 or newer"
        )),
        Err(error) => Err(error).context("cannot start go"),
    }
}

//! Kernels as Debian packages them, kept outside of the checkout: only the image and the modules that the tests need.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{peers, workspace};

/// Modules of the cloud kernels that the tests need; nothing of theirs has dependencies.
const MODULES: [&str; 3] = ["veth", "sch_ingress", "cls_bpf"];

/// A kernel.
pub struct Kernel {
    /// The package that it is from.
    pub package: String,
    /// What a machine boots.
    pub image: PathBuf,
    directory: PathBuf,
}

impl Kernel {
    /// The modules, in the order in which they are loaded.
    pub fn modules(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for name in MODULES {
            let path = self.directory.join(format!("{name}.ko"));
            ensure!(path.is_file(), "{} has no module {name}", self.package);
            found.push(path);
        }
        Ok(found)
    }
}

/// The newest kernel of a series: from the cache, or else from Debian's archive.
///
/// # Errors
/// There is none, or it is not what is expected.
pub fn kernel(series: &str) -> Result<Kernel> {
    let cache = peers::cache()?.join("kernels");
    fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
    let kept = (fs::read_dir(&cache)?)
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let package = match newest(kept, series) {
        Some(package) => package,
        None => fetch(&cache, series)?,
    };
    let directory = cache.join(&package);
    Ok(Kernel {
        image: directory.join("vmlinuz"),
        directory,
        package,
    })
}

/// The newest of the packages of a series.
fn newest(packages: impl Iterator<Item = String>, series: &str) -> Option<String> {
    let prefix = format!("linux-image-{series}.");
    packages
        .filter(|name| name.starts_with(&prefix) && name.ends_with("-cloud-amd64"))
        .max_by_key(|name| numbers(name))
}

fn numbers(name: &str) -> Vec<u32> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// Downloads the newest package of a series, and takes out what is needed.
fn fetch(cache: &Path, series: &str) -> Result<String> {
    let search =
        run(workspace::command("apt-cache").args(["search", "--names-only", "^linux-image-6"]))?;
    let names = (search.lines()).filter_map(|line| line.split_whitespace().next());
    let Some(package) = newest(names.map(str::to_owned), series) else {
        bail!("apt-cache knows no kernel {series}: run `apt-get update`, on Debian 12");
    };
    println!("Fetching {package}");
    let scratch = cache.join(format!(".{package}-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let unpacked = unpack(&scratch, &package);
    // Complete or not at all.
    let kept = unpacked.and_then(|ready| Ok(fs::rename(ready, cache.join(&package))?));
    fs::remove_dir_all(&scratch)?;
    kept?;
    Ok(package)
}

fn unpack(scratch: &Path, package: &str) -> Result<PathBuf> {
    run(workspace::command("apt-get")
        .args(["download", "-q", package])
        .current_dir(scratch))?;
    let archive = (fs::read_dir(scratch)?.flatten())
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download left no package")?;
    let tree = scratch.join("tree");
    run(Command::new("dpkg-deb").arg("-x").arg(archive).arg(&tree))?;
    let ready = scratch.join("ready");
    fs::create_dir(&ready)?;
    let release = package.trim_start_matches("linux-image-");
    fs::copy(
        tree.join(format!("boot/vmlinuz-{release}")),
        ready.join("vmlinuz"),
    )?;
    for name in MODULES {
        let found = find(&tree.join("lib/modules"), &format!("{name}.ko"))?
            .with_context(|| format!("{package} has no module {name}"))?;
        let target = ready.join(format!("{name}.ko"));
        if found.extension().is_some_and(|extension| extension == "xz") {
            let unpacked = Command::new("busybox")
                .args(["unxz", "-c"])
                .arg(&found)
                .output()?;
            ensure!(unpacked.status.success(), "{}", found.display());
            fs::write(target, unpacked.stdout)?;
        } else {
            fs::copy(found, target)?;
        }
    }
    Ok(ready)
}

/// The file of that name below a directory, compressed or not.
fn find(directory: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let entry = entry?;
        let path = entry.path();
        let file = entry.file_name();
        if entry.file_type()?.is_dir() {
            if let Some(found) = find(&path, name)? {
                return Ok(Some(found));
            }
        } else if file == *name || file.to_string_lossy() == format!("{name}.xz") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_newest_of_a_series() {
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-57-amd64",
            "linux-image-6.12-cloud-amd64",
            "linux-image-6.12.9+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
        ];
        let newest = |series| super::newest(names.into_iter().map(str::to_owned), series);
        assert_eq!(newest("6.1").unwrap(), names[1]);
        assert_eq!(newest("6.12").unwrap(), names[5]);
        assert_eq!(newest("6.6"), None);
    }
}

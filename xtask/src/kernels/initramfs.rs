//! The files of a machine, in the form that the kernel unpacks (`cpio` newc,
//! Documentation/driver-api/early-userspace/buffer-format.rst).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::debian::Kernel;
use crate::workspace;

/// Directories that are mounted over.
const MOUNT_POINTS: [&str; 5] = ["/proc", "/sys", "/dev", "/tmp", "/run"];
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFCHR: u32 = 0o020_000;

/// Files by their path.
pub struct Initramfs {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Initramfs {
    /// With a shell, `ip`, and the kernel's modules.
    pub fn new(kernel: &Kernel) -> Result<Self> {
        let mut new = Self {
            files: BTreeMap::new(),
        };
        for program in ["busybox", "ip"] {
            let path = workspace::find(program).with_context(|| format!("{program} is missing"))?;
            new.program(&Path::new("/bin").join(program), &path)?;
        }
        for module in kernel.modules()? {
            let name = module.file_name().context("a module without a name")?;
            let name = Path::new("/modules").join(name);
            new.files.insert(name, fs::read(&module)?);
        }
        Ok(new)
    }

    /// A program without its debug information, and the libraries that it loads.
    pub fn program(&mut self, name: &Path, path: &Path) -> Result<()> {
        let stripped = workspace::target_dir().join("stripped");
        let status = Command::new("strip")
            .args(["--strip-debug", "-o"])
            .args([&stripped, path])
            .status();
        let is_stripped = status.is_ok_and(|status| status.success());
        let from = if is_stripped { &*stripped } else { path };
        let bytes = fs::read(from).with_context(|| from.display().to_string())?;
        self.files.insert(name.to_owned(), bytes);
        if is_stripped {
            fs::remove_file(&stripped)?;
        }
        // A static program has none, and ldd says so by its status.
        let libraries = Command::new("ldd").arg(path).output()?;
        for word in String::from_utf8_lossy(&libraries.stdout).split_whitespace() {
            if word.starts_with('/') && Path::new(word).is_file() {
                self.files.insert(word.into(), fs::read(word)?);
            }
        }
        Ok(())
    }

    /// A directory's files, at the same place.
    pub fn directory(&mut self, directory: &Path) -> Result<()> {
        for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
            let path = entry?.path();
            let bytes = fs::read(&path)?;
            self.files.insert(path, bytes);
        }
        Ok(())
    }

    /// Writes the archive; `script` is what the kernel starts.
    pub fn write(mut self, to: &Path, script: &str) -> Result<()> {
        self.files.insert("/init".into(), script.into());
        let mut archive = Vec::new();
        for directory in self.directories() {
            entry(&mut archive, &directory, S_IFDIR | 0o755, (0, 0), &[]);
        }
        entry(
            &mut archive,
            Path::new("/dev/console"),
            S_IFCHR | 0o600,
            (5, 1),
            &[],
        );
        for (path, bytes) in &self.files {
            entry(&mut archive, path, S_IFREG | 0o755, (0, 0), bytes);
        }
        entry(&mut archive, Path::new("/TRAILER!!!"), 0, (0, 0), &[]);
        fs::write(to, archive).with_context(|| to.display().to_string())
    }

    /// Each one after those that it is in.
    fn directories(&self) -> BTreeSet<PathBuf> {
        let of_files = self.files.keys().filter_map(|path| path.parent());
        of_files
            .chain(MOUNT_POINTS.iter().map(Path::new))
            .flat_map(Path::ancestors)
            .filter(|path| path.parent().is_some())
            .map(Path::to_owned)
            .collect()
    }
}

/// One file, or what a mode says it is.
fn entry(archive: &mut Vec<u8>, path: &Path, mode: u32, device: (u32, u32), bytes: &[u8]) {
    let name = path.to_string_lossy();
    let name = name.trim_start_matches('/');
    let length = u32::try_from(bytes.len()).expect("no file has 4 GB");
    let name_length = u32::try_from(name.len() + 1).expect("a path is short");
    // Number, mode, user, group, links, time, length, device (2), what it stands for (2), length of the name, checksum.
    let number = u32::try_from(archive.len()).unwrap_or_default();
    let fields = [
        number,
        mode,
        0,
        0,
        1,
        0,
        length,
        0,
        0,
        device.0,
        device.1,
        name_length,
        0,
    ];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(bytes);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_as_the_kernel_reads_it() {
        let mut archive = Vec::new();
        entry(
            &mut archive,
            Path::new("/a/bc"),
            S_IFREG | 0o755,
            (0, 0),
            b"xyz",
        );
        let text = String::from_utf8(archive).unwrap();
        let header = "07070100000000000081ed00000000000000000000000100000000000000030000000000000000000000000000000000000005\
                      00000000";
        assert_eq!(text, format!("{header}a/bc\0\0xyz\0"));
        assert_eq!(text.len() % 4, 0);
    }
}

//! What can go wrong with pins.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why something is not pinned, or not removed.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Another kind of file system.
    #[error("{} is not on a bpffs, where alone programs can be pinned: `mount -t bpf bpf /sys/fs/bpf`, and name a directory below that", path.display())]
    NotBpffs {
        /// The directory.
        path: PathBuf,
    },
    /// The file system says no.
    #[error("cannot {what} {}: {source} (a directory on a bpffs that this user may write to is needed; dots in names are not possible there)", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Somebody holds the lock for long.
    #[error("another hopzero changes {} and does not end: see `fuser -v {}`", path.display(), path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The links are another daemon's by now.
    #[error("another daemon has taken over what is pinned at {}", path.display())]
    TakenOver {
        /// The directory.
        path: PathBuf,
    },
    /// What is to be removed is in use.
    #[error("a daemon that is alive has pinned {}: stop it first, or use --force, by which its programs go when it ends", path.display())]
    Alive {
        /// Its directory.
        path: PathBuf,
    },
    /// bpf(2).
    #[error("cannot pin {}: {reason}", path.display())]
    Pin {
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        reason: String,
    },
}

impl PinError {
    /// The error of an operation with a file.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| PinError::Io { what, path, source }
    }
}

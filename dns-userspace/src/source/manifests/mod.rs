//! A directory of Kubernetes manifests in place of an API server.
//!
//! Every `*.yaml`, `*.yml` and `*.json` below it counts, except hidden ones: files of several
//! documents, lists as `kubectl get -o yaml` prints them, rendered charts. What is none of
//! Service, `EndpointSlice`, Namespace and Pod is passed over. The directory is watched, and a file
//! that changes is applied as a difference; one that cannot be used keeps its last good contents,
//! and its place and reason are logged.

mod assign;
mod catalogue;
mod cluster;
mod load;
mod normal;
mod parse;
mod shape;
#[cfg(test)]
mod tests;
mod walk;
mod watch;

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use tokio::{sync::mpsc, task::spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

pub use load::{FILE_BYTES_MAX, FileError};
pub use normal::{NameError, normalise};
pub use parse::{ParseError, json, yaml};

use self::{load::Directory, watch::Watch};
use super::{Batch, Change, Source};

/// How often everything is looked at even if no event came. Some changes make none: on a network
/// file system, or to the target of a link.
const RESCAN_SECONDS: u64 = 10;

/// Why a directory cannot be a source.
#[derive(Debug, thiserror::Error)]
pub enum ManifestsError {
    /// There is no such directory, or it may not be read.
    #[error("cannot read the directory of manifests {}: {reason} (--manifests names an existing directory with *.yaml, *.yml or *.json files)", directory.display())]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        #[source]
        reason: io::Error,
    },
    /// The kernel will not watch it.
    #[error("cannot watch the directory of manifests {}: {reason} (is fs.inotify.max_user_watches or max_user_instances used up?)", directory.display())]
    Watch {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        #[source]
        reason: notify::Error,
    },
}

/// A directory of manifests as a [`Source`].
#[derive(Clone, Debug)]
pub struct Manifests {
    directory: PathBuf,
    service_cidrs: Vec<IpNet>,
}

impl Manifests {
    /// Reads below `directory`. Services without an address get one of `service_cidrs` (the first
    /// of each family); when there is none they are skipped.
    pub fn new(directory: PathBuf, service_cidrs: Vec<IpNet>) -> Self {
        Self {
            directory,
            service_cidrs,
        }
    }

    async fn follow(
        self,
        changes: mpsc::Sender<Batch>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let root = check(&self.directory)?;
        // Before reading: what changes meanwhile comes again as an event.
        let mut watch = Watch::new(&root).map_err(|reason| ManifestsError::Watch {
            directory: root.clone(),
            reason,
        })?;
        let mut identity = identity_of(&root);
        let mut directory = Directory::new(root, self.service_cidrs);
        let (first, mut batch);
        (directory, first) =
            blocking(directory, |directory| directory.scan(&BTreeSet::new())).await?;
        batch = first.map_err(|reason| ManifestsError::Directory {
            directory: self.directory.clone(),
            reason,
        })?;
        batch.push(Change::Synchronised);
        loop {
            if !batch.is_empty() {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    sent = changes.send(batch) => if sent.is_err() {
                        return Ok(());
                    },
                }
            }
            let mut group = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = changes.closed() => return Ok(()),
                group = watch.next(Duration::from_secs(RESCAN_SECONDS)) => group,
            };
            // The directory may have been put aside and another put in its place.
            let now = identity_of(directory.root());
            if now.is_some() && now != identity {
                group.lost = true;
                match Watch::new(directory.root()) {
                    Ok(new) => (watch, identity) = (new, now),
                    Err(error) => warn!(%error, "cannot watch the new directory of manifests"),
                }
            }
            let read;
            (directory, read) = blocking(directory, move |directory| {
                let known = group.paths.iter().all(|path| directory.knows(path));
                if known && !group.lost {
                    Ok(directory.read(group.paths))
                } else {
                    directory.scan(&group.paths)
                }
            })
            .await?;
            batch = read.unwrap_or_else(|error| {
                error!(directory = %directory.root().display(), %error,
                    "cannot be read: what was in it stays");
                Batch::new()
            });
        }
    }
}

impl Source for Manifests {
    async fn run(
        self,
        changes: mpsc::Sender<Batch>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        self.follow(changes, stop).await
    }
}

/// Files are read and parsed where that holds up no other task.
async fn blocking<T: Send + 'static>(
    mut directory: Directory,
    work: impl FnOnce(&mut Directory) -> T + Send + 'static,
) -> anyhow::Result<(Directory, T)> {
    let done = spawn_blocking(move || {
        let result = work(&mut directory);
        (directory, result)
    });
    Ok(done.await?)
}

/// The directory's absolute path: events name files by it. Links in it stay, since they may be
/// made to point elsewhere.
fn check(directory: &Path) -> Result<PathBuf, ManifestsError> {
    let refuse = |reason| ManifestsError::Directory {
        directory: directory.to_owned(),
        reason,
    };
    let root = std::path::absolute(directory).map_err(refuse)?;
    fs::read_dir(&root).map_err(refuse)?;
    Ok(root)
}

fn identity_of(directory: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(directory).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

//! The command line's side of the control socket.

use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::Report;

/// The daemon answers at once, or is stuck.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Far above any report.
const REPORT_BYTES_MAX: u64 = 1 << 20;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody is there.
    #[error("no daemon listens on the control socket {}: {source} (start one with `hopzero serve`, or name its socket with --control)", path.display())]
    NoDaemon {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody is there, for another user.
    #[error("the control socket {} is another user's: {source} (run this as the daemon's user, mostly root)", path.display())]
    Denied {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The daemon does not answer.
    #[error("the daemon at {} does not answer: {source}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The answer is not a report of ours.
    #[error("the daemon at {} answers something else, perhaps of another version: {source}", path.display())]
    Parse {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Asks the daemon at `path`.
///
/// # Errors
///
/// Nobody listens there, or the answer does not come or is none.
pub fn fetch(path: &Path) -> Result<Report, FetchError> {
    let path = path.to_owned();
    let stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            return Err(FetchError::Denied { path, source });
        }
        Err(source) => return Err(FetchError::NoDaemon { path, source }),
    };
    let mut document = Vec::new();
    let read = stream
        .set_read_timeout(Some(READ_TIMEOUT))
        .and_then(|()| stream.take(REPORT_BYTES_MAX).read_to_end(&mut document));
    match read {
        Ok(_) => {
            serde_json::from_slice(&document).map_err(|source| FetchError::Parse { path, source })
        }
        Err(source) => Err(FetchError::Read { path, source }),
    }
}

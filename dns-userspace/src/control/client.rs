//! The command line's side of the control socket.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::de::DeserializeOwned;

use super::{Report, Request, SwitchReply};
use crate::kernel::{Switch, Switched};

/// The daemon answers at once, or is stuck.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Far above any report.
const REPORT_BYTES_MAX: u64 = 1 << 20;

/// Why there is no answer.
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
    /// The daemon does not do what was asked.
    #[error("{reason}")]
    Refused {
        /// Why not.
        reason: String,
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

/// Asks the daemon at `path` about itself.
///
/// # Errors
///
/// Nobody listens there, or the answer does not come or is none.
pub fn fetch(path: &Path) -> Result<Report, FetchError> {
    ask(path, &Request::Report)
}

/// Has the daemon at `path` switch, and returns what is off then.
///
/// # Errors
///
/// As [`fetch`], or the daemon refuses.
pub fn switch(path: &Path, switch: Switch) -> Result<Switched, FetchError> {
    match ask(path, &Request::Switch(switch))? {
        SwitchReply::Done(off) => Ok(off),
        SwitchReply::Refused(reason) => Err(FetchError::Refused { reason }),
    }
}

fn ask<T: DeserializeOwned>(path: &Path, request: &Request) -> Result<T, FetchError> {
    let path = path.to_owned();
    let mut stream = match UnixStream::connect(&path) {
        Ok(stream) => stream,
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            return Err(FetchError::Denied { path, source });
        }
        Err(source) => return Err(FetchError::NoDaemon { path, source }),
    };
    let mut line = match serde_json::to_vec(request) {
        Ok(line) => line,
        Err(source) => return Err(FetchError::Parse { path, source }),
    };
    line.push(b'\n');
    let mut document = Vec::new();
    let read = stream
        .set_read_timeout(Some(READ_TIMEOUT))
        .and_then(|()| stream.write_all(&line))
        .and_then(|()| stream.take(REPORT_BYTES_MAX).read_to_end(&mut document));
    match read {
        Ok(_) => {
            serde_json::from_slice(&document).map_err(|source| FetchError::Parse { path, source })
        }
        Err(source) => Err(FetchError::Read { path, source }),
    }
}

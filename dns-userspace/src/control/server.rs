//! The daemon's side of the control socket.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    task::{JoinSet, spawn_blocking},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Reply, Request, SwitchReply};

/// A client sends its request at once.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// Far above any request.
const REQUEST_BYTES_MAX: u64 = 4096;
/// A report fits into the socket's buffer; a client that makes us wait is not one of ours.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);
/// Clients that are answered at a time; others wait.
const CLIENTS_MAX: usize = 16;
/// After a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Counters are for the daemon's user.
const MODE: u32 = 0o600;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another daemon answers there.
    #[error("another daemon listens on the control socket {}: stop it, or give this one another path with --control", path.display())]
    Taken {
        /// The path.
        path: PathBuf,
    },
    /// Something else has that name.
    #[error("{} exists and is not a socket: remove it, or choose another path with --control", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot create the control socket {}: {source} (choose a path below a directory that you may write to, shorter than 108 bytes, with --control)", path.display())]
    Create {
        /// The path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl ControlError {
    /// Whether it is only that this user may not write there.
    pub fn is_permission_denied(&self) -> bool {
        matches!(self, Self::Create { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// A control socket that listens; dropped, it is removed.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: by then another daemon's socket may have the name.
    identity: Option<(u64, u64)>,
}

impl Control {
    /// Listens at `path`, creating its directories. A socket that a killed daemon left behind is
    /// replaced.
    ///
    /// # Errors
    ///
    /// Somebody listens there, or the file cannot be created.
    pub fn bind(path: &Path) -> Result<Self, ControlError> {
        let create = |source| ControlError::Create {
            path: path.to_owned(),
            source,
        };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(create)?;
        }
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(create)?;
        let control = Self {
            listener,
            path: path.to_owned(),
            identity: identity(path),
        };
        fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(create)?;
        Ok(control)
    }

    /// Answers requests with what `reply` says, until `stop`. It may take its time: a report waits while a large batch is
    /// applied, and the kernel can be switched off meanwhile.
    pub async fn run(
        self,
        reply: impl Fn(Request) -> Reply + Send + Sync + 'static,
        stop: CancellationToken,
    ) {
        let reply = Arc::new(reply);
        let mut clients = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                Some(_) = clients.join_next() => continue,
                accepted = self.listener.accept(), if clients.len() < CLIENTS_MAX => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let reply = Arc::clone(&reply);
                    clients.spawn(async move {
                        if let Err(error) = answer(stream, reply).await {
                            tracing::debug!(%error, "a client of the control socket");
                        }
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "accepting on the control socket");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if identity(&self.path) == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

async fn answer(
    mut stream: UnixStream,
    reply: Arc<impl Fn(Request) -> Reply + Send + Sync + 'static>,
) -> io::Result<()> {
    let mut line = Vec::new();
    let mut limited = BufReader::new((&mut stream).take(REQUEST_BYTES_MAX));
    // Who says nothing, and not even that it is all, gets the report after that time.
    if let Ok(read) = timeout(READ_TIMEOUT, limited.read_until(b'\n', &mut line)).await {
        read?;
    }
    let request = if line.trim_ascii().is_empty() {
        Ok(Request::Report)
    } else {
        serde_json::from_slice(&line)
    };
    let reply = match request {
        Ok(request) => spawn_blocking(move || reply(request)).await?,
        Err(error) => Reply::Switch(SwitchReply::Refused(format!(
            "not a request of this version of hopzero: {error}"
        ))),
    };
    let mut document = serde_json::to_vec(&reply)?;
    document.push(b'\n');
    timeout(WRITE_TIMEOUT, stream.write_all(&document)).await?
}

/// Removes a socket that nobody listens on.
fn remove_stale(path: &Path) -> Result<(), ControlError> {
    let path = path.to_owned();
    let Ok(metadata) = fs::symlink_metadata(&path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(ControlError::NotASocket { path });
    }
    match std::os::unix::net::UnixStream::connect(&path) {
        Ok(_) => Err(ControlError::Taken { path }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(&path).map_err(|source| ControlError::Create { path, source })
        }
        Err(source) => Err(ControlError::Create { path, source }),
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::Shutdown,
        sync::{Mutex, mpsc},
        thread,
    };

    use super::*;
    use crate::{
        control::{ClusterReport, FetchError, Report, fetch, switch},
        kernel::{Switch, Switched, Target},
        socket::SocketSnapshot,
    };

    /// A zone may be switched, and nothing else.
    fn reply(request: Request) -> Reply {
        match request {
            Request::Report => Reply::Report(Box::new(report())),
            Request::Switch(Switch {
                target: Target::Zone(zone),
                ..
            }) => Reply::Switch(SwitchReply::Done(Switched {
                hooks: Vec::new(),
                zones: vec![zone],
            })),
            Request::Switch(_) => Reply::Switch(SwitchReply::Refused("not that".to_owned())),
        }
    }

    fn report() -> Report {
        Report {
            version: "1".to_owned(),
            pid: 2,
            uptime_seconds: 3,
            synchronised: true,
            cluster: ClusterReport::default(),
            kernel: Some(serde_json::json!({"hook": "tc"})),
            socket: SocketSnapshot::default(),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn answers_then_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/er/control.sock");
        let control = Control::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);

        let stop = CancellationToken::new();
        let task = tokio::spawn(control.run(reply, stop.clone()));
        let asked = path.clone();
        let asking = spawn_blocking(move || {
            for _ in 0..3 {
                assert_eq!(fetch(&asked).unwrap(), report());
            }
            let request = |target| Switch { on: false, target };
            let off = switch(&asked, request(Target::Zone("a.b".to_owned()))).unwrap();
            assert_eq!(off.zones, ["a.b"]);
            let refused = switch(&asked, request(Target::All)).unwrap_err();
            assert!(matches!(refused, FetchError::Refused { .. }), "{refused}");
            for (sent, expected) in [
                ("", "\"pid\":2"),
                ("\n", "\"pid\":2"),
                ("\"report\"", "\"pid\":2"),
                ("nonsense\n", "not a request"),
                (&"x".repeat(10_000), "not a request"),
            ] {
                let mut stream = std::os::unix::net::UnixStream::connect(&asked).unwrap();
                // What is too long may be refused before it is all sent.
                let _ = stream.write_all(sent.as_bytes());
                let _ = stream.shutdown(Shutdown::Write);
                let mut document = Vec::new();
                let _ = stream.read_to_end(&mut document);
                let document = String::from_utf8(document).unwrap();
                assert!(document.contains(expected), "{sent:.20}: {document}");
            }
        });
        asking.await.unwrap();
        stop.cancel();
        task.await.unwrap();
        assert!(!path.exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_report_that_waits_keeps_nobody_from_switching() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let (begun, has_begun) = mpsc::channel();
        let (switched, has_switched) = mpsc::channel();
        let has_switched = Mutex::new(has_switched);
        let waiting = move |request| {
            if request == Request::Report {
                begun.send(()).unwrap();
                let waited = has_switched.lock().unwrap().recv_timeout(READ_TIMEOUT);
                return Reply::Report(Box::new(Report {
                    synchronised: waited.is_ok(),
                    ..report()
                }));
            }
            switched.send(()).unwrap();
            reply(request)
        };
        let stop = CancellationToken::new();
        let control = Control::bind(&path).unwrap();
        let task = tokio::spawn(control.run(waiting, stop.clone()));
        let asking = spawn_blocking(move || {
            let asked = path.clone();
            let report = thread::spawn(move || fetch(&asked).unwrap());
            has_begun.recv().unwrap();
            let target = Target::Zone("a.b".to_owned());
            switch(&path, Switch { on: false, target }).unwrap();
            assert!(report.join().unwrap().synchronised, "one after the other");
        });
        asking.await.unwrap();
        stop.cancel();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn replaces_a_stale_socket_and_no_other_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "left behind");
        let first = Control::bind(&path).unwrap();

        let taken = Control::bind(&path).unwrap_err();
        assert!(matches!(taken, ControlError::Taken { .. }), "{taken}");
        assert!(taken.to_string().contains("--control"));
        drop(first);

        fs::write(&path, "a file").unwrap();
        let kept = Control::bind(&path).unwrap_err();
        assert!(matches!(kept, ControlError::NotASocket { .. }), "{kept}");
        assert_eq!(fs::read(&path).unwrap(), b"a file");
    }

    #[tokio::test]
    async fn another_daemons_socket_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let first = Control::bind(&path).unwrap();
        fs::rename(&path, directory.path().join("aside")).unwrap();
        let _second = Control::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
    }
}

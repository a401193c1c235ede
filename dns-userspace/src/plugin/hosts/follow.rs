//! A hosts file that may change.

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock, atomic::AtomicU64},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{
    TARGET,
    table::{Table, Wanted},
};
use crate::plugin::{Environment, builder::TouchesChanged, metrics::Families};

/// A larger file is not read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// `coredns_hosts_*`
#[derive(Clone, Default)]
pub(super) struct HostsMetrics {
    entries: Family<FileLabels, Gauge>,
    reload_timestamp: Gauge<f64, AtomicU64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FileLabels {
    hostsfile: String,
}

impl Families for HostsMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "coredns_hosts_entries",
            "Addresses and names, of the file and of the Corefile",
            self.entries.clone(),
        );
        registry.register(
            "coredns_hosts_reload_timestamp_seconds",
            "When the file that was read last was written",
            self.reload_timestamp.clone(),
        );
    }
}

/// A file, and what was in it last.
pub(super) struct Followed {
    path: PathBuf,
    reload: Duration,
    wanted: Wanted,
    inline_entries: usize,
    metrics: HostsMetrics,
    touches_changed: TouchesChanged,
    last: RwLock<Read>,
}

/// What was read, and of which file: when it was written, and its length.
#[derive(Default)]
struct Read {
    table: Arc<Table>,
    of: Option<(SystemTime, u64)>,
}

impl Followed {
    /// Reads the file, if it is there.
    pub(super) fn new(
        path: PathBuf,
        reload: Duration,
        wanted: Wanted,
        inline: &Table,
        environment: &Environment,
    ) -> Self {
        let file = Followed {
            path,
            reload,
            wanted,
            inline_entries: inline.entries(),
            metrics: environment.metrics.of(),
            touches_changed: environment.touches_changed(),
            last: RwLock::default(),
        };
        file.look();
        file
    }

    /// Looks at the file from time to time, as long as somebody uses it.
    pub(super) fn follow(file: &Arc<Self>) {
        let (reload, file) = (file.reload, Arc::downgrade(file));
        if reload.is_zero() {
            return;
        }
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(reload).await;
                let Some(file) = file.upgrade() else { return };
                // It reads, and so may wait for a disk.
                let looked = tokio::task::spawn_blocking(move || file.look());
                if looked.await.is_err() {
                    return;
                }
            }
        });
    }

    /// What was in it last.
    pub(super) fn table(&self) -> Arc<Table> {
        let last = self.last.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&last.table)
    }

    /// Reads the file if it is another one than the last time. What cannot be read leaves everything as it was.
    fn look(&self) {
        match self.changed() {
            Ok(None) => {}
            Ok(Some(read)) => {
                let labels = FileLabels {
                    hostsfile: self.path.display().to_string(),
                };
                let entries = self.inline_entries + read.table.entries();
                let entries = i64::try_from(entries).unwrap_or(i64::MAX);
                self.metrics.entries.get_or_create(&labels).set(entries);
                let written = read
                    .of
                    .and_then(|(time, _)| time.duration_since(UNIX_EPOCH).ok());
                let written = written.unwrap_or_default().as_secs_f64();
                self.metrics.reload_timestamp.set(written);
                *self.last.write().unwrap_or_else(PoisonError::into_inner) = read;
                self.touches_changed.tell();
            }
            // That it is not there was told when it was set up.
            Err(error) => tracing::debug!(target: TARGET, "{}: {error}", self.path.display()),
        }
    }

    fn changed(&self) -> io::Result<Option<Read>> {
        let meta = fs::metadata(&self.path)?;
        let of = Some((meta.modified()?, meta.len()));
        let last = self.last.read().unwrap_or_else(PoisonError::into_inner).of;
        if of == last {
            return Ok(None);
        }
        if meta.len() > FILE_BYTES_MAX {
            let error = format!("longer than {FILE_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, error));
        }
        let bytes = fs::read(&self.path)?;
        let table = Table::read(&String::from_utf8_lossy(&bytes), &self.wanted);
        Ok(Some(Read {
            table: Arc::new(table),
            of,
        }))
    }
}

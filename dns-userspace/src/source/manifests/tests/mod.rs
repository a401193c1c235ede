//! A directory that is edited in every way, seen from the other end of the channel.

mod contents;
mod edits;

use std::{
    fs,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use ipnet::IpNet;
use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::Manifests;
use crate::source::{Batch, Change, Object, Source, objects::Service};

/// Longer than any group of events lasts.
const SILENCE_MS: u64 = 250;

struct Running {
    directory: TempDir,
    batches: mpsc::Receiver<Batch>,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Starts on `files`, and returns what comes first.
    async fn start(files: &[(&str, &str)], ranges: &[&str]) -> (Self, Vec<String>) {
        let directory = tempfile::tempdir().expect("a directory");
        for (file, text) in files {
            write(directory.path(), file, text);
        }
        let ranges = ranges.iter().map(|range| range.parse().expect("a range"));
        let ranges: Vec<IpNet> = ranges.collect();
        let source = Manifests::new(directory.path().to_owned(), ranges);
        let (sender, batches) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let task = tokio::spawn(source.run(sender, stop.clone()));
        let mut running = Self {
            directory,
            batches,
            stop,
            task,
        };
        let first = running.next().await;
        (running, first)
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn write(&self, file: &str, text: &str) {
        write(self.path(), file, text);
    }

    async fn next(&mut self) -> Vec<String> {
        let batch = timeout(Duration::from_secs(5), self.batches.recv()).await;
        show(&batch.expect("in time").expect("runs"))
    }

    async fn silent(&mut self) {
        let batch = timeout(Duration::from_millis(SILENCE_MS), self.batches.recv()).await;
        assert!(batch.is_err(), "nothing changed, but came {batch:?}");
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("no error");
    }
}

fn write(directory: &Path, file: &str, text: &str) {
    let path = directory.join(file);
    fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    fs::write(path, text).expect("written");
}

/// `+ Service shop/web 10.96.0.1`, `- Namespace shop`, `synchronised`; sorted but for the last.
fn show(batch: &[Change]) -> Vec<String> {
    let mut lines: Vec<String> = batch
        .iter()
        .filter_map(|change| match change {
            Change::Upsert(object) => {
                let addresses = match object {
                    Object::Service(service) => addresses_of(service),
                    _ => String::new(),
                };
                let line = format!("+ {} {}", object.key(), addresses);
                Some(line.trim_end().to_owned())
            }
            Change::Delete(key) => Some(format!("- {key}")),
            Change::Synchronised => None,
        })
        .collect();
    lines.sort();
    let synchronised = batch
        .iter()
        .filter(|change| **change == Change::Synchronised);
    lines.extend(synchronised.map(|_| "synchronised".to_owned()));
    lines
}

fn addresses_of(service: &Service) -> String {
    let spec = service.spec.clone().unwrap_or_default();
    let addresses = spec.cluster_ips.unwrap_or_default();
    if addresses.is_empty() {
        return spec.cluster_ip.unwrap_or_default();
    }
    addresses.join(" ")
}

fn service(name: &str, address: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{clusterIP: {address}}}\n---\n"
    )
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Calls `work` with the log going here.
    fn of(work: impl FnOnce()) -> String {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        let bytes = log.0.lock().expect("no panic").clone();
        String::from_utf8(bytes).expect("text")
    }
}

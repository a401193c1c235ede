//! The cluster of a case: the manifests among its files, read as the daemon reads them.

use std::{path::Path, time::Duration};

use hopzero::{
    plugin::Environment,
    source::{Batch, Source as _, manifests::Manifests},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

/// Unix time of every change.
const NOW: u32 = 1_700_000_000;
/// Longer than the source gathers events.
const PATIENCE: Duration = Duration::from_secs(4);

pub struct Cluster(mpsc::Receiver<Batch>);

impl Cluster {
    pub fn start(directory: &Path) -> Self {
        let (sender, batches) = mpsc::channel(16);
        let source = Manifests::new(directory.to_owned(), Vec::new());
        tokio::spawn(source.run(sender, CancellationToken::new()));
        Cluster(batches)
    }

    /// Gives the next batch to every zone.
    pub async fn next(&mut self, environment: &Environment) -> Result<(), String> {
        let batch = timeout(PATIENCE, self.0.recv()).await;
        let batch = batch.ok().flatten().ok_or("no change of the cluster")?;
        for zone in environment.clusters() {
            zone.write().unwrap().apply(batch.clone(), NOW);
        }
        Ok(())
    }
}

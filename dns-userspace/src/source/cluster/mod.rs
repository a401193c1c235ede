//! A cluster's API server, watched faithfully.
//!
//! ```text
//! namespaces      ─┐
//! services        ─┤ each: list, watch, audit ──▶ batches of changes ──▶ zone
//! endpointslices  ─┤                                                      Synchronised, when each has its first list
//! pods, if wanted ─┘
//! ```
//!
//! What is known stays until it is known to be otherwise: nothing is ever taken away because a connection, a list or
//! an API server is. Why not the watcher that comes with `kube`: it lists anew from any version, older ones too; holds
//! on to a version that the server has forgotten, if that is said by a status of HTTP; and waits for ever for the answer
//! to a list.

mod answer;
mod api;
mod audit;
mod connection;
mod follow;
mod held;
mod metrics;
mod protobuf;
mod resources;
#[cfg(test)]
mod tests;
mod trouble;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub use audit::pause_min as audit_pause_min;
pub use connection::{Access, Connection, ConnectionError, Limits};
pub use metrics::{ClusterMetrics, WatchReport};
pub use resources::{Resource, Slices, Wanted, Watched};

use self::{api::Api, follow::Follower, metrics::Counted};
use super::{Batch, Source};

/// A cluster as a [`Source`].
pub struct Cluster {
    connection: Connection,
    wanted: Wanted,
    metrics: ClusterMetrics,
}

/// Held until a first list is complete.
struct Latch(Arc<AtomicUsize>);

impl Latch {
    /// Whether it was the last one.
    fn release(self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

impl Cluster {
    /// What is wanted of a cluster.
    pub fn new(connection: Connection, wanted: Wanted, metrics: ClusterMetrics) -> Self {
        Self {
            connection,
            wanted,
            metrics,
        }
    }
}

impl Source for Cluster {
    async fn run(
        self,
        changes: mpsc::Sender<Batch>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let watches = self.wanted.watches();
        let outstanding = Arc::new(AtomicUsize::new(watches.len()));
        let mut followers = JoinSet::new();
        for watched in watches {
            let api = Api {
                connection: self.connection.clone(),
                watched,
            };
            let counted = Counted::new(&self.metrics, watched.name);
            let latch = Latch(Arc::clone(&outstanding));
            followers.spawn(Follower::new(api, counted, changes.clone(), latch).run());
        }
        drop(changes);
        tokio::select! {
            () = stop.cancelled() => {}
            () = async { while followers.join_next().await.is_some() {} } => {}
        }
        Ok(())
    }
}

//! How a daemon ends.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The time in which everything is served yet, while clients are told to go elsewhere.
#[derive(Clone, Default)]
pub(in crate::cli) struct Lameduck {
    time: Arc<Mutex<Duration>>,
    stopping: CancellationToken,
}

impl Lameduck {
    pub(super) fn new(stopping: CancellationToken) -> Self {
        Lameduck {
            time: Arc::default(),
            stopping,
        }
    }

    pub(super) fn set(&self, time: Duration) {
        *self.time.lock().unwrap_or_else(PoisonError::into_inner) = time;
    }

    /// Begins, and waits for its end.
    pub async fn last(&self) {
        self.stopping.cancel();
        let time = *self.time.lock().unwrap_or_else(PoisonError::into_inner);
        if !time.is_zero() {
            tracing::info!(target: "plugin/health", "Going into lameduck mode for {time:?}");
            sleep(time).await;
        }
    }
}

//! The upstreams that a configuration names, for who wants to know whether they are there.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use super::{error::ExchangeError, upstream::Upstream};

/// All upstreams that are in use.
#[derive(Clone, Default)]
pub struct Known(Arc<Mutex<Vec<Weak<Upstream>>>>);

/// One of them.
pub struct Asked {
    /// Where it is.
    pub address: SocketAddr,
    /// What came of a query.
    pub result: Result<(), ExchangeError>,
}

impl Known {
    /// These are in use, too, for as long as somebody else holds them.
    pub(super) fn add(&self, upstreams: &[Arc<Upstream>]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|upstream| upstream.strong_count() > 0);
        known.extend(upstreams.iter().map(Arc::downgrade));
    }

    /// Where they are, each address once.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.all()
            .iter()
            .map(|upstream| upstream.address())
            .collect()
    }

    /// Asks each of them what a health check asks. Any reply counts.
    pub async fn ask(&self) -> Vec<Asked> {
        let all = self.all();
        let asked = all.iter().map(|upstream| async {
            Asked {
                address: upstream.address(),
                result: upstream.probe().await,
            }
        });
        futures_util::future::join_all(asked).await
    }

    fn all(&self) -> Vec<Arc<Upstream>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = known.iter().filter_map(Weak::upgrade).collect();
        all.sort_by_key(|upstream| upstream.address());
        all.dedup_by_key(|upstream| upstream.address());
        all
    }
}

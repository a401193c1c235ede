//! What the cache counts.
//!
//! A counter is found by its labels once for each server that a cache answers for, since that takes memory and time.

use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::super::metrics::Families;

type Labels = Vec<(&'static str, String)>;

/// Of all caches.
#[derive(Clone, Default)]
pub struct CacheMetrics {
    entries: Family<Labels, Gauge>,
    requests: Family<Labels, Counter>,
    hits: Family<Labels, Counter>,
    misses: Family<Labels, Counter>,
    prefetch: Family<Labels, Counter>,
    drops: Family<Labels, Counter>,
    served_stale: Family<Labels, Counter>,
    evictions: Family<Labels, Counter>,
}

impl Families for CacheMetrics {
    fn register(&self, registry: &mut Registry) {
        let mut counter = |name: &str, help: &str, family: &Family<Labels, Counter>| {
            registry.register(format!("coredns_cache_{name}"), help, family.clone());
        };
        counter("requests", "Queries to the cache", &self.requests);
        counter("hits", "Queries that it answered", &self.hits);
        counter("misses", "Queries that it did not answer", &self.misses);
        counter(
            "prefetch",
            "Entries refreshed before they were stale, or once they were",
            &self.prefetch,
        );
        counter(
            "drops",
            "Replies to another question than was asked",
            &self.drops,
        );
        counter(
            "served_stale",
            "Queries answered by what was stale",
            &self.served_stale,
        );
        counter(
            "evictions",
            "Entries that made room for others",
            &self.evictions,
        );
        registry.register(
            "coredns_cache_entries",
            "Entries in the cache",
            self.entries.clone(),
        );
    }
}

/// Of a cache at one server.
pub struct Counters {
    server: Arc<str>,
    view: Arc<str>,
    pub entries: BySide<Gauge>,
    pub requests: Counter,
    pub hits: BySide<Counter>,
    pub misses: Counter,
    pub prefetch: Lazy,
    pub drops: Lazy,
    pub served_stale: Lazy,
    pub evictions: BySide<Lazy>,
}

/// For successes, and for denials.
pub struct BySide<T> {
    pub success: T,
    pub denial: T,
}

impl<T> BySide<T> {
    /// The one or the other.
    pub fn of(&self, is_denial: bool) -> &T {
        if is_denial {
            &self.denial
        } else {
            &self.success
        }
    }
}

/// A counter that is not told before it counts, and that counts seldom.
pub struct Lazy {
    family: Family<Labels, Counter>,
    labels: Labels,
}

impl Lazy {
    /// Counts so many.
    pub fn add(&self, count: u64) {
        if count > 0 {
            self.family.get_or_create(&self.labels).inc_by(count);
        }
    }
}

impl Counters {
    fn new(metrics: &CacheMetrics, server: &Arc<str>, view: &Arc<str>, zones: &str) -> Self {
        let labels = |side: Option<&str>| {
            let mut labels = vec![("server", server.to_string())];
            labels.extend(side.map(|side| ("type", side.to_owned())));
            labels.extend([("view", view.to_string()), ("zones", zones.to_owned())]);
            labels
        };
        let counter =
            |family: &Family<Labels, Counter>, side| family.get_or_create(&labels(side)).clone();
        let lazy = |family: &Family<Labels, Counter>, side| Lazy {
            family: family.clone(),
            labels: labels(side),
        };
        let gauge = |side| metrics.entries.get_or_create(&labels(Some(side))).clone();
        Counters {
            server: Arc::clone(server),
            view: Arc::clone(view),
            entries: BySide {
                success: gauge("success"),
                denial: gauge("denial"),
            },
            requests: counter(&metrics.requests, None),
            hits: BySide {
                success: counter(&metrics.hits, Some("success")),
                denial: counter(&metrics.hits, Some("denial")),
            },
            misses: counter(&metrics.misses, None),
            prefetch: lazy(&metrics.prefetch, None),
            drops: lazy(&metrics.drops, None),
            served_stale: lazy(&metrics.served_stale, None),
            evictions: BySide {
                success: lazy(&metrics.evictions, Some("success")),
                denial: lazy(&metrics.evictions, Some("denial")),
            },
        }
    }
}

/// The counters of a cache, by server and view: mostly one.
pub struct Tellers {
    metrics: CacheMetrics,
    zones: String,
    all: RwLock<Vec<Arc<Counters>>>,
}

impl Tellers {
    /// `zones` as a label.
    pub fn new(metrics: CacheMetrics, zones: String) -> Self {
        Tellers {
            metrics,
            zones,
            all: RwLock::default(),
        }
    }

    /// Lets `count` have the counters of a server, if there are any yet.
    pub fn with<T>(
        &self,
        server: &Arc<str>,
        view: &Arc<str>,
        count: impl FnOnce(&Arc<Counters>) -> T,
    ) -> Option<T> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let found = all.iter().find(|counters| {
            let is_same = |one: &Arc<str>, other| Arc::ptr_eq(one, other) || one == other;
            is_same(&counters.server, server) && is_same(&counters.view, view)
        });
        found.map(count)
    }

    /// The counters of a server.
    pub fn of(&self, server: &Arc<str>, view: &Arc<str>) -> Arc<Counters> {
        if let Some(counters) = self.with(server, view, Arc::clone) {
            return counters;
        }
        let counters = Arc::new(Counters::new(&self.metrics, server, view, &self.zones));
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        // Two at once count in the same place; the first is found from now on.
        all.push(Arc::clone(&counters));
        counters
    }
}

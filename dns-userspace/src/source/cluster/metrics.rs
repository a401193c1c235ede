//! What is counted of the cluster, for `/metrics`.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::trouble::Trouble;
use crate::plugin::metrics::Families;

/// The families.
#[derive(Clone, Debug, Default)]
pub struct ClusterMetrics {
    objects: Family<WatchLabel, Gauge>,
    lists: Family<WatchLabel, Counter>,
    audits: Family<WatchLabel, Counter>,
    repairs: Family<WatchLabel, Counter>,
    errors: Family<ErrorLabels, Counter>,
    contact: Family<WatchLabel, Gauge>,
    heard: Heard,
}

/// A watch, as `hopzero status` shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WatchReport {
    /// What is watched.
    pub watch: String,
    /// Objects that are held.
    pub objects: u64,
    /// Since the API server last said something; none before its first list is complete.
    pub age_seconds: Option<f64>,
    /// Complete lists that were taken in; all but the first are relists.
    pub lists: u64,
    /// Changes that no event had told, found by an audit.
    pub audit_repairs: u64,
}

/// When the API server last said something, by watch.
#[derive(Clone, Debug, Default)]
struct Heard(Arc<Mutex<BTreeMap<&'static str, Option<Instant>>>>);

impl Heard {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Option<Instant>>> {
        // Whoever panicked has left whole values behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClusterMetrics {
    /// Each watch as it is; none where the cluster is not an API server's.
    pub fn watches(&self) -> Vec<WatchReport> {
        let heard = self.heard.lock();
        let report = |(&watch, at): (&&'static str, &Option<Instant>)| {
            let label = WatchLabel { watch };
            WatchReport {
                watch: watch.to_owned(),
                objects: self.objects.get_or_create(&label).get().unsigned_abs(),
                age_seconds: at.map(|at| at.elapsed().as_secs_f64()),
                lists: self.lists.get_or_create(&label).get(),
                audit_repairs: self.repairs.get_or_create(&label).get(),
            }
        };
        heard.iter().map(report).collect()
    }
}

impl Collector for Heard {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "hopzero_kubernetes_data_age_seconds",
            "Since the API server last said something",
            None,
            MetricType::Gauge,
        )?;
        for (watch, at) in &*self.lock() {
            if let Some(at) = at {
                let age = ConstGauge::new(at.elapsed().as_secs_f64());
                age.encode(family.encode_family(&[("watch", *watch)])?)?;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchLabel {
    watch: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    watch: &'static str,
    reason: &'static str,
}

impl Families for ClusterMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "hopzero_kubernetes_objects",
            "Objects that are held",
            self.objects.clone(),
        );
        registry.register(
            "hopzero_kubernetes_lists",
            "Complete lists that were taken in",
            self.lists.clone(),
        );
        registry.register(
            "hopzero_kubernetes_audits",
            "Complete lists of names and versions that were compared with what is held",
            self.audits.clone(),
        );
        registry.register(
            "hopzero_kubernetes_audit_repairs",
            "Changes that no event had told, found by an audit",
            self.repairs.clone(),
        );
        registry.register(
            "hopzero_kubernetes_watch_errors",
            "What went wrong between here and the API server",
            self.errors.clone(),
        );
        registry.register(
            "hopzero_kubernetes_last_contact_timestamp_seconds",
            "When the API server last said something; the data is as old as that",
            self.contact.clone(),
        );
        registry.register_collector(Box::new(self.heard.clone()));
    }
}

/// What is counted of one watch.
#[derive(Clone, Debug)]
pub struct Counted {
    metrics: ClusterMetrics,
    label: WatchLabel,
}

impl Counted {
    /// Of the watch with this name.
    pub fn new(metrics: &ClusterMetrics, watch: &'static str) -> Self {
        let label = WatchLabel { watch };
        // What never happened is 0, not absent.
        metrics.repairs.get_or_create(&label).inc_by(0);
        metrics.heard.lock().entry(watch).or_default();
        Self {
            metrics: metrics.clone(),
            label,
        }
    }

    /// So many objects are held, and the API server has just been heard.
    pub fn heard(&self, objects: usize) {
        let mut heard = self.metrics.heard.lock();
        heard.insert(self.label.watch, Some(Instant::now()));
        drop(heard);
        let objects = i64::try_from(objects).unwrap_or(i64::MAX);
        self.metrics.objects.get_or_create(&self.label).set(objects);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |elapsed| {
            i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
        });
        self.metrics.contact.get_or_create(&self.label).set(now);
    }

    /// A list was taken in, with changes that no event had told.
    pub fn listed(&self, repairs: usize) {
        self.metrics.lists.get_or_create(&self.label).inc();
        let repairs = u64::try_from(repairs).unwrap_or(u64::MAX);
        self.metrics
            .repairs
            .get_or_create(&self.label)
            .inc_by(repairs);
    }

    /// An audit went through.
    pub fn audited(&self) {
        self.metrics.audits.get_or_create(&self.label).inc();
    }

    /// Something went wrong.
    pub fn trouble(&self, trouble: &Trouble) {
        let labels = ErrorLabels {
            watch: self.label.watch,
            reason: trouble.reason(),
        };
        self.metrics.errors.get_or_create(&labels).inc();
    }
}

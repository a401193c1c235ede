//! What plugins count, for `/metrics`.
//!
//! Names, labels and buckets are those of `CoreDNS`. A plugin has a struct with its families, made and registered when
//! the first of its kind is set up; those that come later, after a reload too, go on counting there.

mod histogram;
mod rcode;

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
};

use prometheus_client::{
    encoding::{EncodeMetric as _, MetricEncoder, prometheus_text},
    metrics::counter::ConstCounter,
    registry::Registry,
};

pub use histogram::Histogram;
pub use rcode::rcode_label;

/// The families of one plugin. A clone counts in the same place.
pub trait Families: Clone + Default + Send + 'static {
    /// Names them. The registry adds `_total` to counters.
    fn register(&self, registry: &mut Registry);
}

/// All that is counted.
#[derive(Default)]
pub struct Metrics(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    registry: Registry,
    families: HashMap<TypeId, Box<dyn Any + Send>>,
}

impl Metrics {
    /// The families of a plugin, the same for all of its kind.
    pub fn of<F: Families>(&self) -> F {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { registry, families } = &mut *inner;
        let families = families.entry(TypeId::of::<F>()).or_insert_with(|| {
            let families = F::default();
            families.register(registry);
            Box::new(families)
        });
        (families.downcast_ref::<F>()).cloned().unwrap_or_default()
    }

    /// In the text form that `CoreDNS` has, Prometheus 0.0.4.
    pub fn text(&self) -> String {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        // A string has room for everything.
        let _ = prometheus_text::encode(&mut text, &inner.registry);
        text
    }
}

/// Writes counters of one family that are not zero: `CoreDNS` knows no others.
///
/// # Errors
///
/// The encoder's.
pub fn encode_counters<'l, const N: usize>(
    mut family: MetricEncoder<'_>,
    counters: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
) -> fmt::Result {
    for (labels, count) in counters {
        if count > 0 {
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

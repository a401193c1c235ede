//! What plugins count, for `/metrics`.
//!
//! Names, labels and buckets are those of `CoreDNS`. A plugin has a struct with its families, made and registered when
//! the first of its kind is set up; those that come later, after a reload too, go on counting there.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use prometheus_client::{encoding::text, registry::Registry};

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

    /// In the text form of `OpenMetrics` 1.0.
    pub fn text(&self) -> String {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        // A string has room for everything.
        let _ = text::encode(&mut text, &inner.registry);
        text
    }
}

//! `coredns_kubernetes_dns_programming_duration_seconds`: how long it took from a change of a service's endpoints in the
//! cluster until DNS had it, as Kubernetes defines it (the SLI "DNS programming latency").
//!
//! It begins at the time that the controller writes into each slice that it changes, by its own clock, and ends when the
//! change is answered from, by the kernel too if that answers. A slice without that time, or of a service that is not
//! known, is not counted.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use prometheus_client::{
    collector::Collector, encoding::DescriptorEncoder, metrics::MetricType, registry::Registry,
};

use crate::{
    plugin::metrics::{Families, Histogram},
    source::{Batch, Change, Object},
    state::SERVICE_NAME_LABEL,
};

/// 1 ms, and each twice the one before, to 17 minutes: `CoreDNS`'s buckets.
const NANOSECONDS: [u64; 20] = {
    let mut bounds = [1_000_000; 20];
    let mut at = 1;
    while at < bounds.len() {
        bounds[at] = 2 * bounds[at - 1];
        at += 1;
    }
    bounds
};

/// The histograms, by the kind of the service.
#[derive(Clone, Debug)]
pub struct Programming(Arc<Kinds>);

#[derive(Debug)]
struct Kinds {
    cluster_ip: Histogram,
    headless: Histogram,
}

/// Slices of a batch with the time of their change.
#[derive(Debug, Default)]
pub struct Triggers(Vec<Trigger>);

#[derive(Debug)]
struct Trigger {
    namespace: String,
    service: String,
    at: SystemTime,
}

impl Default for Programming {
    fn default() -> Self {
        Self(Arc::new(Kinds {
            cluster_ip: Histogram::new(&NANOSECONDS),
            headless: Histogram::new(&NANOSECONDS),
        }))
    }
}

impl Triggers {
    /// Of the slices in a batch.
    pub fn of(batch: &Batch) -> Self {
        let triggers = batch.iter().filter_map(|change| {
            let Change::Upsert(Object::EndpointSlice(slice)) = change else {
                return None;
            };
            let metadata = &slice.metadata;
            let text = metadata.annotations.as_ref()?.last_change.as_deref()?;
            let service = metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
            let Ok(at) = text.parse::<jiff::Timestamp>() else {
                tracing::warn!(
                    target: "plugin/kubernetes",
                    slice = metadata.name,
                    namespace = metadata.namespace,
                    "not counted in dns_programming_duration_seconds: {text:?} is no time (RFC 3339)"
                );
                return None;
            };
            Some(Trigger {
                namespace: metadata.namespace.clone()?,
                service: service.clone(),
                at: at.into(),
            })
        });
        Self(triggers.collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Programming {
    /// The changes are answered from by now. `is_headless` says what sort of service one is, of those that are known.
    pub fn applied(
        &self,
        triggers: &Triggers,
        now: SystemTime,
        is_headless: impl Fn(&str, &str) -> Option<bool>,
    ) {
        for trigger in &triggers.0 {
            let histogram = match is_headless(&trigger.namespace, &trigger.service) {
                Some(true) => &self.0.headless,
                Some(false) => &self.0.cluster_ip,
                None => continue,
            };
            // The controller's clock may be ahead of ours.
            let took = now.duration_since(trigger.at).unwrap_or(Duration::ZERO);
            histogram.observe_time(took);
        }
    }
}

impl Families for Programming {
    fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }
}

impl Collector for Programming {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "coredns_kubernetes_dns_programming_duration_seconds",
            "From a change of endpoints in the cluster until DNS has it",
            None,
            MetricType::Histogram,
        )?;
        for (kind, histogram) in [
            ("cluster_ip", &self.0.cluster_ip),
            ("headless_with_selector", &self.0.headless),
        ] {
            // CoreDNS knows no kind that was not observed.
            if histogram.count() > 0 {
                histogram.encode_times(family.encode_family(&[("service_kind", kind)])?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plugin::metrics::Metrics,
        source::objects::{Annotations, EndpointSlice, ObjectMeta},
    };

    fn slice(service: &str, last_change: Option<&str>) -> Change {
        Change::Upsert(Object::EndpointSlice(Box::new(EndpointSlice {
            metadata: ObjectMeta {
                name: Some(format!("{service}-1")),
                namespace: Some("shop".to_owned()),
                labels: Some([(SERVICE_NAME_LABEL.to_owned(), service.to_owned())].into()),
                annotations: Some(Annotations {
                    last_change: last_change.map(str::to_owned),
                }),
                ..ObjectMeta::default()
            },
            ..EndpointSlice::default()
        })))
    }

    #[test]
    fn only_changes_with_a_time_and_a_service_count() {
        let metrics = Metrics::default();
        let programming: Programming = metrics.of();
        let batch = vec![
            slice("db", Some("2026-01-01T00:00:00Z")),
            slice("db", Some("2026-01-01T00:00:00.9985Z")),
            slice("web", Some("2026-01-01T00:00:02Z")),
            slice("web", None),
            slice("web", Some("yesterday")),
            slice("gone", Some("2026-01-01T00:00:00Z")),
            Change::Synchronised,
        ];
        let now: jiff::Timestamp = "2026-01-01T00:00:01Z".parse().unwrap();
        programming.applied(&Triggers::of(&batch), now.into(), |namespace, service| {
            assert_eq!(namespace, "shop");
            match service {
                "db" => Some(true),
                "web" => Some(false),
                _ => None,
            }
        });
        let text = metrics.text();
        let family = "coredns_kubernetes_dns_programming_duration_seconds";
        for line in [
            r#"_bucket{service_kind="headless_with_selector",le="0.001"} 0"#,
            r#"_bucket{service_kind="headless_with_selector",le="0.002"} 1"#,
            r#"_bucket{service_kind="headless_with_selector",le="1.024"} 2"#,
            r#"_bucket{service_kind="headless_with_selector",le="524.288"} 2"#,
            r#"_count{service_kind="headless_with_selector"} 2"#,
            // The other clock is ahead.
            r#"_bucket{service_kind="cluster_ip",le="0.001"} 1"#,
            r#"_count{service_kind="cluster_ip"} 1"#,
        ] {
            let line = format!("{family}{line}");
            assert!(text.lines().any(|have| have == line), "{line}\n{text}");
        }
    }
}

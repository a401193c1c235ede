//! What forwarding counts, for `prometheus`: `coredns_forward_*` of a directive, `coredns_proxy_*` of an upstream.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use hickory_proto::op::ResponseCode;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter},
    registry::Registry,
};

use crate::plugin::metrics::{Families, Histogram, encode_counters, rcode_label};

/// RCODEs that have a name (the last is BADCOOKIE), and all others.
const RCODES: usize = 25;
/// The label `proxy_name`.
const PROXY: (&str, &str) = ("proxy_name", "forward");

/// What all `forward` directives count together.
#[derive(Debug, Default)]
pub struct ForwardCounters {
    /// `coredns_forward_healthcheck_broken_total`
    pub healthcheck_broken: AtomicU64,
    /// `coredns_forward_max_concurrent_rejects_total`
    pub max_concurrent_rejects: AtomicU64,
    upstreams: Mutex<BTreeMap<String, Arc<UpstreamCounters>>>,
}

impl ForwardCounters {
    /// The counters of an upstream, the same for all who ask it.
    pub fn upstream(&self, to: &str) -> Arc<UpstreamCounters> {
        let mut upstreams = (self.upstreams.lock()).unwrap_or_else(PoisonError::into_inner);
        let upstream = (upstreams.entry(to.to_owned())).or_default();
        Arc::clone(upstream)
    }

    fn upstreams(&self) -> BTreeMap<String, Arc<UpstreamCounters>> {
        let upstreams = self
            .upstreams
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        upstreams.clone()
    }
}

impl Families for Arc<ForwardCounters> {
    fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Arc::clone(self)));
    }
}

impl Collector for ForwardCounters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (name, help, counter) in [
            (
                "coredns_forward_healthcheck_broken",
                "Queries for which all upstreams were down",
                &self.healthcheck_broken,
            ),
            (
                "coredns_forward_max_concurrent_rejects",
                "Queries that were refused because of max_concurrent",
                &self.max_concurrent_rejects,
            ),
        ] {
            let family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(counter.load(Relaxed)).encode(family)?;
        }
        let upstreams = self.upstreams();
        encode_counters(
            encoder.encode_descriptor(
                "coredns_proxy_healthcheck_failures",
                "Health checks that failed",
                None,
                MetricType::Counter,
            )?,
            upstreams.iter().map(|(to, counters)| {
                let labels = [PROXY, ("to", to.as_str())];
                (labels, counters.healthcheck_failures.load(Relaxed))
            }),
        )?;
        for (name, help, hits) in [
            (
                "coredns_proxy_conn_cache_hits",
                "Queries that went over a socket or connection that was there",
                true,
            ),
            (
                "coredns_proxy_conn_cache_misses",
                "Queries for which a socket or connection was opened",
                false,
            ),
        ] {
            let family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            let all = upstreams.iter().flat_map(|(to, counters)| {
                Proto::ALL.map(|proto| {
                    let (reused, opened) = counters.connections(proto);
                    let labels = [("proto", proto.label()), PROXY, ("to", to.as_str())];
                    (labels, if hits { reused } else { opened })
                })
            });
            encode_counters(family, all)?;
        }
        let mut family = encoder.encode_descriptor(
            "coredns_proxy_request_duration_seconds",
            "From a query to the upstream's reply",
            None,
            MetricType::Histogram,
        )?;
        for (to, counters) in &upstreams {
            for (rcode, histogram) in counters.durations() {
                let rcode = rcode.map_or("other".into(), rcode_label);
                let labels = [PROXY, ("rcode", &*rcode), ("to", to.as_str())];
                histogram.encode_times(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// How an upstream is asked: the label `proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    /// `udp`
    Udp,
    /// `tcp`
    Tcp,
    /// `tcp-tls`
    Tls,
}

impl Proto {
    /// Every one.
    pub const ALL: [Proto; 3] = [Proto::Udp, Proto::Tcp, Proto::Tls];

    /// As metrics name it.
    pub fn label(self) -> &'static str {
        match self {
            Proto::Udp => "udp",
            Proto::Tcp => "tcp",
            Proto::Tls => "tcp-tls",
        }
    }
}

/// The counters of one upstream.
#[derive(Debug, Default)]
pub struct UpstreamCounters {
    /// `coredns_proxy_healthcheck_failures_total`
    pub healthcheck_failures: AtomicU64,
    reused: [AtomicU64; Proto::ALL.len()],
    opened: [AtomicU64; Proto::ALL.len()],
    durations: [OnceLock<Histogram>; RCODES],
}

impl UpstreamCounters {
    /// A socket or connection was there already, or was opened.
    pub fn connection(&self, proto: Proto, is_reused: bool) {
        let counters = if is_reused {
            &self.reused
        } else {
            &self.opened
        };
        counters[proto as usize].fetch_add(1, Relaxed);
    }

    /// `coredns_proxy_conn_cache_hits_total` and `…_misses_total`.
    pub fn connections(&self, proto: Proto) -> (u64, u64) {
        let read = |counters: &[AtomicU64]| counters[proto as usize].load(Relaxed);
        (read(&self.reused), read(&self.opened))
    }

    /// A reply came after so long.
    pub fn replied(&self, rcode: ResponseCode, after: Duration) {
        let index = usize::from(u16::from(rcode)).min(RCODES - 1);
        self.durations[index]
            .get_or_init(Histogram::of_times)
            .observe_time(after);
    }

    /// `coredns_proxy_request_duration_seconds` by RCODE; `None` are those without a name.
    pub fn durations(&self) -> impl Iterator<Item = (Option<ResponseCode>, &Histogram)> {
        (self.durations.iter().enumerate()).filter_map(|(index, histogram)| {
            let named = u8::try_from(index).ok().filter(|_| index < RCODES - 1);
            // The upper bits are OPT's.
            let rcode = named.map(|code| ResponseCode::from(code >> 4, code & 0x0f));
            Some((rcode, histogram.get()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_counted_by_rcode() {
        let counters = UpstreamCounters::default();
        for rcode in [
            ResponseCode::NoError,
            ResponseCode::BADCOOKIE,
            ResponseCode::Unknown(4000),
        ] {
            counters.replied(rcode, Duration::ZERO);
        }
        let rcodes: Vec<_> = counters.durations().map(|(rcode, _)| rcode).collect();
        assert_eq!(
            rcodes,
            [
                Some(ResponseCode::NoError),
                Some(ResponseCode::BADCOOKIE),
                None
            ]
        );
    }
}

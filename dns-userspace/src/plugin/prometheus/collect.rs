//! From the numbers to the families of `coredns_dns_*`.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
};

use hickory_proto::op::ResponseCode;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::{
    counters::{All, DnsCounters, FAMILIES, PROTOS, Scope, TYPES, type_index},
    kernel::{Answered, Owner},
};
use crate::plugin::metrics::{Families, Histogram, encode_counters, rcode_label};

impl Families for DnsCounters {
    fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Arc::clone(&self.0)));
        registry.register_collector(Box::new(self.0.kernel.clone()));
    }
}

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut scopes = {
            let scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
            scopes.clone()
        };
        // Those that count nothing yet would show up as empty histograms.
        scopes.retain(|scope| scope.durations.count() > 0);
        let by_kernel = self.kernel.answered();
        requests(&mut encoder, &scopes, &by_kernel)?;
        responses(&mut encoder, &scopes, &by_kernel)?;
        let mut of_times = encoder.encode_descriptor(
            "coredns_dns_request_duration_seconds",
            "From a query to its reply",
            None,
            MetricType::Histogram,
        )?;
        for scope in &scopes {
            let labels = scope.labels();
            (scope.durations).encode_times(of_times.encode_family(&labels)?)?;
        }
        for (name, help, of) in [
            (
                "coredns_dns_request_size_bytes",
                "Bytes of a query",
                (|scope| &scope.query_bytes) as fn(&Scope) -> &[Histogram; 2],
            ),
            (
                "coredns_dns_response_size_bytes",
                "Bytes of a reply",
                |scope| &scope.reply_bytes,
            ),
        ] {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for scope in &scopes {
                let [server, view, zone] = scope.labels();
                for (proto, histogram) in PROTOS.iter().zip(of(scope)) {
                    if histogram.count() > 0 {
                        let labels = [("proto", *proto), server, view, zone];
                        histogram.encode(family.encode_family(&labels)?)?;
                    }
                }
            }
        }
        self.constants(&mut encoder)
    }
}

/// The label of types without one of their own.
const OTHER: &str = "other";

/// Label values of a counter; what the kernel answered goes to the same.
type Sums<const N: usize> = BTreeMap<[String; N], u64>;

fn requests(
    encoder: &mut DescriptorEncoder<'_>,
    scopes: &[Arc<Scope>],
    by_kernel: &[Answered],
) -> fmt::Result {
    let label = |at: usize| TYPES.get(at).map_or(OTHER, |(_, name)| name);
    let mut sums = Sums::new();
    let mut add =
        |family: &str, proto: &str, server: &str, rtype: &str, view: &str, zone: &str, count| {
            let values = [family, proto, server, rtype, view, zone];
            *sums.entry(values.map(str::to_owned)).or_default() += count;
        };
    for scope in scopes {
        for (proto, of_families) in PROTOS.iter().zip(&scope.requests) {
            for (family, of_types) in FAMILIES.iter().zip(of_families) {
                for (at, count) in of_types.iter().enumerate() {
                    let (server, view, zone) = (&scope.server, &scope.view, &scope.zone);
                    add(
                        family,
                        proto,
                        server,
                        label(at),
                        view,
                        zone,
                        count.load(Relaxed),
                    );
                }
            }
        }
    }
    for answered in by_kernel {
        let at = answered.rtype.map_or(TYPES.len(), type_index);
        let family = FAMILIES[usize::from(answered.is_ipv6)];
        let Some(Owner { server, zone }) = &answered.owner else {
            continue;
        };
        add(
            family,
            PROTOS[0],
            server,
            label(at),
            "",
            zone,
            answered.count,
        );
    }
    let family = encoder.encode_descriptor(
        "coredns_dns_requests",
        "Queries by zone, transport, family and type",
        None,
        MetricType::Counter,
    )?;
    let names = ["family", "proto", "server", "type", "view", "zone"];
    encode_counters(family, labelled(names, &sums))?;
    let family = encoder.encode_descriptor(
        "coredns_dns_do_requests",
        "Queries with DO",
        None,
        MetricType::Counter,
    )?;
    let mut sums = Sums::new();
    let mut add = |server: &str, view: &str, zone: &str, count| {
        let values = [server, view, zone];
        *sums.entry(values.map(str::to_owned)).or_default() += count;
    };
    for scope in scopes {
        let count = scope.dnssec_ok.load(Relaxed);
        add(&scope.server, &scope.view, &scope.zone, count);
    }
    for answered in by_kernel.iter().filter(|answered| answered.dnssec_ok) {
        if let Some(Owner { server, zone }) = &answered.owner {
            add(server, "", zone, answered.count);
        }
    }
    encode_counters(family, labelled(["server", "view", "zone"], &sums))
}

fn responses(
    encoder: &mut DescriptorEncoder<'_>,
    scopes: &[Arc<Scope>],
    by_kernel: &[Answered],
) -> fmt::Result {
    let mut sums = Sums::new();
    let mut add =
        |plugin: &str, rcode: ResponseCode, server: &str, view: &str, zone: &str, count| {
            let values = [plugin, &rcode_label(rcode), server, view, zone];
            *sums.entry(values.map(str::to_owned)).or_default() += count;
        };
    for scope in scopes {
        let replies = scope.replies.read().unwrap_or_else(PoisonError::into_inner);
        for ((rcode, plugin), count) in &*replies {
            let (server, view, zone) = (&scope.server, &scope.view, &scope.zone);
            add(plugin, *rcode, server, view, zone, count.load(Relaxed));
        }
    }
    for answered in by_kernel {
        let Some(Owner { server, zone }) = &answered.owner else {
            continue;
        };
        add(
            "kubernetes",
            answered.rcode,
            server,
            "",
            zone,
            answered.count,
        );
    }
    let family = encoder.encode_descriptor(
        "coredns_dns_responses",
        "Replies by RCODE and plugin",
        None,
        MetricType::Counter,
    )?;
    let names = ["plugin", "rcode", "server", "view", "zone"];
    encode_counters(family, labelled(names, &sums))
}

fn labelled<'s, const N: usize>(
    names: [&'static str; N],
    sums: &'s Sums<N>,
) -> impl Iterator<Item = ([(&'s str, &'s str); N], u64)> {
    sums.iter().map(move |(values, count)| {
        let labels = std::array::from_fn(|at| (names[at], values[at].as_str()));
        (labels, *count)
    })
}

impl All {
    fn constants(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let panics = encoder.encode_descriptor(
            "coredns_panics",
            "Panics that became SERVFAIL",
            None,
            MetricType::Counter,
        )?;
        ConstCounter::new(self.panics.load(Relaxed)).encode(panics)?;
        let mut enabled = encoder.encode_descriptor(
            "coredns_plugin_enabled",
            "Plugins in use",
            None,
            MetricType::Gauge,
        )?;
        let one = ConstGauge::new(1_i64);
        for plugin in &*(self.enabled.lock()).unwrap_or_else(PoisonError::into_inner) {
            let labels = [
                ("name", plugin.name),
                ("server", &plugin.server),
                ("view", ""),
                ("zone", &plugin.zone),
            ];
            one.encode(enabled.encode_family(&labels)?)?;
        }
        let mut build = encoder.encode_descriptor(
            "coredns_build_info",
            "hopzero's version",
            None,
            MetricType::Gauge,
        )?;
        let labels = [
            ("goversion", ""),
            ("revision", ""),
            ("version", env!("CARGO_PKG_VERSION")),
        ];
        one.encode(build.encode_family(&labels)?)
    }
}

impl Scope {
    fn labels(&self) -> [(&'static str, &str); 3] {
        [
            ("server", &self.server),
            ("view", &self.view),
            ("zone", &self.zone),
        ]
    }
}

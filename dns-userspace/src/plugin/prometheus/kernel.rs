//! What the kernel did: in `coredns_dns_*` as part of all queries, and in `hopzero_kernel_*` as what it is.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use serde_json::Value;

use crate::plugin::metrics::rcode_label;

/// Who knows what the programs did.
pub trait Kernel: Send + Sync {
    /// Queries that were answered, each in one of these.
    fn answered(&self) -> Vec<Answered>;

    /// What `hopzero stats` shows; `null` until programs are attached.
    fn report(&self) -> Value;
}

/// Queries with the same outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// `xdp` or `tc`
    pub hook: &'static str,
    /// The server block that they belong to; `None` if it counts nothing, for it has no `prometheus`.
    pub owner: Option<Owner>,
    /// They came over IPv6.
    pub is_ipv6: bool,
    /// They had DO.
    pub dnssec_ok: bool,
    /// The type that was asked; `None` if it has no label of its own.
    pub rtype: Option<RecordType>,
    /// What was replied.
    pub rcode: ResponseCode,
    /// How many.
    pub count: u64,
}

impl Answered {
    /// Whether another has the same outcome.
    pub fn is_like(&self, other: &Answered) -> bool {
        let count = self.count;
        *self
            == Answered {
                count,
                ..other.clone()
            }
    }
}

/// The server block that answers belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The server that the queries would have come to: `dns://:53`.
    pub server: Arc<str>,
    /// The zone of the server block.
    pub zone: String,
}

/// Zones, each with the server blocks that its answers over IPv4 and over IPv6 belong to.
pub type Owners = Vec<(Name, [Option<Owner>; 2])>;

/// The kernel's part, once there is one.
#[derive(Clone, Default)]
pub struct KernelMetrics(Arc<Mutex<Option<Arc<dyn Kernel>>>>);

impl KernelMetrics {
    /// From now on it is asked for each page.
    pub fn set(&self, kernel: Arc<dyn Kernel>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(kernel);
    }

    /// What the kernel answered.
    pub(super) fn answered(&self) -> Vec<Answered> {
        self.kernel()
            .map_or_else(Vec::new, |kernel| kernel.answered())
    }

    fn kernel(&self) -> Option<Arc<dyn Kernel>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl fmt::Debug for KernelMetrics {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("KernelMetrics")
    }
}

impl Collector for KernelMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(kernel) = self.kernel() else {
            return Ok(());
        };
        let mut answers = encoder.encode_descriptor(
            "hopzero_kernel_answers",
            "Queries that the kernel answered",
            None,
            MetricType::Counter,
        )?;
        let mut sums = BTreeMap::new();
        for answered in kernel.answered() {
            let key = (answered.hook, rcode_label(answered.rcode));
            *sums.entry(key).or_insert(0) += answered.count;
        }
        for ((hook, rcode), count) in sums {
            let labels = [("hook", hook), ("rcode", &rcode)];
            ConstCounter::new(count).encode(answers.encode_family(&labels)?)?;
        }
        let report = kernel.report();
        let mut packets = encoder.encode_descriptor(
            "hopzero_kernel_packets",
            "Packets that the programs saw, by what became of them and why",
            None,
            MetricType::Counter,
        )?;
        for (reason, count) in report["counters"].as_object().into_iter().flatten() {
            let labels = [("reason", reason.as_str())];
            let count = ConstCounter::new(count.as_u64().unwrap_or(0));
            count.encode(packets.encode_family(&labels)?)?;
        }
        for (key, name, help) in [
            (
                "names",
                "hopzero_kernel_names",
                "Names that the kernel knows",
            ),
            (
                "capacity",
                "hopzero_kernel_names_max",
                "Names that its table has room for",
            ),
            ("bytes", "hopzero_kernel_bytes", "Memory of its maps"),
        ] {
            if let Some(value) = report[key].as_i64() {
                let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
                ConstGauge::new(value).encode(gauge)?;
            }
        }
        if let Some(seconds) = report["lease_seconds"].as_f64() {
            let gauge = encoder.encode_descriptor(
                "hopzero_kernel_lease_seconds",
                "How long the kernel answers if the daemon does no more; 0: it passes everything",
                None,
                MetricType::Gauge,
            )?;
            ConstGauge::new(seconds).encode(gauge)?;
        }
        let mut devices = encoder.encode_descriptor(
            "hopzero_kernel_device",
            "Devices at which the kernel answers",
            None,
            MetricType::Gauge,
        )?;
        for device in report["devices"].as_array().into_iter().flatten() {
            let text = |key: &str| device[key].as_str().unwrap_or("");
            let labels = [("device", text("device")), ("mode", text("mode"))];
            ConstGauge::new(1_i64).encode(devices.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{metrics::Metrics, prometheus::DnsCounters};
    use serde_json::json;

    struct Fake;

    impl Kernel for Fake {
        fn answered(&self) -> Vec<Answered> {
            let answered = |hook, is_ipv6, count| Answered {
                hook,
                owner: Some(Owner {
                    server: "dns://:53".into(),
                    zone: ".".to_owned(),
                }),
                is_ipv6,
                dnssec_ok: is_ipv6,
                rtype: Some(RecordType::A),
                rcode: ResponseCode::NXDomain,
                count,
            };
            vec![
                answered("xdp", false, 3),
                answered("tc", false, 4),
                answered("tc", true, 5),
                // A server block that counts nothing.
                Answered {
                    owner: None,
                    ..answered("tc", false, 8)
                },
            ]
        }

        fn report(&self) -> Value {
            json!({
                "counters": {"answered": 12, "lease": 2},
                "names": 7, "capacity": 1024, "bytes": 4096, "lease_seconds": 2.5,
                "devices": [{"device": "eth0", "mode": "xdp"}],
            })
        }
    }

    #[test]
    fn answers_are_part_of_all_queries_and_shown_apart() {
        let metrics = Metrics::default();
        let counters: DnsCounters = metrics.of();
        counters.kernel().set(Arc::new(Fake));
        let text = metrics.text();
        for line in [
            r#"coredns_dns_requests_total{family="1",proto="udp",server="dns://:53",type="A",view="",zone="."} 7"#,
            r#"coredns_dns_requests_total{family="2",proto="udp",server="dns://:53",type="A",view="",zone="."} 5"#,
            r#"coredns_dns_do_requests_total{server="dns://:53",view="",zone="."} 5"#,
            r#"coredns_dns_responses_total{plugin="kubernetes",rcode="NXDOMAIN",server="dns://:53",view="",zone="."} 12"#,
            r#"hopzero_kernel_answers_total{hook="tc",rcode="NXDOMAIN"} 17"#,
            r#"hopzero_kernel_packets_total{reason="lease"} 2"#,
            "hopzero_kernel_names_max 1024",
            "hopzero_kernel_lease_seconds 2.5",
            r#"hopzero_kernel_device{device="eth0",mode="xdp"} 1"#,
        ] {
            assert!(text.lines().any(|have| have == line), "{line}\n{text}");
        }
    }
}

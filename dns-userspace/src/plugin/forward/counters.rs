//! What forwarding counts, for `prometheus`: `coredns_forward_*` of a directive, `coredns_proxy_*` of an upstream.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use hickory_proto::op::ResponseCode;

/// Upper bounds of the buckets: 0.25 ms, and each twice the one before.
pub const BUCKETS: usize = 16;
const BUCKET_FIRST: Duration = Duration::from_micros(250);
/// RCODEs that have a name (the last is BADCOOKIE), and all others.
const RCODES: usize = 25;

/// The counters of one `forward` directive.
#[derive(Debug, Default)]
pub struct ForwardCounters {
    /// `coredns_forward_healthcheck_broken_total`
    pub healthcheck_broken: AtomicU64,
    /// `coredns_forward_max_concurrent_rejects_total`
    pub max_concurrent_rejects: AtomicU64,
    /// Each upstream's.
    pub upstreams: Vec<Arc<UpstreamCounters>>,
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
#[derive(Debug)]
pub struct UpstreamCounters {
    /// The label `to`.
    pub to: String,
    /// `coredns_proxy_healthcheck_failures_total`
    pub healthcheck_failures: AtomicU64,
    reused: [AtomicU64; Proto::ALL.len()],
    opened: [AtomicU64; Proto::ALL.len()],
    durations: [OnceLock<Histogram>; RCODES],
}

impl UpstreamCounters {
    /// All zero.
    pub fn new(to: String) -> Self {
        UpstreamCounters {
            to,
            healthcheck_failures: AtomicU64::new(0),
            reused: Default::default(),
            opened: Default::default(),
            durations: Default::default(),
        }
    }

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
            .get_or_init(Histogram::default)
            .observe(after);
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

/// Durations by bucket.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Not cumulative; the last is for all that is longer.
    pub counts: [AtomicU64; BUCKETS + 1],
    /// Their sum.
    pub nanoseconds: AtomicU64,
}

impl Histogram {
    fn observe(&self, duration: Duration) {
        let bucket = (0..BUCKETS)
            .find(|bucket| duration <= BUCKET_FIRST * (1 << bucket))
            .unwrap_or(BUCKETS);
        self.counts[bucket].fetch_add(1, Relaxed);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_their_buckets() {
        let histogram = Histogram::default();
        for micros in [1, 250, 251, 500, 8_192_000, 8_192_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = histogram.counts.iter().map(|c| c.load(Relaxed)).collect();
        assert_eq!(counts[..3], [2, 2, 0]);
        assert_eq!(counts[15..], [1, 1]);
    }

    #[test]
    fn replies_are_counted_by_rcode() {
        let counters = UpstreamCounters::new("192.0.2.1:53".to_owned());
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

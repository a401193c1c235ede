//! A histogram of whole numbers: observing is two additions, without a lock.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

/// How many of what was observed fell into which bucket.
#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds of the buckets.
    bounds: &'static [u64],
    /// Not cumulative; the last is for all that is larger.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// 0.25 ms, and each twice the one before: `CoreDNS`'s buckets for times.
const NANOSECONDS: [u64; 16] = {
    let mut bounds = [250_000; 16];
    let mut at = 1;
    while at < bounds.len() {
        bounds[at] = 2 * bounds[at - 1];
        at += 1;
    }
    bounds
};
const NANOSECONDS_PER_SECOND: f64 = 1e9;

impl Histogram {
    /// Nothing observed.
    pub fn new(bounds: &'static [u64]) -> Self {
        Histogram {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// The same for times, which are kept in nanoseconds.
    pub fn of_times() -> Self {
        Histogram::new(&NANOSECONDS)
    }

    /// Counts a value.
    pub fn observe(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
    }

    /// Counts a time.
    pub fn observe_time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// How many values were observed.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Writes what was observed.
    ///
    /// # Errors
    ///
    /// The encoder's.
    pub fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.encode_divided(encoder, 1.0)
    }

    /// Writes times, in seconds.
    ///
    /// # Errors
    ///
    /// The encoder's.
    pub fn encode_times(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.encode_divided(encoder, NANOSECONDS_PER_SECOND)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "metrics are floating point, and bounds are small"
    )]
    fn encode_divided(&self, mut encoder: MetricEncoder<'_>, by: f64) -> fmt::Result {
        let bounds = self.bounds.iter().map(|bound| *bound as f64 / by);
        let bounds = bounds.chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.sum.load(Relaxed) as f64 / by;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_their_buckets() {
        let histogram = Histogram::of_times();
        for micros in [1, 250, 251, 500, 8_192_000, 8_192_001] {
            histogram.observe_time(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = histogram.counts.iter().map(|c| c.load(Relaxed)).collect();
        assert_eq!(counts[..3], [2, 2, 0]);
        assert_eq!(counts[15..], [1, 1]);
        assert_eq!(histogram.count(), 6);
    }
}

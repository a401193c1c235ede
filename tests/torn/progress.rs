//! What a long run prints while it goes on.

use std::time::{Duration, Instant};

use crate::judge::Seen;

/// How often.
const EVERY: Duration = Duration::from_secs(5);

/// A line now and then.
pub struct Progress {
    what: &'static str,
    reads: u64,
    last: Instant,
    reads_last: u64,
}

impl Progress {
    pub fn new(what: &'static str, reads: u64) -> Self {
        Progress {
            what,
            reads,
            last: Instant::now(),
            reads_last: 0,
        }
    }

    /// Prints how far it is, if it is time.
    pub fn show(&mut self, seen: &Seen) {
        // A look at the clock now and then is enough.
        if seen.reads.is_multiple_of(64) && self.last.elapsed() >= EVERY {
            let rate = per_second(seen.reads - self.reads_last, self.last.elapsed());
            println!(
                "  {}: {} of {} reads ({rate:.0}/s), {} faults",
                self.what,
                seen.reads,
                self.reads,
                seen.faults()
            );
            self.last = Instant::now();
            self.reads_last = seen.reads;
        }
    }
}

/// A rate, to print.
#[expect(clippy::cast_precision_loss, reason = "a rate, to print")]
pub fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

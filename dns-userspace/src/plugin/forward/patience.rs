//! How long is waited for an upstream.

use std::time::{Duration, Instant};

/// A limit for each step, and one for all steps together.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A connection, or a reply.
    pub step: Duration,
    /// When everything has to be over.
    pub until: Instant,
}

impl Patience {
    /// One step, and no more.
    pub fn once(step: Duration) -> Self {
        Patience {
            step,
            until: Instant::now() + step,
        }
    }

    /// For the step that begins now.
    pub fn now(&self) -> Duration {
        self.step
            .min(self.until.saturating_duration_since(Instant::now()))
    }

    /// Whether there is time for another step.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

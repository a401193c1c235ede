//! The lease: how long the programs answer without a sign of life of the daemon.
//!
//! The deadline is in CONTROL, in jiffies, which a program reads for free ([`hopzero_common::layout`] has
//! the figures). Who renews it runs `hopzero_clock` once and adds the lease's length: no error adds up,
//! and no clock of this process has to agree with the kernel's tick. Only the thread that applies changes
//! renews it, so that a daemon whose sockets still work but whose zone stands still loses it too.
//!
//! # Suspend
//!
//! Jiffies stand still while the machine is suspended, and so does the rest of a lease. After the
//! resume the programs may answer as of before the suspension:
//!
//! * until the next renewal, at most [`RENEWED_EVERY`] later, if the daemon runs: it sees that
//!   `CLOCK_BOOTTIME` has moved away from `CLOCK_MONOTONIC`, takes the lease away, and gives it
//!   back at the renewal after that, so that what the source tells at once comes first;
//! * for the rest of the lease, if it does not.
//!
//! These answers were right when the machine fell asleep, and a client may keep any answer for its TTL (5 s
//! unless configured), which the sleep stretches in the same way. It could be closed by a read of the boot
//! clock in each run, for 38 ns a packet.

use std::{
    thread,
    time::{Duration, Instant},
};

use aya::{
    Ebpf, TestRun as _, TestRunOptions,
    programs::{ProgramError, SchedClassifier},
};
use nix::time::{ClockId, clock_gettime};
use tracing::{debug, warn};

use super::{KernelError, error::chain};
use crate::publisher::memory::Words;

/// The length of a lease, unless configured.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(3);
/// How often it is renewed at the least, unless the daemon hangs.
pub const RENEWED_EVERY: Duration = Duration::from_secs(1);

/// The program that tells the tick.
pub(super) const PROGRAM: &str = "hopzero_clock";
/// A packet for it, which it does not look at: the kernel wants at least an Ethernet header.
const PACKET: [u8; 64] = [0; 64];
/// The least time over which ticks are counted: at 100 a second, 5 of them, give or take one.
const CALIBRATED_OVER: Duration = Duration::from_millis(50);
/// How far what is counted may be from a rate that is meant.
const RATE_TOLERANCE: f64 = 0.25;
/// The kernel's choices of `CONFIG_HZ` (kernel/Kconfig.hz).
const RATES: [u32; 4] = [100, 250, 300, 1000];
/// Suspensions shorter than this are not told from the reading of two clocks one after the other.
const SLEPT_MIN: Duration = Duration::from_millis(100);

/// The kernel's tick, and how fast it goes.
pub(super) struct Clock {
    word: Words,
    first: Sample,
    /// Ticks a second, once measured.
    rate: Option<u32>,
    slept: Slept,
}

/// A tick, and when it was read.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    tick: u64,
}

impl Clock {
    /// The loaded program, and the first of two samples.
    pub(super) fn new(ebpf: &Ebpf, word: Words) -> Result<Self, KernelError> {
        let first = sample(ebpf, &word)?;
        Ok(Clock {
            word,
            first,
            rate: None,
            slept: Slept::new(boot_minus_monotonic()),
        })
    }

    /// The tick at which a lease ends that begins now; `None` if the machine slept since the last one.
    pub(super) fn until(
        &mut self,
        ebpf: &Ebpf,
        lease: Duration,
    ) -> Result<Option<u64>, KernelError> {
        let rate = match self.rate {
            Some(rate) => rate,
            None => self.calibrate(ebpf)?,
        };
        let now = sample(ebpf, &self.word)?;
        if let Some(slept) = self.slept.since_last(boot_minus_monotonic()) {
            warn!(
                seconds = slept.as_secs_f32(),
                "the machine was suspended: the kernel does not answer until the next renewal"
            );
            return Ok(None);
        }
        Ok(Some(now.tick.saturating_add(ticks(lease, rate))))
    }

    /// Ticks a second, once they were counted.
    pub(super) fn rate(&self) -> Option<u32> {
        self.rate
    }

    /// Counts ticks from the first sample on; it was taken before the
    /// verifier had its turn, so that there is nothing to wait for.
    fn calibrate(&mut self, ebpf: &Ebpf) -> Result<u32, KernelError> {
        thread::sleep(CALIBRATED_OVER.saturating_sub(self.first.at.elapsed()));
        let last = sample(ebpf, &self.word)?;
        let rate = rate_of(
            last.tick.saturating_sub(self.first.tick),
            last.at - self.first.at,
        );
        debug!(rate, "jiffies a second");
        self.rate = Some(rate);
        Ok(rate)
    }
}

/// Runs the program, as often as it takes to know when it ran to within a millisecond.
fn sample(ebpf: &Ebpf, word: &Words) -> Result<Sample, KernelError> {
    const ATTEMPTS: u32 = 5;
    const PRECISION: Duration = Duration::from_millis(1);
    let program: &SchedClassifier = ebpf
        .program(PROGRAM)
        .and_then(|program| program.try_into().ok())
        .ok_or(KernelError::Object { what: PROGRAM })?;
    let failed = |error: ProgramError| KernelError::Clock {
        reason: chain(&error),
    };
    let mut attempt = 1;
    loop {
        let at = Instant::now();
        let options = TestRunOptions {
            data_in: Some(&PACKET),
            ..TestRunOptions::default()
        };
        program.test_run(options).map_err(failed)?;
        if at.elapsed() < PRECISION || attempt == ATTEMPTS {
            let tick = word.load(0);
            return Ok(Sample { at, tick });
        }
        attempt += 1;
    }
}

/// The rate that is meant by `ticks` within `elapsed`: one of the kernel's, or what was measured if it is none
/// of them. Never 0.
fn rate_of(ticks: u64, elapsed: Duration) -> u32 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let measured = ticks as f64 / elapsed.as_secs_f64();
    let nearest = (RATES.into_iter())
        .min_by(|a, b| {
            let distance = |rate: u32| (f64::from(rate) - measured).abs() / f64::from(rate);
            distance(*a).total_cmp(&distance(*b))
        })
        .expect("there are rates");
    if (measured / f64::from(nearest) - 1.0).abs() < RATE_TOLERANCE {
        return nearest;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and a cast saturates"
    )]
    let measured = measured.round() as u32;
    measured.max(1)
}

/// Ticks of a duration; a part of one is left out, so that a lease is never longer.
fn ticks(duration: Duration, rate: u32) -> u64 {
    let ticks = duration.as_nanos() * u128::from(rate) / Duration::from_secs(1).as_nanos();
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// Notices that the machine was suspended: only the boot clock counts that time.
#[derive(Debug)]
struct Slept {
    total: Duration,
}

impl Slept {
    fn new(boot_minus_monotonic: Duration) -> Self {
        Slept {
            total: boot_minus_monotonic,
        }
    }

    /// How long it was suspended since this was last asked.
    fn since_last(&mut self, boot_minus_monotonic: Duration) -> Option<Duration> {
        let slept = boot_minus_monotonic.saturating_sub(self.total);
        self.total = self.total.max(boot_minus_monotonic);
        (slept >= SLEPT_MIN).then_some(slept)
    }
}

/// How long the machine was suspended since it booted.
fn boot_minus_monotonic() -> Duration {
    let read = |clock: ClockId| clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
    // The boot clock first: a delay between the two only makes it less.
    let boot = read(ClockId::CLOCK_BOOTTIME);
    boot.saturating_sub(read(ClockId::CLOCK_MONOTONIC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_that_kernels_have() {
        let over = |ticks| rate_of(ticks, CALIBRATED_OVER);
        for (ticks, rate) in [
            (4, 100),
            (5, 100),
            (6, 100),
            (12, 250),
            (13, 250),
            (14, 300),
            (16, 300),
            (49, 1000),
            (51, 1000),
        ] {
            assert_eq!(over(ticks), rate, "{ticks}");
        }
        // None of them: taken as it is measured.
        assert_eq!(over(25), 500);
        assert_eq!(over(0), 1);
        assert_eq!(rate_of(2_500_100, Duration::from_secs(10_000)), 250);
    }

    #[test]
    fn a_lease_is_never_longer_than_its_length() {
        assert_eq!(ticks(Duration::from_secs(3), 250), 750);
        assert_eq!(ticks(Duration::from_millis(3999), 250), 999);
        assert_eq!(ticks(Duration::ZERO, 1000), 0);
        assert_eq!(ticks(Duration::MAX, 1000), u64::MAX);
    }

    #[test]
    fn a_suspension_is_noticed_once() {
        let at = Duration::from_millis;
        let mut slept = Slept::new(at(5000));
        assert_eq!(slept.since_last(at(5000)), None);
        assert_eq!(slept.since_last(at(4999)), None);
        assert_eq!(slept.since_last(at(65_000)), Some(at(60_000)));
        assert_eq!(slept.since_last(at(65_000)), None);
        // What is too short to be told from noise is not gathered.
        assert_eq!(slept.since_last(at(65_060)), None);
        assert_eq!(slept.since_last(at(65_120)), None);
    }
}
